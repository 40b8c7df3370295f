//! What a request offers to say who calls: a key, a name with a key, or a token.
//! It never says whose that is, and of two it takes neither: which is meant is not ours to guess.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};

use super::asked::{Asked, Lines};

/// How tokens of the gateway's own begin: no other is looked up as one, and a scanner for leaked
/// secrets can find them.
pub const TOKEN_PREFIX: &str = "gpl_";
/// Characters after it: 32 random bytes in base64url.
pub const TOKEN_RANDOM: usize = 43;
/// Or a sealed ticket, which other replicas can open.
pub const TOKEN_SEALED: usize = 103;
/// A longer token is nobody's: identity providers that put groups in theirs stay below it.
const MAX_TOKEN: usize = 16 * 1024;

/// A credential, unproven.
#[derive(Debug)]
pub enum Offered<'a> {
    /// None, or an `Authorization` without anything in it, as some SDKs send.
    Nothing,
    /// `X-Api-Key`
    Key(&'a HeaderValue),
    /// `Authorization: Basic`
    Login(Login),
    /// A token of the gateway's own.
    Local(&'a str),
    /// A token that may be an identity provider's: three parts with dots between them (RFC 7519).
    Jwt(&'a str),
    /// What cannot be anybody's: twice, malformed, or of another scheme.
    Nobodys,
}

/// A name and what proves it.
#[derive(Debug)]
pub struct Login {
    /// The caller's name, or the OAuth client id.
    pub name: String,
    /// Its key.
    pub key: SecretString,
}

impl<'a> Offered<'a> {
    /// `X-Api-Key` counts before `Authorization`: SDKs send the latter whether it says something or
    /// not.
    pub fn of(asked: &'a Asked) -> Self {
        match (&asked.api_key, &asked.authorization) {
            (Lines::One(key), _) => Self::Key(key),
            (Lines::None, Lines::None) => Self::Nothing,
            (Lines::None, Lines::One(value)) => Self::authorization(value),
            (Lines::Many, _) | (Lines::None, Lines::Many) => Self::Nobodys,
        }
    }

    /// Of one `Authorization` (RFC 9110 section 11.4): a scheme, blanks, and what belongs to it.
    fn authorization(value: &'a HeaderValue) -> Self {
        let Ok(text) = value.to_str() else { return Self::Nobodys };
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            Self::bearer(rest)
        } else if scheme.eq_ignore_ascii_case("basic") {
            Login::basic(rest).map_or(Self::Nobodys, Self::Login)
        } else if scheme.is_empty() {
            Self::Nothing
        } else {
            Self::Nobodys
        }
    }

    fn bearer(token: &'a str) -> Self {
        if token.is_empty() {
            return Self::Nothing;
        }
        if is_local(token) {
            return Self::Local(token);
        }
        let url_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let mut parts = token.split('.');
        let three = parts.by_ref().take(3).filter(|part| !part.is_empty()).count() == 3;
        let jwt = three && parts.next().is_none() && token.len() <= MAX_TOKEN;
        if jwt && token.chars().all(|c| c == '.' || url_safe(c)) {
            Self::Jwt(token)
        } else {
            Self::Nobodys
        }
    }
}

/// Whether a token looks as the gateway's own do.
pub fn is_local(token: &str) -> bool {
    let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    token.strip_prefix(TOKEN_PREFIX).is_some_and(|rest| {
        [TOKEN_RANDOM, TOKEN_SEALED].contains(&rest.len()) && rest.bytes().all(url_safe)
    })
}

/// What of a token may be a sealed ticket.
pub fn sealed(token: &str) -> Option<&str> {
    token.strip_prefix(TOKEN_PREFIX).filter(|rest| rest.len() == TOKEN_SEALED)
}

impl Login {
    /// Of `Authorization: Basic`, whatever else there is: who logs in is whom the login names, and a
    /// key that an SDK sends with every request says nothing of it.
    pub fn of(asked: &Asked) -> Option<Self> {
        let Lines::One(value) = &asked.authorization else { return None };
        match Offered::authorization(value) {
            Offered::Login(login) => Some(login),
            Offered::Nothing
            | Offered::Key(_)
            | Offered::Local(_)
            | Offered::Jwt(_)
            | Offered::Nobodys => None,
        }
    }

    /// What follows `Basic` (RFC 7617): base64 of a name without a colon, a colon, and the key.
    pub fn basic(encoded: &str) -> Option<Self> {
        let whole = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        let (name, key) = std::str::from_utf8(&whole).ok()?.split_once(':')?;
        Some(Self { name: name.to_owned(), key: key.into() })
    }

    /// The same as an OAuth client sends it: both form-encoded first (RFC 6749 section 2.3.1).
    #[must_use]
    pub fn form_decoded(&self) -> Self {
        let decode = |text: &str| {
            let spaced = Zeroizing::new(text.replace('+', " "));
            let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy();
            Zeroizing::new(decoded.into_owned())
        };
        let key = decode(self.key.expose_secret());
        Self { name: decode(&self.name).to_string(), key: key.as_str().into() }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    fn offered(fields: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let asked = Asked::of(&headers);
        match Offered::of(&asked) {
            Offered::Nothing => "nothing".into(),
            Offered::Key(key) => format!("key {}", key.to_str().unwrap()),
            Offered::Login(Login { name, key }) => format!("{name}, {}", key.expose_secret()),
            Offered::Local(token) => format!("local {token}"),
            Offered::Jwt(token) => format!("jwt {token}"),
            Offered::Nobodys => "nobody's".into(),
        }
    }

    fn authorization(value: &str) -> String {
        offered(&[("authorization", value)])
    }

    #[test]
    fn what_the_sdks_send_without_a_token_offers_nothing() {
        for value in ["Bearer ", "Bearer", "bearer  ", ""] {
            assert_eq!(authorization(value), "nothing", "{value:?}");
        }
        assert_eq!(offered(&[]), "nothing");
    }

    #[test]
    fn a_key_counts_before_an_authorization() {
        let key = ("x-api-key", "k");
        assert_eq!(offered(&[key, ("authorization", "Bearer x")]), "key k");
        assert_eq!(offered(&[key, key]), "nobody's");
    }

    #[test]
    fn a_name_and_its_key_come_as_basic_whatever_signs_the_key_has() {
        let basic = |text: &str| authorization(&format!("bAsIc {}", STANDARD.encode(text)));
        assert_eq!(basic("billing:key"), "billing, key");
        assert_eq!(basic("billing:a:b"), "billing, a:b");
        for wrong in ["Basic", "Basic !!", "Basic YQ==", "Basic YQ== YQ=="] {
            assert_eq!(authorization(wrong), "nobody's", "{wrong}");
        }
    }

    #[test]
    fn an_oauth_client_encodes_its_name_and_its_secret() {
        let sent = Login { name: "a%3Ab".into(), key: "x%2By+z".into() };
        let Login { name, key } = sent.form_decoded();
        assert_eq!((name.as_str(), key.expose_secret()), ("a:b", "x+y z"));
    }

    #[test]
    fn tokens_are_told_apart_by_their_shape() {
        let local = format!("{TOKEN_PREFIX}{}", "aB-_9".repeat(9).get(..43).unwrap());
        assert_eq!(authorization(&format!("Bearer {local}")), format!("local {local}"));
        assert_eq!(sealed(&local), None);
        let ticket = "aB-_9".repeat(21).get(..TOKEN_SEALED).unwrap().to_owned();
        let shared = format!("{TOKEN_PREFIX}{ticket}");
        assert_eq!(authorization(&format!("Bearer {shared}")), format!("local {shared}"));
        assert_eq!(sealed(&shared), Some(ticket.as_str()));
        assert_eq!(authorization("Bearer a-B.c_D.e9"), "jwt a-B.c_D.e9");
        for wrong in
            ["a.b", "a.b.c.d", "a..c", "opaque", "a.b.c d", "a.b.c=", &format!("{local}x"), "gpl_x"]
        {
            assert_eq!(authorization(&format!("Bearer {wrong}")), "nobody's", "{wrong}");
        }
        let long = format!("Bearer {}.b.c", "a".repeat(MAX_TOKEN));
        assert_eq!(authorization(&long), "nobody's");
    }

    #[test]
    fn another_scheme_and_two_lines_are_nobodys() {
        assert_eq!(authorization("Digest username=\"billing\""), "nobody's");
        let twice = [("authorization", "Bearer a.b.c"), ("authorization", "Bearer a.b.c")];
        assert_eq!(offered(&twice), "nobody's");
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_panics(value in "[ -~]{0,60}", scheme in "(Basic|Bearer|) ?") {
            authorization(&format!("{scheme}{value}"));
        }
    }
}
