//! Crowds: who comes back when told is served, and who leaves, at whatever moment, leaves nothing
//! behind.

use std::time::Duration;

use http::Method;
use reqwest::Client;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    Answer, World, assert_all, at_once,
    callers::{caller, limited, rate_limit, sent},
    gateway::ADMIN,
    raw::{
        Caller,
        http2::{CANCEL, Caller2, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, literals},
    },
    unlimited,
};

const ME: &str = "/api/v2/organizations/me";

/// The n-th of several callers, each at its own address.
fn from(caller: u8) -> Client {
    let client = Client::builder().no_proxy();
    client.local_address(Some(std::net::IpAddr::from([127, 0, 0, caller]))).build().unwrap()
}

/// A call, and once more exactly when it is told to, if it is: whether that was a comeback, and
/// whether it was served, within this time.
async fn comes_back(client: Client, url: String, within: Duration) -> Option<bool> {
    let first = Answer::of(client.get(&url).send().await.unwrap()).await;
    if first.status == 200 {
        return None;
    }
    let told = Duration::from_secs(first.header("retry-after").parse().unwrap());
    tokio::time::sleep(told).await;
    let begin = Instant::now();
    let second = Answer::of(client.get(&url).send().await.unwrap()).await;
    Some(second.status == 200 && begin.elapsed() <= within)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_is_kept_under_five_times_the_load_that_there_is_room_for() {
    let max_wait = Duration::from_secs(1);
    let world = World::alone(limited(40, 1), &rate_limit(40, 1, "max_wait = \"1s\"")).await;
    let callers: Vec<_> = (1..=5).map(from).collect();
    let mut calls = JoinSet::new();
    // Two hundred a second, for two windows.
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    for call in 0..400 {
        pace.tick().await;
        let client = callers[call % callers.len()].clone();
        let within = max_wait + Duration::from_secs(1);
        calls.spawn(comes_back(client, world.gateway.url(ME), within));
    }
    let comebacks: Vec<bool> = calls.join_all().await.into_iter().flatten().collect();
    let kept = comebacks.iter().filter(|kept| **kept).count();
    println!("{kept} of {} comebacks kept", comebacks.len());
    assert!(comebacks.len() > 200, "most are told to come back: {}", comebacks.len());
    assert!(kept * 100 >= comebacks.len() * 95, "{kept} of {}", comebacks.len());
    let seen = world.genesys.counters();
    assert_eq!(seen.rate_limited, 0);
    assert!(seen.most_in_window <= 40, "{} in one window", seen.most_in_window);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_hang_up_at_any_moment_leave_nothing_behind() {
    let families = "families = [{ match = \"GET /api/v2/echo/**\", concurrent = 2 }]";
    let toml = rate_limit(30, 3, &format!("max_wait = \"60s\"\nreserve = 3\n{families}"));
    let terms = "requests_per_minute = 25\nmax_queue = 40";
    let toml = format!("{toml}{}{}", caller("a", terms), caller("b", "weight = 5"));
    let mut world = World::with_env(unlimited(), &toml, &[ADMIN]).await;
    let mut dice = fastrand::Rng::with_seed(7);
    let mut storm = JoinSet::new();
    for _ in 0..300 {
        let name = ["a", "b"][dice.usize(..2)];
        let path = [ME, "/api/v2/echo/some"][dice.usize(..2)];
        let urgency = format!("u={}", dice.u8(..8));
        let call = world.get_as(name, path).header("priority", urgency);
        let patience = Duration::from_millis(dice.u64(..4_000));
        storm.spawn(async move {
            let call = async { Answer::of(call.send().await.unwrap()).await };
            tokio::time::timeout(patience, call).await.is_ok_and(|answer| answer.status == 200)
        });
    }
    let served = storm.join_all().await.into_iter().filter(|served| *served).count();
    assert!((1..100).contains(&served), "some are served and most leave: {served}");
    assert!(world.gateway.admin("/readyz").await.contains("ready"));
    // A window and a bit later nothing counts any longer.
    let window = Duration::from_millis(3_500);
    tokio::time::interval_at(Instant::now() + window, window).tick().await;
    for name in ["a", "b"] {
        world.faults(json!({"api": [{"match": "/api/v2/echo*", "hold": true}]}));
        let mut family = JoinSet::new();
        for _ in 0..3 {
            let call = world.get_as(name, "/api/v2/echo/some");
            family.spawn(async move { Answer::of(call.send().await.unwrap()).await });
        }
        world.until(|seen| seen.held == 2).await;
        world.faults(json!({"clear": true}));
        assert_all(&family.join_all().await, 200);
    }
    tokio::time::interval_at(Instant::now() + window, window).tick().await;
    assert_eq!(world.answer(world.get_as("a", ME)).await.status, 200);
    for (name, left) in [("a", 23), ("b", 27)] {
        let answer = world.answer(world.get_as(name, ME)).await;
        let standing = answer.header("ratelimit").to_owned();
        assert!(standing.starts_with(&format!("\"default\";r={left};")), "{name}: {standing}");
    }
    // All of the allowance: first what is for any call, then the reserve.
    for (calls, urgency) in [(24, "u=3"), (3, "u=0")] {
        let call = || world.request(Method::GET, ME).header("priority", urgency);
        let calls = (0..calls).map(|_| call().header("prefer", "wait=0"));
        assert_all(&at_once(calls).await, 200);
    }
    let begin = Instant::now();
    world.gateway.signal("TERM");
    let status = world.gateway.wait();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(status.code(), Some(0), "{status}");
    world.gateway.wait_for_log("drained clean=true");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_with_a_turn_that_was_not_used_leaves_it_to_others() {
    let toml = rate_limit(10, 100, "");
    // Those who have a turn wait for the token.
    let world = World::beginning(unlimited(), &toml, json!({"token": "hold"})).await;
    let mut dice = fastrand::Rng::with_seed(7);
    let mut storm = JoinSet::new();
    for _ in 0..40 {
        let call = world.request(Method::GET, ME).header("prefer", "wait=600");
        let patience = Duration::from_millis(dice.u64(500..1_000));
        storm.spawn(tokio::time::timeout(patience, call.send()));
    }
    let served: Vec<_> = storm.join_all().await.into_iter().flatten().collect();
    assert!(served.is_empty(), "{served:?}");
    world.gateway.wait_for_logs(" 499 ", 40);
    world.faults(json!({"token": "ok"}));
    let calls = (0..10).map(|_| world.request(Method::GET, ME).header("prefer", "wait=5"));
    assert_all(&at_once(calls).await, 200);
    assert_eq!(world.genesys.counters().requests, 10);
}

/// Opens a stream for a GET of this path.
fn open(caller: &mut Caller2, stream: u32, path: &str) {
    let head = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
        ("prefer", "wait=60"),
    ];
    caller.send(HEADERS, END_STREAM | END_HEADERS, stream, &literals(&head));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_in_line_and_in_flight_give_all_their_places_back() {
    let families = "families = [{ match = \"GET /api/v2/echo/**\", concurrent = 2 }]";
    let capped = "[[caller]]\nname = \"here\"\nnetworks = [\"127.0.0.1/32\"]\n\
                  requests_per_minute = 100\n";
    let toml = format!("{}{capped}", rate_limit(200, 600, families));
    let world = World::with(unlimited(), &toml).await;
    let mut caller = Caller2::new(Caller::connect(world.gateway.address));
    let hold = json!({"api": [{"match": "/api/v2/echo*", "hold": true}]});
    let (mut stream, mut arrived) = (1, 0);
    for round in 1..=5_u32 {
        world.faults(hold.clone());
        let mut streams: Vec<u32> = (0..40).map(|n| stream + n * 2).collect();
        stream += 80;
        for &stream in &streams {
            open(&mut caller, stream, "/api/v2/echo/some");
        }
        world.until(|seen| seen.held == 2).await;
        // One more that passes all of them: they have arrived, and stand in line.
        open(&mut caller, stream, ME);
        assert_eq!(caller.outcome(stream).status, 200);
        stream += 2;
        // Those in line first, so that nobody moves up; at last those in flight, so that all do.
        if round < 5 {
            streams.reverse();
        }
        for stream in &streams {
            caller.send(RST_STREAM, 0, *stream, &CANCEL.to_be_bytes());
        }
        let cut = usize::try_from(round * 40).unwrap();
        world.gateway.wait_for_logs(" 499 ", cut);
        world.faults(json!({"clear": true}));
        world.until(|seen| seen.in_flight == 0).await;
        // Some may have been sent when those before them were cut, and were cut then.
        let before = std::mem::replace(&mut arrived, world.records("/api/v2/echo/some").len());
        assert!((before + 2..=before + 40).contains(&arrived), "{arrived} after {before}");
        world.faults(hold.clone());
        let now = |_| world.request(Method::GET, "/api/v2/echo/some").header("prefer", "wait=0");
        let next = sent((0..2).map(now));
        world.until(|seen| seen.held == 2).await;
        world.faults(json!({"clear": true}));
        assert_all(&next.join_all().await, 200);
        arrived += 2;
    }
    // What left counts at the ceiling, though it was cut before it arrived; what only stood in line
    // does not, or five times forty would be far above it.
    let most = 100 - arrived - 6;
    let answer = world.answer(world.request(Method::GET, ME)).await;
    let standing = answer.header("ratelimit").strip_prefix("\"default\";r=").unwrap();
    let left: usize = standing.split_once(';').unwrap().0.parse().unwrap();
    assert!((most.saturating_sub(50)..=most).contains(&left), "{left} of {most}");
}
