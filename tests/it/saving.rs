//! One answer does for several calls, where a rule says so, and nobody can tell but by its fields.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    Answer, NO_LIMIT, World, assert_all, at_once, gateway::ADMIN, gateway::PATIENCE, unlimited,
};

const ECHO: &str = "/api/v2/echo";
const JOINS: &str = "a call waits for the answer to another one";

/// What echoes is shared in flight, queues and what echoes below `kept` are kept, and whoever joins
/// somebody's call says so in the log.
const RULES: &str = "[telemetry]\nlog = \"debug\"\n[saving]\n\
    coalesce = [\"GET /api/v2/**\"]\n\
    cache = [{ match = \"GET /api/v2/echo/kept/**\", for = \"1h\" }, \
             { match = \"GET /api/v2/routing/queues/**\", for = \"10m\" }]\n";

async fn world() -> World {
    World::with(unlimited(), &format!("{NO_LIMIT}\n{RULES}")).await
}

/// As many callers as there are requests, each on a connection of its own.
fn callers(requests: impl IntoIterator<Item = reqwest::RequestBuilder>) -> JoinSet<Answer> {
    let mut callers = JoinSet::new();
    for request in requests {
        callers.spawn(async move { Answer::of(request.send().await.unwrap()).await });
    }
    callers
}

fn gets(world: &World, path: &str, count: usize) -> Vec<reqwest::RequestBuilder> {
    (0..count).map(|_| world.request(Method::GET, path)).collect()
}

async fn get(world: &World, path: &str) -> Answer {
    world.answer(world.request(Method::GET, path)).await
}

fn hold(world: &World) {
    world.faults(json!({"api": [{"hold": true}]}));
}

fn status(answer: &Answer) -> &str {
    answer.header("cache-status")
}

fn is_hit(answer: &Answer) -> bool {
    status(answer).starts_with("genesys-proxy; hit; ttl=")
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_identical_calls_in_flight_are_one_call_upstream_and_fifty_answers() {
    let limit = "[rate_limit]\nrequests_per_minute = 1";
    let world = World::with_env(unlimited(), &format!("{limit}\n{RULES}"), &[ADMIN]).await;
    hold(&world);
    let callers = callers(gets(&world, "/api/v2/echo?a=1", 50));
    world.gateway.wait_for_logs(JOINS, 49);
    world.faults(json!({"clear": true}));
    let answers = callers.join_all().await;
    assert_all(&answers, 200);
    assert_eq!(world.records(ECHO).len(), 1);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    let named =
        |name: &'static str| answers.iter().map(move |answer| answer.header(name).to_owned());
    let mut ids: Vec<_> = named("x-request-id").collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 50, "each call has a name of its own");
    let sent = world.records(ECHO)[0].correlation_id.clone();
    assert!(named("inin-correlation-id").all(|id| id == sent));
    assert!(named("via").all(|via| via == "1.1 genesys-proxy"));
    assert!(named("server-timing").all(|timing| timing.starts_with("queue;dur=")));
    let mut said: Vec<_> = named("cache-status").collect();
    said.sort_unstable();
    assert_eq!(said[0], "genesys-proxy; fwd=uri-miss");
    assert!(said[1..].iter().all(|said| said == "genesys-proxy; fwd=uri-miss; collapsed"));
    assert_eq!(world.gateway.wait_for_logs(" attempts=0 saved=coalesced ", 49).len(), 49);
    world.gateway.wait_for_log(" attempts=1 replayed=no ");
    let metrics = world.gateway.admin("/metrics").await;
    assert!(metrics.contains("genesys_proxy_saved_calls_total{how=\"coalesced\"} 49"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shared_or_kept_by_default() {
    let world = World::new().await;
    hold(&world);
    let callers = callers(gets(&world, ECHO, 10));
    world.until(|seen| seen.held == 10).await;
    world.faults(json!({"clear": true}));
    let mut answers = callers.join_all().await;
    answers.push(get(&world, ECHO).await);
    assert_all(&answers, 200);
    assert_eq!(world.records(ECHO).len(), 11);
    assert!(answers.iter().all(|answer| status(answer).is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_upstream_could_tell_apart_are_all_sent() {
    let world = world().await;
    hold(&world);
    let get = |path: &str| world.request(Method::GET, path);
    let callers = callers([
        get("/api/v2/echo?a=1"),
        get("/api/v2/echo?a=2"),
        get("/api/v2/echo/b"),
        get("/api/v2/Echo"),
        get("/api/v2/echo?a=1").header("accept", "text/csv"),
        get("/api/v2/echo?a=1").header("accept-language", "de"),
        get("/api/v2/echo?a=1").body("a body"),
        world.request(Method::POST, "/api/v2/echo?a=1"),
        world.request(Method::HEAD, "/api/v2/echo?a=1"),
    ]);
    world.until(|seen| seen.held == 9).await;
    world.faults(json!({"clear": true}));
    callers.join_all().await;
    assert!(!world.gateway.log().contains(JOINS));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_began_the_call_leaves_and_the_others_are_answered() {
    let world = world().await;
    hold(&world);
    let mut first = callers(gets(&world, ECHO, 1));
    world.until(|seen| seen.held == 1).await;
    let others = callers(gets(&world, ECHO, 5));
    world.gateway.wait_for_logs(JOINS, 5);
    first.shutdown().await;
    world.gateway.logged(" 499 ").await;
    world.faults(json!({"clear": true}));
    let answers = others.join_all().await;
    assert_all(&answers, 200);
    assert_eq!(world.records(ECHO).len(), 1);
    // The call was sent: one of the lines says so.
    assert_eq!(world.gateway.wait_for_logs(" 200 attempts=0 saved=coalesced ", 4).len(), 4);
    world.gateway.wait_for_log(" 200 attempts=1 ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_waits_for_any_longer_ends() {
    let world = world().await;
    hold(&world);
    let mut all = callers(gets(&world, ECHO, 3));
    world.gateway.wait_for_logs(JOINS, 2);
    world.until(|seen| seen.held == 1).await;
    all.shutdown().await;
    // The simulator hears of it when its connection closes.
    world.until(|seen| seen.requests == 1 && seen.in_flight == 0).await;
    assert_eq!(world.records(ECHO)[0].status, 0);
    world.faults(json!({"clear": true}));
    assert_eq!(get(&world, ECHO).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_says_its_age_sends_nothing_and_takes_no_place_in_the_budget() {
    let limit = "[rate_limit]\nrequests_per_minute = 1";
    let world = World::with_env(unlimited(), &format!("{limit}\n{RULES}"), &[ADMIN]).await;
    let path = "/api/v2/routing/queues?pageSize=5";
    let first = get(&world, path).await;
    assert_eq!((first.status, status(&first)), (200, "genesys-proxy; fwd=uri-miss; stored"));
    assert_eq!(first.header("age"), "");
    let tracing = world.request(Method::GET, path).header("traceparent", "x");
    let tracing = tracing.header("user-agent", "another").header("x-request-id", "mine");
    let again = world.answer(tracing).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert!(is_hit(&again), "{again:?}");
    let age: u64 = again.header("age").parse().unwrap();
    let ttl: u64 = status(&again).rsplit_once('=').unwrap().1.parse().unwrap();
    assert!(age < 30 && (598..=600).contains(&(age + ttl)), "{age} {ttl}");
    assert_eq!(again.header("x-request-id"), "mine");
    assert_eq!(again.header("via"), "1.1 genesys-proxy");
    for name in ["content-type", "inin-correlation-id", "date"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    assert_eq!(world.genesys.counters().requests, 1);
    let line = world.gateway.wait_for_log(" attempts=0 saved=cached ");
    assert!(line.contains(first.header("inin-correlation-id")), "{line}");
    let metrics = world.gateway.admin("/metrics").await;
    for line in ["saved_calls_total{how=\"cached\"} 1", "kept_answers{} 1"] {
        assert!(metrics.contains(&format!("genesys_proxy_{line}\n")), "{line}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_is_asked_for_anew_when_its_time_is_over() {
    let rule = "[saving]\ncache = [{ match = \"/api/v2/echo\", for = \"1s\" }]";
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n{rule}")).await;
    let begin = Instant::now();
    let first = get(&world, ECHO).await;
    loop {
        let asked = begin.elapsed();
        let answer = get(&world, ECHO).await;
        if !is_hit(&answer) {
            assert_eq!(status(&answer), "genesys-proxy; fwd=uri-miss; stored");
            assert!(begin.elapsed() >= Duration::from_secs(1), "too early");
            break;
        }
        assert_eq!(answer.body, first.body);
        assert!(asked < PATIENCE, "it never ends");
    }
    assert_eq!(world.records(ECHO).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_drops_what_it_may_have_changed_and_nothing_else() {
    let world = world().await;
    let paths = ["kept", "kept/1", "kept/1/x", "kept/2"].map(|path| format!("{ECHO}/{path}"));
    for path in &paths {
        get(&world, path).await;
        assert!(is_hit(&get(&world, path).await), "{path}");
    }
    let target = format!("{ECHO}/kept/1");
    for (method, changes) in [
        (Method::PUT, true),
        (Method::OPTIONS, false),
        (Method::PATCH, true),
        (Method::POST, true),
        (Method::DELETE, true),
    ] {
        assert_eq!(world.answer(world.request(method.clone(), &target)).await.status, 200);
        for (path, below) in paths.iter().zip([true, true, true, false]) {
            let hit = is_hit(&get(&world, path).await);
            assert_eq!(hit, !(changes && below), "{method} {path}");
            assert!(is_hit(&get(&world, path).await), "{path} is kept again");
        }
    }
    // So may one whose caller does not wait for the end.
    world.faults(json!({"api": [{"match": "PUT *", "hold": true}]}));
    let mut left = callers([world.request(Method::PUT, &target)]);
    world.until(|seen| seen.held == 1).await;
    left.shutdown().await;
    world.gateway.logged(" 499 ").await;
    assert!(!is_hit(&get(&world, &target).await));
    // One that was refused has changed nothing; one that broke may have.
    for (fault, changed) in [(json!({"status": 409}), false), (json!({"status": 500}), true)] {
        let mut fault = fault;
        fault["match"] = json!("PUT *");
        world.faults(json!({"api": [fault]}));
        world.answer(world.request(Method::PUT, &target)).await;
        assert_eq!(is_hit(&get(&world, &target).await), !changed, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_asked_for_before_a_write_ended_is_for_nobody_who_comes_after_it() {
    let world = world().await;
    let target = format!("{ECHO}/kept/1");
    world.faults(json!({"api": [{"match": "GET *", "hold": true}]}));
    let early = callers(gets(&world, &target, 1));
    world.until(|seen| seen.held == 1).await;
    assert_eq!(world.answer(world.request(Method::PUT, &target)).await.status, 200);
    // It does not join the one before the write.
    let late = callers(gets(&world, &target, 1));
    world.until(|seen| seen.held == 2).await;
    world.faults(json!({"clear": true}));
    let (early, late) = (early.join_all().await.remove(0), late.join_all().await.remove(0));
    let id = |answer: &Answer| answer.header("inin-correlation-id").to_owned();
    assert_ne!(id(&early), id(&late));
    let then = get(&world, &target).await;
    assert!(is_hit(&then), "{then:?}");
    assert_eq!(id(&then), id(&late), "that of the call after the write");

    // The same with nobody who comes in between.
    let target = format!("{ECHO}/kept/2");
    world.faults(json!({"api": [{"match": "GET *", "hold": true}]}));
    let early = callers(gets(&world, &target, 1));
    world.until(|seen| seen.held == 1).await;
    assert_eq!(world.answer(world.request(Method::DELETE, &target)).await.status, 200);
    world.faults(json!({"clear": true}));
    assert_all(&early.join_all().await, 200);
    assert!(!is_hit(&get(&world, &target).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_a_fresh_answer_gets_one_and_the_others_have_it_too() {
    let world = world().await;
    let path = format!("{ECHO}/kept");
    let fresh = || world.request(Method::GET, &path).header("cache-control", "no-cache");
    get(&world, &path).await;
    let refreshed = world.answer(fresh()).await;
    assert_eq!(status(&refreshed), "genesys-proxy; fwd=request; stored");
    let then = get(&world, &path).await;
    assert!(is_hit(&then));
    assert_eq!(then.body, refreshed.body, "it tells of `no-cache`, as upstream got it");
    assert_eq!(world.records(ECHO).len(), 2);
    // Or one that is not as old as that.
    let within = |seconds: u32| {
        world.request(Method::GET, &path).header("cache-control", format!("max-age={seconds}"))
    };
    let begin = Instant::now();
    while is_hit(&world.answer(within(1)).await) {
        assert!(begin.elapsed() < PATIENCE, "it never ages");
    }
    assert!(begin.elapsed() >= Duration::from_secs(1), "too early");
    assert!(is_hit(&world.answer(within(3600)).await));
    // Nor does it wait for a call that left earlier.
    hold(&world);
    let callers = callers([world.request(Method::GET, ECHO), fresh(), fresh()]);
    world.until(|seen| seen.held == 3).await;
    world.faults(json!({"clear": true}));
    assert_all(&callers.join_all().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_for_a_part_or_with_a_condition_and_odd_paths_go_their_usual_way() {
    let world = world().await;
    let path = format!("{ECHO}/kept");
    get(&world, &path).await;
    for (name, value) in [
        ("range", "bytes=0-3"),
        ("if-none-match", "\"a\""),
        ("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("cache-control", "no-store"),
    ] {
        let before = world.records(ECHO).len();
        let answer = world.answer(world.request(Method::GET, &path).header(name, value)).await;
        assert_eq!((answer.status, status(&answer)), (200, ""), "{name}");
        assert_eq!(world.records(ECHO).len(), before + 1, "{name}");
        assert!(answer.body.contains(&format!("\"{name}\"")), "it has crossed: {}", answer.body);
    }
    for path in ["/api/v2/echo/kept/%61", "/api/v2/echo//kept"] {
        for _ in 0..2 {
            assert_eq!(status(&get(&world, path).await), "", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_cookie_or_that_varies_by_what_is_not_compared_is_never_kept() {
    let world = world().await;
    for (name, value) in [("set-cookie", "a=b"), ("vary", "*"), ("vary", "User-Agent")] {
        world.faults(json!({"api": [{"match": "GET *", "headers": {name: value}}]}));
        let before = world.records(ECHO).len();
        for _ in 0..2 {
            let answer = get(&world, &format!("{ECHO}/kept")).await;
            assert_eq!(
                (answer.header(name), status(&answer)),
                (value, "genesys-proxy; fwd=uri-miss")
            );
        }
        assert_eq!(world.records(ECHO).len(), before + 2, "{name}: {value}");
    }
    // What upstream says of keeping is outweighed by the rule that names the path.
    let says = json!({"cache-control": "no-cache, no-store, private"});
    world.faults(json!({"api": [{"headers": says}]}));
    get(&world, &format!("{ECHO}/kept")).await;
    assert!(is_hit(&get(&world, &format!("{ECHO}/kept")).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_and_a_failure_go_to_all_who_wait_and_are_not_kept() {
    let world = world().await;
    let path = "/api/v2/routing/queues/none";
    for (fault, status) in [
        (json!({"hold": true}), 404),
        (json!({"hold": true, "status": 500}), 500),
        (json!({"hold": true, "status": 403}), 403),
        (json!({"hold": true, "truncate": 5}), 502),
    ] {
        let before = world.records(path).len();
        let joined = world.gateway.log().matches(JOINS).count();
        world.faults(json!({"api": [fault]}));
        let callers = callers(gets(&world, path, 8));
        world.gateway.wait_for_logs(JOINS, joined + 7);
        world.until(|seen| seen.held == 1).await;
        world.faults(json!({"clear": true}));
        let answers = callers.join_all().await;
        assert_all(&answers, status);
        assert_eq!(world.records(path).len(), before + 1, "{status}");
        assert!(answers.iter().all(|answer| !answer.header("cache-status").contains("stored")));
    }
    let before = world.records(path).len();
    for _ in 0..2 {
        assert_eq!(get(&world, path).await.status, 404);
    }
    assert_eq!(world.records(path).len(), before + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_breaks_is_tried_as_often_as_one_alone_and_all_get_its_failure() {
    let world = world().await;
    world.faults(json!({"api": [{"close": true}]}));
    let alone = world.request(Method::GET, ECHO).header("cache-control", "no-store");
    assert_eq!(world.answer(alone).await.json()["code"], "proxy.upstream.broken");
    let tries = world.records(ECHO).len();
    world.faults(json!({"api": [{"hold": true, "times": 1, "close": true}, {"close": true}]}));
    let callers = callers(gets(&world, ECHO, 8));
    world.gateway.wait_for_logs(JOINS, 7);
    world.until(|seen| seen.held == 1).await;
    world.faults(json!({"api": [{"close": true}]}));
    for answer in callers.join_all().await {
        assert_eq!((answer.status, &answer.json()["code"]), (502, &json!("proxy.upstream.broken")));
        assert_eq!(answer.json()["contextId"], answer.header("x-request-id"));
    }
    let shared = world.records(ECHO).len() - tries;
    assert!(shared <= tries + 1, "{shared} tries for eight, {tries} for one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_too_large_to_share_streams_to_each_and_is_not_kept() {
    let rule = "[telemetry]\nlog = \"debug\"\n[saving]\n\
                cache = [{ match = \"GET /api/v2/recordings/**\", for = \"1h\" }, \
                         { match = \"GET /api/v2/stream\", for = \"1h\" }]";
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n{rule}")).await;
    let media = "/api/v2/recordings/1/media?bytes=3000000";
    let expected = {
        let alone = world.request(Method::GET, media).header("cache-control", "no-store");
        alone.send().await.unwrap().bytes().await.unwrap()
    };
    hold(&world);
    let mut callers = JoinSet::new();
    for request in gets(&world, media, 3) {
        callers.spawn(async move { request.send().await.unwrap().bytes().await.unwrap() });
    }
    world.gateway.wait_for_logs(JOINS, 2);
    world.faults(json!({"clear": true}));
    for body in callers.join_all().await {
        assert!(body == expected, "{} bytes", body.len());
    }
    assert_eq!(world.records(media).len(), 4, "each its own");
    assert!(!is_hit(&Answer { body: String::new(), ..head(&world, media).await }));
    // One that does not say how long it is, and takes its time: it comes while it is on its way.
    let mut stream = world.get("/api/v2/stream?chunks=4&gap_ms=600").await;
    let begin = Instant::now();
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(text, "{\"chunk\":0}\n{\"chunk\":1}\n{\"chunk\":2}\n{\"chunk\":3}\n");
    assert!(begin.elapsed() >= Duration::from_millis(300), "all of it came at once");
    assert_eq!(world.records("/api/v2/stream").len(), 1);
    // A short one is kept as any.
    for hit in [false, true] {
        let answer = get(&world, "/api/v2/stream?chunks=3&gap_ms=1").await;
        assert_eq!((answer.body.lines().count(), is_hit(&answer)), (3, hit));
    }
}

/// The head of an answer whose body is no text.
async fn head(world: &World, path: &str) -> Answer {
    let response = world.get(path).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    response.bytes().await.unwrap();
    Answer { status, headers, body: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_answers_never_take_more_memory_than_they_were_given() {
    let rule = "[saving]\nmemory = \"1MiB\"\n\
                cache = [{ match = \"/api/v2/recordings/**\", for = \"1h\" }]";
    let toml = format!("{NO_LIMIT}\n{rule}");
    let world = World::with_env(unlimited(), &toml, &[ADMIN]).await;
    let path = |number: usize| format!("/api/v2/recordings/{number}/media?bytes=50000");
    for number in 0..100 {
        assert_eq!(head(&world, &path(number)).await.status, 200);
    }
    let metrics = world.gateway.admin("/metrics").await;
    let value = |name: &str| -> u64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(' ').unwrap().1.parse().unwrap()
    };
    let bytes = value("genesys_proxy_kept_answers_bytes{} ");
    assert!((500_000..=1 << 20).contains(&bytes), "{bytes}");
    let kept = value("genesys_proxy_kept_answers{} ");
    assert!((8..=20).contains(&kept), "{kept}");
    let before = world.genesys.counters().requests;
    let mut hits = 0;
    for number in 0..100 {
        hits += u64::from(is_hit(&head(&world, &path(number)).await));
    }
    assert_eq!(world.genesys.counters().requests - before, 100 - hits);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_over_http2_share_with_those_over_http1() {
    let world = world().await;
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    hold(&world);
    let over_http2 = (0..20).map(|_| http2.get(world.gateway.url(ECHO)).header("accept", "*/*"));
    let callers = callers(over_http2.chain(gets(&world, ECHO, 20)));
    world.gateway.wait_for_logs(JOINS, 39);
    world.faults(json!({"clear": true}));
    let answers = callers.join_all().await;
    assert_all(&answers, 200);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert_eq!(world.records(ECHO).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_waits_no_longer_for_its_turn_because_the_call_is_anothers() {
    let limit = "[rate_limit]\nrequests_per_minute = 1\nwindow = \"3s\"";
    let world = World::with(unlimited(), &format!("{limit}\n{RULES}")).await;
    assert_eq!(world.answer(world.request(Method::POST, ECHO)).await.status, 200);
    // The call stands in line.
    let patient = callers(gets(&world, ECHO, 2));
    world.gateway.wait_for_logs(JOINS, 1);
    let impatient = world.request(Method::GET, ECHO).header("prefer", "wait=0");
    let refused = world.answer(impatient).await;
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("proxy.rate.limited")));
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((4..=7).contains(&seconds), "its own turn is the one after: {seconds}");
    assert_all(&patient.join_all().await, 200);
    assert_eq!(world.records(ECHO).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_impatience_of_who_began_the_call_is_not_that_of_the_others() {
    let world = world().await;
    // One family: a 429 holds up nothing else.
    let [slow, quick, third] = ["/api/v2/echo/1", "/api/v2/echo/2", "/api/v2/echo/3"];
    let limited = |path: &str, hold: bool, seconds: &str| json!({"match": path, "status": 429, "times": 1, "hold": hold, "retry_after": seconds});
    world.faults(json!({"api": [limited(slow, true, "5"), limited(quick, false, "2")]}));
    // A part is never shared.
    let part = |path| world.request(Method::GET, path).header("range", "bytes=0-1");
    let mut line = callers([part(slow)]);
    world.until(|seen| seen.held == 1).await;
    let quick = part(quick);
    line.spawn(async move { Answer::of(quick.send().await.unwrap()).await });
    // Calls wait for two seconds.
    world.gateway.logged("429 for GET /api/v2/echo/*").await;
    let prefer = |wait: &str| [world.request(Method::GET, third).header("prefer", wait)];
    let impatient = callers(prefer("wait=4"));
    world.gateway.logged("a call goes out for all who want its answer").await;
    let patient = callers(prefer("wait=30"));
    world.gateway.wait_for_logs(JOINS, 1);
    // And for five more.
    world.faults(json!({}));
    assert_all(&impatient.join_all().await, 429);
    assert_all(&patient.join_all().await, 200);
    line.join_all().await;
    assert_eq!(world.records(third).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_a_call_and_all_who_wait_for_it() {
    let mut world = world().await;
    hold(&world);
    let callers = callers(gets(&world, ECHO, 6));
    world.gateway.wait_for_logs(JOINS, 5);
    world.until(|seen| seen.held == 1).await;
    world.gateway.signal("TERM");
    world.gateway.logged("draining").await;
    world.faults(json!({"clear": true}));
    assert_all(&callers.join_all().await, 200);
    assert_eq!(world.gateway.wait().code(), Some(0));
    world.gateway.wait_for_log("drained clean=true");
    assert_eq!(world.records(ECHO).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_dies_is_renewed_once_for_all_who_wait() {
    let world = world().await;
    get(&world, ECHO).await;
    world.genesys.revoke();
    hold(&world);
    let callers = callers(gets(&world, ECHO, 10));
    world.gateway.wait_for_logs(JOINS, 9);
    world.faults(json!({"clear": true}));
    assert_all(&callers.join_all().await, 200);
    assert_eq!(world.genesys.counters().mints, 2);
    assert_eq!(world.records(ECHO).len(), 3, "the first, the 401, and its replay");
    assert_all(&at_once(gets(&world, ECHO, 1)).await, 200);
}
