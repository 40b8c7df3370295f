//! One OAuth client at its authorization server: how a token is asked for, and what makes it good.
//! It never follows a redirect, reads proxy variables, or repeats itself: pacing is decided elsewhere.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering},
    time::SystemTime,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use url::Url;

pub use super::wire::{Network, host};
pub use super::{
    answer::{Minted, Share},
    error::{Kind, MintError},
};
use super::{
    certificate::{self, BadCertificate},
    client_auth::{Proof, Prover},
    keys::Keys,
    seals::Made,
    wire::client_of,
};
use crate::{
    config::{Credentials, OAuth, OAuthClient, SecretKind, SecretSource},
    decide::{
        rotation::{self, Outcome, Then, Which},
        shared_token::Held,
        skew::Skew,
    },
    secret::Secret,
    store::Scope,
    telemetry::metrics::Metrics,
};

/// Where tokens come from; tests bring their own.
pub trait Issuer: Send + Sync + 'static {
    /// One request for one token.
    fn mint(&self) -> impl Future<Output = Result<Minted, MintError>> + Send;

    /// A token for a replica that stands so: one of another replica's, or a new one.
    fn renew(&self, _held: Held) -> impl Future<Output = Result<Minted, MintError>> + Send {
        self.mint()
    }

    /// Resolves when the credentials have changed since the last mint.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// The credentials have changed while the last mint was on its way: it was asked for with the
    /// former ones.
    fn outdated(&self) -> bool {
        false
    }

    /// Whose tokens they are: the client id.
    fn client(&self) -> &str;

    /// Shows what it knows of itself, after each mint.
    fn show(&self, _metrics: &Metrics) {}
}

/// The HTTP client for the authorization server cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare token requests: {0}")]
pub enum Unbuildable {
    /// reqwest says.
    Http(#[from] reqwest::Error),
    /// The client certificate.
    Certificate(#[from] BadCertificate),
    /// The API's address is no URL.
    Address(#[from] url::ParseError),
}

/// What proves who a client is, as readable sources.
#[derive(Debug)]
pub struct Secrets {
    /// `client_secret` or `private_key`; `None` for a certificate.
    pub current: Option<Secret>,
    /// `next_client_secret`
    pub next: Option<Secret>,
}

impl Secrets {
    /// The sources of a client, each made readable by `open`.
    pub fn of(
        credentials: &Credentials,
        open: impl Fn(&SecretSource, SecretKind) -> Secret,
    ) -> Self {
        let next = match credentials {
            Credentials::Secret { next, .. } => next.as_ref(),
            Credentials::PrivateKey { .. } | Credentials::Certificate => None,
        };
        let open = |source| open(source, credentials.kind());
        Self { current: credentials.source().map(open), next: next.map(open) }
    }
}

/// Not measured yet.
const NO_SKEW: i64 = i64::MIN;

/// One OAuth client: all that asks, checks and revokes its tokens shares it.
pub struct Login {
    /// For tokens, introspection and revocation; shows the client certificate.
    pub(super) http: reqwest::Client,
    /// For the API and the keys; shows none.
    pub(super) api: reqwest::Client,
    pub(super) tokens_me: Url,
    pub(super) oauth: OAuth,
    client: OAuthClient,
    pub(super) scope: Scope,
    secrets: Secrets,
    live: AtomicU8,
    pub(super) keys: Keys,
    pub(super) made: Made,
    pub(super) skew: AtomicI64,
    pub(super) warned_of_skew: AtomicBool,
    pub(super) proxied: bool,
    turn: Semaphore,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("client", &self.client.id).finish_non_exhaustive()
    }
}

impl Login {
    /// Nothing is asked or read yet, but the client certificate.
    pub fn new(
        oauth: OAuth,
        client: OAuthClient,
        secrets: Secrets,
        network: &Network<'_>,
    ) -> Result<Self, Unbuildable> {
        let tls = match &oauth.client_cert {
            Some(files) => certificate::showing(network.tls.clone(), files)?,
            None => network.tls.clone(),
        };
        Ok(Self {
            http: client_of(oauth.timeout, network, tls)?,
            api: client_of(oauth.timeout, network, network.tls.clone())?,
            proxied: network.proxy.is_some(),
            scope: Scope::new(oauth.token_url.as_str(), &network.api.to_string(), &client.id),
            tokens_me: format!("{}/api/v2/tokens/me", network.api).parse()?,
            oauth,
            client,
            secrets,
            live: AtomicU8::new(Which::Current as u8),
            keys: Keys::default(),
            made: Made::default(),
            skew: AtomicI64::new(NO_SKEW),
            warned_of_skew: AtomicBool::new(false),
            turn: Semaphore::new(1),
        })
    }

    /// Which of the two client secrets is live.
    pub fn live_secret(&self) -> Which {
        Which::from_number(self.live.load(Ordering::Relaxed))
    }

    /// `client_secret` was refused and `next_client_secret` was not.
    pub fn rotated(&self) -> bool {
        self.live_secret() == Which::Next
    }

    /// Our clock against the authorization server's, as last measured.
    pub fn skew(&self) -> Option<Skew> {
        let seconds = self.skew.load(Ordering::Relaxed);
        (seconds != NO_SKEW).then_some(Skew { seconds })
    }

    fn secret(&self, which: Which) -> Option<&Secret> {
        match which {
            Which::Current => self.secrets.current.as_ref(),
            Which::Next => self.secrets.next.as_ref(),
        }
    }

    pub(super) fn has_secret(&self, which: Which) -> bool {
        self.secret(which).is_some()
    }

    /// The secret as it is now; an empty one for a certificate.
    pub(super) async fn fresh(&self, which: Which) -> Result<SecretString, MintError> {
        let Some(secret) = self.secret(which) else { return Ok(SecretString::default()) };
        secret.fresh().await.map_err(|unreadable| {
            let kind = if unreadable.away { Kind::SecretAway } else { Kind::Secret };
            let key = match (which, &self.client.credentials) {
                (Which::Next, _) => "next_client_secret",
                (Which::Current, Credentials::PrivateKey { .. }) => "private_key",
                (Which::Current, _) => "client_secret",
            };
            MintError::new(kind, format!("oauth.{key}: {unreadable}"))
        })
    }

    /// The last good secret, without a look at its source; a fresh one when there is none.
    pub(super) async fn at_hand(&self, which: Which) -> Result<SecretString, MintError> {
        match self.secret(which).and_then(Secret::live) {
            Some(secret) => Ok(secret),
            None => self.fresh(which).await,
        }
    }

    /// One token request with the secret that is not live: the live one cannot be read and never
    /// could.
    async fn mint_with_the_other(
        &self,
        live: Which,
        unreadable: MintError,
    ) -> Result<Minted, MintError> {
        let other = live.other();
        let secret = match self.fresh(other).await {
            Ok(secret) => secret,
            Err(also) => return Err(unreadable.and_the_other(&also)),
        };
        tracing::warn!(client = self.client(), why = %unreadable, "the other client secret is tried");
        let result = self.ask(&secret).await;
        match (rotation::then(live, other, outcome(&result), true), result) {
            (Then::Live, result) => {
                self.set_live(other);
                result
            }
            // Then everything hangs on the one that cannot be read.
            (_, Err(refused)) if refused.kind.refuses_client() => {
                Err(unreadable.and_the_other(&refused))
            }
            (Then::Done | Then::Try(_), result) => result,
        }
    }

    /// The one that is not live has worked.
    fn set_live(&self, which: Which) {
        self.live.store(which as u8, Ordering::Relaxed);
        match which {
            Which::Next => tracing::info!(
                client = self.client(),
                "the next client secret is live: move it to client_secret and remove \
                 next_client_secret"
            ),
            Which::Current => tracing::info!(
                client = self.client(),
                "client_secret is live again, and next_client_secret is refused"
            ),
        }
    }

    /// What a request to `endpoint` carries to say that it is from us.
    pub(super) fn proof(&self, secret: &SecretString, endpoint: &Url) -> Result<Proof, MintError> {
        Prover { oauth: &self.oauth, client: &self.client, secret }
            .for_endpoint(endpoint, SystemTime::now())
            .map_err(|bad| {
                let source = self.client.credentials.source();
                let source = source.map(ToString::to_string).unwrap_or_default();
                MintError::new(Kind::Key, format!("oauth.private_key, {source}, {bad}"))
            })
    }
}

impl Issuer for Login {
    fn client(&self) -> &str {
        &self.client.id
    }

    fn show(&self, metrics: &Metrics) {
        if self.secrets.next.is_some() {
            metrics.live_secret(self.client(), self.rotated());
        }
        if let Some(skew) = self.skew() {
            metrics.skew(self.client(), skew.seconds);
        }
    }

    async fn changed(&self) {
        let changed = async |secret: &Option<Secret>| match secret {
            Some(secret) => secret.changed().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            () = changed(&self.secrets.current) => {}
            () = changed(&self.secrets.next) => {}
        }
    }

    fn outdated(&self) -> bool {
        // Both are asked: each tells of a change only once.
        let [current, next] = [&self.secrets.current, &self.secrets.next]
            .map(|secret| secret.as_ref().is_some_and(Secret::outdated));
        current || next
    }

    /// One token; at most two requests, the second with the other client secret.
    async fn mint(&self) -> Result<Minted, MintError> {
        // Tokens of one client are asked for one after the other: minting is throttled.
        let _turn = self.turn.acquire().await;
        let live = self.live_secret();
        let has_other = self.secrets.next.is_some();
        let secret = match self.fresh(live).await {
            Err(unreadable) if has_other => {
                return self.mint_with_the_other(live, unreadable).await;
            }
            read => read?,
        };
        let result = self.ask(&secret).await;
        let Then::Try(which) = rotation::then(live, live, outcome(&result), has_other) else {
            return result;
        };
        let next = match self.fresh(which).await {
            Ok(next) if next.expose_secret() != secret.expose_secret() => next,
            Ok(_) => return result,
            Err(unreadable) => return result.map_err(|error| error.and_the_other(&unreadable)),
        };
        let result = self.ask(&next).await.map_err(|mut error| {
            if error.kind.refuses_client() {
                error.why.push_str(", with client_secret and with next_client_secret");
            }
            error
        });
        if rotation::then(live, which, outcome(&result), has_other) == Then::Live {
            self.set_live(which);
        }
        result
    }
}

/// What a mint says about the secret it was asked for with: a token that is not good for something
/// else was still given for it.
fn outcome(result: &Result<Minted, MintError>) -> Outcome {
    match result.as_ref().map_err(|error| &error.kind) {
        Ok(_) | Err(Kind::MissingScope(_) | Kind::Foreign | Kind::Signature | Kind::Jwks) => {
            Outcome::Accepted
        }
        Err(kind) if kind.refuses_client() => Outcome::ClientRefused,
        Err(_) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests;
