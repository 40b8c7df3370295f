//! Tokens that an identity provider did not mean for this gateway, or not now: each differs in one
//! thing from one that is taken (threats T38, T39).

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    gateway::PATIENCE,
    raw::{Caller, Peer, Stage, grants, ok, start},
};

const ISSUER: &str = "https://identity.example";
const AUDIENCE: &str = "urn:gateway";

/// A key that signs, and its public half.
struct Key {
    private: EncodingKey,
    public: Value,
}

impl Key {
    fn new(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": b64(x), "y": b64(y) });
        Self { private: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()), public }
    }

    fn signs(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.private).unwrap()
    }
}

/// In seconds, so far from now.
fn at(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

fn es256(kid: &str) -> Header {
    Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "pod", "exp": at(600) })
}

/// The same, but for one claim; without it, if it is null.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let all = claims.as_object_mut().unwrap();
    match value {
        Value::Null => drop(all.remove(name)),
        value => drop(all.insert(name.to_owned(), value)),
    }
    claims
}

/// What an answer of `jwks_url` holds.
fn jwks(keys: &[&Key]) -> String {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.public).collect();
    json!({ "keys": keys }).to_string()
}

/// Callers must be known by a token of the provider at this URL.
fn settings(provider: &str) -> String {
    format!(
        "access.mode = \"key\"\njwt.issuer = \"{ISSUER}\"\njwt.audience = \"{AUDIENCE}\"\n\
         jwt.jwks_url = \"{provider}/jwks\"\n[[caller]]\nname = \"pod\"\n\
         claims = {{ sub = \"pod\" }}\n"
    )
}

/// Where callers must be known by a token of the provider's, whose keys are these.
fn stage(keys: &[&Key]) -> (Stage, Peer) {
    let keys = jwks(keys);
    stage_of(move || keys.clone())
}

/// The same, with what it publishes at the moment.
fn stage_of(keys: impl Fn() -> String + Send + Sync + 'static) -> (Stage, Peer) {
    let provider = Peer::start(move |line| {
        while line.request().is_some() {
            line.send(&ok(&keys()));
        }
    });
    let stage = Stage::with(&settings(&provider.url()), |line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    provider.wait_for_requests(1);
    (stage, provider)
}

fn status(stage: &Stage, token: &str) -> u16 {
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer";
    stage.call(format!("{head} {token}\r\n\r\n")).status
}

/// Until the keys are there, nobody's token can be judged.
fn until_taken(stage: &Stage, token: &str) {
    let deadline = Instant::now() + PATIENCE;
    while status(stage, token) != 200 {
        assert!(Instant::now() < deadline, "{}", stage.gateway().log());
    }
}

#[test]
fn what_differs_in_one_thing_from_a_good_token_opens_nothing() {
    let (ours, other) = (Key::new("ours"), Key::new("other"));
    let (stage, _provider) = stage(&[&ours, &other]);
    until_taken(&stage, &ours.signs(&es256("ours"), &claims()));
    for good in [
        with("aud", json!(["urn:other", AUDIENCE])),
        with("nbf", json!(at(-1))),
        with("exp", json!(at(-5))),
    ] {
        let told = "within what two clocks may differ";
        assert_eq!(status(&stage, &ours.signs(&es256("ours"), &good)), 200, "{good} {told}");
    }
    for (name, value) in [
        ("iss", json!("https://identity.example.evil")),
        ("iss", json!([ISSUER])),
        ("iss", Value::Null),
        ("aud", json!("urn:other")),
        ("aud", json!(["urn:other"])),
        ("aud", json!({ AUDIENCE: AUDIENCE })),
        ("aud", Value::Null),
        ("exp", json!(at(-60))),
        ("exp", json!(0)),
        ("exp", json!("9999999999")),
        ("exp", Value::Null),
        ("nbf", json!(at(120))),
        ("nbf", json!("soon")),
        ("sub", json!("other")),
        ("sub", Value::Null),
    ] {
        let bad = with(name, value);
        assert_eq!(status(&stage, &ours.signs(&es256("ours"), &bad)), 401, "{bad}");
    }
}

#[test]
fn no_header_makes_a_token_of_somebody_elses_a_good_one() {
    let (ours, other, theirs) = (Key::new("ours"), Key::new("other"), Key::new("ours"));
    let (stage, _provider) = stage(&[&ours, &other]);
    until_taken(&stage, &ours.signs(&es256("ours"), &claims()));
    // Where they would be fetched, if anybody believed it.
    let public = json!({ "keys": [theirs.public] }).to_string();
    let evil = Peer::start(move |line| {
        while line.request().is_some() {
            line.send(&ok(&public));
        }
    });
    let url = format!("{}/keys", evil.url());
    let brought = Header {
        jwk: Some(serde_json::from_value(theirs.public.clone()).unwrap()),
        jku: Some(url.clone()),
        x5u: Some(url),
        ..es256("ours")
    };
    let critical = |token: &str| {
        let (_, rest) = token.split_once('.').unwrap();
        let (payload, _) = rest.split_once('.').unwrap();
        let header = json!({ "alg": "ES256", "kid": "ours", "crit": ["b64"], "b64": false });
        let message = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &ours.private, Algorithm::ES256);
        format!("{message}.{}", signature.unwrap())
    };
    let unsigned = |alg: &str, signature: &str| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{signature}", part(&json!({ "alg": alg, "kid": "ours" })), part(&claims()))
    };
    let hmac = |secret: &[u8]| {
        let header = Header { alg: Algorithm::HS256, ..es256("ours") };
        encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    let x = ours.public["x"].as_str().unwrap();
    let good = ours.signs(&es256("ours"), &claims());
    for (what, token) in [
        ("another's key", theirs.signs(&es256("ours"), &claims())),
        ("a key that came along", theirs.signs(&brought, &claims())),
        ("the name of another key", ours.signs(&es256("other"), &claims())),
        ("an extension that must be understood", critical(&good)),
        ("alg none", unsigned("none", "")),
        ("alg none with a signature", unsigned("none", "x")),
        ("alg NONE", unsigned("NONE", "x")),
        ("HMAC with the public key", hmac(x.as_bytes())),
        ("HMAC with its bytes", hmac(&URL_SAFE_NO_PAD.decode(x).unwrap())),
        ("HMAC with all of it", hmac(ours.public.to_string().as_bytes())),
    ] {
        assert_eq!(status(&stage, &token), 401, "{what}");
    }
    assert_eq!(status(&stage, &good), 200);
    assert_eq!(evil.connections(), 0);
}

#[test]
fn a_token_that_was_taken_opens_no_longer_when_it_is_over() {
    let ours = Key::new("ours");
    let (stage, _provider) = stage(&[&ours]);
    until_taken(&stage, &ours.signs(&es256("ours"), &claims()));
    // Of the thirty seconds that two clocks may differ by, so many are left.
    let left = Duration::from_secs(3);
    let short = ours.signs(&es256("ours"), &with("exp", json!(at(-27))));
    let begun = Instant::now();
    assert_eq!(status(&stage, &short), 200);
    while status(&stage, &short) == 200 {
        assert!(begun.elapsed() < left + Duration::from_secs(5), "it opens for ever");
    }
    assert_eq!(status(&stage, &short), 401);
}

#[test]
fn where_keys_have_no_names_a_new_one_is_fetched_when_it_is_met() {
    let unnamed = || {
        let mut key = Key::new("");
        key.public.as_object_mut().unwrap().remove("kid");
        key
    };
    let (old, new) = (unnamed(), unnamed());
    let published = Arc::new(Mutex::new(jwks(&[&old])));
    let shown = Arc::clone(&published);
    let (stage, _provider) = stage_of(move || shown.lock().unwrap().clone());
    let header = Header::new(Algorithm::ES256);
    until_taken(&stage, &old.signs(&header, &claims()));
    *published.lock().unwrap() = jwks(&[&new]);
    until_taken(&stage, &new.signs(&header, &claims()));
    assert_ne!(status(&stage, &old.signs(&header, &claims())), 200, "it is withdrawn");
}

#[test]
fn a_crowd_that_waits_for_a_provider_that_never_answers_is_bounded_and_holds_up_no_end() {
    // The system connects them, and nobody reads.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let (api, login) = (Peer::start(|_| {}), Peer::start(grants));
    let told = format!("shutdown_timeout = \"1s\"\n{}", settings(&url));
    let mut gateway = start(&told, &api.url(), &login);
    let stranger = Key::new("made up");
    let token = stranger.signs(&es256("made up"), &claims());
    let call =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let crowd: Vec<Caller> = (0..300)
        .map(|_| {
            let mut caller = Caller::connect(gateway.address);
            caller.send(&call);
            caller
        })
        .collect();
    // There is room for 256; they wait for the fetch that began at the start.
    gateway.wait_for_logs("code=proxy.caller.crowd", 44);
    gateway.signal("TERM");
    let begun = Instant::now();
    gateway.wait();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!gateway.log().contains("tasks did not end"));
    drop(crowd);
}
