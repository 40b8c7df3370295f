//! The keys that sign tokens (RFC 7517), and whether one of them signed a token (RFC 7515).
//! It never takes `none` or an HMAC: whoever knows the public keys could sign then.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Header, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use super::error::{Kind, MintError};
use crate::decide::keys::{COOL_DOWN, Step, missing};

/// A larger answer is no set of keys.
pub const MAX_JWKS: usize = 256 * 1024;
/// Of more keys than this, the first count.
const MAX_KEYS: usize = 100;

/// A key that can verify, and for what.
#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    decoding: DecodingKey,
}

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];

/// A set of keys.
#[derive(Debug, Clone, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl KeySet {
    /// What an answer of `jwks_url` holds. Keys that cannot verify a token are skipped, and so are
    /// those that stand there twice: an issuer may publish what is not meant for us.
    pub fn read(body: &[u8]) -> Result<Self, &'static str> {
        if body.len() > MAX_JWKS {
            return Err("the answer is larger than 256 KiB");
        }
        let jwks: Jwks =
            serde_json::from_slice(body).map_err(|_| "the answer is not JSON with keys")?;
        let mut seen: Vec<Jwk> = Vec::new();
        let mut keys = Vec::new();
        for raw in jwks.keys {
            let Ok(jwk) = serde_json::from_value::<Jwk>(raw) else { continue };
            if keys.len() == MAX_KEYS {
                break;
            }
            if seen.contains(&jwk) {
                continue;
            }
            if let Some(key) = usable(&jwk) {
                keys.push(key);
                seen.push(jwk);
            }
        }
        if keys.is_empty() {
            return Err("the answer holds no key that can verify a token");
        }
        Ok(Self(keys))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of the keys signed the token. With a `kid` only keys of that name count; without one,
    /// every key that fits the algorithm is tried.
    pub fn signed(&self, token: &str) -> bool {
        // A header with an algorithm that is unknown here is an error.
        let Ok(header) = jsonwebtoken::decode_header(token) else { return false };
        if header.alg.family() == AlgorithmFamily::Hmac {
            return false;
        }
        let mut validation = Validation::new(header.alg);
        // Only the signature is asked for. The life is counted by us on the monotonic clock, which
        // no skew touches; `aud` and `iss` are compared where the error can name what came.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        self.fitting(&header)
            .any(|key| jsonwebtoken::decode::<Value>(token, &key.decoding, &validation).is_ok())
    }

    fn fitting<'k>(&'k self, header: &'k Header) -> impl Iterator<Item = &'k Key> {
        self.0
            .iter()
            .filter(|key| header.kid.is_none() || key.id.is_none() || key.id == header.kid)
            .filter(|key| key.algorithms.contains(&header.alg))
    }
}

fn usable(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    let to_sign = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let to_verify = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !to_sign || !to_verify {
        return None;
    }
    let algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => RSA,
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => P256,
            EllipticCurve::P384 => P384,
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => ED25519,
        _ => return None,
    };
    // A key that names its algorithm is for that one alone (RFC 7517 section 4.4).
    let algorithms = match common.key_algorithm {
        None => algorithms,
        Some(named) => {
            let named = Algorithm::try_from(named).ok()?;
            let at = algorithms.iter().position(|algorithm| *algorithm == named)?;
            algorithms.get(at..=at)?
        }
    };
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key { id: common.key_id.clone(), algorithms, decoding })
}

/// The keys of one issuer as they were last fetched.
#[derive(Debug, Default)]
pub struct Keys {
    known: ArcSwap<KeySet>,
    /// When the last fetch began. Held while one runs, so that mints at the same moment share it;
    /// the fetch has a deadline of its own, and a token with a known key never comes this far.
    fetched_at: Mutex<Option<Instant>>,
}

impl Keys {
    /// No fetch will help a token that no key at hand signed: it names one of these, or an
    /// algorithm that nobody is believed with. Where tokens or keys have no name, a new key may be
    /// meant.
    pub fn refute(&self, token: &str) -> bool {
        let Ok(header) = jsonwebtoken::decode_header(token) else { return true };
        let named = |key: &Key| header.kid.is_some() && key.id == header.kid;
        header.alg.family() == AlgorithmFamily::Hmac || self.known.load().0.iter().any(named)
    }

    /// There is a key that might have signed the token, by its name and algorithm.
    pub fn fit(&self, token: &str) -> bool {
        let header = jsonwebtoken::decode_header(token);
        header.is_ok_and(|header| self.known.load().fitting(&header).next().is_some())
    }

    /// One of the keys at hand signed the token.
    pub fn signed(&self, token: &str) -> bool {
        self.known.load().signed(token)
    }

    /// The keys as they are published now, in place of all before: a withdrawn one counts no more.
    pub fn replace(&self, keys: KeySet) {
        self.known.store(Arc::new(keys));
    }

    /// Fails unless a key of the issuer's signed the token; asks `fetch` only when none at hand did.
    pub async fn verify<F>(&self, token: &str, fetch: impl FnOnce() -> F) -> Result<(), MintError>
    where
        F: Future<Output = Result<KeySet, String>>,
    {
        if self.known.load().signed(token) {
            return Ok(());
        }
        let mut fetched_at = self.fetched_at.lock().await;
        // Somebody else's fetch may have brought it while we waited.
        let known = self.known.load_full();
        if known.signed(token) {
            return Ok(());
        }
        let now = Instant::now();
        let last = fetched_at.map(Instant::into_std);
        match missing(now.into_std(), known.len(), last, COOL_DOWN) {
            Step::Refuse { .. } => return Err(unsigned()),
            Step::Fetch => *fetched_at = Some(now),
        }
        match fetch().await {
            Ok(keys) => self.known.store(Arc::new(keys)),
            Err(why) if known.is_empty() => {
                let why = format!("no key is known to verify the token with: {why}");
                return Err(MintError::new(Kind::Jwks, why));
            }
            Err(why) => {
                let why = format!(
                    "no known key signed the token, and the keys cannot be fetched again: {why}"
                );
                return Err(MintError::new(Kind::Jwks, why));
            }
        }
        if self.known.load().signed(token) { Ok(()) } else { Err(unsigned()) }
    }
}

fn unsigned() -> MintError {
    MintError::new(Kind::Signature, "no key of oauth.jwks_url signed the token")
}

#[cfg(test)]
mod tests;
