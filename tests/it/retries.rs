//! 502, 503, 504 and connection failures are waited out for calls that may run twice or never left;
//! trouble is not multiplied, and nobody waits in vain.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    NO_LIMIT, Socket, World, assert_all, at_once,
    gateway::ADMIN,
    load::{bytes, sha256},
    raw::{Line, Peer, Stage, ok},
    unlimited,
};

const ME: &str = "/api/v2/organizations/me";
const ECHO: &str = "/api/v2/echo";
const KEY: &str = "idempotency-key";
const DEBUG: &str = "[telemetry]\nlog = \"genesys_proxy=debug\"";

/// One 503 for the next call.
fn once(retry_after: &str) -> serde_json::Value {
    json!({"api": [{"match": ECHO, "status": 503, "times": 1, "retry_after": retry_after}]})
}

/// When each try arrived, in milliseconds after the first.
fn pauses(world: &World, target: &str) -> Vec<u64> {
    let records = world.records(target);
    records.iter().map(|record| record.at_ms - records[0].at_ms).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_is_waited_out_and_the_call_arrives_again_byte_for_byte() {
    let world = World::new().await;
    let calls = [
        (Method::GET, false),
        (Method::PUT, false),
        (Method::PUT, true),
        (Method::DELETE, false),
        (Method::OPTIONS, false),
    ];
    for (number, (method, early)) in calls.into_iter().enumerate() {
        let target = format!("{ECHO}?{number}");
        let body = if method == Method::PUT { bytes(7, 300_000) } else { bytes(0, 0) };
        let fault =
            json!({"match": ECHO, "status": 503, "times": 1, "retry_after": "1", "early": early});
        world.faults(json!({"api": [fault]}));
        let answer = world.answer(world.request(method.clone(), &target).body(body.clone())).await;
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
        assert_eq!(answer.json()["bodySha256"], sha256(&body), "{method}");
        let records = world.records(&target);
        assert_eq!(records.len(), 2, "{method}");
        assert!(early || records.iter().all(|record| record.body_sha256 == sha256(&body)));
        let waited = pauses(&world, &target)[1];
        assert!((900..8_000).contains(&waited), "{method}: {waited} ms");
    }
    world.gateway.wait_for_logs("200 attempts=2", 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_retry_after_it_is_genesyss_three_seconds() {
    let mut worlds = JoinSet::new();
    for status in [502, 503, 504] {
        worlds.spawn(async move {
            let world = World::new().await;
            world.faults(json!({"api": [{"match": ECHO, "status": status, "times": 1}]}));
            assert_eq!(world.get(ECHO).await.status(), 200, "{status}");
            let waited = pauses(&world, ECHO)[1];
            assert!((2_900..9_000).contains(&waited), "{status}: {waited} ms");
        });
    }
    worlds.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_gets_the_503_as_it_is_and_arrives_once() {
    let world = World::new().await;
    for method in [Method::POST, Method::PATCH] {
        for key in [None, Some("")] {
            let target = format!("{ECHO}?{method}&{}", key.is_some());
            world.faults(once("1"));
            let mut request = world.request(method.clone(), &target).body("x");
            if let Some(key) = key {
                request = request.header(KEY, key);
            }
            let answer = world.answer(request).await;
            assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{method}");
            assert_eq!(answer.header("proxy-status"), "", "upstream's own answer");
            assert_eq!(answer.json()["status"], 503);
            assert_eq!(world.records(&target).len(), 1, "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_whose_caller_vouches_for_it_with_a_key_goes_again() {
    let world = World::new().await;
    world.faults(once("1"));
    let request = world.request(Method::POST, ECHO).header(KEY, "\"8e03978e\"").body("x");
    let answer = world.answer(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.records(ECHO).len(), 2);
    let headers = answer.json()["headers"].to_string();
    assert!(headers.contains("8e03978e"), "upstream sees the key: {headers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_the_caller_would_not_see_the_end_of_is_not_begun() {
    let world = World::new().await;
    for text in ["13", "86400", "1000000000", "99999999999999999999"] {
        let target = format!("{ECHO}?{text}");
        world.faults(once(text));
        let begin = Instant::now();
        let answer = world.answer(world.request(Method::GET, &target)).await;
        assert!(begin.elapsed() < Duration::from_secs(8), "{text}");
        assert_eq!((answer.status, answer.header("retry-after")), (503, text));
        assert_eq!(answer.json()["status"], 503, "upstream's words");
        assert_eq!(world.records(&target).len(), 1, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_without_end_is_handed_on_after_the_last_attempt() {
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n[retry]\nattempts = 2")).await;
    world.faults(json!({"api": [{"match": ECHO, "status": 503, "retry_after": "1"}]}));
    let answer = world.answer(world.request(Method::GET, ECHO)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(world.records(ECHO).len(), 2);
    world.gateway.wait_for_log("503 attempts=2");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_attempt_or_no_budget_means_never() {
    for never in ["attempts = 1", "budget = 0"] {
        let world = World::with(unlimited(), &format!("{NO_LIMIT}\n[retry]\n{never}")).await;
        world.faults(once("1"));
        assert_eq!(world.get(ECHO).await.status(), 503, "{never}");
        assert_eq!(world.records(ECHO).len(), 1, "{never}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_everything_fails_retries_are_the_floor_and_a_fifth_of_the_calls() {
    const CALLS: u64 = 100;
    let world = World::with_env(unlimited(), NO_LIMIT, &[ADMIN]).await;
    world.faults(json!({"api": [{"match": ME, "status": 503, "retry_after": "1"}]}));
    let answers = at_once((0..CALLS).map(|_| world.request(Method::GET, ME))).await;
    assert_all(&answers, 503);
    let tries = world.records(ME).len() as u64;
    let retries = tries - CALLS;
    // All hundred have paid in before the first comes back, so all of it is used.
    assert_eq!(retries, 10 + CALLS / 5);
    let page = world.gateway.admin("/metrics").await;
    let counted = |metric: &str| -> u64 {
        let line = format!("genesys_proxy_{metric}{{reason=\"503\"}} ");
        page.lines().find_map(|of_page| of_page.strip_prefix(&line)).unwrap().parse().unwrap()
    };
    assert_eq!(counted("retries_total"), retries);
    assert!(counted("retries_refused_total") >= CALLS - retries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_takes_a_turn_like_any_other_call() {
    let limit = "[rate_limit]\nrequests_per_minute = 2\nwindow = \"4s\"";
    let world = World::with(unlimited(), limit).await;
    world.faults(json!({"api": [{"match": ME, "status": 503, "times": 1, "retry_after": "1"}]}));
    assert_eq!(world.get(ME).await.status(), 200);
    assert_eq!(world.get(ME).await.status(), 200);
    let at = pauses(&world, ME);
    assert!(at.len() == 3 && at[2] >= 3_900, "the third in a window of four seconds: {at:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_turn_would_come_too_late_gets_the_503_at_once() {
    let world = World::with(unlimited(), "[rate_limit]\nrequests_per_minute = 1").await;
    world.faults(once("1"));
    let answer = world.answer(world.request(Method::GET, ECHO)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.header("proxy-status"), "", "upstream's own answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_family_has_no_turn_in_time_gets_the_503_without_a_wait() {
    let family = format!("families = [{{ match = \"GET {ECHO}\", requests_per_minute = 1 }}]");
    let limit = format!("[rate_limit]\nrequests_per_minute = 50\n{family}\n{DEBUG}");
    let world = World::with(unlimited(), &limit).await;
    world.faults(once("1"));
    let answer = world.answer(world.request(Method::GET, ECHO)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.header("proxy-status"), "", "upstream's own answer");
    assert!(!world.gateway.log().contains("waiting to send a call again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_turn_is_gone_after_the_wait_gets_the_503_as_it_came() {
    let world = World::with(
        unlimited(),
        &format!("[rate_limit]\nrequests_per_minute = 2\nmax_queue = 1\n{DEBUG}"),
    )
    .await;
    world.faults(once("2"));
    let refused = world.answer(world.request(Method::GET, ECHO));
    let (refused, other) = tokio::join!(refused, async {
        world.gateway.logged("waiting to send a call again").await;
        world.answer(world.request(Method::GET, ME)).await
    });
    assert_eq!(other.status, 200, "it took the last place");
    assert_eq!((refused.status, refused.header("retry-after")), (503, "2"));
    assert_eq!(refused.header("proxy-status"), "", "upstream's own answer");
    assert_eq!(refused.json()["status"], 503, "upstream's words");
    assert_eq!(world.records(ECHO).len(), 1);
    world.gateway.wait_for_log("503 attempts=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_to_go_again_is_no_load_and_a_drain_waits_for_it() {
    let world = World::with(
        unlimited(),
        &format!("{NO_LIMIT}\n[telemetry]\nlog = \"genesys_proxy=debug\""),
    )
    .await;
    world.faults(once("2"));
    let (answer, line) = tokio::join!(world.answer(world.request(Method::GET, ECHO)), async {
        world.gateway.logged("waiting to send a call again").await;
        world.gateway.signal("TERM");
        world.gateway.logged("requests that have begun").await;
        world.gateway.wait_for_log("requests that have begun")
    });
    assert!(line.contains("in_flight=0"), "{line}");
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_in_mid_wait_leaves_nothing_behind() {
    // More of them than the budget has retries: what they do not use is there for the next.
    const LEAVING: usize = 12;
    let world = World::with(
        unlimited(),
        &format!("{NO_LIMIT}\n[retry]\nbudget = 0.001\n[telemetry]\nlog = \"genesys_proxy=debug\""),
    )
    .await;
    for left in 1..=LEAVING {
        world.faults(once("10"));
        let request = format!("GET {ECHO} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let caller = Socket::saying(world.gateway.address, &request).await;
        world.gateway.wait_for_logs("waiting to send a call again", left);
        drop(caller);
        world.gateway.wait_for_logs("499 attempts=1", left);
    }
    world.faults(once("1"));
    assert_eq!(world.get(ECHO).await.status(), 200);
    assert_eq!(world.records(ECHO).len(), LEAVING + 2);
}

/// Answers every request.
fn answers(line: &mut Line) {
    while let Some(request) = line.request() {
        line.send(&ok(&request.target));
    }
}

#[test]
fn who_comes_while_nobody_listens_is_served_when_somebody_does() {
    for method in ["GET", "POST", "PATCH"] {
        // Bound and not listening: the kernel refuses, and nobody else gets the port.
        let (domain, kind) = (socket2::Domain::IPV4, socket2::Type::STREAM);
        let socket = socket2::Socket::new(domain, kind, None).unwrap();
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let stage = Stage::before("retry.attempts = 3\n", &format!("http://{address}"));
        let mut caller = stage.caller();
        caller.send(format!(
            "{method} /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        ));
        stage.gateway().wait_for_log("waiting to send a call again");
        socket.listen(16).unwrap();
        let peer = Peer::on(socket.into(), answers);
        assert_eq!(caller.answer().text(), "/a", "{method}");
        let arrived = peer.requests();
        assert_eq!(arrived.len(), 1, "{method}");
        assert_eq!(arrived[0].body, b"hello", "{method}");
        stage.gateway().wait_for_log("200 attempts=1");
    }
}

#[test]
fn a_connection_that_breaks_before_the_answer_is_replaced_for_what_may_go_twice() {
    for (method, key, status, delivered) in [
        ("GET", "", 200, 2),
        ("PUT", "", 200, 2),
        ("POST", "Idempotency-Key: a\r\n", 200, 2),
        ("POST", "", 502, 1),
        ("PATCH", "", 502, 1),
    ] {
        for reset in [false, true] {
            let stage = Stage::with("retry.attempts = 3\n", move |line| {
                if line.number > 0 {
                    return answers(line);
                }
                line.request();
                line.send(b"HTTP/1.1 200 OK\r\nContent-Le");
                if reset {
                    line.reset();
                }
            });
            let answer = stage.call(format!(
                "{method} /a HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: 5\r\n\r\nhello"
            ));
            assert_eq!(answer.status, status, "{method}");
            if status == 502 {
                assert_eq!(answer.code(), "proxy.upstream.broken");
            }
            let arrived = stage.peer.requests();
            assert_eq!(arrived.len(), delivered, "{method}");
            assert!(arrived.iter().all(|request| request.body == b"hello"), "{method}");
        }
    }
}

/// Over HTTP/1.1, vouched for.
const KEYED: &str = "POST /a HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: a\r\n\
                     Content-Length: 5\r\n\r\nhello";

#[test]
fn a_call_that_may_have_been_carried_out_is_never_told_to_come_back_later() {
    // Cut twice, and the last place is another's before it may go a third time.
    let settings = "retry.attempts = 3\nrate_limit.requests_per_minute = 3\n";
    let stage = Stage::with(settings, |line| {
        if line.request().is_some_and(|request| request.target == "/b") {
            line.send(&ok("b"));
        }
    });
    let mut caller = stage.caller();
    caller.send(KEYED);
    stage.gateway().wait_for_logs("waiting to send a call again", 2);
    assert_eq!(stage.get("/b").status, 200);
    let answer = caller.answer();
    assert_eq!((answer.status, answer.code().as_str()), (502, "proxy.upstream.broken"));
    assert_eq!(stage.peer.requests().len(), 3);
}

#[test]
fn nor_is_one_whose_kept_connection_was_cut() {
    let settings = "retry.attempts = 3\nrate_limit.requests_per_minute = 2\n";
    let stage = Stage::with(settings, |line| {
        line.request();
        line.send(&ok("first"));
        line.request();
    });
    // One worker for both.
    let mut caller = stage.caller();
    caller.send("GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(caller.answer().text(), "first");
    caller.send(KEYED);
    let answer = caller.answer();
    assert_eq!((answer.status, answer.code().as_str()), (502, "proxy.upstream.broken"));
    assert_eq!((stage.peer.requests().len(), stage.peer.connections()), (2, 1));
}

#[test]
fn an_answer_too_large_to_keep_is_handed_on_instead_of_asking_again() {
    const LARGE: usize = 200_000;
    let stage = Stage::with("retry.attempts = 3\n", |line| {
        while line.request().is_some() {
            let head =
                format!("HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: {LARGE}\r\n\r\n");
            line.send(head.as_bytes());
            line.send(&vec![b'x'; LARGE]);
        }
    });
    let answer = stage.get("/a");
    assert_eq!((answer.status, answer.body.len()), (503, LARGE));
    assert_eq!(stage.peer.requests().len(), 1);
}

#[test]
fn a_503_that_is_cut_is_asked_for_again() {
    let stage = Stage::with("retry.attempts = 3\n", |line| {
        if line.number > 0 {
            return answers(line);
        }
        line.request();
        line.send(b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 9\r\n\r\nhalf");
    });
    let answer = stage.get("/a");
    assert_eq!((answer.status, answer.text().as_str()), (200, "/a"));
    assert_eq!(stage.peer.requests().len(), 2);
}

#[test]
fn a_silent_upstream_is_tried_again_within_the_callers_patience() {
    let settings = "retry.attempts = 2\nupstream.response_timeout = \"500ms\"\n";
    for (method, status, delivered) in [("GET", 200, 2), ("POST", 504, 1)] {
        let stage = Stage::with(settings, |line| {
            if line.number > 0 {
                return answers(line);
            }
            line.request();
            line.wait_closed();
        });
        let answer = stage.call(format!("{method} /a HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(answer.status, status, "{method}");
        assert_eq!(stage.peer.requests().len(), delivered, "{method}");
    }
}

#[test]
fn a_handshake_that_fails_is_not_tried_again() {
    let peer = Peer::start(|line| {
        line.more();
        line.send(b"no TLS here");
    });
    let settings = "retry.attempts = 3\nupstream.warm_connections = 0\n";
    let stage = Stage::before(settings, &format!("https://{}", peer.address));
    let answer = stage.get("/a");
    assert_eq!((answer.status, answer.code().as_str()), (502, "proxy.upstream.tls"));
    assert_eq!(peer.connections(), 1);
}

#[test]
fn a_tunnel_is_not_asked_for_twice() {
    let stage = Stage::with("retry.attempts = 3\n", |line| {
        while line.request().is_some() {
            line.send(b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let answer = stage.call(
        "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(answer.status, 503);
    assert_eq!(stage.peer.requests().len(), 1);
}

#[test]
fn an_answer_that_cannot_be_passed_on_is_not_asked_for_again() {
    let stage = Stage::with("retry.attempts = 3\n", |line| {
        while line.request().is_some() {
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
        }
    });
    let answer = stage.get("/a");
    assert_eq!((answer.status, answer.code().as_str()), (502, "proxy.upstream.bad.answer"));
    assert_eq!(stage.peer.requests().len(), 1);
}
