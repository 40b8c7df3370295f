//! Answers of token endpoints: good ones, refusals, and what looks like a token and is none.

use proptest::prelude::*;

use super::*;
use crate::decide::freshness::Trouble;

fn granted(body: &str) -> Result<Minted, MintError> {
    read_answer(StatusCode::OK, None, body.as_bytes())
}

fn token(token: &str) -> Result<Minted, MintError> {
    granted(&format!(r#"{{"access_token":"{token}","expires_in":3600}}"#))
}

fn part(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn jwt(alg: &str, claims: &str, signature: usize) -> String {
    let header = part(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
    format!("{header}.{}.{}", part(claims), part(vec![7; signature]))
}

#[test]
fn genesyss_own_answer_is_a_token() {
    let minted =
        granted(r#"{"access_token":"abc-_.~+/==","token_type":"bearer","expires_in":86400}"#)
            .unwrap();
    assert_eq!(minted.authorization, "Bearer abc-_.~+/==");
    assert!(minted.authorization.is_sensitive());
    assert_eq!(minted.life, Duration::from_secs(86_400));
    assert_eq!(minted.fingerprint.len(), 12);
    assert!(minted.claims.is_none() && minted.scopes.is_none() && !minted.verified);
    assert!(!format!("{minted:?}").contains("abc"));
}

#[test]
fn what_other_servers_add_is_honoured_or_left_alone() {
    // Genesys writes "bearer"; others "Bearer", an hour, a scope and a refresh token nobody needs.
    let body = r#"{"access_token":"abcdefgh","token_type":"Bearer","expires_in":3600,
                   "refresh_token":"never-used","scope":"a b"}"#;
    let minted = granted(body).unwrap();
    assert_eq!(minted.life, Duration::from_secs(3600));
    assert_eq!(minted.scopes, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert!(granted(r#"{"access_token":"abcdefgh","token_type":"mac","expires_in":60}"#).is_err());
}

#[test]
fn lives_are_read_as_servers_send_them_and_nonsense_is_refused() {
    let life = |text: &str| {
        granted(&format!(r#"{{"access_token":"abcd","expires_in":{text}}}"#))
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
    assert_eq!(granted(r#"{"access_token":"abcd"}"#).unwrap().life, UNKNOWN_LIFE);
}

#[test]
fn where_the_answer_and_the_claims_disagree_the_shorter_life_counts() {
    let life = |expires_in: &str, claims: &str| {
        let jwt = jwt("RS256", claims, 256);
        granted(&format!(r#"{{"access_token":"{jwt}"{expires_in}}}"#)).unwrap().life.as_secs()
    };
    assert_eq!(life(r#","expires_in":3600"#, r#"{"iat":100,"exp":700}"#), 600);
    assert_eq!(life(r#","expires_in":60"#, r#"{"iat":100,"exp":700}"#), 60);
    assert_eq!(life("", r#"{"iat":100,"exp":700}"#), 600);
    assert_eq!(life(r#","expires_in":60"#, r#"{"exp":700}"#), 60);
}

#[test]
fn scopes_are_the_claims_else_the_answers() {
    let scopes = |claims: &str| {
        let jwt = jwt("RS256", claims, 256);
        granted(&format!(r#"{{"access_token":"{jwt}","scope":"a b"}}"#)).unwrap().scopes.unwrap()
    };
    assert_eq!(scopes("{}"), ["a", "b"]);
    assert_eq!(scopes(r#"{"scp":["c"]}"#), ["c"]);
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
        r#"{"access_token":"nil"}"#,
        r#"{"access_token":17,"expires_in":1}"#,
        r#"{"access_token":"ab cd","expires_in":60}"#,
        r#"{"access_token":"abcd\r\nx: y","expires_in":60}"#,
        r#"{"access_token":"abcd\u0000","expires_in":60}"#,
        r#"{"access_token":"abcd","token_type":"mac","expires_in":60}"#,
    ] {
        let error = granted(body).unwrap_err();
        assert_eq!(error.kind, Kind::BadAnswer, "{body}");
        assert_eq!(error.trouble(), Trouble::Transient, "{body}");
    }
}

#[test]
fn an_answer_that_was_cut_says_so() {
    let whole = r#"{"access_token":"abcdefgh","expires_in":3600}"#;
    for end in 1..whole.len() {
        let error = granted(&whole[..end]).unwrap_err();
        assert!(error.why.contains("does not end"), "{end}: {error}");
    }
    assert!(granted("").unwrap_err().why.contains("is empty"));
}

#[test]
fn a_jwt_that_was_cut_is_refused() {
    for (alg, length) in [
        ("RS256", 256),
        ("PS512", 512),
        ("ES256", 64),
        ("ES384", 96),
        ("ES512", 132),
        ("HS256", 32),
        ("HS384", 48),
        ("HS512", 64),
        ("EdDSA", 64),
        ("ML-DSA-44", 2420),
    ] {
        let whole = jwt(alg, r#"{"iss":"i"}"#, length);
        assert_eq!(token(&whole).unwrap().claims.unwrap().alg, alg);
        // An RSA key may be of any size, and nobody here knows ML-DSA's.
        if !["RS256", "PS512", "ML-DSA-44"].contains(&alg) {
            let error = token(&whole[..whole.len() - 2]).unwrap_err();
            assert!(error.why.contains("was cut"), "{alg}: {error}");
        }
        let signature = whole.rfind('.').unwrap();
        let header = whole.find('.').unwrap();
        for end in [signature + 4, signature + 1, signature, signature - 1, header + 1, header] {
            if alg == "ML-DSA-44" && end == signature + 4 {
                continue; // Nobody here knows how long its signatures are.
            }
            let error = token(&whole[..end]).unwrap_err();
            assert!(error.why.contains("was cut"), "{alg} {end}: {error}");
        }
    }
    let unsigned = format!("{}.{}.", part(r#"{"alg":"none"}"#), part("{}"));
    assert!(token(&unsigned).unwrap_err().why.contains("without a signature"));
}

#[test]
fn what_only_looks_like_a_jwt_is_opaque() {
    let jwe =
        format!("{}..{}.{}.{}", part(r#"{"alg":"dir","enc":"A256GCM"}"#), "iv", "text", "tag");
    for opaque in ["eyJhbGciOiJSUzI1NiJ", "eyJ.eyJ.eyJ", "a.b.c", "v2.local.AAAA", &jwe] {
        assert!(token(opaque).unwrap().claims.is_none(), "{opaque}");
    }
    assert!(token(jwe.strip_suffix(".tag").unwrap()).unwrap_err().why.contains("was cut"));
}

#[test]
fn refusals_are_told_apart() {
    for (status, body, kind) in [
        (429, "", Kind::Throttled),
        (
            400,
            r#"{"error":"invalid_request","error_description":"rate limit exceeded; slow"}"#,
            Kind::Throttled,
        ),
        (400, r#"{"error":"invalid_request"}"#, Kind::Status(400)),
        (400, r#"{"error":"invalid_client"}"#, Kind::UnknownClient),
        (401, r#"{"error":"invalid_client"}"#, Kind::WrongSecret),
        (400, r#"{"error":"unauthorized_client"}"#, Kind::WrongGrant),
        (400, r#"{"error":"unsupported_grant_type"}"#, Kind::WrongGrant),
        (400, r#"{"error":"invalid_scope"}"#, Kind::BadScope),
        (400, r#"{"error":"access_denied"}"#, Kind::Blocked),
        (403, "<html>", Kind::Blocked),
        (401, "<html>", Kind::Status(401)),
        (302, "", Kind::Redirect),
        (500, r#"{"error":{}}"#, Kind::Status(500)),
        (503, r#"{"error":"invalid_client"}"#, Kind::Status(503)),
        (204, "", Kind::Status(204)),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let error = read_answer(status, None, body.as_bytes()).unwrap_err();
        assert_eq!(error.kind, kind, "{status} {body}");
    }
}

proptest! {
    #[test]
    fn no_answer_panics_and_no_error_repeats_the_answer(
        status in 100u16..600,
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "\\{\"access_token\":\"[ -~]{0,20}\",\"expires_in\":[0-9eE.+-]{1,8}\\}".prop_map(String::into_bytes),
            "\\{\"access_token\":\"eyJ[A-Za-z0-9._-]{0,60}\"\\}".prop_map(String::into_bytes),
        ],
    ) {
        let status = StatusCode::from_u16(status).unwrap();
        let _ = read_answer(status, None, &body);
        let _ = read_answer(StatusCode::OK, None, &body);
        let planted = br#"{"error":"S3CR3T","error_description":"S3CR3T","access_token":"S3CR3T "}"#;
        let error = read_answer(status, None, planted).unwrap_err();
        prop_assert!(!error.why.contains("S3CR3T"));
    }
}
