//! Access tokens as JWTs, signed with RS256 under a key that lives as long as the simulator.
//! It must never use a key that is written down anywhere.

use std::{fmt, io};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation, decode, encode,
    jwk::{Jwk, JwkSet},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::options::Client;

/// Name of the one key.
const KEY_ID: &str = "simulator";

/// Signs access tokens.
pub(super) struct Signer {
    key: EncodingKey,
    /// The public key, for `/oauth/jwks`.
    pub(super) keys: JwkSet,
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Signer").finish_non_exhaustive()
    }
}

/// What an access token says.
#[derive(Debug, Serialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aud: Option<String>,
    pub(super) scope: String,
    pub(super) iat: u64,
    pub(super) exp: u64,
    pub(super) jti: String,
}

impl Signer {
    /// Makes a key.
    pub(super) fn generate() -> io::Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(io::Error::other)?;
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64_STANDARD.encode(der.as_ref())
        );
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(io::Error::other)?;
        let mut public =
            Jwk::from_encoding_key(&key, Algorithm::RS256).map_err(io::Error::other)?;
        public.common.key_id = Some(KEY_ID.to_owned());
        Ok(Self { key, keys: JwkSet { keys: vec![public] } })
    }

    /// An access token that says this.
    pub(super) fn sign(&self, claims: &Claims) -> io::Result<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(KEY_ID.to_owned());
        encode(&header, claims, &self.key).map_err(io::Error::other)
    }
}

/// Who signed a client assertion (RFC 7523).
#[derive(Debug, Deserialize)]
struct Assertion {
    sub: String,
}

/// The client id that an assertion claims, before anything is checked.
pub(super) fn claimed_client(assertion: &str) -> Option<String> {
    let claims = jsonwebtoken::dangerous::insecure_decode::<Assertion>(assertion).ok()?;
    Some(claims.claims.sub)
}

/// Whether this client made the assertion, with its secret (`client_secret_jwt`) or its private
/// key (`private_key_jwt`), and it is not expired. It must name an audience; any will do, because
/// nobody knows under which name this port is reached.
pub(super) fn asserted(assertion: &str, client: &Client) -> bool {
    let Ok(header) = jsonwebtoken::decode_header(assertion) else { return false };
    let Some(key) = key_of(client, header.alg) else { return false };
    let mut rules = Validation::new(header.alg);
    rules.validate_aud = false;
    rules.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
    decode::<Assertion>(assertion, &key, &rules).is_ok()
}

/// The key for this algorithm: a public key never stands in for a secret.
fn key_of(client: &Client, algorithm: Algorithm) -> Option<DecodingKey> {
    let public = client.public_key.as_deref().unwrap_or_default().as_bytes();
    match algorithm.family() {
        AlgorithmFamily::Hmac => {
            Some(DecodingKey::from_secret(client.secret.expose_secret().as_bytes()))
        }
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(public).ok(),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(public).ok(),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(public).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_verifies_under_the_published_key() {
        let signer = Signer::generate().unwrap();
        let claims = Claims {
            iss: "http://127.0.0.1".to_owned(),
            sub: "demo".to_owned(),
            client_id: "demo".to_owned(),
            aud: None,
            scope: "users".to_owned(),
            iat: 1,
            exp: u64::from(u32::MAX),
            jti: "1".to_owned(),
        };
        let token = signer.sign(&claims).unwrap();
        let key = DecodingKey::from_jwk(signer.keys.find(KEY_ID).unwrap()).unwrap();
        let read = decode::<serde_json::Value>(&token, &key, &Validation::new(Algorithm::RS256));
        assert_eq!(read.unwrap().claims["scope"], "users");
    }

    fn assertion(header: Algorithm, key: &EncodingKey) -> String {
        let claims = serde_json::json!({
            "iss": "demo", "sub": "demo", "aud": "login", "exp": u32::MAX, "jti": "1",
        });
        encode(&Header::new(header), &claims, key).unwrap()
    }

    #[test]
    fn an_assertion_is_checked_with_the_clients_secret() {
        let made = assertion(Algorithm::HS256, &EncodingKey::from_secret(b"secret"));
        assert_eq!(claimed_client(&made).as_deref(), Some("demo"));
        assert!(asserted(&made, &Client::new("demo", "secret")));
        assert!(!asserted(&made, &Client::new("demo", "another")));
    }

    #[test]
    fn an_assertion_is_checked_with_the_clients_public_key() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let private = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let public = pair.public_key_pem();
        let made = assertion(Algorithm::ES256, &private);
        let client = Client { public_key: Some(public.clone()), ..Client::new("demo", "secret") };
        assert!(asserted(&made, &client));
        assert!(!asserted(&made, &Client::new("demo", "secret")));
        let forged = assertion(Algorithm::HS256, &EncodingKey::from_secret(public.as_bytes()));
        assert!(!asserted(&forged, &client));
    }
}
