//! The gateway between raw sockets: a caller that sends any bytes, an upstream ("peer") that
//! answers any bytes and writes down what it got, and a token endpoint that does likewise.
//! It never waits for time to pass: only for bytes, closes and records.

mod caller;
pub mod http2;
mod message;
mod peer;

pub use caller::{Answer, Caller};
pub use message::{Request, check};
pub use peer::{Line, Peer, Record, ok};

use super::Gateway;

/// What must never be seen anywhere but in `Authorization`.
pub const TOKEN: &str = "tOkEn-4f1c9e2d7b";
/// The client secret of these tests.
pub const SECRET: &str = "sEcReT-91ab37c0";

/// A gateway before a scripted upstream and a scripted token endpoint.
pub struct Stage {
    /// Killed first.
    gateway: Option<Gateway>,
    pub peer: Peer,
    pub login: Peer,
}

impl Stage {
    /// Upstream follows `script` on each connection; the token endpoint grants [`TOKEN`].
    pub fn new(script: impl Fn(&mut Line) + Send + Sync + 'static) -> Self {
        Self::with("", script)
    }

    /// The same, with more settings, one `section.key = value` a line.
    pub fn with(settings: &str, script: impl Fn(&mut Line) + Send + Sync + 'static) -> Self {
        Self::with_login(settings, script, grants)
    }

    /// The same, with a token endpoint of one's own.
    pub fn with_login(
        settings: &str,
        script: impl Fn(&mut Line) + Send + Sync + 'static,
        login: impl Fn(&mut Line) + Send + Sync + 'static,
    ) -> Self {
        let (peer, login) = (Peer::start(script), Peer::start(login));
        Self { gateway: Some(start(settings, &peer.url(), &login)), peer, login }
    }

    /// Before an upstream that is no peer of ours.
    pub fn before(settings: &str, api: &str) -> Self {
        let (peer, login) = (Peer::start(|_| {}), Peer::start(grants));
        Self { gateway: Some(start(settings, api, &login)), peer, login }
    }

    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    /// A new connection to the gateway.
    pub fn caller(&self) -> Caller {
        Caller::connect(self.gateway().address)
    }

    /// One request on a connection of its own, and its answer.
    pub fn call(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut caller = self.caller();
        caller.send(request);
        caller.answer()
    }

    /// A GET on a connection of its own.
    pub fn get(&self, path: &str) -> Answer {
        self.call(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Ends the gateway, so that upstream's records are final; checks its log on the way.
    pub fn end(mut self) -> Vec<Record> {
        self.stop();
        self.peer.records()
    }

    fn stop(&mut self) {
        let Some(gateway) = self.gateway.take() else { return };
        let log = gateway.log_at_end();
        if !std::thread::panicking() {
            no_secret_in(&log);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The token endpoint that grants [`TOKEN`].
pub fn grants(line: &mut Line) {
    while line.request().is_some() {
        line.send(&granted(TOKEN, "86400"));
    }
}

/// A gateway with the settings that these tests share.
pub fn start(settings: &str, api: &str, login: &Peer) -> Gateway {
    let toml = format!(
        "upstream.api_url = \"{api}\"\n\
         oauth.token_url = \"{}/oauth/token\"\n\
         {}{}{}{}{settings}",
        login.url(),
        // What is sent is the script's affair, unless the test says otherwise.
        if settings.contains("requests_per_minute") {
            ""
        } else {
            "rate_limit.requests_per_minute = 0\n"
        },
        // A script knows each of its connections, unless the test says otherwise.
        if settings.contains("warm_connections") { "" } else { "upstream.warm_connections = 0\n" },
        // And counts what comes, unless the test says otherwise.
        if settings.contains("retry.") { "" } else { "retry.attempts = 1\n" },
        // Every log line there is, unless the test says otherwise.
        if settings.contains("telemetry.log") { "" } else { "telemetry.log = \"debug\"\n" },
    );
    Gateway::start_with(&toml, &[("GENESYS_CLIENT_SECRET", SECRET)])
}

/// Neither the token nor the secret, nor the secret as HTTP Basic carries it.
pub fn no_secret_in(text: &str) {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("demo:{SECRET}"));
    for secret in [TOKEN, SECRET, &basic] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "a secret shows: {line:?}");
    }
}

/// A token answer. `expires_in` is JSON.
pub fn granted(token: &str, expires_in: &str) -> Vec<u8> {
    let body = format!(
        "{{\"access_token\":\"{token}\",\"token_type\":\"bearer\",\"expires_in\":{expires_in}}}"
    );
    ok(&body)
}
