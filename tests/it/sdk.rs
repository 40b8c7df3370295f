//! Genesys's own SDKs, unmodified, through the gateway. Their callers hold no credentials, and
//! notice neither a dead token nor the rate limit.
//!
//! `tests/run.sh` installs the SDKs; what they do is in `tests/sdk/`.

use std::time::Duration;

use genesys_proxy::simulator::{ApiFault, Counters, FaultsPatch, Options};
use tokio::time::timeout;

use crate::support::{Sdk, World, gateway::PATIENCE};

/// Calls of all jobs together: three pages of queues, two for a user, one for each other job.
const CALLS: u64 = 8;

/// Runs the test `name` of `calls` against this world; it must succeed.
async fn runs(sdk: Sdk, name: &str, world: &World) {
    sdk.runs(("calls", name), world, &[]).await;
}

/// What the simulator saw, once every download has come without a bearer.
fn seen(world: &World, downloads: u64) -> Counters {
    let counters = world.genesys.counters();
    assert_eq!(counters.downloads, downloads);
    assert_eq!(counters.downloads_with_authorization, 0);
    counters
}

/// Each job once, on one token.
async fn every_job(sdk: Sdk) {
    let world = World::new().await;
    runs(sdk, "every job", &world).await;
    let seen = seen(&world, 1);
    assert_eq!((seen.requests, seen.mints, seen.unauthorized), (CALLS, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn python_does_every_job_without_credentials() {
    every_job(Sdk::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_does_every_job_without_credentials() {
    every_job(Sdk::JavaScript).await;
}

/// Each call meets one 401, and none is seen.
async fn revoked_before_each_call(sdk: Sdk) {
    let world = World::new().await;
    runs(sdk, "every job with every token revoked before each call", &world).await;
    let seen = seen(&world, 1);
    assert_eq!((seen.requests, seen.unauthorized), (1 + 2 * CALLS, CALLS));
    assert_eq!(seen.mints, 1 + CALLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_does_not_notice_a_token_revoked_before_each_call() {
    revoked_before_each_call(Sdk::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_does_not_notice_a_token_revoked_before_each_call() {
    revoked_before_each_call(Sdk::JavaScript).await;
}

/// Twenty calls are at Genesys when their token dies: one mint for all of them.
async fn revoked_under_twenty(sdk: Sdk) {
    let world = World::new().await;
    let hold = ApiFault { times: Some(20), hold: true, ..ApiFault::default() };
    world.genesys.faults(FaultsPatch { api: Some(vec![hold]), ..FaultsPatch::default() });
    let storm = async {
        let all = world.genesys.until(|counters| counters.held == 20);
        timeout(PATIENCE, all).await.expect("twenty calls should be at the simulator");
        assert_eq!(world.genesys.revoke(), 1);
        world.genesys.faults(FaultsPatch { clear: true, ..FaultsPatch::default() });
    };
    tokio::join!(runs(sdk, "twenty callers at once", &world), storm);
    let seen = seen(&world, 4);
    assert_eq!((seen.requests, seen.unauthorized), (4 * CALLS + 20, 20));
    assert_eq!(seen.mints, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_does_not_notice_a_token_revoked_under_twenty_calls() {
    revoked_under_twenty(Sdk::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_does_not_notice_a_token_revoked_under_twenty_calls() {
    revoked_under_twenty(Sdk::JavaScript).await;
}

/// Tokens die at any moment of many calls: one mint for each death.
async fn revoked_while_calls_run(sdk: Sdk) {
    let world = World::new().await;
    runs(sdk, "five rounds of callers with every token revoked in each", &world).await;
    assert_eq!(seen(&world, 20).mints, 1 + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_does_not_notice_tokens_revoked_while_calls_run() {
    revoked_while_calls_run(Sdk::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_does_not_notice_tokens_revoked_while_calls_run() {
    revoked_while_calls_run(Sdk::JavaScript).await;
}

/// A world with this limit at Genesys and in the gateway.
async fn limited(calls: u32, window: Duration) -> World {
    let options = Options { requests_per_minute: calls, window, ..Options::default() };
    let toml =
        format!("[rate_limit]\nrequests_per_minute = {calls}\nwindow = \"{}s\"", window.as_secs());
    World::with(options, &toml).await
}

/// No answer of the gateway is a 429: the Python SDK would hide one from its user.
async fn more_calls_than_the_limit(sdk: Sdk) {
    let world = limited(60, Duration::from_secs(4)).await;
    runs(sdk, "more calls than the limit", &world).await;
    let lines = world.gateway.wait_for_logs(" access ", 100);
    let answered = lines.iter().filter(|line| line.contains("/organizations/me 200 "));
    assert_eq!((lines.len(), answered.count()), (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn python_sees_no_429_from_eight_threads_over_the_limit() {
    more_calls_than_the_limit(Sdk::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_sees_no_429_from_a_hundred_calls_over_the_limit() {
    more_calls_than_the_limit(Sdk::JavaScript).await;
}

/// This SDK hangs up after 16 s and shows its user nothing of a 429 but the body.
#[tokio::test(flavor = "multi_thread")]
async fn javascript_is_told_how_long_a_wait_would_be_that_it_does_not_have() {
    let world = limited(1, Duration::from_secs(30)).await;
    let name = "a wait that is too long is refused in time, and says how long";
    runs(Sdk::JavaScript, name, &world).await;
    assert_eq!(world.genesys.counters().requests, 1);
}
