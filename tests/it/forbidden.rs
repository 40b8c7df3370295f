//! A 403 reaches its caller as it is, at once, and the log says which permission is missing.

use std::{
    io::{Read, Write},
    sync::{Mutex, mpsc},
};

use flate2::{Compression, write::GzEncoder};

use crate::support::raw::{Stage, TOKEN};

const BODY: &str = "{\"message\":\"You are missing the following permission(s): \
                    analytics:conversationDetail:view hunter2\",\"code\":\"missing.permissions\",\
                    \"status\":403,\"contextId\":\"c0ffee\",\"details\":[],\"errors\":[],\
                    \"messageParams\":{\"permissions\":\"analytics:conversationDetail:view\"}}";

fn forbidden(body: &[u8], fields: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n{fields}\
         ININ-Correlation-Id: c0ffee\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_missing_permission_is_logged_once_and_nothing_else_of_the_body() {
    let stage = Stage::new(|line| {
        while line.request().is_some() {
            line.send(&forbidden(BODY.as_bytes(), ""));
        }
    });
    for id in ["1", "2", "3"] {
        let answer = stage.get(&format!("/api/v2/analytics/conversations/{id}/details"));
        assert_eq!((answer.status, answer.text().as_str()), (403, BODY));
    }
    assert_eq!(stage.get("/api/v2/users").status, 403);
    stage.gateway().wait_for_logs("Genesys Cloud answered 403", 2);
    let log = stage.gateway().log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("answered 403")).collect();
    assert_eq!(said.len(), 2, "a line for each kind of call: {said:?}");
    for part in [
        "WARN",
        "GET /api/v2/analytics/conversations/*/details",
        "missing.permissions",
        "analytics:conversationDetail:view",
        "c0ffee",
    ] {
        assert!(said[0].contains(part), "{part}: {}", said[0]);
    }
    assert!(!log.contains("hunter2"));
    assert_eq!(stage.login.requests().len(), 1, "a 403 renews nothing");
}

#[test]
fn a_packed_403_is_read_and_passes_as_it_is() {
    let packed = gzipped(BODY);
    let sent = packed.clone();
    let stage = Stage::new(move |line| {
        while line.request().is_some() {
            line.send(&forbidden(&sent, "Content-Encoding: gzip\r\n"));
        }
    });
    let answer = stage.get("/api/v2/users");
    assert_eq!((answer.status, answer.body), (403, packed));
    stage.gateway().wait_for_log("missing=\"analytics:conversationDetail:view\"");
}

#[test]
fn what_is_not_genesyss_shape_or_unpacks_without_end_passes_and_is_not_logged() {
    let bomb = gzipped(&" ".repeat(8 << 20));
    let bodies = [b"<html>403</html>".to_vec(), Vec::new(), bomb, b"\x1f\x8b\x08".to_vec()];
    for body in bodies {
        let sent = body.clone();
        let stage = Stage::new(move |line| {
            while line.request().is_some() {
                let packed =
                    if sent.starts_with(b"\x1f") { "Content-Encoding: gzip\r\n" } else { "" };
                line.send(&forbidden(&sent, packed));
            }
        });
        let answer = stage.get("/api/v2/users");
        assert!(answer.status == 403 && answer.body == body);
        assert!(!stage.gateway().log().contains("answered 403"));
    }
}

#[test]
fn the_first_half_of_a_403_does_not_wait_for_the_second() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let answer = forbidden(BODY.as_bytes(), "");
    let (first, second) = answer.split_at(answer.len() - 40);
    let (first, second) = (first.to_vec(), second.to_vec());
    let stage = Stage::new(move |line| {
        while line.request().is_some() {
            line.send(&first);
            wait.lock().unwrap().recv().unwrap();
            line.send(&second);
        }
    });
    let mut caller = stage.caller();
    caller.send("GET /api/v2/users HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let half = BODY.split_at(BODY.len() - 40).0;
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while !seen.ends_with(half.as_bytes()) {
        let count = caller.stream.read(&mut piece).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..count]);
    }
    go.send(()).unwrap();
    stage.gateway().wait_for_log("analytics:conversationDetail:view");
    assert!(!String::from_utf8_lossy(&seen).contains(TOKEN));
}
