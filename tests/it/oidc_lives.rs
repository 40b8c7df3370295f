//! Tokens that end all the time, at an authorization server that we did not write.
//! It counts in whole seconds, as many do: a token dies up to a second before it says.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    Oidc, Traffic,
    oidc::Format::{Jwt, Opaque},
};

const LIFE: Duration = Duration::from_secs(5);
/// That second and a little more.
const MARGIN: Duration = Duration::from_millis(1300);
/// About a minute of them.
const LIVES: u32 = 16;
/// The key that signs is replaced then: later than thirty seconds, within which no keys are fetched
/// twice.
const ROTATED_AFTER: u32 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_five_second_tokens_and_a_new_signing_key_fail_nobody() {
    let oidc = Oidc::with(&json!({"ttl": LIFE.as_secs()}));
    let oauth = format!("jwks_url = \"{}/jwks\"\nrefresh_before = \"1300ms\"", oidc.issuer);
    let gateway = oidc.gateway_alone("basic", Jwt, &oauth);
    let (id, _) = oidc.credentials("basic");
    oidc.until(json!({"mints": {(id): 1}})).await;
    let (begin, traffic) = (Instant::now(), Traffic::of(gateway.url("/api/v2/users/me")));
    for mints in 2..=LIVES + 1 {
        oidc.until(json!({"mints": {(id): mints}})).await;
        if mints == ROTATED_AFTER {
            oidc.rotate(false).await;
        }
    }
    let lasted = begin.elapsed();
    let calls = traffic.end().await;
    let paced = lasted.as_secs() * 50;
    assert!(calls >= paced * 9 / 10, "{calls} calls of {paced}");
    let seen = oidc.seen().await;
    assert_eq!(seen.unauthorized, 0, "no call went out with a dead token");
    assert_eq!(seen.logins, u64::from(LIVES) + 1, "no mint in vain");
    assert_eq!(seen.keys, 2, "at the start, and for the new key");
    // Each was used until its margin, and not into the second in which it may be dead.
    let (shortest, longest) =
        (LIFE.saturating_sub(MARGIN), LIFE.saturating_sub(Duration::from_secs(1)));
    let each = lasted / LIVES;
    assert!((shortest.mul_f64(0.99)..longest).contains(&each), "{each:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_used_to_their_very_end_fail_nobody_though_they_die_before() {
    let oidc = Oidc::with(&json!({"ttl": 3}));
    let gateway = oidc.gateway("basic", Opaque, "refresh_before = \"0s\"");
    let (id, _) = oidc.credentials("basic");
    let traffic = Traffic::of(gateway.url("/api/v2/users/me"));
    oidc.until(json!({"mints": {(id): 6}})).await;
    traffic.end().await;
    let seen = oidc.seen().await;
    assert_eq!(seen.logins, seen.minted());
}
