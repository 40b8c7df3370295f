//! Trouble at the token endpoint: unnoticed while a token lives, told clearly when none does, and
//! never a storm.

use std::time::Duration;

use genesys_proxy::simulator::Options;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, NO_LIMIT, World, assert_all, at_once, unlimited};

const ME: &str = "/api/v2/organizations/me";

/// What an endpoint in trouble may answer.
fn troubles() -> Vec<Value> {
    let modes = [
        "down",
        "html",
        "empty_json",
        "garbage",
        "throttled",
        "invalid_client",
        "status:429",
        "status:302",
        "status:500",
        "status:503",
    ];
    let mut troubles: Vec<Value> = modes.iter().map(|mode| json!(mode)).collect();
    troubles.push(json!({"mode": "status:429", "retry_after": "1000000000"}));
    troubles.push(json!({"mode": "status:503", "retry_after": "soon"}));
    troubles
}

/// The contract of a caller without a token.
fn assert_unavailable(answers: &[Answer], case: &Value) {
    assert_all(answers, 503);
    for answer in answers {
        let body = answer.json();
        assert_eq!(
            (&body["code"], &body["status"]),
            (&json!("proxy.token.unavailable"), &json!(503)),
            "{case}"
        );
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=300).contains(&seconds), "{case}: Retry-After {seconds}");
        let in_message = format!("[{seconds}] seconds");
        assert!(body["message"].as_str().unwrap().contains(&in_message), "{case}: {body}");
        assert!(answer.header("proxy-status").contains("proxy.token.unavailable"), "{case}");
        assert_eq!(body["contextId"], answer.header("x-request-id"), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_valid_token_nobody_notices() {
    let mut worlds = tokio::task::JoinSet::new();
    for case in troubles().into_iter().chain([json!("hold"), json!("slow:1000")]) {
        worlds.spawn(async move {
            // Renewed from the second second on, and good until the fourth is over.
            let options = Options { token_life: Duration::from_secs(4), ..unlimited() };
            let world = World::with(options, NO_LIMIT).await;
            world.until(|seen| seen.mints == 1).await;
            world.faults(json!({"token": case}));
            world.until(|seen| seen.mint_attempts > 1 || seen.held > 0).await;
            let callers = (0..20).map(|_| world.request(Method::GET, ME));
            assert_all(&at_once(callers).await, 200);
            assert_eq!(world.genesys.counters().unauthorized, 0, "{case}");
        });
    }
    worlds.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_callers_are_told_so_in_time_and_the_endpoint_sees_no_storm() {
    let mut worlds = tokio::task::JoinSet::new();
    for case in troubles() {
        worlds.spawn(async move {
            let limits = format!("{NO_LIMIT}\nmax_wait = \"2s\"");
            let world = World::beginning(unlimited(), &limits, json!({"token": case})).await;
            world.until(|seen| seen.mint_attempts >= 1).await;
            let callers = (0..200).map(|_| world.request(Method::GET, ME));
            let begin = tokio::time::Instant::now();
            let answers = at_once(callers).await;
            assert!(begin.elapsed() < Duration::from_secs(12), "{case}: {:?}", begin.elapsed());
            assert_unavailable(&answers, &case);
            let seen = world.genesys.counters();
            assert!(seen.mint_attempts <= 8, "{case}: {} logins", seen.mint_attempts);
            assert_eq!(seen.requests, 0, "{case}: nothing goes out unsigned");
        });
    }
    worlds.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_is_given_up_in_time_and_its_token_is_used_when_it_comes() {
    let limits = format!("{NO_LIMIT}\nmax_wait = \"1s\"");
    let world = World::beginning(unlimited(), &limits, json!({"token": "hold"})).await;
    world.until(|seen| seen.held == 1).await;
    let callers = (0..20).map(|_| world.request(Method::GET, ME));
    assert_unavailable(&at_once(callers).await, &json!("hold"));
    assert_eq!(world.genesys.counters().held, 1, "one login waits, whoever leaves");
    world.faults(json!({"token": "ok"}));
    world.until(|seen| seen.mints == 1).await;
    world.gateway.wait_for_log("token minted");
    assert_eq!(world.get(ME).await.status(), 200);
    assert_eq!(world.genesys.counters().mint_attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_can_wait_are_served_when_the_endpoint_comes_back() {
    for mode in ["down", "html", "status:503"] {
        let fault = json!({"token": {"mode": mode, "times": 2}});
        let world = World::beginning(unlimited(), NO_LIMIT, fault).await;
        let callers = (0..50).map(|_| world.request(Method::GET, ME));
        assert_all(&at_once(callers).await, 200);
        let seen = world.genesys.counters();
        assert_eq!((seen.mints, seen.mint_attempts), (1, 3), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_never_used_however_bad_things_are() {
    let options = Options { token_life: Duration::from_secs(1), ..unlimited() };
    let limits = format!("{NO_LIMIT}\nmax_wait = \"100ms\"");
    let world = World::with(options, &limits).await;
    world.until(|seen| seen.mints >= 1).await;
    world.faults(json!({"token": "down"}));
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let mut refused = 0;
    while refused < 20 {
        pace.tick().await;
        match world.get(ME).await.status().as_u16() {
            200 => assert_eq!(refused, 0, "no token comes back to life"),
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(world.genesys.counters().unauthorized, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_loud_quick_and_rare() {
    let world = World::beginning(unlimited(), NO_LIMIT, json!({"token": "invalid_client"})).await;
    let line = world.gateway.wait_for_log("the client or the configuration must change");
    assert!(line.contains("ERROR") && line.contains("oauth.client_secret"), "{line}");
    // Waiting does not help, so nobody waits the usual twelve seconds.
    let begin = tokio::time::Instant::now();
    let callers = (0..50).map(|_| world.request(Method::GET, ME));
    let answers = at_once(callers).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_unavailable(&answers, &json!("invalid_client"));
    assert_eq!(world.genesys.counters().mint_attempts, 1);
    assert!(!world.gateway.log().contains("demo:demo"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_there_at_all_is_the_same_trouble() {
    let (genesys, stop) = crate::support::world::simulator(unlimited()).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = crate::support::Gateway::start(&format!(
        "[upstream]\napi_url = \"http://{}\"\nlogin_url = \"http://{nobody}\"\n\
         [rate_limit]\nmax_wait = \"1s\"",
        genesys.addr()
    ));
    let answer = crate::support::world::client().get(gateway.url(ME)).send().await.unwrap();
    assert_unavailable(&[Answer::of(answer).await], &json!("nobody listens"));
    assert!(!gateway.log().contains("demo:demo"));
    drop(stop);
}
