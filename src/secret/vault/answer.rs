//! What Vault's answers mean, for us and for whoever must mend something.
//! It never repeats a value, nor a text of Vault's own: only names of fields that are plain.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    config::{KvEngine, VaultSecret},
    decide::lease::Grant,
    secret::json::{Found, pick},
};

/// A login: its token, and for how long.
#[derive(Debug)]
pub struct Auth {
    /// For `X-Vault-Token`; visible ASCII.
    pub token: SecretString,
    /// How long, and whether more can be had.
    pub grant: Grant,
}

#[derive(Deserialize)]
struct LoginAnswer {
    auth: Option<LoginPart>,
}

#[derive(Deserialize)]
struct LoginPart {
    client_token: SecretString,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct LookupAnswer {
    data: LookupPart,
}

#[derive(Deserialize)]
struct LookupPart {
    #[serde(default)]
    ttl: u64,
    renewable: Option<bool>,
}

/// Vault's own ceiling is 32 days by default; a longer life is believed this long, so that no sum
/// of times overflows.
const MAX_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

fn grant(seconds: u64, renewable: bool) -> Grant {
    let life = Duration::from_secs(seconds).min(MAX_LIFE);
    Grant { life: (!life.is_zero()).then_some(life), renewable }
}

/// A token that can be a header's value.
pub(super) fn sendable(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The answer to a login or a renewal. Errors fit the words "Vault at … …".
pub fn read_auth(status: u16, body: &[u8]) -> Result<Auth, String> {
    use secrecy::ExposeSecret as _;
    if status != 200 {
        return Err(refusal(status));
    }
    let auth = serde_json::from_slice::<LoginAnswer>(body).ok().and_then(|answer| answer.auth);
    let auth = auth.filter(|auth| sendable(auth.client_token.expose_secret()));
    let auth = auth.ok_or("gives no token in its answer to the login")?;
    Ok(Auth { token: auth.client_token, grant: grant(auth.lease_duration, auth.renewable) })
}

/// The answer to lookup-self. Errors fit the words "Vault at … …".
pub(super) fn read_lookup(status: u16, body: &[u8]) -> Result<Grant, String> {
    if status != 200 {
        return Err(refusal(status));
    }
    let LookupAnswer { data } = serde_json::from_slice(body)
        .map_err(|_| "gives no answer that can be read to token lookup".to_owned())?;
    Ok(grant(data.ttl, data.renewable.unwrap_or(false)))
}

/// The secret in the answer to a read of it. Errors fit the words "Vault at … …".
pub fn read_secret(status: u16, body: &[u8], secret: &VaultSecret) -> Result<SecretString, String> {
    let path = path(secret);
    let VaultSecret { engine, field, .. } = secret;
    match status {
        200 => {}
        403 => {
            return Err(format!(
                "denies {path} (403): the policy needs path \"{path}\" {{ capabilities = \
                 [\"read\"] }}, or the login has ended"
            ));
        }
        404 => {
            return Err(format!(
                "has nothing at {path} (404): check mount and path; KV v2 has /data/ after the \
                 mount, and a deleted version is not there"
            ));
        }
        status => return Err(refusal(status)),
    }
    let way: &[&str] = match engine {
        KvEngine::V1 => &["data", field],
        KvEngine::V2 => &["data", "data", field],
    };
    match pick(body, way) {
        Ok(Found::Text(value)) => Ok(value),
        Ok(Found::NoText) => Err(format!("has no text in the field {field} of {path}")),
        Ok(Found::Absent(names)) if names.is_empty() => {
            Err(format!("has no field {field} in {path}"))
        }
        Ok(Found::Absent(names)) => {
            Err(format!("has no field {field} in {path}; there are: {}", names.join(", ")))
        }
        Ok(Found::NoObject) => {
            Err(format!("has no fields at {path}: KV v2 has /data/ after the mount, KV v1 has not"))
        }
        Err(_) => Err(format!("gives no answer that can be read at {path}")),
    }
}

/// As Vault's policies write it.
fn path(secret: &VaultSecret) -> String {
    let shown = secret.to_string();
    shown.split('#').next().unwrap_or_default().to_owned()
}

/// Statuses that mean the same everywhere (Vault's HTTP API, "HTTP status codes").
fn refusal(status: u16) -> String {
    let what = match status {
        400 => "refuses the login (400): check the role and what proves it",
        403 => "denies the login (403): check the role and what proves it, and the namespace",
        404 => "has no such login method (404): check auth_mount and the namespace",
        429 => "asks for fewer requests (429)",
        300..400 => "redirects: set vault.address to the active node, not to a standby",
        472 | 473 => "is a standby that serves nobody: set vault.address to the active node",
        500..=502 | 504.. => "is in trouble",
        503 => "is sealed or in maintenance (503): unseal it",
        _ => "gives an unexpected answer",
    };
    if what.contains(&status.to_string()) { what.to_owned() } else { format!("{what} ({status})") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn secret(engine: KvEngine) -> VaultSecret {
        VaultSecret {
            engine,
            mount: "secret".to_owned(),
            path: "genesys".to_owned(),
            field: "client_secret".to_owned(),
        }
    }

    fn read(engine: KvEngine, status: u16, body: &str) -> Result<String, String> {
        read_secret(status, body.as_bytes(), &secret(engine))
            .map(|value| value.expose_secret().to_owned())
    }

    #[test]
    fn both_engines_answers_are_read() {
        let v1 = r#"{"data":{"client_secret":"S3cret"},"lease_duration":2764800}"#;
        let v2 = r#"{"data":{"data":{"client_secret":"S3cret"},"metadata":{"version":2}}}"#;
        assert_eq!(read(KvEngine::V1, 200, v1).unwrap(), "S3cret");
        assert_eq!(read(KvEngine::V2, 200, v2).unwrap(), "S3cret");
        // The engine's version mistaken: told so, and the metadata is not taken for the secret.
        assert!(read(KvEngine::V2, 200, v1).unwrap_err().contains("/data/"));
        let told = read(KvEngine::V1, 200, v2).unwrap_err();
        assert!(told.contains("there are: data, metadata"), "{told}");
    }

    #[test]
    fn each_refusal_says_what_to_do_and_repeats_nothing() {
        let planted =
            r#"{"errors":["S3cret"],"data":{"data":{"S3 cret":"S3cret","old":"S3cret"}}}"#;
        for (status, expected) in [
            (200, "has no field client_secret in secret/data/genesys; there are: old"),
            (307, "active node"),
            (403, "path \"secret/data/genesys\" { capabilities = [\"read\"] }"),
            (404, "nothing at secret/data/genesys (404)"),
            (429, "fewer requests"),
            (500, "trouble (500)"),
            (503, "unseal"),
            (418, "unexpected answer (418)"),
        ] {
            let told = read(KvEngine::V2, status, planted).unwrap_err();
            assert!(told.contains(expected) && !told.contains("S3"), "{status}: {told}");
        }
        for body in ["", "[]", "null", r#"{"data":null}"#, r#"{"data":{"data":null}}"#] {
            assert!(read(KvEngine::V2, 200, body).is_err(), "{body}");
        }
        let number = r#"{"data":{"data":{"client_secret":17}}}"#;
        assert!(read(KvEngine::V2, 200, number).unwrap_err().contains("no text"));
    }

    #[test]
    fn logins_and_lookups_tell_how_long() {
        let body = r#"{"auth":{"client_token":"hvs.x","lease_duration":60,"renewable":true}}"#;
        let auth = read_auth(200, body.as_bytes()).unwrap();
        assert_eq!(auth.token.expose_secret(), "hvs.x");
        let minute = Some(Duration::from_secs(60));
        assert_eq!(auth.grant, Grant { life: minute, renewable: true });
        for (body, expected) in [
            (r#"{"data":{"ttl":60,"renewable":false}}"#, Grant { life: minute, renewable: false }),
            (r#"{"data":{"ttl":60,"renewable":null}}"#, Grant { life: minute, renewable: false }),
            (r#"{"data":{"ttl":0}}"#, Grant { life: None, renewable: false }),
        ] {
            assert_eq!(read_lookup(200, body.as_bytes()).unwrap(), expected);
        }
        for body in ["", "{}", r#"{"auth":null}"#, r#"{"auth":{"client_token":"a\nb"}}"#] {
            assert!(read_auth(200, body.as_bytes()).is_err(), "{body}");
        }
        assert!(read_auth(400, b"").unwrap_err().contains("refuses the login"));
        assert!(read_lookup(200, b"{}").is_err());
    }

    proptest! {
        #[test]
        fn no_answer_panics(
            status in 100u16..1000,
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "\\{\"(auth|data)\":\\{\"(client_token|data|ttl)\":[ -~]{0,40}\\}\\}".prop_map(String::into_bytes),
            ],
        ) {
            for status in [status, 200] {
                for engine in [KvEngine::V1, KvEngine::V2] {
                    let read = read_secret(status, &body, &secret(engine));
                    prop_assert!(read.is_err() || status == 200);
                }
                if let Ok(auth) = read_auth(status, &body) {
                    prop_assert!(sendable(auth.token.expose_secret()));
                    prop_assert!(auth.grant.life.is_none_or(|life| life <= MAX_LIFE));
                }
                let _ = read_lookup(status, &body);
            }
        }
    }
}
