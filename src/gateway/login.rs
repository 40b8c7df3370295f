//! `/oauth/token` of the gateway itself, and `tokens/me` of the tokens that it gave: unmodified SDKs
//! log in here with their own caller's name and key, by their *gateway* setting.
//! It never asks upstream, and never shows whether it was the name or the key that was wrong.

pub mod overdue;
pub mod seal;
pub mod sharing;
pub mod table;
pub mod tokens;

use std::{error::Error, sync::LazyLock, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::identify::{Callers, TOKEN_UNKNOWN};
use crate::{
    decide::{
        access::{Rule, denying, is_plain},
        asked::Asked,
        callers::Principal,
        failure::Failure,
        offered::{Login, Offered},
    },
    telemetry::callers::Name,
    upstream::replay::Fault,
};
use tokens::NotIssued;

/// A token request is a few hundred bytes.
const MAX_FORM: usize = 16 * 1024;
/// What a whole form may take: all that there is room for at once may be strangers', who end theirs never,
/// and callers log in again when these are gone.
const FORM_WITHIN: Duration = Duration::from_secs(5);
/// Where a token is looked at, and ended.
const ME: &str = "/api/v2/tokens/me";

/// What is asked of the gateway itself.
#[derive(Debug)]
pub enum Request {
    /// A token, by who `Authorization` says one is.
    Token {
        /// Of `Authorization: Basic`; `None`: the form says.
        basic: Option<Login>,
        /// The method and the form's type are right.
        proper: Result<(), Refusal>,
    },
    /// What a token is, or that it ends.
    Me {
        /// It looks like one of ours.
        token: SecretString,
        /// GET, HEAD or DELETE.
        method: Method,
    },
}

/// An answer of the gateway's own that is no error of a call.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// JSON; empty without one.
    pub body: Bytes,
    /// How a caller may prove itself, with a 401.
    pub challenge: Option<HeaderValue>,
    /// For the access log.
    pub code: Option<&'static str>,
    /// Who logged in.
    pub principal: Option<Principal>,
}

/// Why there is no token (RFC 6749 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not POST.
    Method,
    /// The form is none, too large, or says things twice.
    Form,
    /// Something else than `client_credentials`.
    Grant,
    /// No such caller, or not its key.
    Client,
    /// The system has no randomness.
    Server,
}

impl Request {
    /// What of a request is for the gateway itself.
    pub fn of(parts: &Parts, asked: &Asked) -> Option<Self> {
        let (method, path) = (&parts.method, parts.uri.path());
        if is_login(method, path) {
            let proper = match (method == Method::POST, is_form(&parts.headers)) {
                (false, _) => Err(Refusal::Method),
                (true, false) => Err(Refusal::Form),
                (true, true) => Ok(()),
            };
            return Some(Self::Token { basic: Login::of(asked), proper });
        }
        if path != ME || ![Method::GET, Method::HEAD, Method::DELETE].contains(method) {
            return None;
        }
        match Offered::of(asked) {
            Offered::Local(token) => Some(Self::Me { token: token.into(), method: method.clone() }),
            Offered::Nothing
            | Offered::Key(_)
            | Offered::Login(_)
            | Offered::Jwt(_)
            | Offered::Nobodys => None,
        }
    }
}

/// RFC 6749 section 4.4.2; the type may have parameters. A client that does not say sends a form.
fn is_form(fields: &HeaderMap) -> bool {
    let Some(kind) = fields.get(header::CONTENT_TYPE) else { return true };
    kind.to_str()
        .ok()
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// `/oauth/token` and `/login/oauth/token`, in any way that a server may read a path: some SDKs double
/// a slash, and a caller's key must not go on for its spelling.
fn is_login(method: &Method, path: &str) -> bool {
    // Nearly every path: everybody reads it in one way, and it ends in another word.
    let end = path.trim_end_matches('/').as_bytes().last_chunk();
    let token = end.is_some_and(|end: &[u8; 5]| end.eq_ignore_ascii_case(b"token"));
    (token || !is_plain(path)) && reads_as_login(method, path)
}

fn reads_as_login(method: &Method, path: &str) -> bool {
    static LOGIN: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        ["/oauth/token", "/login/oauth/token"].iter().filter_map(|p| Rule::parse(p).ok()).collect()
    });
    denying(&LOGIN, method, path).is_some()
}

/// Answers.
///
/// # Errors
/// When the form does not come.
pub async fn answer(
    request: Request,
    body: impl Body<Data = Bytes, Error: Error + Send + Sync + 'static>,
    callers: &Callers,
    patience: Duration,
) -> Result<Reply, Failure> {
    let (basic, proper) = match request {
        Request::Me { token, method } => {
            return me(token.expose_secret(), &method, callers).await;
        }
        Request::Token { basic, proper } => (basic, proper),
    };
    if let Err(refusal) = proper {
        return Ok(Reply::refusing(refusal));
    }
    let form = Limited::new(body, MAX_FORM).collect();
    let form = match timeout(patience.min(FORM_WITHIN), form).await {
        Err(_) => return Err(Failure::BodyTimeout),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Ok(Reply::refusing(Refusal::Form));
        }
        Ok(Err(error)) => {
            return Err(match Fault::of(&*error) {
                Fault::Left => Failure::CallerLeft,
                Fault::Broken | Fault::Timeout => Failure::BodyBroken,
            });
        }
        Ok(Ok(form)) => form.to_bytes(),
    };
    Ok(token(&form, basic, callers).await.unwrap_or_else(Reply::refusing))
}

async fn token(form: &[u8], basic: Option<Login>, callers: &Callers) -> Result<Reply, Refusal> {
    let mut grant = None;
    let (mut id, mut secret) = (None, None);
    for (name, value) in url::form_urlencoded::parse(form) {
        let place = match &*name {
            "grant_type" => &mut grant,
            "client_id" => &mut id,
            "client_secret" => &mut secret,
            _ => continue,
        };
        // RFC 6749 section 3.2: parameters must not be included more than once.
        if place.replace(SecretString::from(value.into_owned())).is_some() {
            return Err(Refusal::Form);
        }
    }
    match grant.as_ref().map(SecretString::expose_secret) {
        Some("client_credentials") => {}
        Some(_) => return Err(Refusal::Grant),
        None => return Err(Refusal::Form),
    }
    let login = match (basic, id, secret) {
        // Two ways of proving oneself are one too many (RFC 6749 section 2.3).
        (Some(_), _, Some(_)) => return Err(Refusal::Form),
        (Some(basic), _, None) => Some(basic),
        (None, Some(id), Some(key)) => Some(Login { name: id.expose_secret().to_owned(), key }),
        (None, _, _) => None,
    };
    let caller = login.and_then(|login| callers.entitled(&login));
    if caller.is_none() && !callers.open() {
        return Err(Refusal::Client);
    }
    let token = callers.tokens.issue(caller, Instant::now()).await.map_err(|why| match why {
        NotIssued::NoRandomness => Refusal::Server,
        NotIssued::Over => Refusal::Client,
    })?;
    Ok(Reply {
        principal: caller.map(|(principal, _)| principal),
        ..Reply::json(
            StatusCode::OK,
            &Issued {
                access_token: token.expose_secret(),
                token_type: "bearer",
                expires_in: callers.tokens.life().as_secs(),
            },
        )
    })
}

/// What Genesys Cloud answers, as far as it is true here.
async fn me(token: &str, method: &Method, callers: &Callers) -> Result<Reply, Failure> {
    let known = callers.local(token).await?;
    let principal = known.or_else(|| callers.open().then_some(Principal::Unknown));
    let principal = principal.ok_or(Failure::CallerUnknown(TOKEN_UNKNOWN))?;
    let reply = if method == Method::DELETE {
        callers.tokens.revoke(token);
        Reply::empty(StatusCode::NO_CONTENT)
    } else {
        let name = callers.name(principal);
        let client = Client { id: &name, name: &name };
        Reply::json(StatusCode::OK, &Me { client })
    };
    Ok(Reply { principal: known, ..reply })
}

#[derive(Serialize)]
struct Issued<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
}

#[derive(Serialize)]
struct Me<'a> {
    #[serde(rename = "OAuthClient")]
    client: Client<'a>,
}

#[derive(Serialize)]
struct Client<'a> {
    id: &'a Name<'a>,
    name: &'a Name<'a>,
}

#[derive(Serialize)]
struct Refused {
    error: &'static str,
    description: &'static str,
    error_description: &'static str,
}

impl Reply {
    fn empty(status: StatusCode) -> Self {
        Self { status, body: Bytes::new(), challenge: None, code: None, principal: None }
    }

    fn json(status: StatusCode, body: &impl Serialize) -> Self {
        // There may be a token in it: in a buffer that grows, a copy would stay behind.
        let mut json = Zeroizing::new(Vec::with_capacity(1024));
        if serde_json::to_writer(&mut *json, body).is_err() {
            json.clear();
        }
        Self { body: Bytes::from_owner(json), ..Self::empty(status) }
    }

    /// As an authorization server says it.
    fn refusing(refusal: Refusal) -> Self {
        let (status, error, description) = match refusal {
            Refusal::Method => (405, "invalid_request", "POST a form to this address"),
            Refusal::Form => (
                400,
                "invalid_request",
                "POST grant_type=client_credentials as application/x-www-form-urlencoded, once, \
                 with your name and key as HTTP Basic or as client_id and client_secret",
            ),
            Refusal::Grant => {
                (400, "unsupported_grant_type", "only client_credentials is granted here")
            }
            Refusal::Client => (401, "invalid_client", "authentication failed"),
            Refusal::Server => (500, "server_error", "no token could be made"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let refused = Refused { error, description, error_description: description };
        Self {
            // RFC 6749 section 5.2: with a 401, the scheme that the client may use.
            challenge: (refusal == Refusal::Client)
                .then(|| HeaderValue::from_static("Basic realm=\"genesys-proxy\"")),
            code: Some("proxy.login.refused"),
            ..Self::json(status, &refused)
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::channel::Channel;
    use proptest::prelude::*;

    use super::{tokens::Tokens, *};
    use crate::config::Mode;

    proptest! {
        #[test]
        fn a_path_is_a_login_if_any_server_would_read_it_so(
            path in prop::collection::vec(
                prop::sample::select(&["/", "/login", "/oauth", "/token", "/TOKEN", "/x", "/api",
                    "..", ".", ";x", "s", "%6e", "%2f", "%", "\\", "?"][..]), 0..6),
        ) {
            let path = path.concat();
            let read = reads_as_login(&Method::POST, &path);
            prop_assert_eq!(is_login(&Method::POST, &path), read, "{}", path);
        }
    }

    #[test]
    fn what_only_begins_or_ends_like_a_login_is_none() {
        for (path, login) in [
            ("/oauth/token", true),
            ("/login/oauth/token/", true),
            ("/oauth/tokens", false),
            ("/oauth/token/x", false),
            ("/api/v2/token", false),
            ("/token", false),
            ("token", false),
            ("", false),
        ] {
            assert_eq!(is_login(&Method::POST, path), login, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_that_never_ends_has_five_seconds_for_all_of_it_however_it_comes() {
        let life = Duration::from_secs(3600);
        let tokens = Tokens::new(life, life, Instant::now());
        let callers = Callers::new(&[], Mode::Key, tokens, None);
        for (patience, seconds) in [(60, 5), (2, 2)] {
            let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
            let drip = async {
                // Each byte comes in time.
                while sender.send_data(Bytes::from_static(b"a")).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let request = Request::Token { basic: None, proper: Ok(()) };
            let begun = Instant::now();
            let patience = Duration::from_secs(patience);
            let ended = tokio::select! {
                ended = answer(request, body, &callers, patience) => ended,
                () = drip => unreachable!("it is read until it is given up"),
            };
            assert_eq!(ended.err(), Some(Failure::BodyTimeout));
            assert_eq!(begun.elapsed().as_secs(), seconds);
        }
    }
}
