//! What passes over HTTP/2 is clean HTTP/1.1 upstream, and what is cut is a reset stream (threats T10
//! to T13, T17; trap 23). What is malformed in itself is in the corpus.

use crate::support::raw::{
    Line, Record, Stage, check,
    http2::{
        CANCEL, Caller2, DATA, END_HEADERS, END_STREAM, End, HEADERS, NO_ERROR, RST_STREAM,
        literals,
    },
    ok,
};

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "localhost");

#[test]
fn trailers_and_fields_lose_what_only_we_may_say() {
    let stage = Stage::new(|line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    let asking = [
        (":method", "POST"),
        SCHEME,
        AUTHORITY,
        (":path", "/a"),
        ("authorization", "Bearer of-the-caller"),
        ("authorization", "Basic b2Y6Y2FsbGVy"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("content_length", "99"),
        ("transfer_encoding", "chunked"),
        ("expect", "100-continue"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("proxy-authorization", "Basic b2Y6Y2FsbGVy"),
        ("trailer", "x-checksum, authorization, host, content-length, cookie"),
        ("x-custom", "kept"),
    ];
    let trailers = [
        ("x-checksum", "1"),
        ("authorization", "Bearer of-the-caller"),
        ("content-length", "9"),
        ("host", "evil.example"),
        ("cookie", "a=b"),
        ("x_forwarded_for", "10.0.0.1"),
    ];
    let mut caller = Caller2::new(stage.caller());
    caller.send(HEADERS, END_HEADERS, 1, &literals(&asking));
    caller.send(DATA, 0, 1, b"hello");
    caller.send(HEADERS, END_HEADERS | END_STREAM, 1, &literals(&trailers));
    assert_eq!(caller.outcome(1).status, 200);
    // The h2 crate takes pseudo fields off trailers.
    caller.send(HEADERS, END_HEADERS, 3, &literals(&[METHOD, SCHEME, AUTHORITY, (":path", "/b")]));
    caller.send(DATA, 0, 3, b"hello");
    let pseudo = literals(&[(":path", "/smuggled")]);
    caller.send(HEADERS, END_HEADERS | END_STREAM, 3, &pseudo);
    assert_eq!(caller.outcome(3).status, 200);
    let host = stage.peer.address.to_string();
    let seen: Vec<_> = stage.end().iter().flat_map(|record| record.requests().0).collect();
    let [request, second] = &seen[..] else { panic!("{seen:?}") };
    check(request, &host).unwrap();
    assert!(second.target == "/b" && second.trailers.is_empty(), "{second:?}");
    let mut names: Vec<&str> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "authorization",
            "host",
            "traceparent",
            "trailer",
            "transfer-encoding",
            "x-custom",
            "x-request-id"
        ]
    );
    assert_eq!(request.body, b"hello");
    assert_eq!(request.trailers, [("x-checksum".to_owned(), "1".to_owned())]);
}

#[test]
fn a_cut_answer_is_a_reset_stream() {
    let stage = Stage::new(|line| {
        while let Some(request) = line.request() {
            let answer = match request.target.as_str() {
                "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
                "/chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                "/bad-chunks" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n"
                }
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown",
            };
            line.send(answer.as_bytes());
            if request.target != "/own" {
                return;
            }
        }
    });
    let mut caller = Caller2::new(stage.caller());
    let mut stream = 1;
    for path in ["/length", "/chunks", "/bad-chunks"] {
        for (path, end) in [(path, None), ("/own", Some(End::Stream))] {
            let head = literals(&[METHOD, SCHEME, AUTHORITY, (":path", path)]);
            caller.send(HEADERS, END_HEADERS | END_STREAM, stream, &head);
            let outcome = caller.outcome(stream);
            match end {
                Some(end) => assert_eq!(outcome.end, end, "{path}"),
                None => assert!(matches!(outcome.end, End::Error(1..)), "{path}: {outcome:?}"),
            }
            stream += 2;
        }
    }
}

#[test]
fn who_leaves_in_mid_upload_is_no_refused_caller_and_who_sends_less_than_it_said_is() {
    let post = [(":method", "POST"), SCHEME, AUTHORITY, (":path", "/a"), ("content-length", "9")];
    for (how, told) in [
        ("reset", " 499 attempts=1 "),
        ("connection lost", " 499 attempts=1 "),
        ("ended early", " 400 code=proxy.body.broken "),
    ] {
        let stage = Stage::new(Line::wait_closed);
        let mut caller = Caller2::new(stage.caller());
        caller.send(HEADERS, END_HEADERS, 1, &literals(&post));
        caller.send(DATA, 0, 1, b"hello");
        let arrived = |records: &[Record]| records.iter().any(|r| r.bytes.ends_with(b"hello"));
        stage.peer.wait("beginning of the body", arrived);
        match how {
            "reset" => caller.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()),
            "connection lost" => drop(caller),
            _ => caller.send(DATA, END_STREAM, 1, b"!"),
        }
        assert!(stage.peer.wait_for_end(0).requests().0.is_empty(), "{how}");
        let line = stage.gateway().wait_for_log(" POST /a ");
        assert!(line.contains(told), "{how}: {line}");
        assert_eq!(line.contains(" end=cut "), told.contains("499"), "{how}: {line}");
    }
}

/// RFC 9113 section 8.1 gives `NO_ERROR` to servers, which answer early. hyper takes it for the end of
/// the body, whoever says it: half a body would go upstream as a whole one.
#[test]
fn an_upload_that_its_caller_resets_without_an_error_is_never_whole_upstream() {
    let stage = Stage::new(Line::wait_closed);
    let mut caller = Caller2::new(stage.caller());
    let post = [(":method", "PUT"), SCHEME, AUTHORITY, (":path", "/a")];
    caller.send(HEADERS, END_HEADERS, 1, &literals(&post));
    caller.send(DATA, 0, 1, b"hello");
    let arrived = |records: &[Record]| {
        records.iter().any(|record| record.bytes.windows(5).any(|bytes| bytes == b"hello"))
    };
    stage.peer.wait("beginning of the body", arrived);
    caller.send(RST_STREAM, 0, 1, &NO_ERROR.to_be_bytes());
    assert!(stage.peer.wait_for_end(0).requests().0.is_empty());
    let line = stage.gateway().wait_for_log(" PUT /a ");
    assert!(line.contains(" 499 ") && line.contains(" end=cut "), "{line}");
}
