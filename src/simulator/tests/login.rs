//! Login: who gets a token, what it looks like, when it dies.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, jwk::JwkSet};

use super::*;
use crate::simulator::{Client, fingerprint};

async fn posted(genesys: &Genesys, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let answer = genesys.request(Method::POST, path).form(form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_token_is_given_for_basic_and_for_body_credentials_and_opens_the_api() {
    let genesys = Genesys::start().await;
    let form =
        [("grant_type", "client_credentials"), ("client_id", "demo"), ("client_secret", "demo")];
    for path in ["/oauth/token", "//oauth/token", "/login/oauth/token"] {
        let (status, body) = posted(&genesys, path, &form).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(86_400)));
        assert_eq!(body.get("refresh_token"), None);
    }
    let token = genesys.token().await;
    assert_eq!(genesys.get("/api/v2/organizations/me", &token).await.status(), 200);
    let state = genesys.state().await;
    assert_eq!((state.counters.mints, state.mint_requests.len()), (4, 4));
    assert_eq!(state.tokens_issued.last(), Some(&fingerprint(&token)));
}

#[tokio::test]
async fn refusals_are_genesyss() {
    let genesys = Genesys::start().await;
    let grant = ("grant_type", "client_credentials");
    let login = async |id: &str, secret: &str| {
        let form = [grant, ("client_id", id), ("client_secret", secret)];
        posted(&genesys, "/oauth/token", &form).await
    };
    let refused = json!({"error": "invalid_client", "description": "authentication failed",
                         "error_description": "authentication failed"});
    assert_eq!(login("nobody", "demo").await, (400, refused.clone()));
    assert_eq!(login("demo", "wrong").await, (401, refused));
    let (status, body) = posted(&genesys, "/oauth/token", &[grant]).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_request")));
    let form = [("grant_type", "password"), ("client_id", "demo"), ("client_secret", "demo")];
    let (status, body) = posted(&genesys, "/oauth/token", &form).await;
    assert_eq!((status, &body["error"]), (400, &json!("unsupported_grant_type")));
    assert_eq!(genesys.handle.counters().mints, 0);
}

#[tokio::test]
async fn id_and_secret_are_form_decoded_after_base64() {
    let clients = vec![Client::new("a b", "p:ä%&")];
    let genesys = Genesys::with(Options { clients, ..Options::default() }).await;
    let form = [("grant_type", "client_credentials")];
    let request = genesys.request(Method::POST, "/oauth/token").form(&form);
    let answer = request.basic_auth("a+b", Some("p%3A%C3%A4%25%26")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn too_many_logins_get_400_and_not_429() {
    let genesys = Genesys::with(Options { mints_per_minute: 1, ..Options::default() }).await;
    assert_eq!(genesys.login().await.status(), 200);
    let answer = genesys.login().await;
    assert_eq!(answer.status(), 400);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"], "invalid_request");
    assert!(body["error_description"].as_str().unwrap().starts_with("rate limit exceeded; "));
    assert_eq!(genesys.handle.counters().throttled, 1);
}

#[tokio::test]
async fn a_jwt_verifies_under_the_published_keys_and_carries_the_scope() {
    let options = Options { token_format: TokenFormat::Jwt, ..Options::default() };
    let genesys = Genesys::with(options).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "demo"),
        ("client_secret", "demo"),
        ("scope", "users routing"),
    ];
    let (_, body) = posted(&genesys, "/oauth/token", &form).await;
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(body["scope"], "users routing");
    let keys = genesys.request(Method::GET, "/oauth/jwks").send().await.unwrap();
    let keys: JwkSet = keys.json().await.unwrap();
    let key = DecodingKey::from_jwk(&keys.keys[0]).unwrap();
    let claims = decode::<Value>(token, &key, &Validation::new(Algorithm::RS256)).unwrap().claims;
    assert_eq!(claims["scope"], "users routing");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 86_400);
    assert_eq!(genesys.get("/api/v2/users", token).await.status(), 200);
}

#[tokio::test]
async fn a_token_may_die_before_it_says() {
    let genesys = Genesys::start().await;
    genesys.faults(json!({"expire_in": 7, "dies_after_ms": 1})).await;
    let answer: Value = genesys.login().await.json().await.unwrap();
    assert_eq!(answer["expires_in"], 7);
    let token = answer["access_token"].as_str().unwrap();
    // A millisecond is over before a request has crossed a socket; until then, ask again.
    while genesys.get("/api/v2/users", token).await.status() != 401 {}
    let refused = genesys.get("/api/v2/users", token).await;
    assert_eq!(problem(refused).await, (401, "bad.credentials".to_owned()));
}

#[tokio::test]
async fn introspection_knows_the_living() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let form = [("client_id", "demo"), ("client_secret", "demo"), ("token", token.as_str())];
    let (_, body) = posted(&genesys, "/oauth2/introspect", &form).await;
    assert_eq!((&body["active"], &body["client_id"]), (&json!(true), &json!("demo")));
    assert_eq!(genesys.handle.revoke(), 1);
    let (_, body) = posted(&genesys, "/oauth2/introspect", &form).await;
    assert_eq!(body, json!({"active": false}));
    let form = [("client_id", "demo"), ("client_secret", "wrong"), ("token", token.as_str())];
    assert_eq!(posted(&genesys, "/oauth2/introspect", &form).await.0, 401);
}

#[tokio::test]
async fn a_client_can_get_a_new_secret() {
    let genesys = Genesys::start().await;
    let change = json!({"id": "demo", "secret": "rotated"});
    let answer = genesys.request(Method::POST, "/_sim/clients").json(&change).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(genesys.login().await.status(), 401);
    genesys.handle.reset();
    assert_eq!(genesys.login().await.status(), 200);
    assert_eq!(genesys.handle.counters().mint_attempts, 1);
}

#[tokio::test]
async fn tokens_of_one_client_live_side_by_side_until_they_are_revoked() {
    let genesys = Genesys::start().await;
    let (one, two) = (genesys.token().await, genesys.token().await);
    assert_ne!(one, two);
    let target = "/api/v2/tokens/me";
    let deleted = genesys.request(Method::DELETE, target).bearer_auth(&one).send().await.unwrap();
    assert_eq!(deleted.status(), 200);
    assert_eq!(genesys.get(target, &one).await.status(), 401);
    assert_eq!(genesys.get(target, &two).await.status(), 200);
    assert_eq!(genesys.handle.tokens_seen(), [fingerprint(&one), fingerprint(&two)]);
}
