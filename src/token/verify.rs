//! Whether a token that should still live is still good, and the end of one that is not wanted.
//! It never takes an answer that it does not understand for a verdict: a check that fails says so.

use http::{HeaderValue, StatusCode, header};
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use url::Url;

use super::{
    answer::{MAX_ANSWER, bearer},
    issuer::Login,
};
use crate::{config::Verify, secret::wiped};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alive {
    /// It is good.
    Active,
    /// It is revoked or at its end: it must be replaced.
    Inactive,
    /// Nobody could say, and why. Changes nothing.
    Unknown(String),
}

/// Something that can tell whether a token is good; tests bring their own.
pub trait Check: Send + Sync + 'static {
    /// `authorization` is `Bearer …` as it is sent.
    fn check(&self, authorization: &HeaderValue) -> impl Future<Output = Alive> + Send;

    /// The same about a token that one endpoint refused while no new one can be had: asked whether
    /// or not tokens are checked at other times.
    fn look(&self, authorization: &HeaderValue) -> impl Future<Output = Alive> + Send {
        self.check(authorization)
    }
}

impl Check for Login {
    async fn check(&self, authorization: &HeaderValue) -> Alive {
        match &self.oauth.verify {
            Verify::Never => Alive::Unknown("oauth.verify is none".to_owned()),
            Verify::Genesys => self.look_at_myself(authorization).await,
            Verify::Rfc7662 { introspect_url } => {
                match self.told(introspect_url, authorization).await {
                    Ok((status, body)) => read_introspection(status, &body),
                    Err(why) => Alive::Unknown(why),
                }
            }
        }
    }

    async fn look(&self, authorization: &HeaderValue) -> Alive {
        match &self.oauth.verify {
            Verify::Never => self.look_at_myself(authorization).await,
            Verify::Genesys | Verify::Rfc7662 { .. } => self.check(authorization).await,
        }
    }
}

impl Login {
    /// `HEAD /api/v2/tokens/me`: any token may look at itself, whatever its roles.
    async fn look_at_myself(&self, authorization: &HeaderValue) -> Alive {
        let url = &self.tokens_me;
        let request = self.api.head(url.clone()).header(header::AUTHORIZATION, authorization);
        match request.send().await {
            Ok(response) => read_tokens_me(response.status()),
            Err(error) => Alive::Unknown(self.unreachable(url, &error).why),
        }
    }

    /// Ends a token: by `revoke_url` (RFC 7009), else by Genesys's own call.
    pub async fn revoke(&self, authorization: &HeaderValue) -> Result<(), String> {
        let Some(url) = &self.oauth.revoke_url else {
            let url = &self.tokens_me;
            let request = self.api.delete(url.clone()).header(header::AUTHORIZATION, authorization);
            let sent = request.send().await;
            let status = sent.map_err(|error| self.unreachable(url, &error).why)?.status();
            // It had ended already: that is what was wanted.
            return if status.is_success() || status == StatusCode::UNAUTHORIZED {
                Ok(())
            } else {
                Err(format!("DELETE /api/v2/tokens/me answered {status}"))
            };
        };
        let (status, body) = self.told(url, authorization).await?;
        read_revocation(status, &body)
    }

    /// The request that introspection and revocation have in common (RFC 7662 section 2.1, RFC 7009
    /// section 2.1), and what came of it.
    async fn told(
        &self,
        url: &Url,
        authorization: &HeaderValue,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), String> {
        // Checks are many and the source may be slow, or a quota: a mint reads it anew.
        let secret = self.at_hand(self.live_secret()).await.map_err(|error| error.why)?;
        let proof = self.proof(&secret, url).map_err(|error| error.why)?;
        let form =
            proof.form([("token", bearer(authorization)), ("token_type_hint", "access_token")]);
        let mut request = self
            .http
            .post(url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(wiped::body(&form));
        if let Some(authorization) = proof.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let mut response =
            request.send().await.map_err(|error| self.unreachable(url, &error).why)?;
        let body = self.body(&mut response, url, MAX_ANSWER).await.map_err(|error| error.why)?;
        Ok((response.status(), body))
    }
}

/// What `HEAD /api/v2/tokens/me` means: only a 401 says that the token is dead.
fn read_tokens_me(status: StatusCode) -> Alive {
    if status.is_success() {
        Alive::Active
    } else if status == StatusCode::UNAUTHORIZED {
        Alive::Inactive
    } else {
        Alive::Unknown(format!("HEAD /api/v2/tokens/me answered {status}"))
    }
}

#[derive(Deserialize)]
struct Introspection {
    active: bool,
}

#[derive(Deserialize, Default)]
struct Refused {
    #[serde(default)]
    error: String,
}

/// What an introspection's answer means (RFC 7662 section 2.2). A 401 is about us, not the token.
pub fn read_introspection(status: StatusCode, body: &[u8]) -> Alive {
    if status != StatusCode::OK {
        return Alive::Unknown(refusal("introspection", status, body));
    }
    match serde_json::from_slice(body) {
        Ok(Introspection { active: true }) => Alive::Active,
        Ok(Introspection { active: false }) => Alive::Inactive,
        Err(_) => Alive::Unknown("introspection answered 200 without an active".to_owned()),
    }
}

/// What a revocation's answer means (RFC 7009 section 2.2): an unknown token is a 200 as well.
fn read_revocation(status: StatusCode, body: &[u8]) -> Result<(), String> {
    if status.is_success() { Ok(()) } else { Err(refusal("revocation", status, body)) }
}

/// A refusal in our words: of the body only codes that we know are repeated.
fn refusal(what: &str, status: StatusCode, body: &[u8]) -> String {
    let refused: Refused = serde_json::from_slice(body).unwrap_or_default();
    let known = [
        "invalid_client",
        "invalid_request",
        "unauthorized_client",
        "unsupported_token_type",
        "access_denied",
    ];
    match known.into_iter().find(|code| *code == refused.error) {
        Some(code) => format!("{what} answered {status}: {code}"),
        None if status == StatusCode::UNAUTHORIZED => {
            format!("{what} answered {status}: it refuses the client's authentication")
        }
        None => format!("{what} answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(status: u16, body: &str) -> Alive {
        read_introspection(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn introspection_is_believed_when_it_says_active_or_not() {
        assert_eq!(read(200, r#"{"active":true,"scope":"a"}"#), Alive::Active);
        assert_eq!(read(200, r#"{"active":false}"#), Alive::Inactive);
    }

    #[test]
    fn anything_else_is_no_verdict() {
        for (status, body, says) in [
            (200, "", "without an active"),
            (200, "{}", "without an active"),
            (200, r#"{"active":"false"}"#, "without an active"),
            (401, r#"{"active":false}"#, "refuses the client's authentication"),
            (401, r#"{"error":"invalid_client"}"#, "invalid_client"),
            (400, r#"{"error":"unsupported_token_type"}"#, "unsupported_token_type"),
            (404, "", "404"),
            (503, r#"{"active":false}"#, "503"),
        ] {
            let Alive::Unknown(why) = read(status, body) else { panic!("{status} {body}") };
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn only_a_401_from_the_api_means_dead() {
        let read = |status| read_tokens_me(StatusCode::from_u16(status).unwrap());
        assert_eq!(read(200), Alive::Active);
        assert_eq!(read(204), Alive::Active);
        assert_eq!(read(401), Alive::Inactive);
        for status in [302, 403, 404, 429, 500, 503] {
            assert!(matches!(read(status), Alive::Unknown(_)), "{status}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics_and_no_reason_repeats_it(
            status in 100u16..600,
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..100),
                "\\{\"active\":[a-z0-9\"]{0,8}\\}".prop_map(String::into_bytes),
            ],
        ) {
            let status = StatusCode::from_u16(status).unwrap();
            let _ = read_introspection(status, &body);
            let planted = br#"{"error":"S3CR3T","active":"S3CR3T"}"#;
            if let Alive::Unknown(why) = read_introspection(status, planted) {
                prop_assert!(!why.contains("S3CR3T"));
            }
        }
    }
}
