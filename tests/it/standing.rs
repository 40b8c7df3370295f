//! Callers are told what they have left, and what upstream tells of a limit is believed.

use std::time::Duration;

use genesys_proxy::simulator::Options;
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Answer, World, assert_all, at_once,
    callers::{rate_limit, sent},
    unlimited,
};

const ME: &str = "/api/v2/organizations/me";
const ECHO: &str = "/api/v2/echo";

fn call(world: &World, path: &str) -> reqwest::RequestBuilder {
    world.request(Method::GET, path)
}

/// The values of a field, all of them.
fn all<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

/// Upstream's other words for what is left to all that share the token.
const THEIRS: [&str; 5] = [
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Used",
    "inin-ratelimit-allowed",
    "inin-ratelimit-reset",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_what_is_left_call_by_call() {
    let world = World::with(unlimited(), &rate_limit(5, 30, "")).await;
    let spoken = json!({"RateLimit": "\"theirs\";r=70;t=9", "RateLimit-Policy": "\"theirs\";q=99"});
    let mut said = spoken.as_object().unwrap().clone();
    said.extend(THEIRS.map(|name| (name.to_owned(), json!("70"))));
    world.faults(json!({"api": [{"headers": said}]}));
    for left in (0..5).rev() {
        let answer = world.answer(call(&world, ME)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(all(&answer, "ratelimit-policy"), ["\"default\";q=5;w=30"]);
        let [standing] = all(&answer, "ratelimit")[..] else { panic!("{answer:?}") };
        let seconds = standing.strip_prefix(&format!("\"default\";r={left};t=")).unwrap();
        assert!((1..=31).contains(&seconds.parse::<u64>().unwrap()), "{standing}");
        assert!(THEIRS.iter().all(|name| all(&answer, name).is_empty()), "{answer:?}");
    }
    let (answer, seconds) = world.refused(call(&world, ME), "proxy.rate.limited").await;
    assert_eq!(all(&answer, "ratelimit-policy"), ["\"default\";q=5;w=30"]);
    assert_eq!(all(&answer, "ratelimit"), [format!("\"default\";r=0;t={seconds}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_limit_says_nothing_of_one() {
    let world = World::new().await;
    let answer = world.answer(call(&world, ME)).await;
    assert!(all(&answer, "ratelimit").is_empty() && all(&answer, "ratelimit-policy").is_empty());
    let theirs = json!({"RateLimit": "\"theirs\";r=70;t=9", "X-RateLimit-Remaining": "70"});
    world.faults(json!({"api": [{"headers": theirs}]}));
    let answer = world.answer(call(&world, ME)).await;
    assert_eq!(all(&answer, "ratelimit"), ["\"theirs\";r=70;t=9"], "upstream's goes through");
    assert_eq!(all(&answer, "x-ratelimit-remaining"), ["70"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_out_of_memory_does_not_tell_what_upstream_said_was_left_when_it_came() {
    let saving = format!("[saving]\ncache = [{{ match = \"GET {ME}\", for = \"60s\" }}]");
    let world = World::with(unlimited(), &format!("{}{saving}", rate_limit(50, 60, ""))).await;
    let theirs = json!({"X-RateLimit-Remaining": "70", "Cache-Control": "max-age=60"});
    world.faults(json!({"api": [{"headers": theirs}]}));
    for _ in 0..3 {
        let answer = world.answer(call(&world, ME)).await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, ""));
    }
    assert_eq!(world.records(ME).len(), 1);
}

/// One answer to a GET of `ECHO` with these fields.
fn speaks_once(fields: &Value) -> Value {
    json!({"api": [{"match": ECHO, "times": 1, "headers": fields}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_upstream_says_is_used_up_holds_calls_until_it_is_not() {
    for fields in [
        json!({"RateLimit": "\"x\";r=0;t=2", "RateLimit-Policy": "\"x\";q=50;w=60"}),
        json!({"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2"}),
        json!({"inin-ratelimit-allowed": "50", "inin-ratelimit-count": "50",
               "inin-ratelimit-reset": "2"}),
    ] {
        let world = World::with(unlimited(), &rate_limit(50, 60, "")).await;
        world.faults(speaks_once(&fields));
        assert_eq!(world.answer(call(&world, ECHO)).await.status, 200);
        let told = Instant::now();
        let (_, seconds) = world.refused(call(&world, ME), "proxy.rate.limited").await;
        assert!((1..=2).contains(&seconds), "{fields}: {seconds}");
        assert_all(&at_once((0..5).map(|_| call(&world, ME))).await, 200);
        let waited = told.elapsed();
        assert!(waited > Duration::from_millis(1_500), "{fields}: {waited:?}");
        assert!(waited < Duration::from_secs(10), "{fields}: {waited:?}");
        world.until(|seen| seen.requests == 6).await;
        assert_eq!(world.genesys.snapshot().requests_by_status, [(200, 6)].into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_smaller_than_the_tokens_is_that_familys() {
    let world = World::with(unlimited(), &rate_limit(50, 60, "")).await;
    world.faults(speaks_once(&json!({
        "X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3"
    })));
    assert_eq!(world.answer(call(&world, ECHO)).await.status, 200);
    let told = Instant::now();
    let (_, seconds) = world.refused(call(&world, ECHO), "proxy.rate.limited").await;
    assert!((2..=3).contains(&seconds), "{seconds}");
    let others = (0..10).map(|_| call(&world, ME).header("prefer", "wait=0"));
    assert_all(&at_once(others).await, 200);
    assert_eq!(world.answer(call(&world, ECHO)).await.status, 200);
    assert!(told.elapsed() > Duration::from_millis(2_500), "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_familys_quota_that_is_used_up_holds_no_other_family() {
    for fields in [
        json!({"RateLimit-Policy": "\"ivr\";q=10;w=60", "RateLimit": "\"ivr\";r=0;t=30"}),
        json!({"RateLimit": "\"ivr\";r=0;t=30"}),
    ] {
        let world = World::with(unlimited(), &rate_limit(50, 60, "")).await;
        world.faults(speaks_once(&fields));
        assert_eq!(world.answer(call(&world, ECHO)).await.status, 200);
        let (_, seconds) = world.refused(call(&world, ECHO), "proxy.rate.limited").await;
        assert!((28..=30).contains(&seconds), "{fields}: {seconds}");
        let others = (0..10).map(|_| call(&world, ME).header("prefer", "wait=0"));
        assert_all(&at_once(others).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_families_that_are_refused_with_nothing_served_between_are_the_token() {
    let world = World::new().await;
    let refusal = |path| json!({"match": path, "times": 1, "status": 429, "retry_after": "3"});
    world.faults(json!({"api": [refusal("/api/v2/echo*"), refusal("/api/v2/users*")]}));
    let begin = Instant::now();
    let mut refused = sent([call(&world, ECHO)]);
    world.gateway.logged("429 for GET /api/v2/echo").await;
    refused.spawn({
        let users = call(&world, "/api/v2/users");
        async move { Answer::of(users.send().await.unwrap()).await }
    });
    world.gateway.logged("429 for the token").await;
    let (_, seconds) = world.refused(call(&world, ME), "proxy.rate.limited").await;
    assert!((1..=3).contains(&seconds), "{seconds}");
    assert_eq!(world.answer(call(&world, ME)).await.status, 200);
    assert!(begin.elapsed() > Duration::from_millis(2_500), "{:?}", begin.elapsed());
    assert_all(&refused.join_all().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_somebody_else_uses_too_is_told_of_once_and_kept_to() {
    let window = Duration::from_secs(4);
    let options = Options { window, ..unlimited() };
    let toml = rate_limit(40, 4, "pacing = \"even\"\nmax_wait = \"60s\"");
    let world = World::alone(options, &toml).await;
    // Of the forty, twenty are another's.
    world.faults(json!({"api": [{"limit": 20}]}));
    let calls = (0..60).map(|n| call(&world, if n % 2 == 0 { ME } else { ECHO }));
    let calls = sent(calls);
    world.gateway.logged("somebody else uses this client's limit").await;
    let (answer, _) = world.refused(call(&world, ME), "proxy.rate.limited").await;
    let policy = answer.header("ratelimit-policy");
    let left = policy.strip_prefix("\"default\";q=").and_then(|rest| rest.split(';').next());
    assert!((18..=22).contains(&left.unwrap().parse::<u32>().unwrap()), "{policy}");
    assert_all(&calls.join_all().await, 200);
    // The two that told it, those on their way at that time, and a few that tried for more.
    world.until(|seen| seen.requests >= 62).await;
    let seen = world.genesys.snapshot().requests_by_status;
    assert!((2..=8).contains(&seen[&429]), "{seen:?}");
    assert_eq!(world.gateway.log().matches("somebody else").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_window_is_no_longer_counted() {
    let world = World::with(unlimited(), &rate_limit(5, 2, "")).await;
    for _ in 0..3 {
        assert_eq!(world.get(ME).await.status(), 200);
    }
    let rest = Duration::from_millis(2_500);
    tokio::time::interval_at(Instant::now() + rest, rest).tick().await;
    let answer = world.answer(call(&world, ME)).await;
    assert!(answer.header("ratelimit").starts_with("\"default\";r=4;"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_meets_somebody_elses_use_bends_to_what_was_ours() {
    let options = Options { window: Duration::from_secs(2), ..unlimited() };
    let world = World::with(options, &rate_limit(40, 2, "max_wait = \"60s\"")).await;
    world.faults(json!({"api": [{"limit": 20}]}));
    let calls = sent((0..60).map(|n| call(&world, if n % 2 == 0 { ME } else { ECHO })));
    world.gateway.logged("somebody else uses this client's limit").await;
    // Of the forty that were on their way, one after the other is heard of.
    let mut told = Vec::new();
    while told.last().is_none_or(|policy| policy != "\"default\";q=20;w=2") {
        let (answer, _) = world.refused(call(&world, ME), "proxy.rate.limited").await;
        told.push(answer.header("ratelimit-policy").to_owned());
        assert!(told.len() < 200, "{told:?}");
    }
    assert_all(&calls.join_all().await, 200);
    assert_eq!(world.gateway.log().matches("somebody else").count(), 1);
}
