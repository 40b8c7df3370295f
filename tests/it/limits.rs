//! A caller's ceiling and a path family's limit hold what they name, and nobody else.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    NO_LIMIT, World, assert_all, at_once,
    callers::{caller, most_in, rate_limit, sent},
    raw::{Stage, ok},
    unlimited,
};

const ME: &str = "/api/v2/organizations/me";
const ECHO: &str = "/api/v2/echo";
const WINDOW: Duration = Duration::from_secs(2);
/// A busy machine takes longer with one call than with another: by less than this is shorter.
const NEARLY: Duration = Duration::from_millis(1_800);

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_ceiling_holds_that_caller_and_nobody_else() {
    let ceiling = caller("capped", "requests_per_minute = 5");
    let toml = format!("{}{ceiling}{}", rate_limit(200, 2, ""), caller("free", ""));
    let world = World::with(unlimited(), &toml).await;
    let capped = sent((0..12).map(|_| world.get_as("capped", "/api/v2/echo/capped")));
    world.until(|seen| seen.requests >= 5).await;
    let begin = Instant::now();
    let free = (0..50).map(|_| world.get_as("free", "/api/v2/echo/free"));
    assert_all(&at_once(free).await, 200);
    assert!(begin.elapsed() < WINDOW, "{:?}", begin.elapsed());
    assert!(world.arrivals("/api/v2/echo/capped").len() < 12, "they do wait");
    assert_all(&capped.join_all().await, 200);
    let most = most_in(NEARLY, &world.arrivals("/api/v2/echo/capped"));
    assert_eq!(most, 5, "all of its ceiling, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_reached_its_ceiling_is_told_the_truth_about_it() {
    let toml = format!("{}{}", rate_limit(200, 3, ""), caller("capped", "requests_per_minute = 2"));
    let world = World::with(unlimited(), &toml).await;
    for left in ["1", "0"] {
        let answer = world.answer(world.get_as("capped", ME)).await;
        assert_eq!(
            (answer.status, answer.header("ratelimit-policy")),
            (200, "\"default\";q=2;w=3")
        );
        let standing = answer.header("ratelimit");
        assert!(standing.starts_with(&format!("\"default\";r={left};t=")), "{standing}");
    }
    let (answer, seconds) = world.refused(world.get_as("capped", ME), "proxy.rate.limited").await;
    assert_eq!(answer.header("ratelimit-policy"), "\"default\";q=2;w=3");
    assert_eq!(answer.header("ratelimit"), format!("\"default\";r=0;t={seconds}"));
    assert!((1..=4).contains(&seconds), "{seconds}");
    let mut then = tokio::time::interval_at(
        Instant::now() + Duration::from_secs(seconds),
        Duration::from_secs(1),
    );
    then.tick().await;
    let back = world.get_as("capped", ME).header("prefer", "wait=0");
    assert_eq!(world.answer(back).await.status, 200);
    let other = world.answer(world.request(Method::GET, ME)).await;
    assert_eq!(other.header("ratelimit-policy"), "\"default\";q=200;w=3", "everybody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceiling_holds_without_a_limit_for_all() {
    let toml =
        format!("{NO_LIMIT}\nwindow = \"2s\"\n{}", caller("capped", "requests_per_minute = 4"));
    let world = World::with(unlimited(), &toml).await;
    let capped = sent((0..8).map(|_| world.get_as("capped", "/api/v2/echo/capped")));
    assert_all(&capped.join_all().await, 200);
    assert_eq!(most_in(NEARLY, &world.arrivals("/api/v2/echo/capped")), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_familys_limit_holds_that_family_and_nobody_else() {
    let families = "families = [{ match = \"PUT /api/v2/echo/ivrs/*\", requests_per_minute = 3 }]";
    let world = World::with(unlimited(), &rate_limit(200, 2, families)).await;
    let held = |n: u32| world.request(Method::PUT, &format!("{ECHO}/ivrs/{n}")).body("x");
    let held = sent((0..9).map(held));
    world.until(|seen| seen.requests >= 3).await;
    let begin = Instant::now();
    for (method, path) in
        [(Method::GET, "/api/v2/echo/ivrs/1"), (Method::PUT, "/api/v2/echo/other/1")]
    {
        let others = (0..20).map(|_| world.request(method.clone(), path));
        assert_all(&at_once(others).await, 200);
    }
    assert!(begin.elapsed() < WINDOW, "{:?}", begin.elapsed());
    assert_all(&held.join_all().await, 200);
    world.until(|seen| seen.requests == 49).await;
    let mut arrivals = world.arrivals("/api/v2/echo/ivrs");
    arrivals.retain(|call| call.method == "PUT");
    assert_eq!((arrivals.len(), most_in(NEARLY, &arrivals)), (9, 3));
}

/// No more than two at once of what reads under `/api/v2/echo`, or of recordings.
const TWO: &str = "families = [\n\
    { match = \"GET /api/v2/echo/**\", concurrent = 2 },\n\
    { match = \"GET /api/v2/recordings/**\", concurrent = 2 }]";

#[tokio::test(flavor = "multi_thread")]
async fn of_a_family_no_more_are_under_way_at_once_than_it_may_have() {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n{TWO}")).await;
    let hold = json!({"api": [{"match": "GET,HEAD /api/v2/echo*", "hold": true}]});
    world.faults(hold.clone());
    // To a limit of upstream's, HEAD is a GET.
    let methods = [Method::GET, Method::HEAD, Method::GET, Method::HEAD, Method::GET, Method::HEAD];
    let read = sent(methods.map(|method| world.request(method, "/api/v2/echo/queues")));
    world.until(|seen| seen.held == 2).await;
    let begin = Instant::now();
    for (method, path) in [(Method::GET, ME), (Method::PUT, "/api/v2/echo/queues")] {
        let others = (0..20).map(|_| world.request(method.clone(), path));
        assert_all(&at_once(others).await, 200);
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(world.genesys.counters().held, 2);
    for done in [42, 44] {
        // Lets the two go that are held, and holds those that come after them.
        world.faults(hold.clone());
        world.until(|seen| seen.requests == done && seen.held == 2).await;
    }
    world.faults(json!({"clear": true}));
    assert_all(&read.join_all().await, 200);
    assert_eq!(world.genesys.counters().most_held, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_under_way_until_the_last_byte_of_its_answer() {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n{TWO}")).await;
    // More than all buffers on the way hold.
    let media = "/api/v2/recordings/7/media?bytes=60000000";
    let first = world.get(media).await;
    let second = world.get(media).await;
    assert!(first.status().is_success() && second.status().is_success());
    let mut third = sent([world.request(Method::GET, media)]);
    assert_all(&at_once((0..30).map(|_| world.request(Method::GET, ME))).await, 200);
    assert_eq!(world.genesys.counters().in_flight, 2, "the third waits");
    assert!(third.try_join_next().is_none());
    // Who hangs up has had its last byte.
    drop(first);
    assert_eq!(third.join_next().await.unwrap().unwrap().status, 200);
    assert_eq!(second.bytes().await.unwrap().len(), 60_000_000);
    assert_eq!(world.get(media).await.status(), 200);
}

#[test]
fn no_spelling_of_a_path_gets_a_call_past_its_familys_limit() {
    let families = "rate_limit.families = [\
        { match = \"GET /api/v2/users/**\", requests_per_minute = 2 }, \
        { match = \"GET /api/v2/groups/*\", requests_per_minute = 1 }]\n";
    let stage = Stage::with(families, |line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    assert_eq!(stage.get("/api/v2/%75sers").status, 200);
    assert_eq!(stage.get("//api/v2/users/7").status, 200);
    for odd in [
        "/api/v2/users",
        "/api/v2/%75sers",
        "/api/v2/%55sers/7",
        "/api/v2/user%73/7?a=b",
        "//api/v2/users",
        "/api//v2/users",
        "/api/./v2/users",
        "/api/v2/x/../users",
        "/api/v2/x/%2e%2e/users",
        "/api/v2/x/%2E./users",
        "/api/v2/users/.",
        "/api/v2/users/7/..",
        "/api%2fv2%2Fusers",
        "/api/v2%5cusers",
        "/api/v2/users;a=b",
        "/api/v2/%2575sers",
        "/API/v2/Users/",
        "/api/v2/users%20",
    ] {
        let answer = stage.get(odd);
        assert_eq!((answer.status, &*answer.code()), (429, "proxy.rate.limited"), "{odd}");
    }
    // A name needs encoding: such a call is its family's as any.
    assert_eq!(stage.get("/api/v2/groups/My%20Group").status, 200);
    assert_eq!(stage.get("/api/v2/groups/My%20Friends").status, 429);
    assert_eq!(stage.get("/api/v2/groups/My%20Group/members").status, 200, "no family's");
    assert_eq!(stage.end().iter().map(|record| record.requests().0.len()).sum::<usize>(), 4);
}

#[test]
fn what_was_learned_of_a_path_holds_for_each_of_its_spellings() {
    let stage = Stage::new(|line| {
        while let Some(request) = line.request() {
            let limited = request.target.contains("sers");
            let refusal = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 100\r\n\
                           Content-Length: 0\r\n\r\n";
            line.send(if limited { refusal.as_bytes().to_vec() } else { ok("{}") }.as_slice());
        }
    });
    let first = stage.get("/api/v2/users/7");
    assert_eq!((first.status, first.all("retry-after")), (429, vec!["100"]), "upstream's");
    for odd in ["//api/v2/users/8", "/api/v2/%75sers/8", "/api/x/../v2/users/8", "/API/v2/Users/8"]
    {
        let answer = stage.get(odd);
        assert_eq!((answer.status, &*answer.code()), (429, "proxy.rate.limited"), "{odd}");
    }
    assert_eq!(stage.get("/api/v2/groups").status, 200);
    stage.peer.wait_for_requests(2);
    assert_eq!(stage.end().iter().map(|record| record.requests().0.len()).sum::<usize>(), 2);
}
