//! What a token must be besides whole: from the expected issuer, for us, with the required scopes.
//! It never lets a token pass whose claims cannot be read when something is expected of them.

use super::{
    answer::Minted,
    claims::{Claims, quoted},
    error::{Kind, MintError},
};
use crate::{
    config::{MissingScope, OAuth},
    decide::scopes,
};

/// `expected_issuer` and `expected_audience`.
pub fn issuer_and_audience(oauth: &OAuth, claims: Option<&Claims>) -> Result<(), MintError> {
    let foreign = |why: String| Err(MintError::new(Kind::Foreign, why));
    if let Some(expected) = &oauth.expected_issuer {
        let came = claims.and_then(|claims| claims.iss.as_deref());
        if came != Some(expected) {
            let expected = quoted(expected);
            return foreign(format!(
                "the token's iss is {}, and oauth.expected_issuer is {expected}",
                came.map_or_else(|| nothing(claims).to_owned(), quoted),
            ));
        }
    }
    if let Some(expected) = &oauth.expected_audience {
        let came = claims.map(|claims| claims.aud.as_slice()).unwrap_or_default();
        if !came.contains(expected) {
            let expected = quoted(expected);
            let listed: Vec<String> = came.iter().take(5).map(|aud| quoted(aud)).collect();
            return foreign(format!(
                "the token's aud is {}, and oauth.expected_audience is {expected}",
                if listed.is_empty() { nothing(claims).to_owned() } else { listed.join(", ") },
            ));
        }
    }
    Ok(())
}

fn nothing(claims: Option<&Claims>) -> &'static str {
    if claims.is_some() { "missing" } else { "unknown (the token is opaque)" }
}

/// `required_scopes`: an error when what is missing is refused, a line for the log when it is
/// borne with, `None` when nothing is missing.
pub fn required_scopes(oauth: &OAuth, minted: &Minted) -> Result<Option<String>, MintError> {
    let missing = scopes::missing(&oauth.required_scopes, minted.scopes.as_deref());
    if missing.is_empty() {
        return Ok(None);
    }
    let names = missing.join(", ");
    let why = if minted.scopes.is_some() {
        format!("the token lacks required scopes: {names}")
    } else {
        format!(
            "whether the token carries required scopes cannot be told: {names}; it is opaque or \
             does not say, its answer has no scope, and none was asked for (oauth.scope)"
        )
    };
    match oauth.on_missing_scope {
        MissingScope::Warn => Ok(Some(why)),
        MissingScope::Refuse => Err(MintError::new(Kind::MissingScope(missing), why)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::config::{Sources, load};

    fn oauth() -> OAuth {
        let env = [("GENESYS_CLIENT_ID", "id"), ("GENESYS_CLIENT_SECRET", "secret")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut oauth =
            load(&Sources { env, dir: "/nonexistent".into(), ..Sources::default() }).unwrap().oauth;
        oauth.required_scopes = vec!["a".to_owned(), "b".to_owned()];
        oauth
    }

    fn minted(scopes: Option<&[&str]>) -> Minted {
        let authorization = HeaderValue::from_static("Bearer abcd");
        let scopes = scopes.map(|all| all.iter().map(|&scope| scope.to_owned()).collect());
        Minted { scopes, ..Minted::opaque(authorization, Duration::from_secs(60)) }
    }

    #[test]
    fn what_is_missing_is_warned_about_or_refused_by_name() {
        let mut oauth = oauth();
        assert_eq!(required_scopes(&oauth, &minted(Some(&["b", "a"]))).unwrap(), None);
        let line = required_scopes(&oauth, &minted(Some(&["a"]))).unwrap().unwrap();
        assert!(line.ends_with("scopes: b"), "{line}");
        let line = required_scopes(&oauth, &minted(None)).unwrap().unwrap();
        assert!(line.contains("cannot be told: a, b"), "{line}");
        oauth.on_missing_scope = MissingScope::Refuse;
        for (scopes, lacks) in [(Some(&["a"][..]), &["b"][..]), (None, &["a", "b"])] {
            let error = required_scopes(&oauth, &minted(scopes)).unwrap_err();
            let lacks = lacks.iter().map(|&scope| scope.to_owned()).collect();
            assert_eq!(error.kind, Kind::MissingScope(lacks));
        }
    }

    #[test]
    fn another_issuers_token_is_refused_and_both_are_named() {
        let mut oauth = oauth();
        oauth.expected_issuer = Some("https://ours".to_owned());
        let claims =
            |iss: Option<&str>| Claims { iss: iss.map(str::to_owned), ..Claims::default() };
        assert!(issuer_and_audience(&oauth, Some(&claims(Some("https://ours")))).is_ok());
        for (claims, says) in [
            (Some(claims(Some("https://theirs\n"))), "iss is \"https://theirs\\n\""),
            (Some(claims(None)), "iss is missing"),
            (None, "iss is unknown (the token is opaque)"),
        ] {
            let error = issuer_and_audience(&oauth, claims.as_ref()).unwrap_err();
            assert_eq!(error.kind, Kind::Foreign);
            assert!(error.why.contains(says) && error.why.contains("https://ours"), "{error}");
        }
    }

    #[test]
    fn one_of_several_audiences_is_enough_and_none_is_not() {
        let mut oauth = oauth();
        oauth.expected_audience = Some("us".to_owned());
        let claims = |aud: &[&str]| Claims {
            aud: aud.iter().map(|&aud| aud.to_owned()).collect(),
            ..Claims::default()
        };
        assert!(issuer_and_audience(&oauth, Some(&claims(&["them", "us"]))).is_ok());
        for (claims, says) in [
            (Some(claims(&["them", "US"])), "aud is \"them\", \"US\""),
            (Some(claims(&[])), "aud is missing"),
            (None, "aud is unknown"),
        ] {
            let error = issuer_and_audience(&oauth, claims.as_ref()).unwrap_err();
            assert!(error.why.contains(says), "{error}");
        }
    }
}
