//! Faults: each does what it says, as often as it says.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::simulator::FaultsPatch;

fn patch(faults: Value) -> FaultsPatch {
    serde_json::from_value(faults).unwrap()
}

#[tokio::test]
async fn login_fails_in_each_way_as_often_as_it_is_told() {
    let genesys = Genesys::start().await;
    for (mode, status, body) in [
        ("html", 200, "<html>"),
        ("empty_json", 200, "{}"),
        ("garbage", 200, "{\"access_tok"),
        ("throttled", 400, "rate limit exceeded"),
        ("invalid_client", 401, "invalid_client"),
        ("status:503", 503, "service.unavailable"),
    ] {
        genesys.faults(json!({"token": {"mode": mode, "times": 1}})).await;
        let answer = genesys.login().await;
        assert_eq!(answer.status(), status, "{mode}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(body), "{mode}: {text}");
        assert_eq!(genesys.login().await.status(), 200, "{mode}");
    }
    let counters = genesys.handle.counters();
    assert_eq!((counters.mints, counters.mint_attempts, counters.throttled), (6, 12, 1));
}

#[tokio::test]
async fn a_login_that_is_down_hangs_up() {
    let genesys = Genesys::start().await;
    genesys.faults(json!({"token": "down"})).await;
    let request = genesys.request(Method::POST, "/oauth/token").basic_auth("demo", Some("demo"));
    let form = [("grant_type", "client_credentials")];
    assert!(request.form(&form).send().await.is_err());
    genesys.faults(json!({"token": "ok"})).await;
    assert_eq!(genesys.login().await.status(), 200);
    let statuses: Vec<u16> =
        genesys.state().await.mint_requests.iter().map(|mint| mint.status).collect();
    assert_eq!(statuses, [0, 200]);
}

#[tokio::test]
async fn held_requests_go_on_at_the_next_post() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    genesys.handle.faults(patch(json!({"token": "hold", "api": [{"hold": true}]})));
    let (login, call, ()) =
        tokio::join!(genesys.login(), genesys.get("/api/v2/users", &token), async {
            genesys.handle.until(|counters| counters.held == 2).await;
            genesys.handle.faults(patch(json!({"clear": true})));
        });
    assert_eq!((login.status().as_u16(), call.status().as_u16()), (200, 200));
    let counters = genesys.handle.counters();
    assert_eq!((counters.held, counters.most_held), (0, 2));
}

#[tokio::test]
async fn a_status_with_any_retry_after_comes_before_the_bearer_and_the_limit() {
    let genesys = Genesys::with(Options { requests_per_minute: 1, ..Options::default() }).await;
    let token = genesys.token().await;
    let fault = json!({"match": "GET /api/v2/users*", "status": 429, "times": 2,
                       "retry_after": "Fri, 31 Dec 1999 23:59:59 GMT"});
    genesys.faults(json!({"api": [fault]})).await;
    for token in [&token, "garbage"] {
        let answer = genesys.get("/api/v2/users", token).await;
        assert_eq!(answer.headers()["retry-after"], "Fri, 31 Dec 1999 23:59:59 GMT");
        assert_eq!(problem(answer).await, (429, "too.many.requests.retry.after".to_owned()));
    }
    assert_eq!(genesys.get("/api/v2/users", &token).await.status(), 200);
    assert_eq!(genesys.handle.counters().rate_limited, 0);
}

#[tokio::test]
async fn a_fault_may_have_a_code_a_body_and_headers_of_its_own() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let faults = json!([
        {"match": "/api/v2/users", "status": 401, "code": "credentials.expired"},
        {"match": "/api/v2/routing/queues", "status": 502, "body": "<h1>502</h1>"},
        {"match": "/api/v2/organizations/me", "headers": {"x-echoed": "Bearer {bearer}"}},
    ]);
    genesys.faults(json!({"api": faults})).await;
    let expired = genesys.get("/api/v2/users", &token).await;
    assert_eq!(problem(expired).await, (401, "credentials.expired".to_owned()));
    let gateway = genesys.get("/api/v2/routing/queues", &token).await;
    assert_eq!(gateway.status(), 502);
    assert_eq!(gateway.text().await.unwrap(), "<h1>502</h1>");
    let echoed = genesys.get("/api/v2/organizations/me", &token).await;
    assert_eq!(echoed.status(), 200);
    assert_eq!(echoed.headers()["x-echoed"], format!("Bearer {token}").as_str());
}

/// What is read until the end of a connection on which a call was sent.
async fn until_the_end(genesys: &Genesys, token: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(genesys.handle.addr()).await?;
    let head =
        format!("GET /api/v2/users HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_close_is_a_close() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    genesys.faults(json!({"api": [{"reset": true, "times": 1}, {"close": true}]})).await;
    let reset = until_the_end(&genesys, &token).await;
    assert_eq!(reset.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(until_the_end(&genesys, &token).await.unwrap(), "");
    assert_eq!(genesys.state().await.requests_by_status, [(0, 2)].into());
}

#[tokio::test]
async fn a_truncated_answer_promises_all_and_gives_a_part() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    genesys.faults(json!({"api": [{"truncate": 10}]})).await;
    let text = until_the_end(&genesys, &token).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("content-length: ") && !head.contains("content-length: 10\r\n"),
        "{head}"
    );
    assert_eq!(body.len(), 10);
    let answer = genesys.get("/api/v2/stream?chunks=2&gap_ms=1", &token).await;
    assert!(answer.bytes().await.is_err());
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_body() {
    let genesys = Genesys::start().await;
    genesys.faults(json!({"api": [{"status": 401, "early": true}]})).await;
    let mut stream = TcpStream::connect(genesys.handle.addr()).await.unwrap();
    let head = "POST /api/v2/echo HTTP/1.1\r\nHost: g\r\nContent-Length: 1000\r\n\r\nfirst bytes";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}

#[tokio::test]
async fn a_body_that_is_still_coming_is_seen() {
    let genesys = Genesys::start().await;
    let mut stream = TcpStream::connect(genesys.handle.addr()).await.unwrap();
    let head = "POST /api/v2/echo HTTP/1.1\r\nHost: g\r\nContent-Length: 1000\r\n\r\nfirst bytes";
    stream.write_all(head.as_bytes()).await.unwrap();
    genesys.handle.until(|counters| counters.body_bytes == 11).await;
    drop(stream);
    genesys.handle.until(|counters| counters.requests == 1).await;
    let record = genesys.handle.snapshot().records[0].clone();
    assert_eq!((record.status, record.body_bytes, record.body_sha256.as_str()), (0, 11, ""));
}

#[tokio::test]
async fn who_leaves_before_the_answer_is_remembered() {
    let genesys = Genesys::start().await;
    genesys.faults(json!({"token": "hold", "api": [{"hold": true}]})).await;
    let mut leaving = JoinSet::new();
    for head in ["POST /oauth/token", "GET /api/v2/users"] {
        let addr = genesys.handle.addr();
        leaving.spawn(async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let head = format!("{head} HTTP/1.1\r\nHost: g\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
    }
    genesys.handle.until(|counters| counters.held == 2).await;
    leaving.shutdown().await;
    genesys.handle.until(|counters| counters.requests + counters.mint_attempts == 2).await;
    let counters = genesys.handle.counters();
    assert_eq!((counters.held, counters.requests, counters.mint_attempts), (0, 1, 1));
    assert!(genesys.state().await.records.iter().all(|record| record.status == 0));
}

#[tokio::test]
async fn a_delay_is_a_delay() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    genesys.faults(json!({"api": [{"delay_ms": 30}], "token": "slow:30"})).await;
    let before = tokio::time::Instant::now();
    assert_eq!(genesys.get("/api/v2/users", &token).await.status(), 200);
    assert_eq!(genesys.login().await.status(), 200);
    assert!(before.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_misspelt_fault_changes_nothing() {
    let genesys = Genesys::start().await;
    let typo = genesys.request(Method::POST, "/_sim/faults").json(&json!({"tokens": "down"}));
    assert_eq!(typo.send().await.unwrap().status(), 400);
    assert_eq!(genesys.login().await.status(), 200);
}
