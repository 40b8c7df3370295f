//! The allowance is used and never overrun; who must wait too long is told at once when to come.

use std::time::{Duration, SystemTime};

use genesys_proxy::simulator::Options;
use http::Method;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    Answer, NO_LIMIT, World, assert_all, at_once,
    load::{assert_limited, bytes, sha256},
    unlimited,
};

const ME: &str = "/api/v2/organizations/me";
const ECHO: &str = "/api/v2/echo";

#[tokio::test(flavor = "multi_thread")]
async fn eight_callers_use_the_whole_allowance_and_nobody_sees_a_429() {
    let (limit, window, calls) = (60_u32, Duration::from_secs(4), 300_u32);
    let options = Options { requests_per_minute: limit, window, ..Options::default() };
    let world =
        World::alone(options, "[rate_limit]\nrequests_per_minute = 60\nwindow = \"4s\"").await;
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (client, url) = (world.client.clone(), world.gateway.url(ME));
        let share = calls / 8 + u32::from(caller < calls % 8);
        callers.spawn(async move {
            for _ in 0..share {
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.bytes().await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let seen = world.genesys.counters();
    assert_eq!((seen.requests, seen.rate_limited), (calls.into(), 0));
    assert!(seen.most_in_window <= limit, "{} in one window", seen.most_in_window);
    // The first window's worth may leave at once. From then on each call takes the place of one a
    // window earlier, so the rest are to be spread over as many windows as they fill.
    let sent: Vec<u64> = world.records(ME).iter().map(|record| record.at_ms).collect();
    let lasted = Duration::from_millis(sent.iter().max().unwrap() - sent.iter().min().unwrap());
    let allowed = lasted.as_secs_f64() / window.as_secs_f64() * f64::from(limit);
    let used = f64::from(calls - limit) / allowed;
    println!("{:.1} % of the allowance used", used * 100.0);
    assert!(used >= 0.98, "{used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_formed_before_the_first_token_does_not_overrun_it() {
    let options =
        Options { requests_per_minute: 20, window: Duration::from_secs(2), ..Options::default() };
    let limit = "[rate_limit]\nrequests_per_minute = 20\nwindow = \"2s\"\nmax_queue = 60";
    let world = World::beginning(options, limit, json!({"token": "hold"})).await;
    let mut callers = JoinSet::new();
    for _ in 0..81 {
        let request = world.request(Method::GET, ME).header("prefer", "wait=60");
        callers.spawn(async move { Answer::of(request.send().await.unwrap()).await });
    }
    // Twenty have a turn and wait for the token, sixty stand in line, and one is too many.
    assert_limited(&callers.join_next().await.unwrap().unwrap(), "proxy.queue.full");
    world.faults(json!({"token": "ok"}));
    assert_all(&callers.join_all().await, 200);
    let seen = world.genesys.counters();
    assert_eq!((seen.requests, seen.rate_limited), (80, 0));
    assert!(seen.most_in_window <= 20, "{} in one window", seen.most_in_window);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_served_in_time_is_told_so_at_once_in_genesyss_words() {
    let world = World::with(unlimited(), "[rate_limit]\nrequests_per_minute = 2").await;
    assert_all(&at_once((0..2).map(|_| world.request(Method::GET, ME))).await, 200);
    let begin = Instant::now();
    let answer = world.answer(world.request(Method::GET, ME)).await;
    assert!(begin.elapsed() < Duration::from_secs(6), "not after the twelve that it may wait");
    let seconds = assert_limited(&answer, "proxy.rate.limited");
    assert!((50..=61).contains(&seconds), "{seconds}");
    assert_eq!(world.genesys.counters().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_says_itself_how_long_it_waits() {
    let limit = "[rate_limit]\nrequests_per_minute = 1\nwindow = \"3s\"\nmax_wait = \"1s\"";
    let world = World::with(unlimited(), limit).await;
    let prefer = |value: &str| world.request(Method::GET, ME).header("prefer", value);
    assert_eq!(world.answer(prefer("wait=0")).await.status, 200, "nothing to wait for");
    assert_limited(&world.answer(world.request(Method::GET, ME)).await, "proxy.rate.limited");
    assert_limited(&world.answer(prefer("wait=0")).await, "proxy.rate.limited");
    assert_limited(&world.answer(prefer("wait=soon")).await, "proxy.rate.limited");
    assert_eq!(world.answer(prefer("respond-async, wait=30")).await.status, 200);
    assert_eq!(world.answer(prefer("wait=\"30\"")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_when_told_is_served() {
    let limit = "[rate_limit]\nrequests_per_minute = 1\nwindow = \"2s\"\nmax_wait = \"1ms\"";
    let world = World::with(unlimited(), limit).await;
    assert_eq!(world.get(ME).await.status(), 200);
    let refused = world.answer(world.request(Method::GET, ME)).await;
    let seconds = assert_limited(&refused, "proxy.rate.limited");
    let mut then = tokio::time::interval_at(
        Instant::now() + Duration::from_secs(seconds),
        Duration::from_secs(1),
    );
    then.tick().await;
    assert_eq!(world.get(ME).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_line_refuses_and_callers_that_leave_make_room_for_others() {
    let limit = "[rate_limit]\nrequests_per_minute = 10\nwindow = \"4s\"\nmax_queue = 10";
    let world = World::with(unlimited(), limit).await;
    assert_all(&at_once((0..10).map(|_| world.request(Method::GET, ME))).await, 200);
    let mut line = JoinSet::new();
    for _ in 0..11 {
        let request = world.request(Method::GET, ME);
        line.spawn(async move { Answer::of(request.send().await.unwrap()).await });
    }
    // One of the eleven is refused, and so ten stand in line.
    let refused = line.join_next().await.unwrap().unwrap();
    let seconds = assert_limited(&refused, "proxy.queue.full");
    assert!((1..=9).contains(&seconds), "{seconds}");
    line.shutdown().await;
    for _ in 0..10 {
        let (client, url) = (world.client.clone(), world.gateway.url(ME));
        line.spawn(async move {
            loop {
                let answer = Answer::of(client.get(&url).send().await.unwrap()).await;
                if answer.status == 200 {
                    return answer;
                }
                // The gateway hears of the leaving a moment later.
                assert_limited(&answer, "proxy.queue.full");
            }
        });
    }
    assert_eq!(line.join_all().await.len(), 10);
    assert_eq!(world.genesys.counters().requests, 20, "who left was not sent");
}

/// A 429 of upstream's, once, with this Retry-After.
fn once(retry_after: Option<&str>) -> Value {
    json!({"api": [{"match": "/api/v2/echo*", "status": 429, "times": 1, "retry_after": retry_after}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_429_is_waited_out_and_the_call_goes_again_whole() {
    let world = World::new().await;
    for seconds in [1_u64, 2] {
        world.faults(once(Some(&seconds.to_string())));
        let body = bytes(seconds, 200_000);
        let before = world.records(ECHO).len();
        let begin = Instant::now();
        let answer = world.answer(world.request(Method::POST, ECHO).body(body.clone())).await;
        assert!(begin.elapsed() >= Duration::from_secs(seconds), "it came back too early");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["bodySha256"], sha256(&body));
        assert_eq!(world.records(ECHO).len() - before, 2);
    }
    assert_eq!(world.genesys.counters().mints, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_call_waits_out_a_429_its_family_waits_and_the_rest_goes_on() {
    let world = World::new().await;
    world.faults(once(Some("2")));
    let limited = world.answer(world.request(Method::POST, ECHO).body("first"));
    let (limited, (family, others)) = tokio::join!(limited, async {
        world.gateway.logged("429 for POST /api/v2/echo").await;
        let others = at_once((0..20).map(|_| world.request(Method::GET, ME))).await;
        assert_eq!(world.records(ECHO).len(), 1, "they did not wait for it");
        (at_once((0..5).map(|_| world.request(Method::POST, ECHO).body("x"))).await, others)
    });
    assert_eq!(limited.status, 200);
    assert_all(&others, 200);
    assert_all(&family, 200);
    let at: Vec<u64> = world.records(ECHO).iter().map(|record| record.at_ms).collect();
    assert_eq!(at.len(), 7);
    assert!(at.iter().skip(1).all(|at_ms| at_ms - at[0] >= 1_900), "{at:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_familys_429_for_two_minutes_leaves_all_other_families_untouched() {
    let world = World::new().await;
    let fault = json!({"match": "PUT /api/v2/users/*", "status": 429, "retry_after": "120"});
    world.faults(json!({"api": [fault]}));
    let user = "/api/v2/users/9b1f1a3c-0d3e-4f5a-8b7c-1d2e3f4a5b6c";
    let other = "/api/v2/users/11111111-0d3e-4f5a-8b7c-1d2e3f4a5b6c";
    let first = world.answer(world.request(Method::PUT, user)).await;
    assert_eq!((first.status, first.header("retry-after")), (429, "120"));
    assert_eq!(first.json()["code"], "too.many.requests.retry.after", "upstream's words");
    let same = world.answer(world.request(Method::PUT, other)).await;
    let seconds = assert_limited(&same, "proxy.rate.limited");
    assert!((118..=120).contains(&seconds), "{seconds}");
    let begin = Instant::now();
    let others = [(Method::GET, ME), (Method::POST, ECHO), (Method::GET, "/api/v2/users")];
    for (method, path) in others {
        let calls = (0..20).map(|_| world.request(method.clone(), path));
        assert_all(&at_once(calls).await, 200);
    }
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert_eq!(world.genesys.counters().rate_limited, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_retry_after_says_the_call_ends_well() {
    let date = |offset: i64| {
        let now = SystemTime::now();
        let seconds = Duration::from_secs(offset.unsigned_abs());
        httpdate::fmt_http_date(if offset < 0 { now - seconds } else { now + seconds })
    };
    // Waited out: a second at least, three when it says nothing we can read.
    let mut worlds = JoinSet::new();
    for text in [None, Some("-1".to_owned()), Some("soon".to_owned()), Some("0".to_owned())]
        .into_iter()
        .chain([Some(date(-100)), Some(date(2))])
    {
        worlds.spawn(async move {
            let world = World::new().await;
            world.faults(once(text.as_deref()));
            let answer = world.answer(world.request(Method::POST, ECHO).body("x")).await;
            assert_eq!(answer.status, 200, "{text:?}");
            let at: Vec<u64> = world.records(ECHO).iter().map(|record| record.at_ms).collect();
            assert_eq!(at.len(), 2, "{text:?}");
            // A date has whole seconds, so a wait of two may be one and a bit.
            assert!(at[1] - at[0] >= 900 && at[1] - at[0] < 8_000, "{text:?}: {at:?}");
        });
    }
    // Too long for this caller, or for anybody: upstream's own answer, at once.
    for (text, pauses) in [("60", true), ("1000000000", false), ("99999999999999999999", false)] {
        worlds.spawn(async move {
            let world = World::new().await;
            world.faults(once(Some(text)));
            let begin = Instant::now();
            let answer = world.answer(world.request(Method::POST, ECHO).body("x")).await;
            assert!(begin.elapsed() < Duration::from_secs(8), "{text}");
            assert_eq!((answer.status, answer.header("retry-after")), (429, text));
            assert_eq!(answer.json()["code"], "too.many.requests.retry.after", "upstream's words");
            assert_eq!(answer.header("proxy-status"), "");
            // A pause of a minute is believed; one of thirty years does not freeze anybody.
            assert_eq!(world.get(ME).await.status(), 200, "another family's");
            let next = world.answer(world.request(Method::POST, ECHO).body("y")).await;
            if pauses {
                let seconds = assert_limited(&next, "proxy.rate.limited");
                assert!((50..=60).contains(&seconds), "{seconds}");
            } else {
                assert_eq!(next.status, 200, "{text}");
            }
        });
    }
    let far = date(86_400 * 365);
    worlds.spawn(async move {
        let world = World::new().await;
        world.faults(once(Some(&far)));
        let answer = world.answer(world.request(Method::GET, ECHO)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, &*far));
    });
    worlds.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_again_and_again_is_handed_on_before_the_deadline_passes() {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\nmax_wait = \"3s\"")).await;
    world.faults(json!({"api": [{"match": ECHO, "status": 429, "retry_after": "1"}]}));
    let begin = Instant::now();
    let answer = world.answer(world.request(Method::POST, ECHO).body("x")).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(answer.status, 429);
    assert_eq!(answer.json()["code"], "too.many.requests.retry.after");
    let tries = world.records(ECHO).len();
    assert!((2..=4).contains(&tries), "{tries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_limit_of_its_own_lives_with_upstreams() {
    let window = Duration::from_secs(2);
    let options = Options { requests_per_minute: 20, window, ..Options::default() };
    let world = World::with(options, NO_LIMIT).await;
    assert_all(&at_once((0..60).map(|_| world.request(Method::GET, ME))).await, 200);
}
