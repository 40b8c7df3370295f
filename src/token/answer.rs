//! What an answer of the token endpoint means.
//! It never repeats any of it: an error holds the reason in our words only.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    claims::{self, Claims},
    error::{Kind, MintError},
};
use crate::{
    decide::{budget::Belongs, shared_token::Serial, skew::Skew},
    secret::wiped,
};

/// A larger answer is no token answer.
pub const MAX_ANSWER: usize = 16 * 1024;
/// A SCIM client's token lives 450 days; what claims to live longer is believed that long.
const MAX_LIFE: Duration = Duration::from_secs(450 * 86_400);
/// RFC 6749 leaves the life open when the server does; short is safe.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);
/// Nobody's token is shorter: what is was cut, or is a word like `nil`.
const SHORTEST: usize = 4;

/// A token as it came.
#[derive(Clone)]
pub struct Minted {
    /// `Bearer …`, marked sensitive, zeroed with its last clone.
    pub authorization: HeaderValue,
    /// How long it lives from now.
    pub life: Duration,
    /// The first 12 hex digits of its SHA-256: tells tokens apart in logs, reveals nothing.
    pub fingerprint: String,
    /// What it carries: by its claims, else by its answer, else as asked for. `None`: nobody says.
    pub scopes: Option<Vec<String>>,
    /// What it says about itself; `None` when it is opaque.
    pub claims: Option<Claims>,
    /// Our clock against the endpoint's; `None` when the answer has no `Date`.
    pub skew: Option<Skew>,
    /// One of the issuer's keys signed it. `false` when nobody asked.
    pub verified: bool,
    /// From when its life is counted; `None`: from when it was asked for.
    pub born: Option<Instant>,
    /// Who has it.
    pub share: Share,
}

/// Who has a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// We alone.
    Private,
    /// We, and perhaps all replicas: we told them, and were not answered.
    Unheard,
    /// All replicas, from us, under this number.
    Published(Serial),
    /// All replicas, from another one.
    Adopted(Serial),
}

impl Share {
    /// Whether others may sign with it, too.
    pub fn belongs(self) -> Belongs {
        match self {
            Self::Private => Belongs::Us,
            Self::Unheard | Self::Published(_) | Self::Adopted(_) => Belongs::All,
        }
    }
}

/// Without the token.
impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted")
            .field("fingerprint", &self.fingerprint)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl Minted {
    /// A token of which nothing else is known.
    pub fn opaque(authorization: HeaderValue, life: Duration) -> Self {
        let fingerprint = fingerprint(bearer(&authorization));
        Self {
            authorization,
            life,
            fingerprint,
            scopes: None,
            claims: None,
            skew: None,
            verified: false,
            born: None,
            share: Share::Private,
        }
    }
}

/// The token in `Bearer …`.
pub(super) fn bearer(authorization: &HeaderValue) -> &str {
    authorization.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default()
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    token_type: Option<String>,
    expires_in: Option<Value>,
    scope: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Refused {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// What an answer of the token endpoint means. Pure, and the target of fuzzing.
pub fn read_answer(
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Result<Minted, MintError> {
    if status == StatusCode::OK {
        return read_granted(body).map_err(|why| MintError::new(Kind::BadAnswer, why));
    }
    let refused: Refused = serde_json::from_slice(body).unwrap_or_default();
    let (kind, code) = kind_of(status, &refused);
    let why = match (&kind, code) {
        (Kind::Throttled, _) => "the token endpoint is throttling".to_owned(),
        (Kind::Redirect, _) => format!("the token endpoint redirects ({status}): not followed"),
        (_, Some(code)) => format!("the token endpoint answered {status}: {code}"),
        (_, None) => format!("the token endpoint answered {status}"),
    };
    Err(MintError { retry_after, ..MintError::new(kind, why) })
}

/// The error codes of RFC 6749 section 5.2, as far as they tell more than the status does.
fn kind_of(status: StatusCode, refused: &Refused) -> (Kind, Option<&'static str>) {
    let limited = refused.error_description.to_ascii_lowercase().contains("rate limit");
    // Genesys throttles mints with 400 invalid_request and this description.
    if status == StatusCode::TOO_MANY_REQUESTS || (status == StatusCode::BAD_REQUEST && limited) {
        return (Kind::Throttled, None);
    }
    if status.is_redirection() {
        return (Kind::Redirect, None);
    }
    // A server in trouble may say anything.
    if !status.is_client_error() {
        return (Kind::Status(status.as_u16()), None);
    }
    match refused.error.as_str() {
        "invalid_client" if status == StatusCode::BAD_REQUEST => {
            (Kind::UnknownClient, Some("invalid_client"))
        }
        "invalid_client" => (Kind::WrongSecret, Some("invalid_client")),
        "unauthorized_client" => (Kind::WrongGrant, Some("unauthorized_client")),
        "unsupported_grant_type" => (Kind::WrongGrant, Some("unsupported_grant_type")),
        "invalid_grant" => (Kind::WrongGrant, Some("invalid_grant")),
        "invalid_scope" => (Kind::BadScope, Some("invalid_scope")),
        "access_denied" => (Kind::Blocked, Some("access_denied")),
        _ if status == StatusCode::FORBIDDEN => (Kind::Blocked, None),
        _ => (Kind::Status(status.as_u16()), None),
    }
}

fn read_granted(body: &[u8]) -> Result<Minted, &'static str> {
    let granted: Granted =
        serde_json::from_slice(body).map_err(|error| match error.classify() {
            _ if body.is_empty() => "the token answer is empty",
            serde_json::error::Category::Eof => "the token answer was cut: its JSON does not end",
            _ => "the token answer is not JSON with an access_token",
        })?;
    if granted.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("the token answer's token_type is not bearer");
    }
    let token = granted.access_token.expose_secret();
    if !is_b64token(token) {
        return Err("the access_token is empty or holds characters that no bearer token has");
    }
    if token.len() < SHORTEST {
        return Err("the access_token is shorter than any token: it was cut");
    }
    if let Some(why) = cut(token) {
        return Err(why);
    }
    let claims = claims::read(token);
    let answered = granted
        .expires_in
        .as_ref()
        .map(|value| seconds(value).ok_or("the token answer's expires_in is no time to live"));
    let claimed = claims.as_ref().and_then(Claims::life);
    // Where both say and disagree the shorter counts: used too long, a token brings 401s.
    let life = match (answered.transpose()?, claimed) {
        (Some(answered), Some(claimed)) => answered.min(claimed),
        (Some(life), None) | (None, Some(life)) => life,
        (None, None) => UNKNOWN_LIFE,
    };
    let scopes = claims
        .as_ref()
        .and_then(|claims| claims.scope.clone())
        .or_else(|| granted.scope.as_ref().and_then(|value| claims::list(value, true)));
    let authorization = wiped::field(&["Bearer ", token])
        .map_err(|_| "the access_token cannot be a header value")?;
    Ok(Minted { scopes, claims, ..Minted::opaque(authorization, life.min(MAX_LIFE)) })
}

pub(super) fn fingerprint(token: &str) -> String {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref().iter().take(6).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RFC 6750 section 2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// What shows that a JWT is not whole. What does not begin with a JOSE header is opaque: whole, as
/// far as anybody but its issuer can tell.
fn cut(token: &str) -> Option<&'static str> {
    const CUT: Option<&str> = Some("the access_token is a JWT that was cut");
    let parts: Vec<&str> = token.split('.').collect();
    let header = claims::header(parts.first()?)?;
    if header.encrypted {
        // RFC 7516 section 3.1: five parts; the key's is empty where none is carried.
        let whole = matches!(parts.as_slice(), [_, _, vector, text, tag]
            if ![vector, text, tag].into_iter().any(|part| part.is_empty()));
        return if whole { None } else { CUT };
    }
    let [_, claims, signature] = parts.as_slice() else { return CUT };
    if claims.is_empty() {
        return CUT;
    }
    if signature.is_empty() {
        return if header.alg == "none" {
            Some("the access_token is a JWT without a signature")
        } else {
            CUT
        };
    }
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature.trim_end_matches('=')) else { return CUT };
    let length = signature.len();
    // RFC 7518 section 3, RFC 8037 section 3.1, RFC 8812 section 3.2.
    let whole = match header.alg.as_str() {
        "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" => length >= 128,
        "ES256" | "ES256K" | "HS512" => length == 64,
        "ES384" => length == 96,
        "ES512" => length == 132,
        "HS256" => length == 32,
        "HS384" => length == 48,
        "EdDSA" => length == 64 || length == 114,
        _ => true,
    };
    if whole { None } else { CUT }
}

/// `expires_in` as servers really send it: a number, sometimes in quotes. At least a second.
fn seconds(value: &Value) -> Option<Duration> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (number >= 1.0)
        .then(|| Duration::try_from_secs_f64(number.floor()).unwrap_or(MAX_LIFE).min(MAX_LIFE))
}

#[cfg(test)]
mod tests;
