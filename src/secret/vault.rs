//! `HashiCorp` Vault: its requests as vaultrs makes them, sent by a client of our own.
//! It never reads a `VAULT_…` variable, follows a redirect or repeats itself.
//!
//! vaultrs's own way to send reads answers of any size and leaves copies of secrets in memory;
//! this one has a limit and wipes what it read.

mod answer;
mod session;

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderValue;
use rustify::Endpoint;
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;
use vaultrs::api::EndpointMiddleware;

pub use self::answer::{Auth, read_auth, read_secret};
use super::Unreadable;
use crate::config::{Vault, VaultSecret};
use session::Session;

/// Vault keeps no entry larger than 1 MiB by default.
const MAX_ANSWER: usize = 1024 * 1024;
/// Reads that wait at once; more wait to ask.
const ASKS: usize = 16;

/// The client for Vault cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Unbuildable {
    /// The HTTP client's own reason.
    #[error("cannot prepare requests to Vault: {0}")]
    Http(#[from] reqwest::Error),
    /// It cannot be a header.
    #[error("vault.namespace has characters that a header cannot carry")]
    Namespace,
}

type Answer = oneshot::Sender<Result<SecretString, Unreadable>>;

/// A handle on the task that is logged in at Vault.
pub struct VaultClient {
    asks: mpsc::Sender<(VaultSecret, Answer)>,
}

impl fmt::Debug for VaultClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultClient").finish_non_exhaustive()
    }
}

impl VaultClient {
    /// Starts the task that logs in when something is first read, and keeps the login alive until
    /// `stop` is cancelled. `tls` carries the roots that Vault is verified with.
    pub fn spawn(
        vault: &Vault,
        tls: rustls::ClientConfig,
        tasks: &TaskTracker,
        runtime: &Handle,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, Unbuildable> {
        let wire = Wire::new(vault, tls)?;
        let session = Session::new(wire, &vault.auth, tasks, runtime, &stop);
        let (asks, asked) = mpsc::channel(ASKS);
        tasks.spawn_on(
            async move {
                stop.run_until_cancelled(session.serve(asked)).await;
            },
            runtime,
        );
        Ok(Arc::new(Self { asks }))
    }

    /// The secret as it is now.
    pub async fn read(&self, secret: &VaultSecret) -> Result<SecretString, Unreadable> {
        let (answer, answered) = oneshot::channel();
        let stopping = || Unreadable::new("Vault is not asked: the gateway is stopping");
        self.asks.send((secret.clone(), answer)).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}

/// A status and what came with it.
type Raw = (u16, Zeroizing<Vec<u8>>);

/// One request, one answer.
struct Wire {
    http: reqwest::Client,
    address: Url,
    namespace: Option<String>,
}

impl Wire {
    fn new(vault: &Vault, tls: rustls::ClientConfig) -> Result<Self, Unbuildable> {
        if vault.namespace.as_deref().is_some_and(|name| HeaderValue::from_str(name).is_err()) {
            return Err(Unbuildable::Namespace);
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("genesys-proxy/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(vault.timeout.min(Duration::from_secs(5)))
            .timeout(vault.timeout)
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self { http, address: vault.address.clone(), namespace: vault.namespace.clone() })
    }

    async fn call(
        &self,
        endpoint: impl Endpoint,
        token: Option<&SecretString>,
    ) -> Result<Raw, Unreadable> {
        let middleware = EndpointMiddleware {
            token: token.map(|token| token.expose_secret().to_owned()).unwrap_or_default(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: self.namespace.clone(),
        };
        let request = endpoint.with_middleware(&middleware).request(self.address.as_str());
        drop(Zeroizing::new(middleware.token));
        let mut request = request
            .ok()
            .and_then(|request| reqwest::Request::try_from(request).ok())
            .ok_or_else(|| self.told("cannot be asked for this path"))?;
        if let Some(token) = request.headers_mut().get_mut("x-vault-token") {
            token.set_sensitive(true);
        }
        let unreachable = |error: &reqwest::Error| self.unreachable(error);
        let mut response = self.http.execute(request).await.map_err(|e| unreachable(&e))?;
        let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
        while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.told("gives an answer larger than 1 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status().as_u16(), body))
    }

    /// `Vault at https://vault.example.com:8200 is sealed …`
    fn told(&self, what: &str) -> Unreadable {
        Unreadable::new(format!("Vault at {} {what}", self.address.as_str().trim_end_matches('/')))
    }

    /// The same for an answer: with some, Vault is in trouble, not we.
    fn refused(&self, status: u16, what: &str) -> Unreadable {
        let away = matches!(status, 429 | 500..);
        Unreadable { away, ..self.told(what) }
    }

    /// The deepest source: what reqwest says in between repeats itself.
    fn unreachable(&self, error: &reqwest::Error) -> Unreadable {
        if error.is_timeout() {
            return self.away("does not answer in time (vault.timeout)");
        }
        let mut deepest: &dyn std::error::Error = error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        self.away(&format!("cannot be reached: {deepest}"))
    }

    fn away(&self, what: &str) -> Unreadable {
        Unreadable { away: true, ..self.told(what) }
    }
}
