//! What an operator does to a running gateway takes a key, is done at once, and costs nobody a call.

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, NO_LIMIT, Traffic, World, assert_all, at_once,
    callers::{caller, key, rate_limit, sent},
    gateway::ADMIN,
    load::sha256,
    openapi::follows,
    planted::{nothing_planted_in, planted},
    unlimited,
};

const ECHO: &str = "/api/v2/echo";

/// Every action, with a body that is right.
fn actions() -> [(&'static str, Value); 6] {
    [
        ("/api/tokens/refresh", json!({})),
        ("/api/tokens/invalidate", json!({})),
        ("/api/callers/pause", json!({"caller": "billing"})),
        ("/api/callers/resume", json!({"caller": "billing"})),
        ("/api/log", json!({"level": null})),
        ("/api/drain", json!({})),
    ]
}

async fn world(toml: &str) -> World {
    let digest = sha256(planted("admin-key").as_bytes());
    let toml = format!("{toml}\n{}{}", caller("billing", ""), caller("reports", ""));
    let key = ("GENESYS_PROXY__ADMIN_KEY_SHA256", digest.as_str());
    World::with_env(unlimited(), &toml, &[ADMIN, key]).await
}

fn action(world: &World, path: &str, body: &Value) -> reqwest::RequestBuilder {
    world.client.post(world.gateway.admin_url(path)).body(body.to_string())
}

/// Done with the key.
async fn act(world: &World, path: &str, body: Value) -> Answer {
    let request = action(world, path, &body).header("x-api-key", planted("admin-key"));
    let answer = Answer::of(request.send().await.unwrap()).await;
    nothing_planted_in(&answer.body);
    follows(if answer.status < 300 { "Done" } else { "Refusal" }, &answer.body);
    answer
}

fn as_caller(world: &World, name: &str) -> reqwest::RequestBuilder {
    world.request(Method::GET, ECHO).header("x-api-key", key(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_without_the_key_and_where_there_is_none_it_is_said_which_to_set() {
    let keyed = world(NO_LIMIT).await;
    let keyless = World::with_env(unlimited(), NO_LIMIT, &[ADMIN]).await;
    for (path, body) in actions() {
        let wrong = [("x-api-key", planted("wrong")), ("authorization", "Basic YTpi".to_owned())];
        for (name, value) in wrong.into_iter().chain([("accept", "*/*".to_owned())]) {
            let answer =
                Answer::of(action(&keyed, path, &body).header(name, value).send().await.unwrap())
                    .await;
            assert_eq!(answer.status, 401, "{path}: {answer:?}");
            assert!(answer.header("www-authenticate").starts_with("Bearer "), "{answer:?}");
            follows("Refusal", &answer.body);
        }
        let answer = act(&keyless, path, body.clone()).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        assert!(answer.body.contains("admin_key_file"), "{answer:?}");
        let page = action(&keyed, path, &body).header("x-api-key", planted("admin-key"));
        let page = page.header("origin", "https://evil.example").send().await.unwrap();
        assert_eq!(page.status(), 403, "{path}");
        let looked_at = keyed.client.get(keyed.gateway.admin_url(path)).send().await.unwrap();
        assert_eq!(looked_at.status(), 405, "{path}");
        assert_eq!(looked_at.headers()["allow"], "POST", "{path}");
    }
    assert_eq!((keyed.genesys.counters().mints, keyless.genesys.counters().mints), (1, 1));
    assert!(!keyed.gateway.log().contains("draining"));
    keyed.gateway.wait_for_log("an action without the key is refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_whole_is_not_done() {
    let world = world(NO_LIMIT).await;
    for (path, body, status, named) in [
        ("/api/tokens/refresh", json!({"tokn": 0}), 400, "`tokn`"),
        ("/api/tokens/refresh", json!({"token": 7}), 404, "no token 7"),
        ("/api/tokens/invalidate", json!({"org": "eu"}), 404, "`eu`"),
        ("/api/callers/pause", json!({}), 400, "`caller`"),
        ("/api/callers/pause", json!({"caller": "nobody"}), 404, "`nobody`"),
        ("/api/callers/resume", json!({"caller": "billing", "all": true}), 400, "`all`"),
        ("/api/log", json!({}), 400, "`level`"),
        ("/api/log", json!({"level": "inof"}), 400, "did you mean `info`?"),
        ("/api/drain", json!({"now": true}), 400, "`now`"),
        ("/api/drain", json!({"now": "x".repeat(5_000)}), 413, "4 KiB"),
    ] {
        let answer = act(&world, path, body).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.body.contains(named), "{path}: {answer:?}");
    }
    assert_eq!(world.genesys.counters().mints, 1);
    let status = world.gateway.status().await;
    assert!(status.organisations[0].paused.is_empty() && !status.draining);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_under_load_and_no_call_waits_or_fails() {
    let world = world(NO_LIMIT).await;
    let traffic = Traffic::of(world.gateway.url(ECHO));
    world.until(|seen| seen.requests >= 10).await;
    let answer = act(&world, "/api/tokens/refresh", json!({"org": "default", "token": 0})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    world.until(|seen| seen.mints == 2).await;
    world.gateway.logged("generation=2").await;
    let since = world.genesys.counters().requests;
    world.until(|seen| seen.requests >= since + 10).await;
    traffic.end().await;
    let line = world.gateway.wait_for_log("admin: renew the token");
    assert!(line.contains("peer=127.0.0.1:") && line.contains("token=0"), "{line}");
    let status = world.gateway.status().await;
    assert_eq!(status.organisations[0].tokens[0].generation, 2);
    assert_eq!(world.genesys.counters().mints, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_given_up_is_used_by_nobody_and_costs_one_mint() {
    let world = world(NO_LIMIT).await;
    let traffic = Traffic::of(world.gateway.url(ECHO));
    world.until(|seen| seen.requests >= 10).await;
    // The next one is a while in coming.
    world.faults(json!({"token": "hold"}));
    let answer = act(&world, "/api/tokens/invalidate", json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    world.until(|seen| seen.held == 1).await;
    let tokens = world.gateway.status().await.organisations.remove(0).tokens;
    assert_eq!(tokens[0].fingerprint, None, "{tokens:?}");
    world.faults(json!({"clear": true}));
    world.gateway.logged("generation=2").await;
    traffic.end().await;
    assert_eq!(world.genesys.counters().mints, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_caller_is_answered_at_once_in_line_too_and_the_others_go_on() {
    let world = world(&rate_limit(2, 60, "max_wait = \"10m\"")).await;
    world.faults(json!({"api": [{"hold": true, "times": 1}]}));
    let in_flight = sent([as_caller(&world, "billing")]);
    world.until(|seen| seen.held == 1).await;
    assert_all(&at_once([as_caller(&world, "billing")]).await, 200);
    let in_line = sent([as_caller(&world, "billing"), as_caller(&world, "billing")]);
    let _others = sent([as_caller(&world, "reports")]);
    world.gateway.until_waiting(3).await;
    let answer = act(&world, "/api/callers/pause", json!({"caller": "billing"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains(" 2 waited"), "{answer:?}");
    let mut refused = in_line.join_all().await;
    refused.extend(at_once([as_caller(&world, "billing")]).await);
    assert_eq!(refused.len(), 3);
    for answer in &refused {
        assert_eq!((answer.status, answer.header("retry-after")), (503, "60"), "{answer:?}");
        assert_eq!(answer.json()["code"], "proxy.caller.paused");
    }
    let status = world.gateway.status().await;
    let org = &status.organisations[0];
    assert_eq!((&org.paused, org.queue.waiting), (&vec!["billing".to_owned()], 1));
    assert_eq!(org.queue.callers[0].name, "reports");
    // What has left comes to its end.
    world.faults(json!({"clear": true}));
    assert_all(&in_flight.join_all().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_resumed_is_served_again() {
    let world = world(NO_LIMIT).await;
    for paused in [true, false, true] {
        let path = if paused { "/api/callers/pause" } else { "/api/callers/resume" };
        assert_eq!(act(&world, path, json!({"caller": "billing"})).await.status, 200);
        let expected = if paused { 503 } else { 200 };
        assert_all(&at_once([as_caller(&world, "billing")]).await, expected);
        assert_all(&at_once([as_caller(&world, "reports")]).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_what_sigterm_does_and_asking_twice_cuts_nothing() {
    let mut world = world(NO_LIMIT).await;
    world.faults(json!({"api": [{"hold": true}]}));
    let in_flight = sent([as_caller(&world, "billing")]);
    world.until(|seen| seen.held == 1).await;
    for _ in 0..2 {
        assert_eq!(act(&world, "/api/drain", json!({})).await.status, 202);
        world.gateway.logged("draining").await;
    }
    // Whoever ends all processes alike comes after it: that is no second signal.
    world.gateway.signal("TERM");
    let status = world.gateway.status().await;
    assert_eq!((status.draining, status.ready), (true, false));
    assert_eq!(status.reasons, ["draining"]);
    world.faults(json!({"clear": true}));
    assert_all(&in_flight.join_all().await, 200);
    assert_eq!(world.gateway.wait().code(), Some(0));
    world.gateway.wait_for_log("drained clean=true");
    assert!(!world.gateway.log().contains("a second signal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_changes_at_once_and_back() {
    let world = world(&format!("{NO_LIMIT}\n[telemetry]\nlog = \"genesys_proxy=info\"")).await;
    let shown = async || {
        let log = world.gateway.status().await.log.unwrap();
        (log.level, log.configured)
    };
    let configured = "genesys_proxy=info".to_owned();
    assert_eq!(shown().await, (configured.clone(), configured.clone()));
    for (level, debugs) in [("debug", true), ("warn", false)] {
        assert_eq!(act(&world, "/api/log", json!({"level": level})).await.status, 200);
        assert_eq!(shown().await, (level.to_owned(), configured.clone()));
        // Of the admin listener's own connections each says something at that level: hyper does.
        let before = world.gateway.log().matches("DEBUG").count();
        act(&world, "/api/tokens/refresh", json!({})).await;
        if debugs {
            world.gateway.wait_for_logs("DEBUG", before + 1);
        }
    }
    assert_eq!(act(&world, "/api/log", json!({"level": null})).await.status, 200);
    assert_eq!(shown().await, (configured.clone(), configured));
    let changes = world.gateway.wait_for_logs("admin: change what is logged", 2);
    assert!(changes[0].contains("filter=\"debug\""), "{changes:?}");
    act(&world, "/api/tokens/refresh", json!({})).await;
    world.gateway.wait_for_logs("admin: renew the token", 2);
}
