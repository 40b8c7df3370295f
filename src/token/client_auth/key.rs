//! The key that signs assertions: a client secret, a PEM file or a JWK.
//! It never quotes any of it, whatever is wrong with it.

use std::fmt;

use aws_lc_rs::{
    hmac, rand,
    rsa::{KeyPairComponents, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde::Deserialize;

/// Why a key cannot sign. Never holds a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadKey(&'static str);

impl BadKey {
    /// The system has no random numbers.
    pub(super) fn no_randomness() -> Self {
        Self("the system gives no random numbers")
    }
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadKey {}

/// What signs, and by which algorithm (RFC 7518 section 3.1).
#[derive(Debug)]
enum Pair {
    /// HS256
    Secret(Box<hmac::Key>),
    /// RS256
    Rsa(RsaKeyPair),
    /// ES256
    P256(EcdsaKeyPair),
}

/// A key that can sign.
#[derive(Debug)]
pub struct SigningKey {
    pair: Pair,
    /// The `kid` of a JWK.
    id: Option<String>,
}

/// The private members of RFC 7518 section 6; what else a JWK may hold is not ours to judge.
#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    keys: Option<serde::de::IgnoredAny>,
    n: Option<SecretString>,
    e: Option<SecretString>,
    d: Option<SecretString>,
    p: Option<SecretString>,
    q: Option<SecretString>,
    dp: Option<SecretString>,
    dq: Option<SecretString>,
    qi: Option<SecretString>,
    x: Option<SecretString>,
    y: Option<SecretString>,
}

const NOT_RSA: &str = "is no RSA key of 2048 to 8192 bits";
const LACKS_RSA: &str = "is an RSA JWK that lacks one of n, e, d, p, q, dp, dq and qi";

impl SigningKey {
    /// HS256 with the bytes of a client secret.
    pub fn of_secret(secret: &SecretString) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        Self { pair: Pair::Secret(Box::new(key)), id: None }
    }

    /// A private key: PEM (PKCS#8, PKCS#1, SEC1) or a JWK.
    pub fn read(text: &SecretString) -> Result<Self, BadKey> {
        let text = text.expose_secret().trim();
        if text.starts_with('{') {
            let jwk = serde_json::from_str(text).map_err(|_| BadKey("is no JWK: not JSON"))?;
            return Self::of_jwk(jwk);
        }
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| not_pem(text))?;
        let pair = match &der {
            PrivateKeyDer::Pkcs1(der) => Pair::Rsa(
                RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| BadKey(NOT_RSA))?,
            ),
            PrivateKeyDer::Sec1(der) => {
                p256(|curve| EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der()).ok())?
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                match RsaKeyPair::from_pkcs8(der) {
                    Ok(pair) => Pair::Rsa(pair),
                    Err(_) => p256(|curve| EcdsaKeyPair::from_pkcs8(curve, der).ok())?,
                }
            }
            _ => return Err(BadKey("is in a format that is not supported: PKCS#8 is")),
        };
        Ok(Self { pair, id: None })
    }

    fn of_jwk(jwk: Jwk) -> Result<Self, BadKey> {
        if jwk.keys.is_some() {
            return Err(BadKey("is a set of JWKs: one of them is wanted"));
        }
        let pair = match jwk.kty.as_deref() {
            Some("RSA") => rsa_of_jwk(&jwk)?,
            Some("EC") => p256_of_jwk(&jwk)?,
            Some("oct") => {
                return Err(BadKey("is a symmetric JWK: that is client_auth = client_secret_jwt"));
            }
            Some(_) | None => return Err(BadKey("is a JWK whose kty is neither RSA nor EC")),
        };
        let key = Self { pair, id: jwk.kid };
        if jwk.alg.is_some_and(|alg| alg != key.algorithm()) {
            return Err(BadKey("is a JWK for another alg than RS256 or ES256"));
        }
        Ok(key)
    }

    /// `alg`
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Secret(_) => "HS256",
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
        }
    }

    /// The `kid` that a JWK brings.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// A JWT in compact form (RFC 7515 section 7.1).
    ///
    /// Not jsonwebtoken's: it takes EC keys as PKCS#8 only and no private JWK, so each kind of key
    /// would have to be written anew for it, while signing itself is one call.
    pub(super) fn sign(
        &self,
        header: &serde_json::Value,
        claims: &serde_json::Value,
    ) -> Result<String, BadKey> {
        let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let mut jwt = format!("{}.{}", part(header), part(claims));
        let failed = |_| BadKey("cannot sign");
        let random = rand::SystemRandom::new();
        let signature = match &self.pair {
            Pair::Secret(key) => hmac::sign(key, jwt.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, jwt.as_bytes(), &mut signature)
                    .map_err(failed)?;
                signature
            }
            Pair::P256(pair) => {
                pair.sign(&random, jwt.as_bytes()).map_err(failed)?.as_ref().to_vec()
            }
        };
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Ok(jwt)
    }
}

/// A P-256 key, or what it is instead.
fn p256(
    read: impl Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>,
) -> Result<Pair, BadKey> {
    if let Some(pair) = read(&ECDSA_P256_SHA256_FIXED_SIGNING) {
        return Ok(Pair::P256(pair));
    }
    let others = [&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED_SIGNING];
    if others.into_iter().any(|curve| read(curve).is_some()) {
        return Err(BadKey("is an EC key on another curve than P-256"));
    }
    Err(BadKey("is neither an RSA key of 2048 to 8192 bits nor an EC key on P-256"))
}

fn bytes(member: Option<&SecretString>) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE_NO_PAD.decode(member?.expose_secret().trim_end_matches('=')).ok().map(Zeroizing::new)
}

fn rsa_of_jwk(jwk: &Jwk) -> Result<Pair, BadKey> {
    let member = |member: &Option<SecretString>| bytes(member.as_ref()).ok_or(BadKey(LACKS_RSA));
    if jwk.d.is_none() {
        return Err(BadKey("is a public JWK: it has no d"));
    }
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: member(&jwk.n)?.to_vec(),
            e: member(&jwk.e)?.to_vec(),
        },
        d: member(&jwk.d)?,
        p: member(&jwk.p)?,
        q: member(&jwk.q)?,
        dP: member(&jwk.dp)?,
        dQ: member(&jwk.dq)?,
        qInv: member(&jwk.qi)?,
    };
    RsaKeyPair::from_components(&components).map(Pair::Rsa).map_err(|_| BadKey(NOT_RSA))
}

fn p256_of_jwk(jwk: &Jwk) -> Result<Pair, BadKey> {
    match jwk.crv.as_deref() {
        Some("P-256") => {}
        Some(_) => return Err(BadKey("is an EC key on another curve than P-256")),
        None => return Err(BadKey("is an EC JWK that lacks crv")),
    }
    if jwk.d.is_none() {
        return Err(BadKey("is a public JWK: it has no d"));
    }
    let coordinate = |member: &Option<SecretString>| {
        bytes(member.as_ref())
            .filter(|bytes| bytes.len() == 32)
            .ok_or(BadKey("is an EC JWK whose d, x and y are not 32 bytes each"))
    };
    let (d, x, y) = (coordinate(&jwk.d)?, coordinate(&jwk.x)?, coordinate(&jwk.y)?);
    let public = [&[4][..], x.as_slice(), y.as_slice()].concat();
    let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::from_private_key_and_public_key(curve, &d, &public)
        .map(Pair::P256)
        .map_err(|_| BadKey("is an EC JWK whose d does not belong to its x and y"))
}

/// What a text is that is no PEM private key.
fn not_pem(text: &str) -> BadKey {
    let has = |label: &str| text.contains(label);
    BadKey(if has("ENCRYPTED") {
        "is encrypted: openssl pkey -in … -out … removes the password"
    } else if has("-----BEGIN OPENSSH PRIVATE KEY") {
        "is in OpenSSH's own format: ssh-keygen -p -m PKCS8 -f … converts it"
    } else if has("-----BEGIN CERTIFICATE") {
        "is a certificate: its private key is wanted"
    } else if has("PUBLIC KEY-----") {
        "is a public key: the private one is wanted"
    } else if has("-----BEGIN ") {
        "is a PEM file without a readable private key"
    } else {
        "is neither PEM (-----BEGIN PRIVATE KEY-----) nor a JWK ({\"kty\": …})"
    })
}
