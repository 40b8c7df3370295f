//! Against an authorization server that we did not write: what it takes as a login, real ones take.
//! No test here must ever depend on what our own simulator thinks of OAuth.

use serde_json::json;

use crate::support::{
    Answer, Gateway, Oidc, assert_all, at_once,
    oidc::{
        Format::{self, Jwt, Opaque},
        SCOPE,
    },
    world,
};

/// How many callers come at once.
const CALLERS: u64 = 50;

/// The two ways to send a secret, each with the client that is registered for it.
const BASIC: (&str, &str) = ("basic", "client_auth = \"basic\"");
const BODY: (&str, &str) = ("post", "client_auth = \"body\"");

/// That many calls through the gateway at once.
async fn burst(gateway: &Gateway) -> Vec<Answer> {
    let caller = world::client();
    at_once((0..CALLERS).map(|number| caller.get(gateway.url(&format!("/api/v2/users/{number}")))))
        .await
}

/// The server knows the caller by the very id, with nothing lost of it, on one token for all, which
/// is what was asked for.
async fn is_known((client, oauth): (&str, &str), format: Format) {
    let oidc = Oidc::start();
    let gateway = oidc.gateway(client, format, oauth);
    let answers = burst(&gateway).await;
    assert_all(&answers, 200);
    let (id, _) = oidc.credentials(client);
    for answer in answers.iter().map(Answer::json) {
        assert_eq!((&answer["client"], &answer["scope"]), (&json!(id), &json!(SCOPE)));
        assert_eq!(answer["jwt"], matches!(format, Jwt));
    }
    let seen = oidc.seen().await;
    assert_eq!((seen.logins, seen.mints[id]), (1, 1));
    assert_eq!(seen.basic, u64::from(client == BASIC.0));
    assert_eq!((seen.calls, seen.unauthorized), (CALLERS, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_gets_an_opaque_token_with_any_character_in_id_and_secret() {
    is_known(BASIC, Opaque).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_gets_a_jwt_with_any_character_in_id_and_secret() {
    is_known(BASIC, Jwt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_gets_an_opaque_token_with_any_character_in_id_and_secret() {
    is_known(BODY, Opaque).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_gets_a_jwt_with_any_character_in_id_and_secret() {
    is_known(BODY, Jwt).await;
}

/// Tokens die before, under, and after calls; no caller is told.
async fn nobody_notices_a_revocation((client, oauth): (&str, &str), format: Format) {
    let oidc = Oidc::start();
    let gateway = oidc.gateway(client, format, oauth);
    assert_all(&burst(&gateway).await, 200);
    oidc.set(json!({"faults": {"calls": "hang"}})).await;
    let (under, ()) = tokio::join!(burst(&gateway), async {
        oidc.until(json!({"held": CALLERS})).await;
        assert_eq!(oidc.revoke().await, 1);
        oidc.set(json!({"faults": {}})).await;
    });
    assert_all(&under, 200);
    let seen = oidc.seen().await;
    assert_eq!((seen.minted(), seen.unauthorized), (2, CALLERS));
    assert_eq!(oidc.revoke_newest().await, 1);
    assert_all(&burst(&gateway).await, 200);
    assert_eq!(oidc.seen().await.minted(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_opaque_tokens_of_basic_are_revoked() {
    nobody_notices_a_revocation(BASIC, Opaque).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_jwts_of_basic_are_revoked() {
    nobody_notices_a_revocation(BASIC, Jwt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_opaque_tokens_of_the_form_are_revoked() {
    nobody_notices_a_revocation(BODY, Opaque).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_jwts_of_the_form_are_revoked() {
    nobody_notices_a_revocation(BODY, Jwt).await;
}
