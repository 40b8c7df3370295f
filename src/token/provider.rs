//! An identity provider whose tokens callers show: its public keys, and what a token must say.
//! It never takes a token for somebody else, without an end, or signed by a key that was withdrawn.

mod fetching;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use super::{
    claims,
    keys::{KeySet, Keys, MAX_JWKS},
    wire::{Network, client_of, host},
};
use crate::{config::IdentityProvider, telemetry::causes::innermost};
use fetching::{Fetched, Fetching};

/// Of one request for keys.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Keys are looked at again so often: what was withdrawn counts no longer than this.
const REFRESH: Duration = Duration::from_mins(5);
/// While there is no key at all.
const RETRY: Duration = Duration::from_secs(5);
/// Two clocks may differ by this much (RFC 7519 section 4.1.4).
const LEEWAY: Duration = Duration::from_secs(30);
/// A file with a longer token is another file.
const MAX_TOKEN_FILE: usize = 16 * 1024;

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// It is not in the form of a token, or asks for what nobody here understands.
    Malformed,
    /// The provider has no key of this name.
    UnknownKey,
    /// It names a key of the provider's that did not sign it, or an algorithm that proves nothing.
    BadSignature,
    /// `iss` is somebody else.
    Issuer,
    /// It is not meant for us.
    Audience,
    /// It is over, or never ends.
    Expired,
    /// It has not begun.
    Early,
    /// Its key is not known, and none can be fetched now.
    NoKeys,
    /// Its key is not known, and too many wait for a fetch already.
    Crowd,
}

impl Distrust {
    /// For the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown key",
            Self::BadSignature => "bad signature",
            Self::Issuer => "wrong issuer",
            Self::Audience => "wrong audience",
            Self::Expired => "expired",
            Self::Early => "not valid yet",
            Self::NoKeys => "no keys to verify it with",
            Self::Crowd => "too many wait for keys",
        }
    }
}

/// What a token said that was verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// All of its claims.
    pub claims: Map<String, Value>,
    /// Until when it may be taken without another look: its end, or the next refresh of the keys.
    pub until: SystemTime,
}

/// The provider as it is known here.
#[derive(Debug)]
pub struct Provider {
    http: reqwest::Client,
    issuer: String,
    audience: String,
    jwks_url: Url,
    token_file: Option<PathBuf>,
    keys: Keys,
    /// The last look at them failed.
    away: AtomicBool,
    fetching: Fetching,
}

impl Provider {
    /// Fetches its keys on `runtime` at once and from then on, until `stop`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn spawn(
        config: &IdentityProvider,
        network: &Network<'_>,
        tasks: &TaskTracker,
        runtime: &Handle,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, reqwest::Error> {
        let provider = Arc::new(Self {
            http: client_of(TIMEOUT, network, network.tls.clone())?,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            jwks_url: config.jwks_url.clone(),
            token_file: config.jwks_token_file.clone(),
            keys: Keys::default(),
            away: AtomicBool::new(false),
            fetching: Fetching::default(),
        });
        let kept = Arc::clone(&provider);
        tasks.spawn_on(async move { stop.run_until_cancelled(kept.keep()).await }, runtime);
        Ok(provider)
    }

    /// Its keys could not be fetched when they were last looked at; those that are known still count.
    pub fn away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// What a token says, if it is to be believed. It may wait for a fetch of keys, which goes on
    /// when whoever asked is gone.
    ///
    /// # Errors
    /// With the reason; the log has more.
    pub async fn verify(&self, token: &str) -> Result<Verified, Distrust> {
        let header = token.split('.').next().and_then(claims::header);
        if header.is_none_or(|header| header.critical) {
            return Err(Distrust::Malformed);
        }
        if !self.keys.signed(token) {
            if self.keys.refute(token) {
                return Err(Distrust::BadSignature);
            }
            let fetched = self.fetching.wait().await;
            if !self.keys.signed(token) {
                return Err(match fetched {
                    Fetched::Crowd => Distrust::Crowd,
                    Fetched::Anew if self.keys.fit(token) => Distrust::BadSignature,
                    Fetched::Anew => Distrust::UnknownKey,
                    // Named by then, and signed by somebody else.
                    Fetched::Not if self.keys.refute(token) => Distrust::BadSignature,
                    // Its key may be published and was not fetched yet: too early to tell.
                    Fetched::Not => Distrust::NoKeys,
                });
            }
        }
        let claims = claims::all(token).ok_or(Distrust::Malformed)?;
        let until = judge(&claims, (&self.issuer, &self.audience), SystemTime::now())?;
        Ok(Verified { claims, until })
    }

    /// Fetches the keys now and then, and when somebody asks for them. Does not end.
    async fn keep(&self) {
        let fetch = || async {
            let fetched = match tokio::time::timeout(TIMEOUT, self.fetch()).await {
                Ok(fetched) => fetched,
                Err(_) => Err(format!("{} did not answer in time", host(&self.jwks_url))),
            };
            self.learn(fetched)
        };
        self.fetching.keep(fetch, |answered| if answered { REFRESH } else { RETRY }).await;
    }

    /// Whether there were keys.
    fn learn(&self, fetched: Result<KeySet, String>) -> bool {
        let failed = self.away.swap(fetched.is_err(), Ordering::Relaxed);
        match fetched {
            Ok(keys) => {
                if failed {
                    tracing::info!(keys = keys.len(), "the keys of [jwt] are there again");
                }
                self.keys.replace(keys);
                true
            }
            Err(why) => {
                if !failed {
                    tracing::warn!(why, "the keys of jwt.jwks_url cannot be fetched");
                }
                false
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let url = &self.jwks_url;
        let mut request = self.http.get(url.clone());
        if let Some(path) = &self.token_file {
            request = request.bearer_auth(read_token(path).await?);
        }
        let unreachable = |error: reqwest::Error| format!("{}: {}", host(url), innermost(&error));
        let mut response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(format!("{} answered {}", host(url), response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_JWKS {
                return Err(format!("the answer of {} is larger than 256 KiB", host(url)));
            }
            body.extend_from_slice(&chunk);
        }
        KeySet::read(&body).map_err(|why| format!("{}: {why}", host(url)))
    }
}

/// Until when a token with these claims may be taken, of one issuer and for one audience.
fn judge(
    claims: &Map<String, Value>,
    (issuer, audience): (&str, &str),
    now: SystemTime,
) -> Result<SystemTime, Distrust> {
    let instant = |name: &str| {
        let seconds = Duration::try_from_secs_f64(claims.get(name)?.as_f64()?).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(Distrust::Issuer);
    }
    let audiences = claims.get("aud").and_then(|aud| claims::list(aud, false));
    if !audiences.is_some_and(|all| all.iter().any(|one| one == audience)) {
        return Err(Distrust::Audience);
    }
    let end = instant("exp").and_then(|end| end.checked_add(LEEWAY));
    let end = end.filter(|end| now < *end).ok_or(Distrust::Expired)?;
    let begun = match claims.get("nbf") {
        None => true,
        Some(_) => instant("nbf").is_some_and(|begin| begin <= now + LEEWAY),
    };
    if begun { Ok(end.min(now + REFRESH)) } else { Err(Distrust::Early) }
}

/// Read each time: Kubernetes replaces it.
async fn read_token(path: &PathBuf) -> Result<String, String> {
    let wrong = |why: String| format!("jwt.jwks_token_file, {}: {why}", path.display());
    let text = tokio::fs::read_to_string(path).await.map_err(|error| wrong(error.to_string()))?;
    let token = text.trim();
    let good = !token.is_empty() && token.len() <= MAX_TOKEN_FILE;
    if good && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token.to_owned())
    } else {
        Err(wrong("it should hold a token and nothing else".to_owned()))
    }
}

#[cfg(test)]
mod tests;
