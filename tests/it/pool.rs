//! Several tokens: the sum of their limits is used, each within its own, and one that is lost costs
//! nobody a call.

use std::{collections::BTreeMap, time::Duration};

use genesys_proxy::simulator::{Client, Options};
use http::Method;
use serde_json::json;

use crate::support::{NO_LIMIT, World, assert_all, at_once, unlimited};

const ME: &str = "/api/v2/organizations/me";

const LIMIT: u32 = 40;
const WINDOW: Duration = Duration::from_secs(20);

fn limits() -> String {
    format!("[rate_limit]\nrequests_per_minute = {LIMIT}\nwindow = \"{}s\"", WINDOW.as_secs())
}

fn limited() -> Options {
    Options { requests_per_minute: LIMIT, window: WINDOW, ..Options::default() }
}

/// How many calls each token carried.
fn shares(world: &World) -> Vec<u64> {
    world.genesys.snapshot().tokens_seen.iter().map(|seen| seen.requests).collect()
}

/// The gateway has so many tokens: that they were minted is not enough, as they may be on their way.
fn minted(world: &World, tokens: usize) {
    world.gateway.wait_for_logs("token minted", tokens);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_tokens_carry_three_limits_at_once_and_share_them_evenly() {
    let world = World::with(limited(), &format!("{}\n[oauth]\ntokens = 3", limits())).await;
    minted(&world, 3);
    let begin = tokio::time::Instant::now();
    let callers = (0..3 * LIMIT).map(|_| world.request(Method::GET, ME));
    assert_all(&at_once(callers).await, 200);
    assert!(begin.elapsed() < WINDOW / 2, "nobody waited for a window: {:?}", begin.elapsed());
    let seen = world.genesys.counters();
    assert_eq!((seen.rate_limited, seen.mints), (0, 3));
    assert!(shares(&world).iter().all(|&calls| calls == u64::from(LIMIT)), "{:?}", shares(&world));
    let warned = world.gateway.log().matches("Genesys advises one").count();
    assert_eq!(warned, 1, "once, not for each token");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_logs_no_warning() {
    let world = World::new().await;
    assert_eq!(world.get(ME).await.status(), 200);
    assert!(!world.gateway.log().contains("Genesys advises one"));
}

/// Two clients, and what the gateway is told of them.
fn two_clients() -> (Options, String) {
    let clients = vec![Client::new("one", "s1"), Client::new("two", "s2")];
    let toml = format!(
        "{NO_LIMIT}\n[[oauth.client]]\nclient_id = \"one\"\nclient_secret = {{ env = \"ONE\" }}\n\
         [[oauth.client]]\nclient_id = \"two\"\nclient_secret = {{ env = \"TWO\" }}"
    );
    (Options { clients, ..unlimited() }, toml)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_disabled_costs_nobody_a_call_while_another_has_a_token() {
    let (options, toml) = two_clients();
    let env = [("ONE", "s1"), ("TWO", "s2")];
    let world = World::with_env(options, &toml, &env).await;
    minted(&world, 2);
    assert_all(&at_once((0..20).map(|_| world.request(Method::GET, ME))).await, 200);
    assert_eq!(shares(&world), [10, 10]);
    // The first client's secret is no longer good, and all tokens die.
    world.genesys.client(Client::new("one", "another"));
    world.genesys.revoke();
    for _ in 0..3 {
        assert_all(&at_once((0..50).map(|_| world.request(Method::POST, ME))).await, 405);
    }
    world.gateway.wait_for_log("the client or the configuration must change");
    let by_status: BTreeMap<_, _> = at_once((0..50).map(|_| world.request(Method::GET, ME)))
        .await
        .into_iter()
        .fold(BTreeMap::new(), |mut seen, answer| {
            *seen.entry(answer.status).or_insert(0) += 1;
            seen
        });
    assert_eq!(by_status, [(200, 50)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_of_one_token_sends_the_call_out_under_another_at_once() {
    let (options, toml) = two_clients();
    let world = World::with_env(options, &toml, &[("ONE", "s1"), ("TWO", "s2")]).await;
    minted(&world, 2);
    world.faults(json!({"api": [{"times": 1, "status": 429, "retry_after": "50"}]}));
    let begin = tokio::time::Instant::now();
    assert_eq!(world.get(ME).await.status(), 200);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_all(&at_once((0..20).map(|_| world.request(Method::GET, ME))).await, 200);
    assert_eq!(shares(&world), [1, 21], "the paused one rests");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_always_says_401_costs_ten_tokens_no_more_mints_than_one() {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n[oauth]\ntokens = 10")).await;
    minted(&world, 10);
    assert_all(&at_once((0..20).map(|_| world.request(Method::GET, ME))).await, 200);
    let odd = "/api/v2/users";
    world.faults(json!({"api": [{"match": odd, "status": 401}]}));
    for _ in 0..200 {
        assert_eq!(world.get(odd).await.status(), 401);
    }
    let extra = world.genesys.counters().mints - 10;
    assert!(extra <= 8, "{extra} mints");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_tokens_that_die_at_once_are_renewed_and_nobody_notices() {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n[oauth]\ntokens = 10")).await;
    minted(&world, 10);
    assert_all(&at_once((0..50).map(|_| world.request(Method::GET, ME))).await, 200);
    assert_eq!(world.genesys.revoke(), 10);
    assert_all(&at_once((0..200).map(|_| world.request(Method::GET, ME))).await, 200);
    assert_eq!(world.genesys.counters().mints, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_another_at_each_read_makes_no_storm_of_logins() {
    for mode in ["status:503", "throttled", "invalid_client"] {
        let toml = format!(
            "{NO_LIMIT}\nmax_wait = \"3s\"\n[oauth]\ntokens = 3\n\
             client_secret = {{ command = [\"date\", \"+%N\"] }}"
        );
        let world = World::beginning(unlimited(), &toml, json!({"token": mode})).await;
        world.until(|seen| seen.mint_attempts >= 3).await;
        // As long as a caller waits, and that of the next.
        for _ in 0..2 {
            assert_eq!(world.get(ME).await.status(), 503);
        }
        let attempts = world.genesys.counters().mint_attempts;
        assert!(attempts <= 30, "{mode}: {attempts} logins");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_died_unnoticed_are_no_callers_401_however_quiet_it_was() {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n[oauth]\ntokens = 5")).await;
    minted(&world, 5);
    assert_all(&at_once((0..10).map(|_| world.request(Method::GET, ME))).await, 200);
    world.genesys.revoke();
    // One after the other: each may meet a token that nobody has found dead yet.
    for _ in 0..10 {
        assert_eq!(world.get(ME).await.status(), 200);
    }
}
