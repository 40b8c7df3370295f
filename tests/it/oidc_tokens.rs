//! What becomes of tokens at an authorization server that we did not write: revoked there, revoked
//! by the gateway, refused by the gateway, and several at once.
//! No test here must ever tell the server to kill a token where a real one would be asked to.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    Answer, Gateway, Oidc, Traffic, assert_all, at_once,
    load::sha256,
    oidc::Format::{self, Jwt, Opaque},
    world,
};

const ME: &str = "/api/v2/users/me";
const BODY: &str = "client_auth = \"body\"";

/// `verify = "rfc7662"` at this server.
fn introspected(oidc: &Oidc, every: &str) -> String {
    format!(
        "{BODY}\nverify = \"rfc7662\"\nverify_every = \"{every}\"\n\
         introspect_url = \"{}/token/introspection\"",
        oidc.issuer
    )
}

async fn call(gateway: &Gateway) -> Answer {
    at_once([world::client().get(gateway.url(ME))]).await.remove(0)
}

/// The token at hand is revoked as RFC 7009 says, three times, while calls keep coming.
async fn nobody_notices_revocations(oidc: &Oidc, oauth: &str) {
    let gateway = oidc.gateway("post", Opaque, oauth);
    let (id, _) = oidc.credentials("post");
    let traffic = Traffic::of(gateway.url(ME));
    for mints in 1..=4 {
        let seen = oidc.until(json!({"mints": {(id): mints}})).await;
        oidc.until(json!({"calls": seen.calls + 20})).await;
        if mints < 4 {
            oidc.revoke_as("post", &oidc.newest().await).await;
        }
    }
    traffic.end().await;
    let seen = oidc.seen().await;
    assert_eq!((seen.revocations, seen.minted()), (3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_revocations_of_tokens_that_nobody_checks() {
    nobody_notices_revocations(&Oidc::start(), BODY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_revocations_of_tokens_that_are_checked() {
    let oidc = Oidc::start();
    nobody_notices_revocations(&oidc, &introspected(&oidc, "1s")).await;
}

/// Without any call a revoked token is found by the next check, and told of once.
async fn found(oidc: &Oidc, oauth: &str, every: Duration) {
    let gateway = oidc.gateway("post", Opaque, oauth);
    let (id, _) = oidc.credentials("post");
    assert_eq!(call(&gateway).await.status, 200);
    let token = oidc.newest().await;
    oidc.revoke_as("post", &token).await;
    let revoked = Instant::now();
    oidc.until(json!({"mints": {(id): 2}})).await;
    let took = revoked.elapsed();
    assert!(took < every.mul_f64(1.1) + Duration::from_secs(2), "{took:?}");
    gateway.wait_for_logs("token minted", 2);
    let before = oidc.seen().await.unauthorized;
    assert_eq!(call(&gateway).await.status, 200);
    assert_eq!(oidc.seen().await.unauthorized, before, "the dead token was not tried");
    let log = gateway.log_at_end();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("token_inactive")).collect();
    let [line] = lines[..] else { panic!("{lines:?}") };
    let fingerprint = &sha256(token.as_bytes())[..12];
    for part in ["anomaly=\"token_inactive\"", fingerprint, "age=", "generation=1"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_finds_a_revoked_token_by_introspection() {
    let oidc = Oidc::start();
    found(&oidc, &introspected(&oidc, "2s"), Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_finds_a_revoked_token_by_asking_the_api() {
    let oidc = Oidc::start();
    let oauth = format!("{BODY}\nverify = \"genesys\"\nverify_every = \"2s\"");
    found(&oidc, &oauth, Duration::from_secs(2)).await;
}

/// Stopped, the gateway has ended its token.
async fn ended(format: Format, revoke_url: bool) {
    let oidc = Oidc::start();
    let place = if revoke_url {
        format!("\nrevoke_url = \"{}/token/revocation\"", oidc.issuer)
    } else {
        String::new()
    };
    let oauth = format!("{BODY}\nrevoke_on_exit = true{place}");
    let mut gateway = oidc.gateway("post", format, &oauth);
    assert_eq!(call(&gateway).await.status, 200);
    let token = oidc.newest().await;
    assert_eq!(oidc.status_of(&token).await, 200);
    let before = oidc.seen().await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!(oidc.status_of(&token).await, 401, "{}", gateway.log());
    let seen = oidc.seen().await;
    let asked = (seen.revocations, seen.calls - before.calls - 1);
    assert_eq!(asked, if revoke_url { (1, 0) } else { (0, 1) });
    assert!(gateway.log().contains("token revoked"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_revokes_its_token_at_the_revocation_endpoint() {
    ended(Opaque, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_revokes_its_opaque_token_at_the_api() {
    ended(Opaque, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_revokes_its_jwt_at_the_api() {
    ended(Jwt, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_refused_is_said_and_keeps_nobody() {
    // What this server says to a JWT there.
    let oidc = Oidc::start();
    let oauth =
        format!("{BODY}\nrevoke_on_exit = true\nrevoke_url = \"{}/token/revocation\"", oidc.issuer);
    let mut gateway = oidc.gateway("post", Jwt, &oauth);
    assert_eq!(call(&gateway).await.status, 200);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let line = gateway.wait_for_log("the token could not be revoked: it ends by itself");
    assert!(line.contains("400 Bad Request: unsupported_token_type"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_tokens_of_one_client_are_used_side_by_side() {
    for format in [Opaque, Jwt] {
        let oidc = Oidc::start();
        let gateway = oidc.gateway("basic", format, "tokens = 3");
        let (id, _) = oidc.credentials("basic");
        oidc.until(json!({"mints": {(id): 3}})).await;
        gateway.wait_for_logs("token minted", 3);
        let caller = world::client();
        let answers = at_once((0..60).map(|_| caller.get(gateway.url(ME)))).await;
        assert_all(&answers, 200);
        let used: BTreeSet<_> =
            answers.iter().map(|answer| answer.json()["jti"].to_string()).collect();
        assert_eq!((used.len(), oidc.seen().await.minted()), (3, 3));
    }
}

/// A call that no token was good enough for.
async fn refused(gateway: &Gateway, why: &str) {
    let answer = call(gateway).await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (503, Some("proxy.token.unavailable"))
    );
    let line = gateway.wait_for_log(why);
    assert!(line.contains(" ERROR no token: "), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn required_scopes_are_looked_for_in_what_the_server_granted() {
    const LACKS: &str = "the token lacks required scopes: admin:all";
    // Asked for; the server leaves out what it does not grant.
    let asked = ("GENESYS_PROXY__OAUTH__SCOPE", r#"["users:read", "admin:all", "routing:read"]"#);
    for format in [Opaque, Jwt] {
        let oidc = Oidc::start();
        let gateway = |oauth: &str| oidc.gateway_with("basic", format, oauth, &[asked]);
        let content = gateway(
            "required_scopes = [\"routing:read\", \"users:read\"]\n\
                               on_missing_scope = \"refuse\"",
        );
        assert_eq!(call(&content).await.status, 200);
        assert!(!content.log().contains("scopes"), "{}", content.log());
        let required = "required_scopes = [\"routing:read\", \"admin:all\"]";
        let warned = gateway(required);
        assert_eq!(call(&warned).await.status, 200);
        let line = warned.wait_for_log(LACKS);
        assert!(line.contains(" WARN "), "{line}");
        let strict = gateway(&format!("{required}\non_missing_scope = \"refuse\""));
        refused(&strict, LACKS).await;
        assert_eq!(oidc.seen().await.calls, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_another_issuer_is_refused_and_so_is_one_that_does_not_say() {
    let oidc = Oidc::start();
    let expecting = |format, key: &str, value: &str| {
        oidc.gateway("basic", format, &format!("expected_{key} = \"{value}\""))
    };
    for (key, value) in [("issuer", oidc.issuer.as_str()), ("audience", "urn:jwt")] {
        assert_eq!(call(&expecting(Jwt, key, value)).await.status, 200, "{key}");
        let claim = if key == "issuer" { "iss" } else { "aud" };
        let other = expecting(Jwt, key, "https://other.test");
        let why = format!(
            "the token's {claim} is \"{value}\", and oauth.expected_{key} is \"https://other.test\""
        );
        refused(&other, &why).await;
        refused(&expecting(Opaque, key, value), "(the token is opaque)").await;
    }
    assert_eq!(oidc.seen().await.calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_told_of_once_with_the_fix_and_once_when_it_is_right() {
    let oidc = Oidc::with(&json!({"ttl": 2}));
    oidc.set(json!({"dateSkew": 95})).await;
    let gateway = oidc.gateway("basic", Opaque, "");
    let (id, _) = oidc.credentials("basic");
    oidc.until(json!({"mints": {(id): 3}})).await;
    oidc.set(json!({"dateSkew": 0})).await;
    gateway.wait_for_log("this machine's clock is right again");
    let log = gateway.log_at_end();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("behind")).collect();
    let [line] = lines[..] else { panic!("{lines:?}") };
    let seconds = line.rsplit_once("skew_seconds=").unwrap().1;
    let seconds: i64 = seconds.split(' ').next().unwrap().parse().unwrap();
    assert!((-96..=-94).contains(&seconds), "{line}");
    assert!(line.contains(" WARN ") && line.contains("timedatectl set-ntp true"), "{line}");
    assert_eq!(log.matches("right again").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_a_wrong_clock_made_worthless_is_told_of_as_that() {
    let oidc = Oidc::start();
    oidc.set(json!({"clockSkew": 600})).await;
    let gateway = oidc.gateway("hs256", Opaque, "client_auth = \"client_secret_jwt\"");
    refused(&gateway, "assertions carry the time, and this machine's clock is").await;
}
