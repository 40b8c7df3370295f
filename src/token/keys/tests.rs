//! Key sets of all kinds, and when they are fetched.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair as RsaPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::decide::keys::COOL_DOWN;

/// A private key and its public half.
struct Pair {
    private: EncodingKey,
    public: Value,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// One for all tests: making one takes its time.
fn rsa() -> &'static Pair {
    static PAIR: std::sync::OnceLock<Pair> = std::sync::OnceLock::new();
    PAIR.get_or_init(|| {
        let pair = RsaPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = AsDer::as_der(&pair).unwrap();
        let body = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let private = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        let jwk = Jwk::from_encoding_key(&private, Algorithm::RS256).unwrap();
        let mut public = serde_json::to_value(jwk).unwrap();
        public.as_object_mut().unwrap().remove("alg");
        Pair { private, public }
    })
}

fn ec(p384: bool) -> Pair {
    let (curve, name, size) = if p384 {
        (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48)
    } else {
        (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32)
    };
    let pair = EcdsaKeyPair::generate(curve).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(size);
    Pair {
        private: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()),
        public: json!({ "kty": "EC", "crv": name, "x": b64(x), "y": b64(y) }),
    }
}

fn ed25519() -> Pair {
    let pair = Ed25519KeyPair::generate().unwrap();
    Pair {
        private: EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref()),
        public: json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key()) }),
    }
}

fn token(pair: &Pair, alg: Algorithm, kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(alg) };
    // Long over, and for somebody else: neither is what is asked here.
    encode(&header, &json!({ "exp": 1, "aud": "them" }), &pair.private).unwrap()
}

fn named(pair: &Pair, members: &Value) -> Value {
    let mut jwk = pair.public.clone();
    jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    jwk
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

#[test]
fn every_algorithm_is_verified_by_its_key_and_by_no_other() {
    let pairs = [
        (rsa(), &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256][..]),
        (rsa(), &[Algorithm::PS384, Algorithm::PS512]),
        (&ec(false), &[Algorithm::ES256]),
        (&ec(true), &[Algorithm::ES384]),
        (&ed25519(), &[Algorithm::EdDSA]),
    ];
    let others = set(&[ec(false).public, ec(true).public, ed25519().public]);
    for (pair, algorithms) in pairs {
        let keys = set(&[ec(false).public, ed25519().public, pair.public.clone()]);
        for &alg in algorithms {
            let token = token(pair, alg, None);
            assert!(keys.signed(&token), "{alg:?}");
            assert!(!others.signed(&token), "{alg:?}");
            let (message, signature) = token.rsplit_once('.').unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
            bytes[10] ^= 1;
            assert!(!keys.signed(&format!("{message}.{}", b64(bytes))), "{alg:?}");
        }
    }
}

#[test]
fn a_kid_points_to_its_key_alone() {
    let pair = ec(false);
    let keys =
        set(&[named(&pair, &json!({ "kid": "a" })), named(&ec(false), &json!({ "kid": "b" }))]);
    assert!(keys.signed(&token(&pair, Algorithm::ES256, Some("a"))));
    assert!(keys.signed(&token(&pair, Algorithm::ES256, None)));
    assert!(!keys.signed(&token(&pair, Algorithm::ES256, Some("b"))));
    assert!(!keys.signed(&token(&pair, Algorithm::ES256, Some("c"))));
}

#[test]
fn nothing_unsigned_and_nothing_signed_with_a_public_key_passes() {
    let keys = set(&[rsa().public.clone(), json!({ "kty": "oct", "k": b64("shared secret") })]);
    assert_eq!(keys.len(), 1, "an HMAC key is no key");
    let none = format!("{}.{}.", b64(r#"{"alg":"none"}"#), b64("{}"));
    assert!(!keys.signed(&none));
    for secret in [&b"shared secret"[..], rsa().public["n"].as_str().unwrap().as_bytes()] {
        let private = EncodingKey::from_secret(secret);
        let forged = encode(&Header::new(Algorithm::HS256), &json!({}), &private).unwrap();
        assert!(!keys.signed(&forged));
    }
}

#[test]
fn a_key_that_a_token_brings_along_or_points_to_is_not_looked_at() {
    let (ours, theirs) = (ec(false), ec(false));
    let keys = set(&[named(&ours, &json!({ "kid": "ours" }))]);
    let brought: Jwk = serde_json::from_value(theirs.public.clone()).unwrap();
    for (pair, is_ours) in [(&ours, true), (&theirs, false)] {
        let header = Header {
            kid: Some("ours".to_owned()),
            jwk: Some(brought.clone()),
            jku: Some("https://evil.example/keys".to_owned()),
            x5u: Some("https://evil.example/chain".to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        let token = encode(&header, &json!({}), &pair.private).unwrap();
        assert_eq!(keys.signed(&token), is_ours);
    }
}

#[test]
fn what_no_fetch_can_make_good_is_refuted_and_a_new_key_is_not() {
    let keys = Keys::default();
    let known = named(rsa(), &json!({ "kid": "known", "alg": "RS256" }));
    keys.replace(set(&[known]));
    let refuted = |alg, kid| keys.refute(&token(rsa(), alg, kid));
    assert!(refuted(Algorithm::RS512, Some("known")), "the key is for something else");
    assert!(!refuted(Algorithm::RS512, Some("new")));
    assert!(!refuted(Algorithm::RS256, None), "it may be a new key that has no name");
    assert!(keys.refute("a.b.c"));
    keys.replace(set(&[ec(false).public]));
    let unnamed = token(&ec(false), Algorithm::ES256, Some("new"));
    assert!(!keys.refute(&unnamed), "the key at hand may be another that has no name");
}

#[test]
fn a_key_that_is_no_longer_published_signs_nothing() {
    let (old, new) = (ec(false), ec(false));
    let keys = Keys::default();
    keys.replace(set(&[old.public.clone(), new.public.clone()]));
    let tokens = [&old, &new].map(|pair| token(pair, Algorithm::ES256, None));
    assert!(tokens.iter().all(|token| keys.signed(token)));
    keys.replace(set(&[new.public]));
    assert_eq!(tokens.map(|token| keys.signed(&token)), [false, true]);
}

#[test]
fn a_key_for_something_else_is_not_used() {
    let pair = ec(false);
    let good = token(&pair, Algorithm::ES256, None);
    assert!(set(&[named(&pair, &json!({ "use": "sig", "key_ops": ["verify"] }))]).signed(&good));
    for other in
        [json!({ "use": "enc" }), json!({ "key_ops": ["sign"] }), json!({ "alg": "ES384" })]
    {
        let keys = json!({ "keys": [named(&pair, &other)] }).to_string();
        assert!(KeySet::read(keys.as_bytes()).is_err(), "{keys}");
    }
    let only_ps256 = set(&[named(rsa(), &json!({ "alg": "PS256" }))]);
    assert!(only_ps256.signed(&token(rsa(), Algorithm::PS256, None)));
    assert!(!only_ps256.signed(&token(rsa(), Algorithm::RS256, None)));
}

#[test]
fn what_is_unusable_is_skipped_and_what_stands_there_twice_counts_once() {
    let pair = ec(false);
    let keys = set(&[
        json!(7),
        json!({}),
        json!({ "kty": "AKP", "alg": "ML-DSA-44" }),
        json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
        json!({ "kty": "RSA", "n": "!", "e": "AQAB" }),
        pair.public.clone(),
        pair.public.clone(),
    ]);
    assert_eq!(keys.len(), 1);
    let many: Vec<Value> =
        (0..150).map(|n| named(&pair, &json!({ "kid": n.to_string() }))).collect();
    assert_eq!(set(&many).len(), MAX_KEYS);
}

#[test]
fn what_holds_no_keys_is_an_error() {
    for body in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":{}}"#] {
        assert!(KeySet::read(body.as_bytes()).is_err(), "{body}");
    }
    assert!(KeySet::read(&vec![b' '; MAX_JWKS + 1]).unwrap_err().contains("larger"));
}

#[tokio::test(start_paused = true)]
async fn a_known_key_never_asks_and_an_unknown_one_at_most_once_in_thirty_seconds() {
    let (old, new) = (ec(false), ec(false));
    let old_set = set(&[named(&old, &json!({ "kid": "old" }))]);
    let new_set = set(&[named(&new, &json!({ "kid": "new" }))]);
    let keys = Keys::default();
    let fetches = AtomicUsize::new(0);
    let fetch = |answer: Result<&KeySet, &str>| {
        fetches.fetch_add(1, Ordering::Relaxed);
        std::future::ready(answer.cloned().map_err(str::to_owned))
    };
    let old = token(&old, Algorithm::ES256, Some("old"));
    let new = token(&new, Algorithm::ES256, Some("new"));

    let error = keys.verify(&old, || fetch(Err("down"))).await.unwrap_err();
    assert_eq!(error.kind, Kind::Jwks);
    assert!(error.why.contains("no key is known") && error.why.contains("down"), "{error}");
    keys.verify(&old, || fetch(Ok(&old_set))).await.unwrap();
    assert_eq!(fetches.load(Ordering::Relaxed), 2, "without keys every mint may ask");

    let dead = || -> std::future::Pending<Result<KeySet, String>> { panic!("nobody is asked") };
    keys.verify(&old, dead).await.unwrap();
    let error = keys.verify(&new, dead).await.unwrap_err();
    assert_eq!(error.kind, Kind::Signature);

    tokio::time::advance(COOL_DOWN).await;
    assert_eq!(keys.verify(&new, || fetch(Err("down"))).await.unwrap_err().kind, Kind::Jwks);
    keys.verify(&new, dead).await.unwrap_err();
    keys.verify(&old, dead).await.unwrap();
    tokio::time::advance(COOL_DOWN).await;
    keys.verify(&new, || fetch(Ok(&new_set))).await.unwrap();
    assert_eq!(fetches.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn mints_at_the_same_moment_share_a_fetch() {
    let pair = ec(false);
    let (keys, fetches) = (Keys::default(), AtomicUsize::new(0));
    let token = token(&pair, Algorithm::ES256, None);
    let known = set(&[pair.public]);
    let one = || {
        keys.verify(&token, || async {
            fetches.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(known.clone())
        })
    };
    let (first, second, third) = tokio::join!(one(), one(), one());
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
}

proptest! {
    #[test]
    fn no_set_and_no_token_panics(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "\\{\"keys\":\\[\\{\"kty\":\"(RSA|EC|OKP|oct)\",\"crv\":\"P-256\",\"n\":\"[A-Za-z0-9_-]{0,9}\",\"e\":\"AQ\",\"x\":\"[A-Za-z0-9_-]{0,44}\",\"y\":\"\"\\}\\]\\}".prop_map(String::into_bytes),
        ],
        token in "eyJhbGciOiJ(FUzI1NiJ9|SUzI1NiJ9|OUzI1NiJ9)\\.[A-Za-z0-9_.-]{0,90}",
    ) {
        if let Ok(keys) = KeySet::read(&body) {
            prop_assert!(!keys.is_empty());
            prop_assert!(!keys.signed(&token));
        }
    }
}
