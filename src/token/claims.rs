//! What a token says about itself, when it is a JWT.
//! It never decides whether a token is used: opaque tokens say nothing and work everywhere.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// The claims that we know; what has another kind than it should have is as if it were not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// From the header: how it is signed.
    pub alg: String,
    /// From the header: with which key.
    pub kid: Option<String>,
    /// When it ends, in seconds since 1970.
    pub exp: Option<f64>,
    /// When it was issued.
    pub iat: Option<f64>,
    /// When it begins.
    pub nbf: Option<f64>,
    /// Who issued it.
    pub iss: Option<String>,
    /// Whom it is about.
    pub sub: Option<String>,
    /// `client_id`, or `azp`: who asked for it.
    pub client_id: Option<String>,
    /// Whom it is for; a text is a list of one.
    pub aud: Vec<String>,
    /// `scope` or `scp`, a text or a list.
    pub scope: Option<Vec<String>>,
}

impl Claims {
    /// How long the issuer meant it to live: `exp` minus `iat`, so that a skewed clock on either
    /// side does not matter. `None` when it does not say.
    pub fn life(&self) -> Option<Duration> {
        let life = self.exp? - self.iat?;
        if life >= 1.0 { Duration::try_from_secs_f64(life).ok() } else { None }
    }
}

/// The claims of a JWT, unverified; `None` when it is none.
pub fn read(token: &str) -> Option<Claims> {
    let (first, rest) = token.split_once('.')?;
    let header = header(first)?;
    if rest.matches('.').count() != 1 {
        return None;
    }
    let claims = all(token)?;
    let text = |name: &str| claims.get(name)?.as_str().map(str::to_owned);
    let number = |name: &str| claims.get(name)?.as_f64();
    Some(Claims {
        alg: header.alg,
        kid: header.kid,
        exp: number("exp"),
        iat: number("iat"),
        nbf: number("nbf"),
        iss: text("iss"),
        sub: text("sub"),
        client_id: text("client_id").or_else(|| text("azp")),
        aud: claims.get("aud").and_then(|value| list(value, false)).unwrap_or_default(),
        scope: ["scope", "scp"]
            .into_iter()
            .find_map(|name| claims.get(name).and_then(|value| list(value, true))),
    })
}

/// Everything that the claims of a JWT say, unverified; `None` when it is none.
pub fn all(token: &str) -> Option<Map<String, Value>> {
    jsonwebtoken::dangerous::insecure_decode_claims(token).ok()
}

/// What the first part of a JWT says.
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// A JWE: the claims are for the API's eyes only.
    pub(super) encrypted: bool,
    /// It names an extension that must be understood (RFC 7515 section 4.1.11), and none is here.
    pub(super) critical: bool,
}

/// The header of a JWT, from its encoded form. jsonwebtoken's own knows only the algorithms that it
/// can verify, and a token need not be signed with one of these to be good.
pub(super) fn header(encoded: &str) -> Option<Header> {
    let json = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    let header: Map<String, Value> = serde_json::from_slice(&json).ok()?;
    Some(Header {
        alg: header.get("alg")?.as_str()?.to_owned(),
        kid: header.get("kid").and_then(Value::as_str).map(str::to_owned),
        encrypted: header.contains_key("enc"),
        critical: header.contains_key("crit"),
    })
}

/// A text or a list of texts; scopes in a text are separated by blanks (RFC 6749 section 3.3).
pub(super) fn list(value: &Value, blanks_separate: bool) -> Option<Vec<String>> {
    match value {
        Value::String(text) if blanks_separate => {
            Some(text.split_ascii_whitespace().map(str::to_owned).collect())
        }
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => {
            Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// Somebody else's text, fit for a log line: escaped, quoted and bounded.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jwt(claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = part(r#"{"alg":"ES256K","typ":"JWT","kid":"k"}"#);
        format!("{header}.{}.{}", part(claims), part("signature"))
    }

    fn life(token: &str) -> Option<Duration> {
        read(token)?.life()
    }

    #[test]
    fn a_jwt_tells_its_life_whatever_the_clock_says() {
        assert_eq!(life(&jwt(r#"{"iat":100,"exp":3700}"#)), Some(Duration::from_secs(3600)));
    }

    #[test]
    fn a_token_that_asks_for_more_than_is_known_here_is_told() {
        let critical = |json: &str| header(&URL_SAFE_NO_PAD.encode(json)).unwrap().critical;
        assert!(critical(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#));
        assert!(!critical(r#"{"alg":"RS256","b64":false}"#));
    }

    #[test]
    fn what_does_not_say_is_not_guessed() {
        for token in
            ["opaque", "a.b.c", &jwt("{}"), &jwt(r#"{"exp":5}"#), &jwt(r#"{"iat":9,"exp":9}"#)]
        {
            assert_eq!(life(token), None, "{token}");
        }
    }

    #[test]
    fn claims_are_read_in_all_their_shapes() {
        let claims = read(&jwt(
            r#"{"iss":"https://i","sub":"s","azp":"c","aud":["a","b"],"scope":"x  y","nbf":1}"#,
        ))
        .unwrap();
        assert_eq!(claims.alg, "ES256K");
        assert_eq!(claims.kid.as_deref(), Some("k"));
        assert_eq!(claims.iss.as_deref(), Some("https://i"));
        assert_eq!(claims.client_id.as_deref(), Some("c"));
        assert_eq!(claims.aud, ["a", "b"]);
        assert_eq!(claims.scope.unwrap(), ["x", "y"]);
        let claims = read(&jwt(r#"{"client_id":"d","azp":"c","aud":"a b","scp":["x","y"]}"#));
        let claims = claims.unwrap();
        assert_eq!(claims.client_id.as_deref(), Some("d"));
        assert_eq!(claims.aud, ["a b"]);
        assert_eq!(claims.scope.unwrap(), ["x", "y"]);
    }

    #[test]
    fn what_has_more_or_fewer_than_three_parts_says_nothing() {
        let whole = jwt(r#"{"iss":"i"}"#);
        let (unsigned, _) = whole.rsplit_once('.').unwrap();
        let (header, claims) = unsigned.split_once('.').unwrap();
        for token in [unsigned, header, &format!("{header}.x.{claims}.s"), &format!("{whole}.x")] {
            assert_eq!(read(token), None, "{token}");
        }
        assert!(read(&whole).is_some());
    }

    #[test]
    fn a_claim_of_the_wrong_kind_takes_no_other_with_it() {
        let claims = read(&jwt(r#"{"exp":"soon","iat":{},"aud":7,"scope":1,"iss":"i"}"#)).unwrap();
        assert_eq!(claims.iss.as_deref(), Some("i"));
        assert!(claims.exp.is_none() && claims.aud.is_empty() && claims.scope.is_none());
    }

    #[test]
    fn what_is_logged_stays_on_its_line_and_short() {
        assert_eq!(quoted("a\nb\"\u{1b}["), "\"a\\nb\\\"\\u{1b}[\"");
        assert!(quoted(&"x".repeat(5000)).len() < 300);
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "[A-Za-z0-9_.=-]{0,200}", claims in "\\PC{0,60}") {
            let _ = read(&token);
            let _ = read(&jwt(&claims));
        }
    }
}
