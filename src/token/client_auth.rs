//! How a client proves who it is: at the token endpoint, at introspection and at revocation.
//! It never puts a secret where a log could find it: form and header are typed as secrets.

pub mod key;

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use url::{Url, form_urlencoded};

use crate::{
    config::{ClientAuth, Credentials, OAuth, OAuthClient},
    secret::wiped,
};
use key::{BadKey, SigningKey};

/// How long an assertion is good: long enough for a slow request, too short to be worth stealing.
const ASSERTION_LIFE: Duration = Duration::from_secs(60);
/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client at one moment: who it is, and what it has to prove it with.
#[derive(Debug, Clone, Copy)]
pub struct Prover<'a> {
    /// The way, and the audience.
    pub oauth: &'a OAuth,
    /// Who.
    pub client: &'a OAuthClient,
    /// The secret or the private key as text, as it is now; not looked at with `tls_client_auth`.
    pub secret: &'a SecretString,
}

/// What one request carries to prove who it is from. Good for that request only: an assertion
/// names its endpoint, and its id is used once.
pub struct Proof {
    /// `Authorization`, marked sensitive, when the way of authentication uses it.
    pub authorization: Option<HeaderValue>,
    /// Fields for the form.
    pub fields: Vec<(&'static str, SecretString)>,
}

impl Prover<'_> {
    /// The proof for a request to `endpoint`. `now` is the time of day: assertions carry it.
    pub fn for_endpoint(self, endpoint: &Url, now: SystemTime) -> Result<Proof, BadKey> {
        let id = || ("client_id", SecretString::from(self.client.id.clone()));
        let asserted = |key: &SigningKey| -> Result<Proof, BadKey> {
            let assertion = self.assertion(key, endpoint, now)?;
            Ok(Proof {
                authorization: None,
                fields: vec![
                    id(),
                    ("client_assertion_type", ASSERTION_TYPE.into()),
                    ("client_assertion", assertion.into()),
                ],
            })
        };
        match self.oauth.client_auth {
            // Form-encoded first, as RFC 6749 section 2.3.1 wants it: ids and secrets may hold a
            // colon.
            ClientAuth::Basic => Ok(Proof {
                authorization: Some(basic(&self.client.id, self.secret)),
                fields: Vec::new(),
            }),
            ClientAuth::Body => Ok(Proof {
                authorization: None,
                fields: vec![id(), ("client_secret", self.secret.clone())],
            }),
            ClientAuth::ClientSecretJwt => asserted(&SigningKey::of_secret(self.secret)),
            ClientAuth::PrivateKeyJwt => asserted(&SigningKey::read(self.secret)?),
            ClientAuth::TlsClientAuth => Ok(Proof { authorization: None, fields: vec![id()] }),
        }
    }

    /// RFC 7523 section 3. No `nbf`: it adds nothing but one more way to fail by a skewed clock.
    fn assertion(
        self,
        key: &SigningKey,
        endpoint: &Url,
        now: SystemTime,
    ) -> Result<String, BadKey> {
        let seconds = |at: Duration| at.as_secs();
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut header = serde_json::json!({ "alg": key.algorithm(), "typ": "JWT" });
        let configured = match &self.client.credentials {
            Credentials::PrivateKey { key_id, .. } => key_id.as_deref(),
            Credentials::Secret { .. } | Credentials::Certificate => None,
        };
        if let (Some(kid), Some(header)) = (key.id().or(configured), header.as_object_mut()) {
            header.insert("kid".to_owned(), kid.into());
        }
        let audience = self.oauth.assertion_audience.as_deref().unwrap_or(endpoint.as_str());
        let claims = serde_json::json!({
            "iss": self.client.id,
            "sub": self.client.id,
            "aud": audience,
            "jti": unique()?,
            "iat": seconds(now),
            "exp": seconds(now + ASSERTION_LIFE),
        });
        key.sign(&header, &claims)
    }
}

/// 128 random bits.
fn unique() -> Result<String, BadKey> {
    let mut bits = [0; 16];
    rand::fill(&mut bits).map_err(|_| BadKey::no_randomness())?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

impl Proof {
    /// The form body of a request: its own fields, then ours.
    pub fn form<'f>(&self, fields: impl IntoIterator<Item = (&'f str, &'f str)>) -> SecretString {
        let fields: Vec<_> = fields.into_iter().collect();
        let ours = self.fields.iter().map(|(name, value)| (*name, value.expose_secret()));
        // A byte takes three at most, and two separate. It never moves: what is left behind by a
        // text that grows is not zeroed.
        let room =
            fields.iter().copied().chain(ours.clone()).map(|(n, v)| 3 * (n.len() + v.len()) + 2);
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(room.sum()));
        form.extend_pairs(fields);
        form.extend_pairs(ours);
        let form = Zeroizing::new(form.finish());
        form.as_str().into()
    }
}

/// The form of the client-credentials request of RFC 6749 section 4.4.2.
pub fn token_form(oauth: &OAuth, proof: &Proof) -> SecretString {
    let scope = oauth.scope.join(" ");
    let mut fields = vec![("grant_type", "client_credentials")];
    if !scope.is_empty() {
        fields.push(("scope", &scope));
    }
    fields.extend(oauth.extra_params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    proof.form(fields)
}

fn basic(id: &str, secret: &SecretString) -> HeaderValue {
    let pair = wiped::joined(&[&*encode(id), ":", &*encode(secret.expose_secret())]);
    // Four for three, and a last group.
    let mut encoded = Zeroizing::new(String::with_capacity(pair.len() / 3 * 4 + 4));
    STANDARD.encode_string(&*pair, &mut encoded);
    wiped::field(&["Basic ", &*encoded]).expect("base64 is visible ASCII")
}

fn encode(text: &str) -> Zeroizing<String> {
    // A byte takes three at most.
    let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
    encoded.extend(form_urlencoded::byte_serialize(text.as_bytes()));
    encoded
}

#[cfg(test)]
mod tests;
