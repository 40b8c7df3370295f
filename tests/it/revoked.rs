//! A 401 costs one mint and one replay, and the caller does not notice; what a renewal cannot mend
//! is the caller's to see.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::support::{
    NO_LIMIT, World, assert_all, at_once,
    load::{bytes, fed, sha256},
    unlimited,
};

const ECHO: &str = "/api/v2/echo";

/// How often each body arrived whole, by its digest.
fn arrivals(world: &World) -> BTreeMap<String, usize> {
    let mut arrivals = BTreeMap::new();
    for record in world.records(ECHO) {
        *arrivals.entry(record.body_sha256).or_default() += 1;
    }
    arrivals
}

/// `count` bodies in flight while every token is revoked.
async fn storm(world: &World, count: u64) {
    assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
    let before = world.genesys.counters();
    world.faults(json!({"api": [{"match": ECHO, "hold": true}]}));
    let bodies: Vec<_> = (0..count).map(|seed| bytes(seed, 64 * 1024)).collect();
    let callers = bodies.iter().map(|body| world.request(Method::POST, ECHO).body(body.clone()));
    let (answers, ()) = tokio::join!(at_once(callers), async {
        world.until(|seen| seen.held == count).await;
        assert!(world.genesys.revoke() >= 1);
        world.faults(json!({"clear": true}));
    });
    assert_all(&answers, 200);
    for (answer, body) in answers.iter().zip(&bodies) {
        assert_eq!(answer.json()["bodySha256"], sha256(body));
    }
    let seen = world.genesys.counters();
    assert_eq!(seen.mints - before.mints, 1);
    assert_eq!(seen.unauthorized - before.unauthorized, count);
    assert_eq!(seen.requests - before.requests, 2 * count);
    let arrivals = arrivals(world);
    assert!(arrivals.values().all(|&times| times == 2), "sent, and replayed once: {arrivals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_bodies_in_flight_survive_the_revocation_of_every_token() {
    storm(&World::new().await, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_brings_its_own_allowance_so_a_full_one_holds_no_replay_up() {
    let limit = "[rate_limit]\nrequests_per_minute = 101";
    storm(&World::with(unlimited(), limit).await, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_for_copies_they_go_to_disk_and_still_arrive_whole() {
    let limits =
        format!("{NO_LIMIT}\n[replay]\nmemory_per_request = \"64KiB\"\nmemory_total = \"100KiB\"");
    storm(&World::with(unlimited(), &limits).await, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_of_an_old_token_that_comes_late_mints_nothing() {
    let world = World::new().await;
    world.faults(json!({"api": [{"match": ECHO, "hold": true}]}));
    let late = world.answer(world.request(Method::POST, ECHO).body("late"));
    let (late, ()) = tokio::join!(late, async {
        world.until(|seen| seen.held == 1).await;
        world.genesys.revoke();
        // Others notice first: one mint.
        assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
        assert_eq!(world.genesys.counters().mints, 2);
        world.faults(json!({"clear": true}));
    });
    assert_eq!(late.status, 200);
    assert_eq!(world.genesys.counters().mints, 2, "the straggler takes the token that is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_401_reaches_the_caller_as_upstream_sent_it() {
    let world = World::new().await;
    assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
    let refusal = r#"{"code":"nobody.may","odd":"é"}"#;
    let fault = json!({
        "match": ECHO, "status": 401, "body": refusal,
        "headers": {"www-authenticate": "Bearer error=\"insufficient\"", "x-odd": "kept"},
    });
    world.faults(json!({"api": [fault]}));
    let answer = world.answer(world.request(Method::POST, ECHO).body("twice")).await;
    assert_eq!((answer.status, &*answer.body), (401, refusal));
    assert_eq!(answer.header("www-authenticate"), "Bearer error=\"insufficient\"");
    assert_eq!((answer.header("x-odd"), answer.header("content-type")), ("kept", "text/plain"));
    assert_eq!(answer.header("proxy-status"), "", "it is not the gateway's");
    let records = world.records(ECHO);
    assert_eq!(records.len(), 2, "replayed once");
    assert_ne!(records[0].token, records[1].token, "with a new token");
    assert!(records.iter().all(|record| record.body_sha256 == sha256(b"twice")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_always_says_401_does_not_double_every_call() {
    let world = World::new().await;
    assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
    world.faults(json!({"api": [{"match": "/api/v2/echo*", "status": 401}]}));
    for number in 0..100 {
        let answer = world.get(&format!("{ECHO}/{number}")).await;
        assert_eq!(answer.status(), 401);
        // Other calls keep the token in good standing.
        if number % 10 == 0 {
            assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
        }
    }
    let (seen, calls) = (world.genesys.counters(), world.records(ECHO).len());
    assert!(seen.mints <= 3, "{} mints", seen.mints);
    assert!(calls <= 103, "{calls} requests for 100 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused_everywhere_does_not_double_every_call() {
    let world = World::new().await;
    world.faults(json!({"api": [{"status": 401}]}));
    for number in 0..50 {
        for path in ["/api/v2/echo", "/api/v2/users", "/api/v2/routing/queues"] {
            assert_eq!(world.get(path).await.status(), 401, "{number}");
        }
    }
    let seen = world.genesys.counters();
    assert!(seen.mints <= 4, "{} mints", seen.mints);
    assert!(seen.requests <= 154, "{} requests for 150 calls", seen.requests);
    // And when it is allowed again, the next call simply works.
    world.faults(json!({"clear": true}));
    assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_before_the_upload_ends_costs_neither_the_upload_nor_a_byte_of_it() {
    let world = World::new().await;
    assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
    world.faults(json!({"api": [{"match": ECHO, "status": 401, "early": true, "times": 1}]}));
    let whole = bytes(7, 300_000);
    let (mut upload, body) = fed();
    let caller = world.answer(world.request(Method::PUT, ECHO).body(body));
    let (answer, ()) = tokio::join!(caller, async {
        let (first, rest) = whole.split_at(100_000);
        upload.send_data(Bytes::copy_from_slice(first)).await.unwrap();
        // The 401 is there, and the gateway has moved on, before the rest is sent.
        world.until(|seen| seen.mints == 2).await;
        for chunk in rest.chunks(50_000) {
            upload.send_data(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        drop(upload);
    });
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["bodySha256"], sha256(&whole));
    assert_eq!(answer.json()["bodyBytes"], 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_upload_ends_is_heard_although_its_sender_hangs_up() {
    let world = World::new().await;
    let large = bytes(14, 3_000_000);
    for number in 0..30 {
        assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
        let path = format!("{ECHO}/{number}");
        // A new token each time, so that no endpoint is taken for one that always refuses.
        world.faults(json!({"api": [{"match": path, "status": 401, "early": true, "times": 1}]}));
        let answer = world.answer(world.request(Method::POST, &path).body(large.clone())).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.body);
        assert_eq!(answer.json()["bodySha256"], sha256(&large));
        world.faults(json!({"api": [{"match": path, "status": 413, "early": true, "times": 1}]}));
        let answer = world.answer(world.request(Method::POST, &path).body(large.clone())).await;
        assert_eq!(answer.status, 413, "{number}: {}", answer.body);
        assert_eq!(answer.json()["code"], "request.entity.too.large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_meets_an_early_401_waits_for_the_mint_and_keeps_within_the_cap() {
    let limits =
        format!("{NO_LIMIT}\n[replay]\nper_request = \"200KiB\"\nmemory_per_request = \"64KiB\"");
    let world = World::with(unlimited(), &limits).await;
    assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
    let early = json!({"match": ECHO, "status": 401, "early": true, "times": 1});
    world.faults(json!({"api": [early], "token": "hold"}));
    let whole = bytes(8, 2_000_000);
    let (mut upload, body) = fed();
    let caller = world.answer(world.request(Method::PUT, ECHO).body(body));
    let (answer, ()) = tokio::join!(caller, async {
        let (first, rest) = whole.split_at(50_000);
        upload.send_data(Bytes::copy_from_slice(first)).await.unwrap();
        world.until(|seen| seen.held == 1).await;
        // The caller pushes on: far more than may be kept, while there is no token to go on with.
        let feed = async {
            for chunk in rest.chunks(50_000) {
                upload.send_data(Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            drop(upload);
        };
        let mint = async {
            // As much as the sockets take.
            tokio::task::yield_now().await;
            world.faults(json!({"token": "ok"}));
        };
        tokio::join!(feed, mint);
    });
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["bodySha256"], sha256(&whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_to_be_kept_streams_and_its_401_is_passed_on_and_marked() {
    let limits =
        format!("{NO_LIMIT}\n[replay]\nper_request = \"100KiB\"\nmemory_per_request = \"10KiB\"");
    let world = World::with(unlimited(), &limits).await;
    assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
    let large = bytes(9, 300_000);
    let send = async || {
        let (mut upload, body) = fed();
        let caller = world.answer(world.request(Method::POST, ECHO).body(body));
        let (answer, ()) = tokio::join!(caller, async {
            for chunk in large.chunks(10_000) {
                upload.send_data(Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            drop(upload);
        });
        answer
    };
    assert_eq!(send().await.json()["bodySha256"], sha256(&large));
    world.genesys.revoke();
    let refused = send().await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json()["code"], "bad.credentials", "upstream's own words");
    assert!(refused.header("proxy-status").contains("body not replayable"), "{refused:?}");
    world.gateway.wait_for_log("replay.per_request");
    assert_eq!(world.records(ECHO).len(), 2, "sent once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_known_to_be_too_large_is_preceded_by_a_look_at_the_token() {
    let limits =
        format!("{NO_LIMIT}\n[replay]\nper_request = \"100KiB\"\nmemory_per_request = \"10KiB\"");
    let world = World::with(unlimited(), &limits).await;
    let large = bytes(10, 300_000);
    let send = async || world.answer(world.request(Method::POST, ECHO).body(large.clone())).await;
    // The token was never seen to work, and is dead.
    world.until(|seen| seen.mints == 1).await;
    world.gateway.wait_for_log("token minted");
    world.genesys.revoke();
    assert_eq!(send().await.json()["bodySha256"], sha256(&large));
    let targets = || {
        let records = world.genesys.snapshot().records;
        let calls = records.into_iter().filter(|record| !record.target.contains("oauth"));
        calls.map(|r| (r.method, r.target, r.status)).collect::<Vec<_>>()
    };
    let call = |method: &str, target: &str, status| (method.to_owned(), target.to_owned(), status);
    let (head, post) = ("/api/v2/tokens/me", ECHO);
    let expected = [call("HEAD", head, 401), call("HEAD", head, 200), call("POST", post, 200)];
    assert_eq!(targets(), expected);
    // It has worked just now: no look is needed.
    assert_eq!(send().await.status, 200);
    assert_eq!(targets().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_is_always_refused_does_not_mint_for_ever() {
    let limits =
        format!("{NO_LIMIT}\n[replay]\nper_request = \"100KiB\"\nmemory_per_request = \"10KiB\"");
    let world = World::with(unlimited(), &limits).await;
    world.faults(json!({"api": [{"match": "/api/v2/tokens/me", "status": 401}]}));
    let large = bytes(11, 300_000);
    let answer = world.answer(world.request(Method::POST, ECHO).body(large.clone())).await;
    assert_eq!(answer.status, 200, "the look is advice: the upload itself decides");
    assert_eq!(answer.json()["bodySha256"], sha256(&large));
    let seen = world.genesys.counters();
    assert!(seen.mints <= 3, "{} mints", seen.mints);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_look_at_the_token_is_counted_as_the_call_that_it_is() {
    let limits = "[rate_limit]\nrequests_per_minute = 1\nmax_wait = \"1s\"\n\
                  [replay]\nper_request = \"100KiB\"\nmemory_per_request = \"10KiB\"";
    let world = World::with(unlimited(), limits).await;
    let answer = world.answer(world.request(Method::POST, ECHO).body(bytes(12, 300_000))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.genesys.counters().most_in_window, 1, "never more than the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_on_disk_goes_again_byte_for_byte() {
    let limits =
        format!("{NO_LIMIT}\n[replay]\nper_request = \"8MiB\"\nmemory_per_request = \"64KiB\"");
    let world = World::with(unlimited(), &limits).await;
    assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
    world.genesys.revoke();
    let large = bytes(13, 5_000_000);
    let answer = world.answer(world.request(Method::POST, ECHO).body(large.clone())).await;
    assert_eq!(answer.json()["bodySha256"], sha256(&large));
    assert_eq!(world.genesys.counters().mints, 2);
}
