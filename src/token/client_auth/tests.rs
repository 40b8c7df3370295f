//! Each way of authentication, and each kind of key verified by its public half.

use aws_lc_rs::{
    encoding::{AsDer, Curve25519SeedBin, EcPrivateKeyBin, EcPrivateKeyRfc5915Der, Pkcs8V1Der},
    rsa::{KeyPair as RsaPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _,
    },
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, jwk::Jwk};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{SecretSource, Sources, load};

fn oauth(client_auth: &str) -> OAuth {
    let env = [
        ("GENESYS_CLIENT_ID", "an:id"),
        ("GENESYS_CLIENT_SECRET", "s e+c/ret"),
        ("GENESYS_PROXY__OAUTH__CLIENT_AUTH", client_auth),
        ("GENESYS_PROXY__OAUTH__EXTRA_PARAMS", "{ audience = 'a&b' }"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    load(&Sources { env, dir: "/nonexistent".into(), ..Sources::default() }).unwrap().oauth
}

fn here() -> Url {
    "https://login.example/oauth/token".parse().unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn proof(oauth: &OAuth, secret: &str) -> Result<Proof, BadKey> {
    let secret = SecretString::from(secret);
    let client = oauth.clients.first().unwrap();
    Prover { oauth, client, secret: &secret }.for_endpoint(&here(), now())
}

/// `private_key_jwt` with a `key_id`.
fn with_private_key() -> OAuth {
    let mut oauth = oauth("basic");
    oauth.client_auth = ClientAuth::PrivateKeyJwt;
    let key = SecretSource::File("/nowhere".into());
    oauth.clients[0].credentials =
        Credentials::PrivateKey { key, key_id: Some("by-configuration".to_owned()) };
    oauth
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn field<'p>(proof: &'p Proof, name: &str) -> &'p str {
    let found = proof.fields.iter().find(|(field, _)| *field == name);
    found.map(|(_, value)| value.expose_secret()).unwrap()
}

/// The assertion's header and claims, its signature verified.
fn verified(proof: &Proof, alg: Algorithm, key: &DecodingKey) -> (jsonwebtoken::Header, Value) {
    let mut validation = Validation::new(alg);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let token = decode::<Value>(field(proof, "client_assertion"), key, &validation).unwrap();
    (token.header, token.claims)
}

struct Rsa {
    pkcs8: String,
    pkcs1: String,
    public: DecodingKey,
}

/// One for all tests: making one takes its time.
fn rsa() -> &'static Rsa {
    static KEY: std::sync::OnceLock<Rsa> = std::sync::OnceLock::new();
    KEY.get_or_init(|| {
        let pair = RsaPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = AsDer::as_der(&pair).unwrap();
        let pkcs8 = pem("PRIVATE KEY", der.as_ref());
        let encoding = jsonwebtoken::EncodingKey::from_rsa_pem(pkcs8.as_bytes()).unwrap();
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::RS256).unwrap();
        Rsa {
            pkcs1: pem("RSA PRIVATE KEY", encoding.as_bytes()),
            pkcs8,
            public: DecodingKey::from_jwk(&jwk).unwrap(),
        }
    })
}

/// The integers of a PKCS#1 key in their order: version, n, e, d, p, q, dp, dq, qi.
fn integers(der: &[u8]) -> Vec<Vec<u8>> {
    fn length<'d>(der: &mut &'d [u8]) -> &'d [u8] {
        let (first, rest) = der[1..].split_first().unwrap();
        let long = usize::from(*first).checked_sub(0x80);
        let (digits, rest) = rest.split_at(long.unwrap_or(0));
        let size = match long {
            Some(_) => digits.iter().fold(0, |size, digit| size * 256 + usize::from(*digit)),
            None => usize::from(*first),
        };
        let (content, rest) = rest.split_at(size);
        *der = rest;
        content
    }
    let mut all = der;
    let mut inside = length(&mut all);
    let mut found = Vec::new();
    while !inside.is_empty() {
        let number = length(&mut inside);
        found.push(number.strip_prefix(&[0]).unwrap_or(number).to_vec());
    }
    found
}

#[test]
fn basic_form_encodes_id_and_secret_before_the_colon_joins_them() {
    let oauth = oauth("basic");
    let proof = proof(&oauth, "s e+c/ret").unwrap();
    let header = proof.authorization.as_ref().unwrap();
    assert!(header.is_sensitive());
    let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
    let decoded = STANDARD.decode(encoded).unwrap();
    assert_eq!(decoded, b"an%3Aid:s+e%2Bc%2Fret");
    assert_eq!(
        token_form(&oauth, &proof).expose_secret(),
        "grant_type=client_credentials&audience=a%26b",
        "no empty scope"
    );
}

#[test]
fn body_puts_id_and_secret_into_the_form() {
    let mut oauth = oauth("body");
    oauth.scope = vec!["one".to_owned(), "two".to_owned()];
    let proof = proof(&oauth, "s e+c/ret").unwrap();
    assert!(proof.authorization.is_none());
    assert_eq!(
        token_form(&oauth, &proof).expose_secret(),
        "grant_type=client_credentials&scope=one+two&audience=a%26b\
         &client_id=an%3Aid&client_secret=s+e%2Bc%2Fret"
    );
}

#[test]
fn a_certificate_needs_the_client_id_alone() {
    let mut oauth = oauth("basic");
    oauth.client_auth = ClientAuth::TlsClientAuth;
    let proof = proof(&oauth, "unused").unwrap();
    assert!(proof.authorization.is_none());
    assert_eq!(proof.form([]).expose_secret(), "client_id=an%3Aid");
}

#[test]
fn an_assertion_says_who_to_whom_and_for_how_long() {
    let oauth = oauth("client_secret_jwt");
    let made = proof(&oauth, "a secret").unwrap();
    assert_eq!(field(&made, "client_assertion_type"), ASSERTION_TYPE);
    assert_eq!(field(&made, "client_id"), "an:id");
    let key = DecodingKey::from_secret(b"a secret");
    let (header, claims) = verified(&made, Algorithm::HS256, &key);
    assert_eq!(header.kid, None);
    assert_eq!(claims["iss"], "an:id");
    assert_eq!(claims["sub"], "an:id");
    assert_eq!(claims["aud"], here().as_str());
    assert_eq!(claims["iat"], 1_700_000_000);
    assert_eq!(claims["exp"], 1_700_000_060);
    assert!(claims.get("nbf").is_none());
    let jti = URL_SAFE_NO_PAD.decode(claims["jti"].as_str().unwrap()).unwrap();
    assert_eq!(jti.len(), 16);
    let (_, another) = verified(&proof(&oauth, "a secret").unwrap(), Algorithm::HS256, &key);
    assert_ne!(claims["jti"], another["jti"], "used once");
    assert!(!made.form([]).expose_secret().contains("a+secret"));
}

#[test]
fn the_audience_can_be_the_issuer_instead_of_the_url() {
    let mut oauth = oauth("client_secret_jwt");
    oauth.assertion_audience = Some("https://issuer".to_owned());
    let made = proof(&oauth, "a secret").unwrap();
    let (_, claims) = verified(&made, Algorithm::HS256, &DecodingKey::from_secret(b"a secret"));
    assert_eq!(claims["aud"], "https://issuer");
}

#[test]
fn an_rsa_key_signs_in_every_format_it_comes_in() {
    let oauth = with_private_key();
    let der = STANDARD.decode(rsa().pkcs1.lines().nth(1).unwrap()).unwrap();
    let mut jwk = json!({ "kty": "RSA", "kid": "by-jwk", "alg": "RS256", "use": "sig" });
    let members = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
    for (member, number) in members.into_iter().zip(integers(&der).into_iter().skip(1)) {
        jwk[member] = b64(number).into();
    }
    for (text, kid) in [
        (rsa().pkcs8.clone(), "by-configuration"),
        (rsa().pkcs1.clone(), "by-configuration"),
        (format!("\n {jwk}\n"), "by-jwk"),
    ] {
        let made = proof(&oauth, &text).unwrap();
        let (header, _) = verified(&made, Algorithm::RS256, &rsa().public);
        assert_eq!(header.kid.as_deref(), Some(kid));
    }
}

#[test]
fn a_p256_key_signs_in_every_format_it_comes_in() {
    let oauth = with_private_key();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = pair.public_key().as_ref();
    let (x, y) = (b64(&public[1..33]), b64(&public[33..]));
    let sec1: EcPrivateKeyRfc5915Der<'_> = AsDer::as_der(&pair.private_key()).unwrap();
    let d: EcPrivateKeyBin<'_> =
        aws_lc_rs::encoding::AsBigEndian::as_be_bytes(&pair.private_key()).unwrap();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "d": b64(d.as_ref()), "x": x, "y": y });
    let key = DecodingKey::from_ec_components(&x, &y).unwrap();
    let sec1 = pem("EC PRIVATE KEY", sec1.as_ref());
    for text in [
        pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref()),
        // As `openssl ecparam -genkey` writes it.
        format!(
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{sec1}"
        ),
        sec1,
        jwk.to_string(),
    ] {
        let made = proof(&oauth, &text).unwrap();
        let (header, _) = verified(&made, Algorithm::ES256, &key);
        assert_eq!(header.kid.as_deref(), Some("by-configuration"));
    }
}

#[test]
fn what_cannot_sign_says_what_it_is() {
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let seed: Curve25519SeedBin<'_> =
        aws_lc_rs::encoding::AsBigEndian::as_be_bytes(&ed25519.seed().unwrap()).unwrap();
    assert_eq!(seed.as_ref().len(), 32);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
    for (text, says) in [
        (pem("PRIVATE KEY", p384.to_pkcs8v1().unwrap().as_ref()), "another curve than P-256"),
        (pem("PRIVATE KEY", ed25519.to_pkcs8v1().unwrap().as_ref()), "neither an RSA key"),
        (pem("PRIVATE KEY", b"S3CR3T"), "neither an RSA key"),
        (pem("RSA PRIVATE KEY", b"S3CR3T"), "is no RSA key"),
        (pem("PUBLIC KEY", b"S3CR3T"), "is a public key"),
        (pem("CERTIFICATE", b"S3CR3T"), "is a certificate"),
        (pem("OPENSSH PRIVATE KEY", b"S3CR3T"), "OpenSSH"),
        (encrypted.to_owned(), "is encrypted"),
        ("S3CR3T".to_owned(), "neither PEM"),
        (String::new(), "neither PEM"),
        ("{S3CR3T".to_owned(), "not JSON"),
        (json!({ "keys": [] }).to_string(), "a set of JWKs"),
        (json!({ "kty": "oct", "k": "S3CR3T" }).to_string(), "symmetric"),
        (json!({ "kty": "OKP", "d": "S3CR3T" }).to_string(), "neither RSA nor EC"),
        (json!({ "kty": "RSA", "n": "AA", "e": "AQAB" }).to_string(), "public JWK"),
        (json!({ "kty": "RSA", "n": "AA", "e": "AQAB", "d": "AA" }).to_string(), "lacks one of"),
        (json!({ "kty": "EC", "crv": "P-521", "d": "AA" }).to_string(), "another curve"),
        (json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }).to_string(), "public JWK"),
        (json!({ "kty": "EC", "crv": "P-256", "d": "S3CR3T" }).to_string(), "32 bytes"),
        (
            json!({ "kty": "EC", "crv": "P-256", "d": "AA", "x": "AA", "y": "AA" }).to_string(),
            "32 bytes",
        ),
        (
            json!({ "kty": "EC", "crv": "P-256", "d": b64([1; 32]), "x": b64([1; 32]), "y": b64([1; 32]) })
                .to_string(),
            "does not belong",
        ),
    ] {
        let error = proof(&with_private_key(), &text).err().expect(says).to_string();
        assert!(error.contains(says), "{error} instead of {says}");
        assert!(!error.contains("S3CR3T"), "{error}");
    }
}

#[test]
fn a_jwk_for_another_algorithm_is_refused() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = pair.public_key().as_ref();
    let d: EcPrivateKeyBin<'_> =
        aws_lc_rs::encoding::AsBigEndian::as_be_bytes(&pair.private_key()).unwrap();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "alg": "ECDH-ES",
        "d": b64(d.as_ref()), "x": b64(&public[1..33]), "y": b64(&public[33..]),
    });
    let error = proof(&with_private_key(), &jwk.to_string()).err().unwrap();
    assert!(error.to_string().contains("another alg"), "{error}");
}

proptest! {
    #[test]
    fn no_key_panics_and_no_error_repeats_it(
        text in prop_oneof![
            "\\PC{0,80}",
            "\\{\"kty\":\"(RSA|EC)\",\"crv\":\"P-256\",\"d\":\"[A-Za-z0-9_-]{0,44}\",\"x\":\"[A-Za-z0-9_-]{43}\"\\}",
            "[A-Za-z0-9+/]{4,60}".prop_map(|body| format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----")),
        ],
    ) {
        let planted = SecretString::from(format!("{text}S3CR3T"));
        if let Err(error) = SigningKey::read(&planted) {
            prop_assert!(!error.to_string().contains("S3CR3T"));
        }
        let _ = SigningKey::read(&text.into());
    }

    #[test]
    fn every_secret_makes_a_form_that_reads_back(id in "\\PC{1,20}", secret in "\\PC{1,40}") {
        let mut oauth = oauth("body");
        id.clone_into(&mut oauth.clients[0].id);
        let form = proof(&oauth, &secret).unwrap().form([]);
        let read: Vec<_> = form_urlencoded::parse(form.expose_secret().as_bytes()).collect();
        prop_assert_eq!(&read[0].1, &id);
        prop_assert_eq!(&read[1].1, &secret);
    }
}
