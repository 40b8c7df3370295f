//! Idle connections give their buffers back, and nobody can tell: not one byte is lost, answered
//! twice or read as what it is not. A crowd on a worker makes it park at once, after every answer.

use std::{io::Write as _, net::TcpStream};

use crate::support::raw::{Line, Stage, ok};

/// More than a worker lets keep their buffers, whichever worker the kernel gives them to.
fn crowd(stage: &Stage) -> Vec<TcpStream> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let count = 700 * workers;
    rlimit::increase_nofile_limit(4 * count as u64).unwrap();
    let address = stage.gateway().address;
    (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            // It has begun to speak, so it is not idle.
            stream.write_all(b"G").unwrap();
            stream
        })
        .collect()
}

fn echo(line: &mut Line) {
    while let Some(request) = line.request() {
        line.send(&ok(&request.target));
    }
}

#[test]
fn who_is_parked_when_a_drain_begins_is_told_by_an_answer() {
    let stage = Stage::new(echo);
    let crowd = crowd(&stage);
    let mut callers: Vec<_> = (0..8).map(|_| stage.caller()).collect();
    for (round, close) in [false, true].into_iter().enumerate() {
        for (number, caller) in callers.iter_mut().enumerate() {
            caller
                .send(format!("GET /api/v2/{number}-{round} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        }
        for (number, caller) in callers.iter_mut().enumerate() {
            let answer = caller.answer();
            assert_eq!((answer.status, answer.text()), (200, format!("/api/v2/{number}-{round}")));
            assert_eq!(answer.all("connection").contains(&"close"), close, "{answer:?}");
        }
        if !close {
            stage.gateway().signal("TERM");
            // Until every worker has heard of it.
            while TcpStream::connect(stage.gateway().address).is_ok() {}
        }
    }
    drop(crowd);
}

#[test]
fn in_a_crowd_every_kind_of_call_is_answered_as_ever() {
    let stage = Stage::new(echo);
    let crowd = crowd(&stage);
    let mut callers: Vec<_> = (0..8).map(|_| stage.caller()).collect();
    for round in 0..20 {
        for (number, caller) in callers.iter_mut().enumerate() {
            let target = format!("/api/v2/{number}-{round}");
            let rest = match round % 4 {
                0 => "\r\n",
                // A blank line behind a request means nothing (RFC 9112 section 2.2).
                1 => "\r\n\r\n",
                2 => "Content-Length: 5\r\n\r\nhello",
                _ => "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            };
            caller.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{rest}"));
        }
        for (number, caller) in callers.iter_mut().enumerate() {
            let answer = caller.answer();
            let target = format!("/api/v2/{number}-{round}");
            assert_eq!((answer.status, answer.text()), (200, target), "{answer:?}");
        }
    }
    drop(crowd);
}

#[test]
fn in_a_crowd_pipelined_calls_are_answered_in_order() {
    let stage = Stage::new(echo);
    let crowd = crowd(&stage);
    let mut caller = stage.caller();
    let call = |n| format!("GET /api/{n} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let calls: Vec<String> = (0..50).map(call).collect();
    caller.send(calls.concat());
    for n in 0..50 {
        let answer = caller.answer();
        assert_eq!((answer.status, answer.text()), (200, format!("/api/{n}")));
    }
    drop(crowd);
}

#[test]
fn the_body_of_a_refused_call_is_never_taken_for_the_next_one() {
    let stage = Stage::new(echo);
    let crowd = crowd(&stage);
    let hidden = "GET /api/v2/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = hidden.len();
    for framing in [
        format!("Content-Length: {length}\r\n\r\n{hidden}"),
        format!("Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"),
    ] {
        let mut caller = stage.caller();
        let refused =
            "POST /api/v2/refused HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil\r\n";
        caller.send(format!("{refused}{framing}"));
        let answer = caller.answer();
        assert_eq!((answer.status, answer.code().as_str()), (403, "proxy.cross.site"), "{framing}");
        if answer.all("connection") == ["close"] {
            assert!(caller.rest().is_empty(), "{framing}");
        } else {
            caller.send("GET /api/v2/next HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let answer = caller.answer();
            assert!(answer.status == 0 || answer.text() == "/api/v2/next", "{framing} {answer:?}");
        }
    }
    drop(crowd);
    for record in stage.end() {
        let (requests, _) = record.requests();
        assert!(!requests.iter().any(|request| request.target.contains("hidden")), "{requests:?}");
    }
}
