//! A gateway before a simulated Genesys Cloud.

use std::net::SocketAddr;

use genesys_proxy::simulator::{Handle, Options, Simulator};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Gateway;

/// Both of them; the simulator runs in this process, the gateway in its own.
pub struct World {
    pub gateway: Gateway,
    pub genesys: Handle,
    pub client: reqwest::Client,
    _stop: DropGuard,
}

impl World {
    /// No limits, no faults.
    pub async fn new() -> Self {
        Self::with(unlimited(), NO_LIMIT).await
    }

    /// `toml` comes after `[upstream]`.
    pub async fn with(options: Options, toml: &str) -> Self {
        Self::beginning(options, toml, json!({})).await
    }

    /// The same, with more environment variables for the gateway.
    pub async fn with_env(options: Options, toml: &str, env: &[(&str, &str)]) -> Self {
        let (genesys, stop) = simulator(options).await;
        let gateway = Gateway::start_with(&format!("{}\n{toml}", upstream(genesys.addr())), env);
        Self { gateway, genesys, client: client(), _stop: stop }
    }

    /// The same, with faults that the gateway's first login meets already.
    pub async fn beginning(options: Options, toml: &str, faults: serde_json::Value) -> Self {
        let (genesys, stop) = simulator(options).await;
        genesys.faults(serde_json::from_value(faults).unwrap());
        let gateway = Gateway::start(&format!("{}\n{toml}", upstream(genesys.addr())));
        Self { gateway, genesys, client: client(), _stop: stop }
    }

    /// The same, while no other test's gateway runs: for what a busy machine would spoil.
    pub async fn alone(options: Options, toml: &str) -> Self {
        let (genesys, stop) = simulator(options).await;
        let gateway = Gateway::start_alone(&format!("{}\n{toml}", upstream(genesys.addr())), &[]);
        Self { gateway, genesys, client: client(), _stop: stop }
    }

    /// A GET through the gateway.
    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.gateway.url(path)).send().await.unwrap()
    }
}

/// No limit of the gateway's own.
pub const NO_LIMIT: &str = "[rate_limit]\nrequests_per_minute = 0";

/// A Genesys Cloud without limits.
pub fn unlimited() -> Options {
    Options { requests_per_minute: 0, ..Options::default() }
}

/// A simulator on a free port, for as long as the guard lives.
pub async fn simulator(options: Options) -> (Handle, DropGuard) {
    let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), options).await.unwrap();
    let (handle, stop) = (simulator.handle(), CancellationToken::new());
    #[expect(clippy::disallowed_methods, reason = "it ends with the guard")]
    tokio::spawn(simulator.serve(stop.clone().cancelled_owned()));
    (handle, stop.drop_guard())
}

/// `[upstream]` for a Genesys Cloud at `address`.
pub fn upstream(address: SocketAddr) -> String {
    format!("[upstream]\napi_url = \"http://{address}\"")
}

/// A caller that follows no redirects and asks no proxy.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .build()
        .unwrap()
}
