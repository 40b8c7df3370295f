//! One token request, and what its answer means.
//! It never follows a redirect, reads proxy variables, or repeats itself: pacing is decided elsewhere.

use std::{
    fmt::{self, Write as _},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest;
use http::{HeaderValue, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{claims, client_auth};
use crate::{
    config::{OAuth, OAuthClient, OutboundProxy},
    decide::{freshness::Trouble, retry},
    secret::Secret,
};

/// Where tokens come from; tests bring their own.
pub trait Issuer: Send + Sync + 'static {
    /// One request for one token.
    fn mint(&self) -> impl Future<Output = Result<Minted, MintError>> + Send;

    /// Resolves when the credentials have changed since the last mint.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Whose tokens they are: the client id.
    fn client(&self) -> &str;
}

/// A token as it came.
#[derive(Debug, Clone)]
pub struct Minted {
    /// `Bearer …`, marked sensitive.
    pub authorization: HeaderValue,
    /// How long it lives from now.
    pub life: Duration,
    /// The first 12 hex digits of its SHA-256: tells tokens apart in logs, reveals nothing.
    pub fingerprint: String,
}

/// Why there is no token. Says nothing that the endpoint could have planted a secret in.
#[derive(Debug, Clone)]
pub struct MintError {
    /// How to go on.
    pub trouble: Trouble,
    /// The endpoint's own wish.
    pub retry_after: Option<Duration>,
    /// For the log.
    pub why: String,
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for MintError {}

impl MintError {
    /// A token that had ended before it came.
    pub fn dead_on_arrival() -> Self {
        Self::transient("the token had expired before it arrived")
    }

    fn transient(why: impl Into<String>) -> Self {
        Self { trouble: Trouble::Transient, retry_after: None, why: why.into() }
    }
}

/// A larger answer is no token answer.
const MAX_ANSWER: usize = 16 * 1024;
/// A SCIM client's token lives 450 days; what claims to live longer is believed that long.
const MAX_LIFE: Duration = Duration::from_secs(450 * 86_400);
/// RFC 6749 leaves the life open when the server does; short is safe.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);

/// The HTTP client for the token endpoint cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare token requests: {0}")]
pub struct Unbuildable(#[from] reqwest::Error);

/// The token endpoint over HTTPS.
#[derive(Debug)]
pub struct HttpIssuer {
    http: reqwest::Client,
    oauth: OAuth,
    client: OAuthClient,
    secret: Option<Secret>,
}

impl HttpIssuer {
    /// `tls` carries the roots that upstream is verified with; `secret` is none for a certificate.
    pub fn new(
        oauth: OAuth,
        client: OAuthClient,
        connect_timeout: Duration,
        proxy: Option<&OutboundProxy>,
        tls: rustls::ClientConfig,
        secret: Option<Secret>,
    ) -> Result<Self, Unbuildable> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("genesys-proxy/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .timeout(oauth.timeout)
            .pool_max_idle_per_host(1);
        if let Some(proxy) = proxy.filter(|_| oauth.token_url.scheme() == "https") {
            let mut via = reqwest::Proxy::https(proxy.origin.to_string())?;
            if let Some((user, password)) = &proxy.credentials {
                via = via.basic_auth(user, password.expose_secret());
            }
            builder = builder.proxy(via);
        }
        Ok(Self { http: builder.build()?, oauth, client, secret })
    }
}

impl super::verify::Check for HttpIssuer {
    async fn check(&self, _: &HeaderValue) -> super::verify::Alive {
        super::verify::Alive::Unknown("unchecked".into())
    }
}

impl Issuer for HttpIssuer {
    fn client(&self) -> &str {
        &self.client.id
    }

    async fn mint(&self) -> Result<Minted, MintError> {
        let secret = match &self.secret {
            Some(secret) => secret.fresh().await.map_err(|why| MintError::transient(why.0))?,
            None => secrecy::SecretString::default(),
        };
        let request = client_auth::request(&self.oauth, &self.client.id, &secret);
        let mut builder = self
            .http
            .post(self.oauth.token_url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(request.form.expose_secret().to_owned());
        if let Some(authorization) = request.authorization {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        let mut response = builder.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| retry::retry_after(value.as_bytes(), SystemTime::now()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(MintError::transient("the token answer is larger than 16 KiB"));
            }
            body.extend_from_slice(&chunk);
        }
        read_answer(status, retry_after, &body)
    }
}

impl HttpIssuer {
    /// The host and the deepest source: what reqwest says in between repeats itself.
    fn unreachable(&self, error: &reqwest::Error) -> MintError {
        let host = self.oauth.token_url.host_str().unwrap_or("the token endpoint");
        if error.is_timeout() {
            return MintError::transient(format!("{host} did not answer in time"));
        }
        let mut deepest: &dyn std::error::Error = error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        MintError::transient(format!("{host} cannot be reached: {deepest}"))
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
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
        return read_granted(body).map_err(MintError::transient);
    }
    let refused: Refused = serde_json::from_slice(body).unwrap_or_default();
    let limited = refused.error_description.to_ascii_lowercase().contains("rate limit");
    let (trouble, why) = if status == StatusCode::TOO_MANY_REQUESTS
        // Genesys throttles mints with 400 invalid_request and this description.
        || (status == StatusCode::BAD_REQUEST && limited)
    {
        (Trouble::Throttled, "the token endpoint is throttling".to_owned())
    } else if let Some(code) = permanent(&refused.error) {
        (Trouble::Permanent, format!("the token endpoint answered {status}: {code}"))
    } else if status.is_redirection() {
        (Trouble::Transient, format!("the token endpoint redirects ({status}): not followed"))
    } else {
        (Trouble::Transient, format!("the token endpoint answered {status}"))
    };
    Err(MintError { trouble, retry_after, why })
}

/// The error codes of RFC 6749 section 5.2 that only a change of configuration mends.
fn permanent(error: &str) -> Option<&'static str> {
    [
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_grant",
        "access_denied",
    ]
    .into_iter()
    .find(|code| *code == error)
}

fn read_granted(body: &[u8]) -> Result<Minted, &'static str> {
    let granted: Granted = serde_json::from_slice(body)
        .map_err(|_| "the token answer is not JSON with an access_token")?;
    if granted.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("the token answer's token_type is not bearer");
    }
    if !is_b64token(&granted.access_token) {
        return Err("the access_token is empty or holds characters that no bearer token has");
    }
    let life = match granted.expires_in {
        Some(value) => seconds(&value).ok_or("the token answer's expires_in is no time to live")?,
        None => claims::life(&granted.access_token).unwrap_or(UNKNOWN_LIFE),
    };
    let digest = digest::digest(&digest::SHA256, granted.access_token.as_bytes());
    let mut authorization = HeaderValue::try_from(format!("Bearer {}", granted.access_token))
        .map_err(|_| "the access_token cannot be a header value")?;
    authorization.set_sensitive(true);
    Ok(Minted {
        authorization,
        life: life.min(MAX_LIFE),
        fingerprint: fingerprint(digest.as_ref()),
    })
}

fn fingerprint(digest: &[u8]) -> String {
    digest.iter().take(6).fold(String::new(), |mut text, byte| {
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

/// `expires_in` as servers really send it: a number, sometimes in quotes. At least a second.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = match value {
        serde_json::Value::Number(number) => number.as_f64()?,
        serde_json::Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (number >= 1.0)
        .then(|| Duration::try_from_secs_f64(number.floor()).unwrap_or(MAX_LIFE).min(MAX_LIFE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn granted(body: &str) -> Result<Minted, MintError> {
        read_answer(StatusCode::OK, None, body.as_bytes())
    }

    #[test]
    fn genesyss_own_answer_is_a_token() {
        let minted =
            granted(r#"{"access_token":"abc-_.~+/==","token_type":"bearer","expires_in":86400}"#)
                .unwrap();
        assert_eq!(minted.authorization, "Bearer abc-_.~+/==");
        assert!(minted.authorization.is_sensitive());
        assert_eq!(minted.life, Duration::from_secs(86_400));
    }

    #[test]
    fn lives_are_read_as_servers_send_them_and_nonsense_is_refused() {
        let life = |text: &str| {
            granted(&format!(r#"{{"access_token":"a","expires_in":{text}}}"#))
                .map(|minted| minted.life.as_secs())
                .ok()
        };
        assert_eq!(life("300"), Some(300));
        assert_eq!(life("\"3600\""), Some(3600));
        assert_eq!(life("59.9"), Some(59));
        assert_eq!(life("38880000"), Some(38_880_000));
        assert_eq!(life("1e300"), Some(450 * 86_400));
        for nonsense in ["0", "-1", "\"soon\"", "[]", "true", "0.5"] {
            assert_eq!(life(nonsense), None, "{nonsense}");
        }
        assert_eq!(granted(r#"{"access_token":"a"}"#).unwrap().life, UNKNOWN_LIFE);
    }

    #[test]
    fn a_200_that_is_no_token_is_transient() {
        for body in [
            "",
            "{}",
            "<html>",
            "null",
            "[]",
            r#"{"access_token":""}"#,
            r#"{"access_token":17,"expires_in":1}"#,
            r#"{"access_token":"a b","expires_in":60}"#,
            r#"{"access_token":"a\r\nx: y","expires_in":60}"#,
            r#"{"access_token":"a\u0000","expires_in":60}"#,
            r#"{"access_token":"a","token_type":"mac","expires_in":60}"#,
        ] {
            assert_eq!(granted(body).unwrap_err().trouble, Trouble::Transient, "{body}");
        }
    }

    #[test]
    fn the_three_kinds_of_refusal_are_told_apart() {
        for (status, body, trouble) in [
            (429, "", Trouble::Throttled),
            (
                400,
                r#"{"error":"invalid_request","error_description":"rate limit exceeded; slow"}"#,
                Trouble::Throttled,
            ),
            (400, r#"{"error":"invalid_request"}"#, Trouble::Transient),
            (400, r#"{"error":"invalid_client"}"#, Trouble::Permanent),
            (401, r#"{"error":"invalid_client"}"#, Trouble::Permanent),
            (401, "<html>", Trouble::Transient),
            (302, "", Trouble::Transient),
            (500, r#"{"error":{}}"#, Trouble::Transient),
            (503, "", Trouble::Transient),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = read_answer(status, None, body.as_bytes()).unwrap_err();
            assert_eq!(error.trouble, trouble, "{status} {body}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics_and_no_error_repeats_the_answer(
            status in 100u16..600,
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "\\{\"access_token\":\"[ -~]{0,20}\",\"expires_in\":[0-9eE.+-]{1,8}\\}".prop_map(String::into_bytes),
            ],
        ) {
            let status = StatusCode::from_u16(status).unwrap();
            let _ = read_answer(status, None, &body);
            let planted = br#"{"error":"S3CR3T","error_description":"S3CR3T","access_token":"S3CR3T "}"#;
            let error = read_answer(status, None, planted).unwrap_err();
            prop_assert!(!error.why.contains("S3CR3T"));
        }
    }
}
