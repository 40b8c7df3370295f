//! Whoever began a call that several want, each waits for it on its own terms, and it is sent once.

use http::Method;
use reqwest::RequestBuilder;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Duration, Instant},
};

use crate::support::{
    Answer, NO_LIMIT, World, assert_all,
    callers::{caller, rate_limit, sent},
    gateway::{ADMIN, PATIENCE},
    load::assert_limited,
    unlimited,
};

const ECHO: &str = "/api/v2/echo";
const SHARED: &str = "/api/v2/echo/shared";
const BEGINS: &str = "a call goes out for all who want its answer";
const JOINS: &str = "a call waits for the answer to another one";
const STANDS: &str = "a call that others want, too, is waited for on its own terms";

const RULES: &str = "[telemetry]\nlog = \"debug\"\n[saving]\ncoalesce = [\"GET /api/v2/**\"]\n\
    cache = [{ match = \"GET /api/v2/echo/kept\", for = \"1h\" }]\n";

/// Far less than a minute, which is what a ceiling of one call holds for.
const SOON: Duration = Duration::from_secs(20);

/// A batch with a ceiling of one call in a minute, which it has used, and callers without one.
async fn beside_a_batch(rate: &str) -> World {
    let batch = caller("batch", "requests_per_minute = 1\nmax_wait = \"5m\"");
    let (app, other) = (caller("app", ""), caller("other", ""));
    let toml = format!("{rate}\n{RULES}{batch}{app}{other}");
    let world = World::with_env(unlimited(), &toml, &[ADMIN]).await;
    let first = world.answer(world.get_as("batch", "/api/v2/organizations/me")).await;
    assert_eq!(first.status, 200);
    world
}

fn waits(request: RequestBuilder, seconds: u32) -> RequestBuilder {
    request.header("prefer", format!("wait={seconds}"))
}

/// One more call, which stands in line before this returns: so many do then.
async fn stands(world: &World, line: &mut JoinSet<Answer>, (name, path): (&str, &str), all: usize) {
    let call = waits(world.get_as(name, path), 60);
    line.spawn(async move { Answer::of(call.send().await.unwrap()).await });
    let begin = Instant::now();
    let gauge = format!("genesys_proxy_calls_waiting{{}} {all}\n");
    while !world.gateway.admin("/metrics").await.contains(&gauge) {
        assert!(begin.elapsed() < PATIENCE, "{name} never stands in line for {path}");
    }
}

fn tells_nothing_of_a_limit(answer: &Answer) -> bool {
    answer.header("ratelimit").is_empty() && answer.header("ratelimit-policy").is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_ceiling_goes_at_once_though_one_at_its_ceiling_began_the_call() {
    for patience in [0, 30] {
        let world = beside_a_batch(&rate_limit(200, 60, "")).await;
        let batch = sent([world.get_as("batch", SHARED), world.get_as("batch", SHARED)]);
        // Of the two one begins, and the other one counts on its turn.
        world.gateway.wait_for_logs(JOINS, 1);
        world.gateway.wait_for_logs(BEGINS, 2);
        let begin = Instant::now();
        let app = world.answer(waits(world.get_as("app", SHARED), patience)).await;
        assert_eq!((app.status, app.header("ratelimit-policy")), (200, "\"default\";q=200;w=60"));
        let batch = batch.join_all().await;
        assert_all(&batch, 200);
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        assert_eq!(world.records(SHARED).len(), 1, "it is sent once");
        for answer in batch {
            assert_eq!(answer.body, app.body);
            assert_eq!(answer.header("cache-status"), "genesys-proxy; fwd=uri-miss; collapsed");
            assert!(tells_nothing_of_a_limit(&answer), "{answer:?}");
        }
        assert_eq!(world.gateway.wait_for_logs(" attempts=0 saved=coalesced ", 2).len(), 2);
        let metrics = world.gateway.admin("/metrics").await;
        assert!(metrics.contains("genesys_proxy_calls_waiting{} 0\n"), "its place is given up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_wait_for_anothers_turn_is_told_its_own_and_served_then() {
    let world = beside_a_batch(&rate_limit(1, 2, "")).await;
    // Before the batch there are three of another caller's, and between these there is a turn.
    let others = sent((0..3).map(|n| waits(world.get_as("other", &format!("{ECHO}/{n}")), 60)));
    world.gateway.wait_for_logs(BEGINS, 4);
    let batch = sent([world.get_as("batch", SHARED)]);
    world.gateway.wait_for_logs(BEGINS, 5);
    let refused = world.answer(waits(world.get_as("app", SHARED), 0)).await;
    let seconds = assert_limited(&refused, "proxy.rate.limited");
    let told = format!("\"default\";r=0;t={seconds}");
    assert_eq!(refused.header("ratelimit"), told, "what is told is its own");
    assert!((3..=9).contains(&seconds), "not when whoever stands first goes: {seconds}");
    let then = Instant::now() + Duration::from_secs(seconds);
    tokio::time::interval_at(then, SOON).tick().await;
    // The next turn is its own, and they come every two seconds.
    assert_eq!(world.answer(waits(world.get_as("app", SHARED), 3)).await.status, 200);
    assert_all(&batch.join_all().await, 200);
    assert_all(&others.join_all().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_stand_in_line_itself_still_counts_on_anothers_turn() {
    let callers = caller("quick", "weight = 10\nmax_queue = 1") + &caller("slow", "");
    let toml = format!("{}\n{RULES}{callers}", rate_limit(1, 3, ""));
    let world = World::with_env(unlimited(), &toml, &[ADMIN]).await;
    world.use_up(1).await;
    let mut line = JoinSet::new();
    for (n, (name, path)) in
        [("quick", "1"), ("slow", "2"), ("slow", "3"), ("slow", "shared")].into_iter().enumerate()
    {
        stands(&world, &mut line, (name, &format!("{ECHO}/{path}")), n + 1).await;
    }
    // It would go sooner, but has one in line already.
    let answer = world.answer(waits(world.get_as("quick", SHARED), 60)).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (200, ""));
    assert!(world.gateway.log().contains(STANDS));
    assert_all(&line.join_all().await, 200);
    assert_eq!(world.records(SHARED).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_counted_on_a_place_that_is_lost_is_refused_for_itself_and_served_when_told() {
    let world = beside_a_batch(&rate_limit(1, 3, "max_queue = 3")).await;
    let (mut line, mut began) = (JoinSet::new(), JoinSet::new());
    stands(&world, &mut line, ("other", "/api/v2/echo/1"), 1).await;
    stands(&world, &mut line, ("app", "/api/v2/echo/2"), 2).await;
    stands(&world, &mut began, ("other", SHARED), 3).await;
    // Its second call: its turn is the one after.
    let joined = sent([waits(world.get_as("app", SHARED), 60)]);
    world.gateway.wait_for_logs(JOINS, 1);
    assert!(!world.gateway.log().contains(STANDS));
    // The last call of whoever has the most of the line gives way.
    let late = sent([waits(world.request(Method::GET, "/api/v2/echo/4"), 60)]);
    let began = began.join_all().await.remove(0);
    assert_limited(&began, "proxy.queue.full");
    let refused = joined.join_all().await.remove(0);
    let seconds = assert_limited(&refused, "proxy.queue.full");
    assert_eq!(refused.header("ratelimit"), format!("\"default\";r=0;t={seconds}"));
    let then = Instant::now() + Duration::from_secs(seconds);
    tokio::time::interval_at(then, SOON).tick().await;
    assert_eq!(world.answer(waits(world.get_as("app", SHARED), 7)).await.status, 200);
    assert_all(&late.join_all().await, 200);
    assert_all(&line.join_all().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_impatient_callers_who_come_and_go_leaves_nobody_and_nothing_behind() {
    let toml = format!("{}\n{RULES}", rate_limit(10, 1, "max_queue = 20"));
    let callers = ["a", "b", "c"].map(|name| caller(name, "max_queue = 10"));
    let toml = format!("{toml}{}{}", callers.concat(), caller("d", "requests_per_minute = 1"));
    let world = World::with_env(unlimited(), &toml, &[ADMIN]).await;
    let mut dice = fastrand::Rng::with_seed(7);
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..600 {
        ticks.tick().await;
        let name = ["a", "b", "c", "d"][dice.usize(..4)];
        let path = format!("{ECHO}/{}", dice.u8(..8));
        let call = waits(world.get_as(name, &path), dice.u32(..5));
        // Some hang up, at any moment.
        let stays = if dice.u8(..4) == 0 { dice.u64(..900) } else { 60_000 };
        calls.spawn(async move {
            let answer = async { Answer::of(call.send().await.unwrap()).await };
            let left = tokio::time::timeout(Duration::from_millis(stays), answer).await;
            assert!(left.is_ok() || stays < 60_000, "nobody has answered");
            left.ok()
        });
    }
    for answer in calls.join_all().await.into_iter().flatten() {
        assert!(matches!(answer.status, 200 | 429), "{answer:?}");
        assert_eq!(answer.status == 429, !answer.header("retry-after").is_empty());
    }
    world.until(|seen| seen.in_flight == 0).await;
    let metrics = world.gateway.admin("/metrics").await;
    for gauge in ["calls_waiting", "calls_in_flight"] {
        assert!(metrics.contains(&format!("genesys_proxy_{gauge}{{}} 0\n")), "{metrics}");
    }
}

/// A world whose calls wait for two seconds, and when the faults are cleared for so many more, with
/// the calls that met this.
async fn held_up_twice(seconds: u32) -> (World, JoinSet<Answer>) {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n{RULES}")).await;
    let refuses = |path: &str, hold: bool, seconds: u32| {
        json!({"match": path, "status": 429, "times": 1, "hold": hold,
               "retry_after": seconds.to_string()})
    };
    let [slow, quick] = ["/api/v2/echo/1", "/api/v2/echo/2"];
    world.faults(json!({"api": [refuses(slow, true, seconds), refuses(quick, false, 2)]}));
    // A part is never shared.
    let part = |path| world.request(Method::GET, path).header("range", "bytes=0-1");
    let mut line = sent([part(slow)]);
    world.until(|seen| seen.held == 1).await;
    let quick = part(quick);
    line.spawn(async move { Answer::of(quick.send().await.unwrap()).await });
    world.gateway.logged("429 for GET /api/v2/echo/*").await;
    (world, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_hands_its_place_on_and_of_fifty_others_one_takes_it() {
    let (world, line) = held_up_twice(5).await;
    let get = || world.request(Method::GET, "/api/v2/echo/3");
    let first = sent([waits(get(), 4)]);
    world.gateway.logged(BEGINS).await;
    let patient = sent((0..50).map(|_| waits(get(), 30)));
    let hasty = sent((0..5).map(|_| waits(get(), 3)));
    world.gateway.wait_for_logs(JOINS, 55);
    world.faults(json!({}));
    for answer in first.join_all().await.into_iter().chain(hasty.join_all().await) {
        let seconds = assert_limited(&answer, "proxy.rate.limited");
        assert!((3..=6).contains(&seconds), "{seconds}");
    }
    assert_all(&patient.join_all().await, 200);
    line.join_all().await;
    assert_eq!(world.records("/api/v2/echo/3").len(), 1);
    let stood = world.gateway.log().matches(STANDS).count();
    assert!(stood <= 10, "the five who could not wait, and hardly more: {stood}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_must_go_once_more_keeps_nobody_waiting_who_cannot_wait() {
    let world = beside_a_batch(&rate_limit(200, 60, "")).await;
    let once =
        json!({"match": SHARED, "status": 429, "times": 1, "hold": true, "retry_after": "9"});
    world.faults(json!({"api": [once]}));
    let patient = sent([waits(world.get_as("other", SHARED), 60)]);
    world.until(|seen| seen.held == 1).await;
    let hasty = sent([waits(world.get_as("app", SHARED), 2)]);
    world.gateway.wait_for_logs(JOINS, 1);
    let begin = Instant::now();
    world.faults(json!({}));
    let hasty = hasty.join_all().await.remove(0);
    let seconds = assert_limited(&hasty, "proxy.rate.limited");
    assert!((7..=10).contains(&seconds), "{seconds}");
    assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());
    assert_all(&patient.join_all().await, 200);
    assert_eq!(world.records(SHARED).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_that_its_sender_cannot_wait_out_is_waited_out_by_those_who_can() {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n{RULES}")).await;
    let once =
        json!({"match": SHARED, "status": 429, "times": 1, "hold": true, "retry_after": "3"});
    world.faults(json!({"api": [once]}));
    let get = || world.request(Method::GET, SHARED);
    let hasty = sent([waits(get(), 1)]);
    world.until(|seen| seen.held == 1).await;
    let patient = sent((0..20).map(|_| waits(get(), 30)));
    let also_hasty = sent((0..5).map(|_| waits(get(), 1)));
    world.gateway.wait_for_logs(JOINS, 25);
    world.faults(json!({}));
    assert_all(&hasty.join_all().await, 429);
    assert_all(&also_hasty.join_all().await, 429);
    assert_all(&patient.join_all().await, 200);
    assert_eq!(world.records(SHARED).len(), 2);
    // Longer than anybody waits for: it is everybody's.
    world.faults(json!({"api": [{"match": SHARED, "status": 429, "hold": true,
                                 "retry_after": "900"}]}));
    let all = sent((0..20).map(|_| waits(get(), 30)));
    world.gateway.wait_for_logs(JOINS, 25 + 19 + 19);
    world.until(|seen| seen.held == 1).await;
    world.faults(json!({"clear": true}));
    assert_all(&all.join_all().await, 429);
    assert_eq!(world.records(SHARED).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_token_as_long_as_who_began_the_call() {
    let toml = format!("{NO_LIMIT}\n{RULES}");
    let world = World::beginning(unlimited(), &toml, json!({"token": "hold"})).await;
    let get = || world.request(Method::GET, SHARED);
    let patient = sent([waits(get(), 60)]);
    world.gateway.logged(BEGINS).await;
    let begin = Instant::now();
    let hasty = sent((0..20).map(|_| waits(get(), 1)));
    for answer in hasty.join_all().await {
        assert_eq!(answer.json()["code"], "proxy.token.unavailable");
    }
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    world.faults(json!({"token": "ok"}));
    assert_all(&patient.join_all().await, 200);
    assert_eq!(world.records(SHARED).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_line_leaves_its_place_to_the_others() {
    let world = beside_a_batch(&rate_limit(1, 4, "")).await;
    let mut first = sent([waits(world.get_as("other", SHARED), 60)]);
    world.gateway.wait_for_logs(BEGINS, 2);
    let others = sent((0..5).map(|_| waits(world.get_as("app", SHARED), 60)));
    world.gateway.wait_for_logs(JOINS, 5);
    first.shutdown().await;
    world.gateway.logged(" 499 ").await;
    let answers = others.join_all().await;
    assert_all(&answers, 200);
    assert!(answers.iter().all(tells_nothing_of_a_limit), "{answers:?}");
    assert_eq!(world.records(SHARED).len(), 1);
    assert!(!world.gateway.log().contains(STANDS), "nobody has to stand at the end");
    world.gateway.wait_for_log(" 200 attempts=1 ");
    // And when nobody is left, nothing is sent.
    let mut all = sent((0..3).map(|_| waits(world.get_as("app", SHARED), 60)));
    world.gateway.wait_for_logs(JOINS, 7);
    all.shutdown().await;
    world.gateway.wait_for_logs(" 499 ", 4);
    let metrics = world.gateway.admin("/metrics").await;
    assert!(metrics.contains("genesys_proxy_calls_waiting{} 0\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_anothers_tells_nothing_of_what_was_left_then() {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n{RULES}")).await;
    let spoken = json!({"RateLimit": "\"theirs\";r=70;t=9", "RateLimit-Policy": "\"theirs\";q=99"});
    let kept = "/api/v2/echo/kept";
    world.faults(json!({"api": [{"hold": true, "headers": spoken}]}));
    let both = sent([world.request(Method::GET, kept), world.request(Method::GET, kept)]);
    world.gateway.wait_for_logs(JOINS, 1);
    world.until(|seen| seen.held == 1).await;
    world.faults(json!({"clear": true}));
    let both = both.join_all().await;
    assert_all(&both, 200);
    let silent = both.iter().filter(|answer| tells_nothing_of_a_limit(answer)).count();
    assert_eq!(silent, 1, "whose call it was is told");
    let hit = world.answer(world.request(Method::GET, kept)).await;
    assert!(
        hit.header("cache-status").contains("hit") && tells_nothing_of_a_limit(&hit),
        "{hit:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_as_old_as_its_call_and_not_as_old_as_the_wait_for_its_turn() {
    let one = "families = [{ match = \"GET /api/v2/echo/**\", concurrent = 1 }]";
    let toml = format!("{NO_LIMIT}\n{one}\n{RULES}");
    let world = World::with(unlimited(), &toml).await;
    let kept = "/api/v2/echo/kept";
    world.faults(json!({"api": [{"match": "GET /api/v2/echo/1", "hold": true}]}));
    let before = sent([world.request(Method::GET, "/api/v2/echo/1")]);
    world.until(|seen| seen.held == 1).await;
    let first = sent([world.request(Method::GET, kept)]);
    world.gateway.wait_for_logs(BEGINS, 2);
    // It has not left yet: its answer will know of this.
    let put = world.answer(world.request(Method::PUT, kept)).await;
    assert_eq!(put.status, 200);
    let second = sent([world.request(Method::GET, kept)]);
    world.gateway.wait_for_logs(JOINS, 1);
    world.faults(json!({"clear": true}));
    for calls in [before, first, second] {
        assert_all(&calls.join_all().await, 200);
    }
    let hit = world.answer(world.request(Method::GET, kept)).await;
    assert!(hit.header("cache-status").contains("hit"), "{hit:?}");
    assert_eq!(world.records(kept).iter().filter(|call| call.method == "GET").count(), 1);
}
