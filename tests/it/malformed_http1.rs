//! What breaks in the middle of a conversation in HTTP/1.1 is told, cut, or left alone, and upstream
//! never sees half of it as a whole (threats T1, T2, T6). What is malformed in itself is in the corpus.

use crate::support::raw::{Line, Record, Stage, ok};

#[test]
fn a_body_that_breaks_in_mid_upload_is_the_callers_400_and_never_whole_upstream() {
    for broken in ["x\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "0\r\nx\r\n\r\n"] {
        let stage = Stage::new(Line::wait_closed);
        let mut caller = stage.caller();
        caller.send("POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        caller.send("5\r\nhello\r\n");
        let arrived = |records: &[Record]| records.iter().any(|r| r.bytes.ends_with(b"hello\r\n"));
        stage.peer.wait("beginning of the body", arrived);
        caller.send(broken);
        let answer = caller.answer();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "proxy.body.broken"),
            "{broken:?}"
        );
        assert!(caller.rest().is_empty(), "a second answer");
        let record = stage.peer.wait_for_end(0);
        assert!(record.requests().0.is_empty(), "{broken:?} became a whole request");
        let line = stage.gateway().wait_for_log(" POST /a ");
        assert!(line.contains(" 400 code=proxy.body.broken ") && line.contains(" end=complete "));
    }
}

#[test]
fn a_caller_that_leaves_in_mid_upload_leaves_no_whole_request_behind() {
    for head in
        ["Content-Length: 9\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let stage = Stage::new(Line::wait_closed);
        let mut caller = stage.caller();
        caller.send(format!("POST /a HTTP/1.1\r\nHost: localhost\r\n{head}"));
        let arrived = |records: &[Record]| {
            records.iter().any(|r| String::from_utf8_lossy(&r.bytes).contains("hello"))
        };
        stage.peer.wait("beginning of the body", arrived);
        drop(caller);
        assert!(stage.peer.wait_for_end(0).requests().0.is_empty());
        let line = stage.gateway().wait_for_log(" POST /a ");
        assert!(line.contains(" 499 attempts=1 ") && line.contains(" end=cut "), "{line}");
    }
}

#[test]
fn a_request_behind_a_refused_one_is_not_read() {
    let stage = Stage::new(|line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    // Refused by its head alone: what follows is its body, and then no request of ours.
    for refused in ["TRACE /a", "GET http://evil.example/a"] {
        let mut caller = stage.caller();
        caller.send(format!(
            "{refused} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 47\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nHost: localhost\r\nA: b\r\n\r\n"
        ));
        assert!(matches!(caller.answer().status, 405 | 421), "{refused}");
        caller.end_sending();
        assert!(caller.rest().is_empty(), "{refused}: a second answer");
    }
    assert!(stage.end().iter().all(|record| record.bytes.is_empty()));
}

#[test]
fn many_pipelined_requests_are_answered_in_order() {
    let stage = Stage::new(|line| {
        while let Some(request) = line.request() {
            line.send(&ok(&request.line()));
        }
    });
    let mut caller = stage.caller();
    let all: String = (0..300)
        .map(|n| match n % 3 {
            0 => format!("GET /{n} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            1 => format!("PUT /{n} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"),
            _ => format!("PUT /{n} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        })
        .collect();
    // Cut in odd places: lines and chunks come in pieces.
    for piece in all.as_bytes().chunks(1013) {
        caller.send(piece);
    }
    for n in 0..300 {
        let method = if n % 3 == 0 { "GET" } else { "PUT" };
        assert_eq!(caller.answer().text(), format!("{method} /{n}"));
    }
}

#[test]
fn bytes_one_by_one_mean_the_same() {
    let stage = Stage::new(|line| {
        while let Some(request) = line.request() {
            line.send(&ok(&format!("{} {}", request.line(), request.body.len())));
        }
    });
    let text = "\r\nPUT /a HTTP/1.1\r\nHost: localhost\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n\
                5;a=b\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\nGET /b HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut caller = stage.caller();
    for byte in text.as_bytes() {
        caller.send([*byte]);
    }
    assert_eq!(caller.answer().text(), "PUT /a 5");
    assert_eq!(caller.answer().text(), "GET /b 0");
    let mut caller = stage.caller();
    for byte in b"GET /c HTTP/1.1\r\nHost: localhost\r\nX: y\nX: z\r\n\r\n" {
        caller.send([*byte]);
    }
    let answer = caller.answer();
    assert_eq!((answer.status, answer.code().as_str()), (400, "proxy.bad.request"));
}
