//! Calls: bearer, limit, and the resources.

use std::time::Duration;

use super::*;
use crate::simulator::{queue_ids, user_ids};

#[tokio::test]
async fn without_a_good_token_there_is_a_401_that_counts_nothing() {
    let genesys = Genesys::with(Options { requests_per_minute: 1, ..Options::default() }).await;
    let token = genesys.token().await;
    let bare = genesys.request(Method::GET, "/api/v2/users").send().await.unwrap();
    assert_eq!(problem(bare).await, (401, "authentication.required".to_owned()));
    let empty = genesys.request(Method::GET, "/api/v2/users").header("authorization", "Bearer ");
    let empty = empty.send().await.unwrap();
    assert_eq!(problem(empty).await, (401, "authentication.required".to_owned()));
    let wrong = genesys.get("/api/v2/users", "garbage").await;
    assert_eq!(problem(wrong).await, (401, "bad.credentials".to_owned()));
    assert_eq!(genesys.get("/api/v2/users", &token).await.status(), 200);
    let state = genesys.state().await;
    assert_eq!(state.requests_by_status, [(200, 1), (401, 3)].into());
    assert_eq!((state.counters.unauthorized, state.counters.most_in_window), (3, 1));
}

#[tokio::test]
async fn beyond_the_limit_there_is_a_429_with_whole_seconds() {
    let options = Options { requests_per_minute: 2, ..Options::default() };
    let genesys = Genesys::with(options).await;
    let (token, other) = (genesys.token().await, genesys.token().await);
    for _ in 0..2 {
        assert_eq!(genesys.get("/api/v2/users", &token).await.status(), 200);
    }
    let answer = genesys.get("/api/v2/users", &token).await;
    let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(problem(answer).await, (429, "too.many.requests.retry.after".to_owned()));
    assert_eq!(genesys.get("/api/v2/users", &other).await.status(), 200);
    let counters = genesys.handle.counters();
    assert_eq!((counters.rate_limited, counters.most_in_window), (1, 3));
}

#[tokio::test]
async fn a_program_outside_uses_the_limit_of_every_live_token() {
    let genesys = Genesys::with(Options { requests_per_minute: 5, ..Options::default() }).await;
    let outsider = async |body: Value| {
        let request = genesys.request(Method::POST, "/_sim/outsider").json(&body);
        request.send().await.unwrap()
    };
    let accepted = async |calls: u32| {
        let answer: Value = outsider(json!({"calls": calls})).await.json().await.unwrap();
        answer["accepted"].as_u64().unwrap()
    };
    genesys.token().await;
    genesys.handle.revoke();
    assert_eq!(accepted(1).await, 0, "a dead token opens nothing");
    let (one, two) = (genesys.token().await, genesys.token().await);
    assert_eq!(genesys.get("/api/v2/users", &one).await.status(), 200);
    assert_eq!(accepted(3).await, 6);
    assert_eq!(accepted(3).await, 1 + 2, "as many as there is room for");
    for token in [&one, &two] {
        assert_eq!(genesys.get("/api/v2/users", token).await.status(), 429);
    }
    let counters = genesys.handle.counters();
    assert_eq!(
        (counters.requests, counters.rate_limited),
        (3, 2),
        "its calls are not the client's"
    );
    assert_eq!(counters.most_in_window, 2);
    for wrong in [json!({"calls": -1}), json!({"call": 1}), json!({})] {
        assert_eq!(outsider(wrong.clone()).await.status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_listing_is_walked_by_its_own_uris() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let mut seen = Vec::new();
    let mut next = Some("/api/v2/routing/queues?pageSize=30".to_owned());
    while let Some(target) = next {
        let page = genesys.json(&target, &token).await;
        assert_eq!((&page["total"], &page["pageCount"]), (&json!(75), &json!(3)));
        let entities = page["entities"].as_array().unwrap();
        seen.extend(entities.iter().map(|queue| queue["id"].as_str().unwrap().to_owned()));
        next = page.get("nextUri").map(|uri| uri.as_str().unwrap().to_owned());
    }
    assert_eq!(seen, queue_ids());
    let queue = genesys.json(&format!("/api/v2/routing/queues/{}", seen[7]), &token).await;
    assert_eq!(queue["name"], "Queue 08");
}

#[tokio::test]
async fn users_have_ids_and_a_client_is_not_a_user() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let user = genesys.json(&format!("/api/v2/users/{}", user_ids()[0]), &token).await;
    assert_eq!(user["name"], "Ada Lovelace");
    let me = genesys.get("/api/v2/users/me", &token).await;
    assert_eq!(problem(me).await, (400, "not.a.user".to_owned()));
    for (target, expected) in [
        ("/api/v2/users/nobody", (404, "not.found")),
        ("/api/v2/nothing", (404, "not.found")),
        ("/api/v2/audits/query", (403, "missing.permissions")),
        ("/api/v2/users?pageSize=9999", (400, "bad.request")),
        ("/api/v2/status/503", (503, "service.unavailable")),
    ] {
        let (status, code) = problem(genesys.get(target, &token).await).await;
        assert_eq!((status, code.as_str()), expected, "{target}");
    }
    let deleted = genesys.request(Method::DELETE, "/api/v2/users").bearer_auth(&token);
    let deleted = problem(deleted.send().await.unwrap()).await;
    assert_eq!(deleted, (405, "method.not.allowed".to_owned()));
}

#[tokio::test]
async fn the_token_tells_whose_it_is() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let me = genesys.json("/api/v2/tokens/me", &token).await;
    assert_eq!(me["OAuthClient"]["id"], "demo");
    let head = genesys.request(Method::HEAD, "/api/v2/tokens/me").bearer_auth(&token);
    let head = head.send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.headers()["content-length"] != "0");
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_query_job_is_polled_until_it_is_done() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let base = "/api/v2/analytics/conversations/details";
    let query = json!({"interval": "2024-06-03T00:00:00Z/2024-06-10T00:00:00Z"});
    let post = async |target: &str, body: &Value| {
        let request = genesys.request(Method::POST, target).bearer_auth(&token);
        request.json(body).send().await.unwrap()
    };
    let found: Value = post(&format!("{base}/query"), &query).await.json().await.unwrap();
    assert_eq!(found["totalHits"], 1000);
    assert_eq!(found["conversations"].as_array().unwrap().len(), 25);
    let refused = post(&format!("{base}/query"), &json!({})).await;
    assert_eq!(problem(refused).await, (400, "bad.request".to_owned()));

    let accepted = post(&format!("{base}/jobs"), &query).await;
    assert_eq!(accepted.status(), 202);
    let job: Value = accepted.json().await.unwrap();
    let job = format!("{base}/jobs/{}", job["jobId"].as_str().unwrap());
    assert_eq!(genesys.get(&format!("{job}/results"), &token).await.status(), 400);
    let mut states = Vec::new();
    for _ in 0..3 {
        states.push(genesys.json(&job, &token).await["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(states, ["QUEUED", "PENDING", "FULFILLED"]);
    let results = format!("{job}/results?pageSize=600");
    let first = genesys.json(&results, &token).await;
    let last = genesys.json(&format!("{results}&cursor=600"), &token).await;
    assert_eq!((&first["cursor"], last.get("cursor")), (&json!("600"), None));
    assert_eq!(last["conversations"].as_array().unwrap().len(), 400);
}

#[tokio::test]
async fn the_twenty_first_channel_evicts_the_oldest() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let target = "/api/v2/notifications/channels";
    let mut ids = Vec::new();
    for _ in 0..21 {
        let request = genesys.request(Method::POST, target).bearer_auth(&token);
        let channel: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(channel["connectUri"].as_str().unwrap().starts_with("wss://streaming."));
        ids.push(channel["id"].clone());
    }
    let list = genesys.json(target, &token).await;
    let left: Vec<_> =
        list["entities"].as_array().unwrap().iter().map(|c| c["id"].clone()).collect();
    assert_eq!(left, ids[1..]);
    let topics = json!([{"id": "v2.users.me.presence"}]);
    let gone = format!("{target}/{}/subscriptions", ids[0].as_str().unwrap());
    let there = format!("{target}/{}/subscriptions", ids[1].as_str().unwrap());
    for (target, status) in [(gone, 404), (there, 200)] {
        let request = genesys.request(Method::PUT, &target).bearer_auth(&token).json(&topics);
        assert_eq!(request.send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn a_call_is_recorded_without_its_secrets() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let request = genesys.request(Method::POST, "/api/v2/echo?a=1").bearer_auth(&token);
    let answer = request.header("x-sent", "once").body("hello").send().await.unwrap();
    let echo: Value = answer.json().await.unwrap();
    let text = genesys.request(Method::GET, "/_sim/state?records=1").send().await.unwrap();
    let text = text.text().await.unwrap();
    assert!(!text.contains(&token) && !echo.to_string().contains(&token));
    let state: Snapshot = serde_json::from_str(&text).unwrap();
    let [record] = state.records.as_slice() else { panic!("{text}") };
    assert_eq!((record.method.as_str(), record.target.as_str()), ("POST", "/api/v2/echo?a=1"));
    assert_eq!((record.status, record.body_bytes), (200, 5));
    assert_eq!(echo["bodySha256"], record.body_sha256.as_str());
    assert!(record.headers.iter().any(|name| name == "x-sent"));
    assert!(echo["headers"].as_array().unwrap().contains(&json!(["x-sent", "once"])));
}

#[tokio::test]
async fn what_is_in_flight_is_counted_until_the_last_byte() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let target = format!("/api/v2/recordings/1/media?bytes={}", 1_u64 << 40);
    let slow = genesys.get(&target, &token).await;
    assert_eq!(genesys.handle.counters().in_flight, 1);
    drop(slow);
    genesys.handle.until(|counters| counters.in_flight == 0).await;
    assert_eq!(genesys.handle.counters().most_in_flight, 1);
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_is_open() {
    let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), Options::default()).await.unwrap();
    let (addr, handle) = (simulator.addr(), simulator.handle());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut serving = JoinSet::new();
    serving.spawn(simulator.serve(async move { stopped.await.unwrap_or_default() }));
    handle.faults(serde_json::from_value(json!({"api": [{"delay_ms": 50}]})).unwrap());
    let http = Http::builder().no_proxy().build().unwrap();
    let call = http.get(format!("http://{addr}/api/v2/users")).send();
    let (answer, ()) = tokio::join!(call, async {
        handle.until(|counters| counters.in_flight == 1).await;
        stop.send(()).unwrap();
    });
    assert_eq!(answer.unwrap().status(), 401);
    tokio::time::timeout(Duration::from_secs(5), serving.join_next()).await.unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn it_listens_for_this_machine_only() {
    let refused = Simulator::bind(([0, 0, 0, 0], 0).into(), Options::default()).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}
