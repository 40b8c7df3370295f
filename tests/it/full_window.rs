//! Where limits meet: a large one with small ones below it, and a full window before calls that one
//! answer would do for.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    World, assert_all, at_once,
    callers::{caller, most_in, rate_limit, sent},
    unlimited,
};

const ECHO: &str = "/api/v2/echo";
/// A busy machine takes longer with one call than with another: by less than this is shorter.
const NEARLY: Duration = Duration::from_millis(1_800);

#[tokio::test(flavor = "multi_thread")]
async fn below_a_large_allowance_a_familys_limit_and_a_callers_ceiling_hold_to_the_call() {
    let families = "max_wait = \"60s\"\n\
                    families = [{ match = \"GET /api/v2/echo/few/**\", requests_per_minute = 7 }]";
    let ceiling = caller("capped", "requests_per_minute = 5");
    let toml = format!("{}{ceiling}{}", rate_limit(20_000, 2, families), caller("free", ""));
    let world = World::with(unlimited(), &toml).await;
    let few = sent((0..21).map(|n| world.get_as("free", &format!("/api/v2/echo/few/{n}"))));
    let capped = sent((0..15).map(|n| world.get_as("capped", &format!("/api/v2/echo/capped/{n}"))));
    world.until(|seen| seen.requests >= 12).await;
    let begin = Instant::now();
    for _ in 0..5 {
        let many = (0..100).map(|n| world.get_as("free", &format!("/api/v2/echo/many/{n}")));
        assert_all(&at_once(many).await, 200);
    }
    println!("500 others took {:?}", begin.elapsed());
    // Of the capped caller in the family each counts for both.
    let both = sent((0..4).map(|n| world.get_as("capped", &format!("/api/v2/echo/few/c{n}"))));
    for calls in [few, capped, both] {
        assert_all(&calls.join_all().await, 200);
    }
    let of = |path: &str| world.arrivals(&format!("{ECHO}/{path}"));
    let (few, both) = (of("few"), of("few/c"));
    let mut capped = [of("capped"), both].concat();
    capped.sort_by_key(|call| call.at_ms);
    assert_eq!((few.len(), capped.len(), of("many").len()), (25, 19, 500));
    assert_eq!((most_in(NEARLY, &few), most_in(NEARLY, &capped)), (7, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_of_one_path_before_a_full_window_are_one_call_and_all_are_answered() {
    let saving = "[telemetry]\nlog = \"debug\"\n[saving]\ncoalesce = [\"GET /api/v2/echo/**\"]\n";
    let toml = format!("{}{saving}", rate_limit(1, 3, "max_queue = 5"));
    let world = World::with(unlimited(), &toml).await;
    let begin = Instant::now();
    assert_eq!(world.answer(world.request(Method::POST, ECHO)).await.status, 200);
    let callers = sent((0..200).map(|_| world.request(Method::GET, ECHO)));
    // Far more than may stand in line: only one of them does.
    world.gateway.wait_for_logs("a call waits for the answer to another one", 199);
    let answers = callers.join_all().await;
    assert!(begin.elapsed() >= Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_all(&answers, 200);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert_eq!(world.records(ECHO).len(), 2, "the one that filled the window, and one for all");
    let alone = world.request(Method::GET, ECHO).header("prefer", "wait=0");
    let refused = world.answer(alone).await;
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("proxy.rate.limited")));
}
