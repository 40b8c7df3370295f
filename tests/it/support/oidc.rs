//! `oidc-provider`, a certified authorization server that we did not write, with an API that
//! believes only its tokens; `tests/oidc/` is what runs. It must never be told what to answer a
//! login with: whether the gateway's request is right is for it to say.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Gateway, gateway::PATIENCE, tools::installed, world::client};

/// The scopes that there are; gateways ask for both.
pub const SCOPE: &str = "routing:read users:read";

/// The server as a real process on free ports; ended when dropped.
pub struct Oidc {
    /// Its own address, below which everything is.
    pub issuer: String,
    /// The same over TLS, when it was started with a certificate.
    pub tls: Option<String>,
    clients: Value,
    caller: reqwest::Client,
    child: Child,
    /// What it says on stderr.
    log: tempfile::NamedTempFile,
    /// It ends when this closes, so it ends with a test that is killed too.
    _stdin: ChildStdin,
}

/// How often it was asked for what, and how it went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Seen {
    pub logins: u64,
    /// Of these with HTTP Basic: the provider takes that from clients of the form too.
    pub basic: u64,
    pub introspections: u64,
    pub revocations: u64,
    pub keys: u64,
    pub calls: u64,
    pub unauthorized: u64,
    /// Requests that hang at this moment.
    pub held: u64,
    /// Tokens given out, by client id.
    pub mints: BTreeMap<String, u64>,
    /// Introspections that a client was let in for, and looks of a live token at itself, by client
    /// id.
    pub checks: BTreeMap<String, u64>,
}

impl Seen {
    /// Tokens given out to anyone.
    pub fn minted(&self) -> u64 {
        self.mints.values().sum()
    }
}

/// What a token looks like.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    Opaque,
    Jwt,
}

impl Format {
    /// What the gateway's form says for it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Opaque => "urn:opaque",
            Self::Jwt => "urn:jwt",
        }
    }
}

impl Oidc {
    /// Clients with secrets only, tokens of an hour.
    pub fn start() -> Self {
        Self::with(&json!({}))
    }

    /// `wanted` is the first line of `tests/oidc/server.mjs`'s stdin, described there.
    pub fn with(wanted: &Value) -> Self {
        let modules = installed("GENESYS_PROXY_TEST_OIDC_MODULES", "oidc/node_modules");
        let log = tempfile::NamedTempFile::new().unwrap();
        // Installed with it, because it needs a newer one than most distributions have.
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let node = modules.join(format!("node-linux-{machine}/bin/node"));
        let mut child = Command::new(node)
            .arg("server.mjs")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc"))
            .env_clear()
            .env("NODE_PATH", modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .expect("node should run: run tests/run.sh");
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{wanted}").unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            sender.send(line)
        });
        let line = receiver.recv_timeout(PATIENCE).unwrap_or_default();
        let Ok(mut ready) = serde_json::from_str::<Value>(&line) else {
            let _ = child.kill();
            panic!("it does not start:\n{}", std::fs::read_to_string(&log).unwrap());
        };
        Self {
            issuer: ready["issuer"].as_str().unwrap().to_owned(),
            tls: ready["tls"].as_str().map(str::to_owned),
            clients: ready["clients"].take(),
            caller: client(),
            child,
            log,
            _stdin: stdin,
        }
    }

    /// The id of a client, and its secret: "" when it proves itself otherwise.
    pub fn credentials(&self, client: &str) -> (&str, &str) {
        let client = &self.clients[client];
        (client["id"].as_str().unwrap(), client["secret"].as_str().unwrap_or_default())
    }

    /// A gateway that logs in here as `client` and calls the API here. `oauth` is more of
    /// `[oauth]`, and what comes after it.
    pub fn gateway(&self, client: &str, format: Format, oauth: &str) -> Gateway {
        self.gateway_with(client, format, oauth, &[])
    }

    /// The same with more variables, which win over what the file says.
    pub fn gateway_with(
        &self,
        client: &str,
        format: Format,
        oauth: &str,
        more: &[(&str, &str)],
    ) -> Gateway {
        let (id, secret) = self.credentials(client);
        let env = [("GENESYS_CLIENT_ID", id), ("GENESYS_CLIENT_SECRET", secret)];
        Gateway::start_with(&self.toml(format, oauth), &[&env[..], more].concat())
    }

    /// The same as `gateway`, while no other test's gateway runs.
    pub fn gateway_alone(&self, client: &str, format: Format, oauth: &str) -> Gateway {
        let (id, secret) = self.credentials(client);
        let env = [("GENESYS_CLIENT_ID", id), ("GENESYS_CLIENT_SECRET", secret)];
        Gateway::start_alone(&self.toml(format, oauth), &env)
    }

    fn toml(&self, format: Format, oauth: &str) -> String {
        format!(
            "[upstream]\napi_url = \"{issuer}\"\n[rate_limit]\nrequests_per_minute = 0\n[oauth]\n\
             token_url = \"{issuer}/token\"\nscope = [\"{scope}\"]\n\
             extra_params = {{ resource = \"{resource}\" }}\n{oauth}",
            issuer = self.issuer,
            scope = SCOPE.replace(' ', "\", \""),
            resource = format.resource(),
        )
    }

    /// Does one action of `tests/oidc/control.mjs`.
    pub async fn control(&self, action: &str, what: Value) -> Value {
        let url = format!("{}/_test/{action}", self.issuer);
        let answer = self.caller.post(url).json(&what).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    /// The counts.
    pub async fn seen(&self) -> Seen {
        serde_json::from_value(self.control("seen", json!({})).await).unwrap()
    }

    /// Waits until each count that `least` names is at least so high; says what they are when that
    /// never comes.
    pub async fn until(&self, least: Value) -> Seen {
        let Ok(seen) = timeout(PATIENCE, self.control("until", least.clone())).await else {
            panic!("not {least}, but {:?}", self.seen().await);
        };
        serde_json::from_value(seen).unwrap()
    }

    /// Changes `ttl`, `faults`, `dateSkew` or `clockSkew`. A fault is a status or `"hang"`, by the
    /// names of [`Seen`]; the new faults replace those before, and what hung goes on.
    pub async fn set(&self, what: Value) {
        self.control("set", what).await;
    }

    /// The newest token that `revoke` and `revoke_newest` have not killed.
    pub async fn newest(&self) -> String {
        self.control("newest", json!({})).await["token"].as_str().unwrap().to_owned()
    }

    /// What the API answers to this token.
    pub async fn status_of(&self, token: &str) -> u16 {
        let url = format!("{}/api/v2/users/me", self.issuer);
        self.caller.get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
    }

    /// Ends a token of a client with a secret as RFC 7009 says.
    pub async fn revoke_as(&self, client: &str, token: &str) {
        let (id, secret) = self.credentials(client);
        let form = [("token", token), ("client_id", id), ("client_secret", secret)];
        let url = format!("{}/token/revocation", self.issuer);
        let answer = self.caller.post(url).form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// Kills every token; how many lived.
    pub async fn revoke(&self) -> u64 {
        self.control("revoke", json!({})).await["revoked"].as_u64().unwrap()
    }

    /// Kills the newest token; how many lived.
    pub async fn revoke_newest(&self) -> u64 {
        self.control("revoke", json!({"newest": true})).await["revoked"].as_u64().unwrap()
    }

    /// From now on no other secret of this client is right.
    pub async fn set_secret(&self, client: &str, secret: &str) {
        let (id, _) = self.credentials(client);
        self.control("secret", json!({"id": id, "secret": secret})).await;
    }

    /// A new key signs from now on. `forget` takes the old ones out of the published set; the API
    /// still believes what they signed.
    pub async fn rotate(&self, forget: bool) {
        self.control("rotate", json!({"forget": forget})).await;
    }
}

impl Drop for Oidc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- the authorization server's log ---\n{log}");
        }
    }
}
