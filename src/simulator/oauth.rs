//! Login as Genesys does it, and the two endpoints other authorization servers have.
//! It must never hand out a token twice, or count a refused login as a mint.

use std::time::Duration;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{Method, StatusCode, header};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{
    answer::{self, Answer, Problem, also, with},
    body,
    faults::TokenMode,
    journey::{Call, Hangup},
    jwt::{self, Claims},
    limits::{Verdict, Window},
    random,
    tokens::Grant,
    world::State,
};

const MINUTE: Duration = Duration::from_mins(1);
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Whether this path is login; some SDKs double the slash.
pub(super) fn is_login(path: &str) -> bool {
    matches!(path, "/oauth/token" | "//oauth/token" | "/login/oauth/token" | "/login//oauth/token")
}

/// Login, as the fault in force bends it.
pub(super) async fn login(call: &Call) -> Result<Answer, Hangup> {
    let world = &call.site.world;
    let fault = world.with(|state, _| state.faults.meet_login());
    let answer = match fault.mode {
        TokenMode::Ok => grant(call),
        TokenMode::Slow(millis) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            grant(call)
        }
        TokenMode::Hold => {
            world.hold().await;
            grant(call)
        }
        TokenMode::Down => {
            call.site.ending.close();
            return Err(Hangup);
        }
        TokenMode::Html => {
            answer::content("text/html", body::full("<html><body>Sign in</body></html>"))
        }
        TokenMode::EmptyJson => answer::json(StatusCode::OK, &json!({})),
        TokenMode::Garbage => answer::content("application/json", body::full("{\"access_tok")),
        TokenMode::Throttled => {
            world.with(|state, _| state.report.counters.throttled += 1);
            Refusal::Throttled.answer()
        }
        TokenMode::InvalidClient => Refusal::WrongSecret.answer(),
        TokenMode::Status(status) => {
            Problem::of(StatusCode::from_u16(status).unwrap_or_default()).answer(&call.id)
        }
    };
    Ok(match &fault.retry_after {
        Some(text) => with(answer, header::RETRY_AFTER, text),
        None => answer,
    })
}

/// Login without faults.
fn grant(call: &Call) -> Answer {
    if call.head.method() != Method::POST {
        return Problem::of(StatusCode::METHOD_NOT_ALLOWED).answer(&call.id);
    }
    let world = &call.site.world;
    let allowed = world.with(|state, now| {
        let client = checked(call, state)?;
        match form(call, "grant_type").as_deref() {
            Some("client_credentials") => {}
            Some(_) => return Err(Refusal::GrantType),
            None => return Err(Refusal::Malformed("grant_type is missing")),
        }
        let fresh = Window::new(world.options.mints_per_minute, MINUTE);
        let logins = state.logins.entry(client.clone()).or_insert(fresh);
        if logins.take(now) != Verdict::Admitted {
            state.report.counters.throttled += 1;
            return Err(Refusal::Throttled);
        }
        Ok((client, state.faults.token_life()))
    });
    let (client, (expire_in, dies_after)) = match allowed {
        Ok(allowed) => allowed,
        Err(refusal) => return refusal.answer(),
    };
    let life = expire_in.map_or(world.options.token_life, Duration::from_secs);
    let asked = form(call, "scope").filter(|scope| !scope.is_empty());
    let scope = asked.clone().unwrap_or_else(|| world.options.scope.clone());
    let Ok(value) = token(call, &client, &scope, life) else {
        return Problem::of(StatusCode::INTERNAL_SERVER_ERROR).answer(&call.id);
    };
    let grant = Grant {
        value: value.clone(),
        client,
        scope,
        life: dies_after.map_or(life, Duration::from_millis),
        limit: world.options.requests_per_minute,
        window: world.options.window,
    };
    world.with(|state, now| {
        state.tokens.issue(grant, now);
        state.report.counters.mints += 1;
    });
    let mut text =
        json!({"access_token": value, "token_type": "bearer", "expires_in": life.as_secs()});
    if let Some(scope) = asked {
        text = also(text, "scope", scope);
    }
    with(answer::json(StatusCode::OK, &text), header::CACHE_CONTROL, "no-store")
}

/// A token of the configured format.
fn token(call: &Call, client: &str, scope: &str, life: Duration) -> std::io::Result<String> {
    let world = &call.site.world;
    let Some(signer) = &world.signer else { return Ok(random::token()) };
    let iat = world.unix();
    signer.sign(&Claims {
        iss: format!("http://{}", world.addr),
        sub: client.to_owned(),
        client_id: client.to_owned(),
        aud: form(call, "audience"),
        scope: scope.to_owned(),
        iat,
        exp: iat.saturating_add(life.as_secs()),
        jti: random::uuid(),
    })
}

/// The client that the credentials prove, or the refusal.
fn checked(call: &Call, state: &State) -> Result<String, Refusal> {
    let Some(id) = named_client(call) else {
        return Err(Refusal::Malformed("client credentials are missing"));
    };
    let Some(client) = state.clients.iter().find(|client| client.id == id) else {
        return Err(Refusal::UnknownClient);
    };
    let given = basic(call).map(|(_, secret)| secret).or_else(|| form(call, "client_secret"));
    let proven = match assertion(call) {
        Some(assertion) => jwt::asserted(&assertion, client),
        None => given.is_some_and(|secret| secret == client.secret.expose_secret()),
    };
    if proven { Ok(id) } else { Err(Refusal::WrongSecret) }
}

/// The client id that a request names, proven or not.
pub(super) fn named_client(call: &Call) -> Option<String> {
    basic(call)
        .map(|(id, _)| id)
        .or_else(|| form(call, "client_id"))
        .or_else(|| jwt::claimed_client(&assertion(call)?))
}

fn assertion(call: &Call) -> Option<String> {
    let typed = form(call, "client_assertion_type").is_some_and(|kind| kind == ASSERTION);
    form(call, "client_assertion").filter(|_| typed)
}

/// Id and secret of HTTP Basic, form-decoded as RFC 6749 2.3.1 wants.
fn basic(call: &Call) -> Option<(String, String)> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let line = call.head.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = line.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(LENIENT.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    // As the value of a form's only field; an ampersand that should have been encoded stays.
    let field = format!("v={}", text.replace('&', "%26"));
    let mut fields = url::form_urlencoded::parse(field.as_bytes());
    fields.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// A field of the form in the body.
fn form(call: &Call, name: &str) -> Option<String> {
    let body = call.body.whole().ok()?;
    let mut fields = url::form_urlencoded::parse(body);
    fields.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Malformed(&'static str),
    GrantType,
    UnknownClient,
    WrongSecret,
    Throttled,
}

impl Refusal {
    /// As Genesys says it: 400 for an unknown id, 401 for a wrong secret, and 400, not 429, for
    /// too many logins.
    fn answer(self) -> Answer {
        let failed = "authentication failed";
        let too_many = "rate limit exceeded; too many token requests for this client";
        let (status, error, description) = match self {
            Self::Malformed(what) => (StatusCode::BAD_REQUEST, "invalid_request", what),
            Self::GrantType => {
                (StatusCode::BAD_REQUEST, "unsupported_grant_type", "use client_credentials")
            }
            Self::UnknownClient => (StatusCode::BAD_REQUEST, "invalid_client", failed),
            Self::WrongSecret => (StatusCode::UNAUTHORIZED, "invalid_client", failed),
            Self::Throttled => (StatusCode::BAD_REQUEST, "invalid_request", too_many),
        };
        let text = json!({"error": error, "error_description": description});
        match self {
            Self::Throttled => answer::json(status, &text),
            Self::Malformed(_) | Self::GrantType | Self::UnknownClient | Self::WrongSecret => {
                answer::json(status, &also(text, "description", description))
            }
        }
    }
}

/// What needs no bearer besides login: introspection (RFC 7662) and the signing keys. Neither
/// exists at Genesys; other authorization servers have them.
pub(super) fn open(call: &Call) -> Option<Answer> {
    match call.head.uri().path() {
        "/oauth2/introspect" | "/oauth/introspect" => Some(introspect(call)),
        "/oauth/jwks" | "/.well-known/jwks.json" => {
            let none = json!({"keys": []});
            Some(match &call.site.world.signer {
                Some(signer) => answer::json(StatusCode::OK, &signer.keys),
                None => answer::json(StatusCode::OK, &none),
            })
        }
        _ => None,
    }
}

fn introspect(call: &Call) -> Answer {
    let world = &call.site.world;
    if call.head.method() != Method::POST {
        return Problem::of(StatusCode::METHOD_NOT_ALLOWED).answer(&call.id);
    }
    let token = form(call, "token").unwrap_or_default();
    let found = world.with(|state, now| {
        checked(call, state)?;
        Ok::<_, Refusal>(state.tokens.live(&token, now))
    });
    match found {
        Err(_) => Refusal::WrongSecret.answer(),
        Ok(None) => answer::json(StatusCode::OK, &json!({"active": false})),
        Ok(Some(live)) => {
            let text = json!({
                "active": true,
                "client_id": live.caller.client,
                "scope": live.caller.scope,
                "token_type": "bearer",
                "exp": world.unix().saturating_add(live.left.as_secs()),
            });
            answer::json(StatusCode::OK, &text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_decoded() {
        assert_eq!(form_decoded("a%3Ab+c%2Bd"), "a:b c+d");
        assert_eq!(form_decoded("p&q=r"), "p&q=r");
    }

    #[test]
    fn login_answers_where_the_sdks_ask() {
        assert!(is_login("/oauth/token") && is_login("//oauth/token"));
        assert!(is_login("/login/oauth/token") && !is_login("/oauth/tokens"));
    }
}
