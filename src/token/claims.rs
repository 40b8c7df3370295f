//! What a token says about itself, when it is a JWT.
//! It never decides whether a token is used: opaque tokens say nothing and work everywhere.

use std::time::Duration;

use serde::Deserialize;

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    iat: Option<f64>,
}

/// How long the issuer meant it to live: `exp` minus `iat`, so that a skewed clock on either side
/// does not matter. `None` for opaque tokens and for JWTs that do not say.
pub fn life(token: &str) -> Option<Duration> {
    let claims: Claims = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
    let life = claims.exp? - claims.iat?;
    if life >= 1.0 { Duration::try_from_secs_f64(life).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn jwt(claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(r#"{"alg":"RS256","typ":"JWT"}"#), part(claims), part("signature"))
    }

    #[test]
    fn a_jwt_tells_its_life_whatever_the_clock_says() {
        assert_eq!(life(&jwt(r#"{"iat":100,"exp":3700}"#)), Some(Duration::from_secs(3600)));
    }

    #[test]
    fn what_does_not_say_is_not_guessed() {
        for token in
            ["opaque", "a.b.c", &jwt("{}"), &jwt(r#"{"exp":5}"#), &jwt(r#"{"iat":9,"exp":9}"#)]
        {
            assert_eq!(life(token), None, "{token}");
        }
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "[A-Za-z0-9_.=-]{0,200}") {
            let _ = life(&token);
        }
    }
}
