//! The authorization server that the gateway is tested with, without the gateway: it lets in who is
//! right and nobody else. No test here must ever pass because the server is lenient: then those of
//! the gateway prove nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::support::{Answer, Oidc, front::Authority, world};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Asks for a token with these fields besides the grant's.
async fn login(caller: &reqwest::Client, server: &str, fields: &[(&str, &str)]) -> Answer {
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend_from_slice(fields);
    Answer::of(caller.post(format!("{server}/token")).form(&form).send().await.unwrap()).await
}

#[tokio::test]
async fn a_changed_secret_is_the_only_right_one() {
    let oidc = Oidc::start();
    let (id, former) = oidc.credentials("post");
    oidc.set_secret("post", "new").await;
    for (secret, status) in [(former, 401), ("new", 200)] {
        let fields = [("client_id", id), ("client_secret", secret)];
        assert_eq!(login(&world::client(), &oidc.issuer, &fields).await.status, status);
    }
}

/// Signs in as `client` by an assertion; the first use is right, and no other is.
async fn asserts(oidc: &Oidc, client: &str, algorithm: Algorithm, key: &EncodingKey) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let sign = |audience: &str, jti: &str| {
        let claims = json!({
            "iss": client, "sub": client, "aud": audience, "jti": jti, "iat": now, "exp": now + 60,
        });
        jsonwebtoken::encode(&Header::new(algorithm), &claims, key).unwrap()
    };
    let token_url = format!("{}/token", oidc.issuer);
    let (right, other) = (sign(&token_url, "1"), sign(&oidc.issuer, "2"));
    let mut wrong = sign(&token_url, "3");
    wrong.replace_range(wrong.len() - 8..wrong.len() - 4, "AAAA");
    let elsewhere = sign("http://127.0.0.1/token", "4");
    let tries = [(&right, 200), (&right, 401), (&other, 200), (&wrong, 401), (&elsewhere, 401)];
    for (number, (assertion, status)) in tries.into_iter().enumerate() {
        let fields = [("client_assertion_type", TYPE), ("client_assertion", assertion)];
        let answer = login(&world::client(), &oidc.issuer, &fields).await;
        assert_eq!(answer.status, status, "{number}: {}", answer.body);
    }
}

#[tokio::test]
async fn an_assertion_works_once_and_only_if_it_is_for_this_server_and_well_signed() {
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let keys = json!({"rs256": rsa.public_key_pem(), "es256": ec.public_key_pem()});
    let oidc = Oidc::with(&json!({"keys": keys}));
    let (_, secret) = oidc.credentials("hs256");
    let (rsa, ec) = (rsa.serialize_pem(), ec.serialize_pem());
    let rsa = EncodingKey::from_rsa_pem(rsa.as_bytes()).unwrap();
    let ec = EncodingKey::from_ec_pem(ec.as_bytes()).unwrap();
    let shared = EncodingKey::from_secret(secret.as_bytes());
    asserts(&oidc, "hs256", Algorithm::HS256, &shared).await;
    asserts(&oidc, "rs256", Algorithm::RS256, &rsa).await;
    asserts(&oidc, "es256", Algorithm::ES256, &ec).await;
}

#[tokio::test]
async fn a_certificate_is_a_login_if_a_trusted_authority_gave_it_to_the_right_name() {
    let (trusted, other) = (Authority::new(), Authority::new());
    let (key, cert) = trusted.issue("127.0.0.1");
    let oidc = Oidc::with(&json!({"tls": {"key": key, "cert": cert, "ca": trusted.pem()}}));
    let root = reqwest::Certificate::from_pem(trusted.pem().as_bytes()).unwrap();
    let shown = [
        (Some(trusted.issue("gateway.test")), 200),
        (Some(trusted.issue("other.test")), 401),
        (Some(other.issue("gateway.test")), 401),
        (None, 401),
    ];
    for (number, (shown, status)) in shown.into_iter().enumerate() {
        let mut caller = reqwest::Client::builder().no_proxy().tls_certs_only([root.clone()]);
        if let Some((key, cert)) = shown {
            let pem = [cert, key].concat();
            caller = caller.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        let server = oidc.tls.as_deref().unwrap();
        let answer = login(&caller.build().unwrap(), server, &[("client_id", "tls")]).await;
        assert_eq!(answer.status, status, "{number}: {}", answer.body);
    }
}

/// A token of the client "post".
async fn token(oidc: &Oidc, resource: &str) -> String {
    let (id, secret) = oidc.credentials("post");
    let fields = [("client_id", id), ("client_secret", secret), ("resource", resource)];
    let answer = login(&world::client(), &oidc.issuer, &fields).await.json();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// The ids of the keys that the server publishes.
async fn published(oidc: &Oidc) -> Vec<Value> {
    let url = format!("{}/jwks", oidc.issuer);
    let keys = Answer::of(world::client().get(url).send().await.unwrap()).await.json();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
}

#[tokio::test]
async fn a_rotated_key_signs_at_once_and_the_api_believes_the_former_too() {
    let oidc = Oidc::start();
    let key_of = |token: &str| json!(jsonwebtoken::decode_header(token).unwrap().kid);
    let former = token(&oidc, "urn:jwt").await;
    oidc.rotate(false).await;
    let newer = token(&oidc, "urn:jwt").await;
    assert_eq!(published(&oidc).await, [key_of(&newer), key_of(&former)]);
    oidc.rotate(true).await;
    let newest = token(&oidc, "urn:jwt").await;
    assert_eq!(published(&oidc).await, [key_of(&newest)]);
    for token in [&former, &newer, &newest] {
        assert_eq!(oidc.status_of(token).await, 200);
    }
}

#[tokio::test]
async fn a_dead_token_is_refused_whether_revoked_expired_or_made_up() {
    let oidc = Oidc::start();
    for resource in ["urn:opaque", "urn:jwt"] {
        let (first, second) = (token(&oidc, resource).await, token(&oidc, resource).await);
        assert_eq!((oidc.status_of(&first).await, oidc.status_of(&second).await), (200, 200));
        oidc.revoke_newest().await;
        assert_eq!((oidc.status_of(&first).await, oidc.status_of(&second).await), (200, 401));
        oidc.set(json!({"clockSkew": 3601})).await;
        assert_eq!(oidc.status_of(&first).await, 401);
        oidc.set(json!({"clockSkew": 0})).await;
        assert_eq!(oidc.status_of(&first).await, 200);
        oidc.revoke().await;
        assert_eq!(oidc.status_of(&first).await, 401);
        let mut made_up = token(&oidc, resource).await;
        made_up.replace_range(made_up.len() - 8..made_up.len() - 4, "AAAA");
        assert_eq!(oidc.status_of(&made_up).await, 401);
    }
}

/// Introspection (RFC 7662) or revocation (RFC 7009) of a token by the client that got it.
async fn about(oidc: &Oidc, endpoint: &str, token: &str) -> Answer {
    let (id, secret) = oidc.credentials("post");
    let form = [("token", token), ("client_id", id), ("client_secret", secret)];
    let url = format!("{}/token/{endpoint}", oidc.issuer);
    Answer::of(world::client().post(url).form(&form).send().await.unwrap()).await
}

#[tokio::test]
async fn an_opaque_token_can_be_introspected_and_revoked_and_a_jwt_can_not() {
    let oidc = Oidc::start();
    let (opaque, jwt) = (token(&oidc, "urn:opaque").await, token(&oidc, "urn:jwt").await);
    for active in [true, false] {
        assert_eq!(about(&oidc, "introspection", &opaque).await.json()["active"], active);
        assert_eq!(about(&oidc, "revocation", &opaque).await.status, 200);
    }
    for endpoint in ["introspection", "revocation"] {
        let answer = about(&oidc, endpoint, &jwt).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("unsupported_token_type"))
        );
    }
    assert_eq!((oidc.status_of(&opaque).await, oidc.status_of(&jwt).await), (401, 200));
    let seen = oidc.seen().await;
    assert_eq!((seen.introspections, seen.revocations, seen.calls), (3, 3, 2));
}

#[tokio::test]
async fn a_token_that_ends_itself_is_dead() {
    let oidc = Oidc::start();
    for resource in ["urn:opaque", "urn:jwt"] {
        let token = token(&oidc, resource).await;
        let me = format!("{}/api/v2/tokens/me", oidc.issuer);
        for (method, status) in [("HEAD", 200), ("DELETE", 200), ("HEAD", 401)] {
            let request = world::client().request(method.parse().unwrap(), &me).bearer_auth(&token);
            assert_eq!(request.send().await.unwrap().status(), status, "{resource} {method}");
        }
    }
}

#[tokio::test]
async fn every_endpoint_fails_as_told_and_works_again_once_that_is_over() {
    let oidc = Oidc::start();
    let token = token(&oidc, "urn:opaque").await;
    let asked = async || {
        let keys = world::client().get(format!("{}/jwks", oidc.issuer)).send().await.unwrap();
        [
            login(&world::client(), &oidc.issuer, &[]).await.status,
            about(&oidc, "introspection", &token).await.status,
            about(&oidc, "revocation", "none").await.status,
            keys.status().as_u16(),
            oidc.status_of(&token).await,
        ]
    };
    let kinds = ["logins", "introspections", "revocations", "keys", "calls"];
    let healthy = [400, 200, 200, 200, 200];
    for (number, kind) in kinds.into_iter().enumerate() {
        oidc.set(json!({"faults": {kind: 503}})).await;
        let mut expected = healthy;
        expected[number] = 503;
        assert_eq!(asked().await, expected, "{kind}");
    }
    oidc.set(json!({"faults": {"keys": "hang"}})).await;
    let before = oidc.seen().await;
    let (answers, ()) = tokio::join!(asked(), async {
        oidc.until(json!({"held": 1, "keys": before.keys + 1})).await;
        oidc.set(json!({"faults": {}})).await;
    });
    assert_eq!((answers, oidc.seen().await.held), (healthy, 0));
}

#[tokio::test]
async fn the_date_header_is_as_wrong_as_told() {
    let oidc = Oidc::start();
    let wrong_by = async || {
        let answer = world::client().get(format!("{}/jwks", oidc.issuer)).send().await.unwrap();
        let date = answer.headers()["date"].to_str().unwrap();
        let said = httpdate::parse_http_date(date).unwrap().duration_since(UNIX_EPOCH).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        said.as_secs_f64() - now.as_secs_f64()
    };
    for (skew, wanted) in
        [(json!({}), 0.), (json!({"dateSkew": 3600}), 3600.), (json!({"clockSkew": -100}), 3500.)]
    {
        oidc.set(skew).await;
        // The header has no fractions of a second, and asking takes its time.
        assert!((wrong_by().await - wanted).abs() < 30., "{wanted}");
    }
}
