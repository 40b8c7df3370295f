//! Checks of a living token at Genesys: a dead one is replaced before a caller meets it, a check
//! that fails changes nothing, and checks count like calls.

use std::time::Duration;

use genesys_proxy::simulator::Options;
use http::Method;
use serde_json::json;

use crate::support::{NO_LIMIT, World, assert_all, at_once, redis::Redis, unlimited};

const ME: &str = "/api/v2/organizations/me";
const SELF: &str = "/api/v2/tokens/me";

fn verified() -> String {
    format!("{NO_LIMIT}\n[oauth]\nverify = \"genesys\"\nverify_every = \"1s\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_revoked_without_traffic_is_replaced_and_the_log_says_what_is_known() {
    let world = World::with(unlimited(), &verified()).await;
    world.until(|seen| seen.mints == 1 && seen.requests >= 1).await;
    let old = world.genesys.tokens_seen();
    world.genesys.revoke();
    world.until(|seen| seen.mints == 2).await;
    let line = world.gateway.wait_for_log("anomaly=\"token_inactive\"");
    for part in ["WARN", "generation=1", "fingerprint=\"", "age="] {
        assert!(line.contains(part), "{part}: {line}");
    }
    world.gateway.logged("generation=2").await;
    assert_eq!(world.get(ME).await.status(), 200);
    assert_ne!(world.genesys.tokens_seen(), old);
    assert_eq!(world.gateway.log().matches("token_inactive").count(), 1);
    assert!(world.records(SELF).iter().all(|record| record.method == "HEAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_is_said_once_and_harms_nobody() {
    let world = World::with(unlimited(), &verified()).await;
    world.faults(json!({"api": [{"match": SELF, "status": 500}]}));
    let checks = |world: &World| world.records(SELF).len();
    while checks(&world) < 3 {
        assert_all(&at_once((0..10).map(|_| world.request(Method::GET, ME))).await, 200);
    }
    let seen = world.genesys.counters();
    assert_eq!((seen.mints, seen.unauthorized), (1, 0));
    assert_eq!(world.gateway.log().matches("could not be checked").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_count_like_calls_so_the_limit_is_never_passed() {
    let (limit, window) = (10, Duration::from_secs(2));
    let options = Options { requests_per_minute: limit, window, ..Options::default() };
    let toml = format!(
        "[rate_limit]\nrequests_per_minute = {limit}\nwindow = \"2s\"\nmax_wait = \"1m\"\n\
         [oauth]\nverify = \"genesys\"\nverify_every = \"1s\""
    );
    let world = World::with(options, &toml).await;
    let callers = (0..5 * limit).map(|_| world.request(Method::GET, ME));
    assert_all(&at_once(callers).await, 200);
    assert_eq!(world.genesys.counters().rate_limited, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_odd_401_while_login_is_down_does_not_cost_the_good_token() {
    // Whether or not tokens are checked at other times.
    for toml in [NO_LIMIT.to_owned(), verified().replace("\"1s\"", "\"1h\"")] {
        odd_401_while_login_is_down(&toml).await;
    }
}

async fn odd_401_while_login_is_down(toml: &str) {
    let world = World::with(unlimited(), toml).await;
    assert_eq!(world.get(ME).await.status(), 200);
    let odd = "/api/v2/users";
    world.faults(json!({"token": "down", "api": [{"match": odd, "status": 401}]}));
    // Its caller waits for a new token until the good one is known to be good; then the 401 is its.
    assert_eq!(world.get(odd).await.status(), 401);
    assert_all(&at_once((0..20).map(|_| world.request(Method::GET, ME))).await, 200);
    world.gateway.wait_for_log("it is good, and it stays in use");
    assert_eq!(world.genesys.counters().mints, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_401s_has_the_token_checked_at_once_and_not_again_and_again() {
    let toml = verified().replace("\"1s\"", "\"1h\"");
    let world = World::with(unlimited(), &toml).await;
    assert_eq!(world.get(ME).await.status(), 200);
    let odd = "/api/v2/users";
    world.faults(json!({"api": [{"match": odd, "status": 401}]}));
    for _ in 0..10 {
        assert_eq!(world.get(odd).await.status(), 401);
    }
    world.until(|seen| seen.requests >= 13).await;
    assert_eq!(world.records(SELF).len(), 1);
    assert_eq!(world.get(ME).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_revoked_at_the_end_only_when_that_is_wanted() {
    for (wanted, alive) in [(true, false), (false, true)] {
        let toml = format!("{NO_LIMIT}\n[oauth]\nrevoke_on_exit = {wanted}\ntokens = 2");
        let mut world = World::with(unlimited(), &toml).await;
        world.until(|seen| seen.mints == 2).await;
        assert_eq!(world.get(ME).await.status(), 200);
        world.gateway.signal("TERM");
        assert!(world.gateway.wait().success());
        let deleted = world.records(SELF).iter().filter(|record| record.method == "DELETE").count();
        assert_eq!(deleted, if wanted { 2 } else { 0 });
        assert_eq!(world.genesys.revoke() > 0, alive);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_own_tokens_are_no_other_replica_that_uses_them() {
    let redis = Redis::start();
    let store = format!("[store]\nurl = \"{}\"", redis.url());
    let toml = format!("{NO_LIMIT}\n{store}\n[oauth]\nrevoke_on_exit = true\ntokens = 2");
    let mut world = World::with(unlimited(), &toml).await;
    world.until(|seen| seen.mints == 2).await;
    assert_eq!(world.get(ME).await.status(), 200);
    let alive = || redis.keys_and_values().iter().any(|(key, _)| key.ends_with(b":replicas"));
    while !alive() {
        tokio::task::yield_now().await;
    }
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success());
    let deleted = world.records(SELF).iter().filter(|record| record.method == "DELETE").count();
    assert_eq!(deleted, 2, "{}", world.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_user_is_the_callers_to_see_and_renews_nothing() {
    let world = World::new().await;
    let answer = world.get("/api/v2/users/me").await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("not.a.user"));
    assert_eq!(world.genesys.counters().mints, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_dies_before_its_time_costs_one_mint_and_no_caller_notices() {
    let world = World::beginning(unlimited(), NO_LIMIT, json!({"dies_after_ms": 300})).await;
    world.until(|seen| seen.mints == 1).await;
    world.faults(json!({"dies_after_ms": 0}));
    let mut calls = 0;
    while world.genesys.counters().mints < 2 {
        assert_all(&at_once((0..20).map(|_| world.request(Method::GET, ME))).await, 200);
        calls += 20;
    }
    let seen = world.genesys.counters();
    assert_eq!((seen.mints, seen.requests), (2, calls + seen.unauthorized));
    assert!(seen.unauthorized >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_is_not_taken_back_while_login_is_down() {
    let limits = format!("{NO_LIMIT}\nmax_wait = \"1s\"");
    let world = World::with(unlimited(), &limits).await;
    assert_eq!(world.get(ME).await.status(), 200);
    world.faults(json!({"token": "down"}));
    world.genesys.revoke();
    assert_all(&at_once((0..10).map(|_| world.request(Method::GET, ME))).await, 503);
    world.faults(json!({"token": "ok"}));
    world.until(|seen| seen.mints == 2).await;
    world.gateway.logged("generation=2").await;
    assert_eq!(world.get(ME).await.status(), 200);
}
