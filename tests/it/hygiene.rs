//! What crosses the gateway, header by header (threats T6, T10 to T13; traps 1, 2, 22, 24).

use crate::support::raw::{Request, Stage, TOKEN, check, ok};

/// A peer that answers everything, and what it got of one request.
fn upstream_gets(request: &str) -> Request {
    let stage = Stage::new(|line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    let host = stage.peer.address.to_string();
    assert_eq!(stage.call(request).status, 200);
    let requests: Vec<_> = stage.end().iter().flat_map(|record| record.requests().0).collect();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    check(request, &host).unwrap();
    request.clone()
}

fn names(request: &Request) -> Vec<&str> {
    let mut names: Vec<&str> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn only_what_is_the_callers_to_say_crosses() {
    let request = upstream_gets(
        "POST /a HTTP/1.1\r\n\
         Host: localhost\r\n\
         Authorization: Bearer of-the-caller\r\n\
         AUTHORIZATION: Basic b2Y6Y2FsbGVy\r\n\
         Connection: authorization, Host, content-length, X-Named\r\n\
         Connection: x-named-too,\tX-Request-Id\r\n\
         X-Named: 1\r\n\
         X-Named-Too: 1\r\n\
         Proxy-Authorization: Basic b2Y6Y2FsbGVy\r\n\
         Proxy-Connection: keep-alive\r\n\
         Keep-Alive: timeout=5\r\n\
         Upgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\
         Expect: 100-continue\r\n\
         Cookie: session=1\r\n\
         X-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Host: evil.example\r\n\
         X-Forwarded-Proto: https\r\n\
         X-Forwarded-Anything: 1\r\n\
         X_Forwarded_For: 10.0.0.1\r\n\
         X_FORWARDED-For: 10.0.0.1\r\n\
         Content_Length: 99\r\n\
         Transfer_Encoding: chunked\r\n\
         Forwarded: for=10.0.0.1\r\n\
         X-Real-IP: 10.0.0.1\r\n\
         X-Original-URL: /admin\r\n\
         X-Rewrite-URL: /admin\r\n\
         X-HTTP-Method-Override: DELETE\r\n\
         X-HTTP-Method: DELETE\r\n\
         X_Method-Override: DELETE\r\n\
         X-Original-Method: DELETE\r\n\
         X-Original-URI: /admin\r\n\
         X-Override-URL: /admin\r\n\
         True-Client-IP: 10.0.0.1\r\n\
         Accept: */*\r\n\
         User-Agent: caller\r\n\
         Content-Type: application/json\r\n\
         X-Custom: a\r\n\
         X-Custom: b\r\n\
         x_custom: c\r\n\
         Content-Length: 2\r\n\r\n{}",
    );
    assert_eq!(
        names(&request),
        [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "traceparent",
            "user-agent",
            "x-custom",
            "x-custom",
            "x-request-id",
            "x_custom",
        ]
    );
    assert_eq!(request.all("x-custom"), ["a", "b"]);
    assert_eq!(request.body, b"{}");
}

#[test]
fn a_caller_that_lists_its_framing_as_hop_by_hop_does_not_unframe_its_body() {
    let request = upstream_gets(
        "PUT /a HTTP/1.1\r\nHost: localhost\r\nConnection: transfer-encoding, te, close\r\n\
         TE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(request.body, b"hello");
    assert!(request.chunked);
    assert_eq!(request.all("te"), ["trailers"]);
    assert_eq!(request.all("connection"), ["te"]);
}

#[test]
fn trailers_keep_checksums_and_lose_credentials_and_framing() {
    let request = upstream_gets(
        "POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Checksum, Authorization, Host, Content-Length, Cookie\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Checksum: 1\r\nAuthorization: Bearer of-the-caller\r\n\
         Host: evil.example\r\nContent-Length: 9\r\nCookie: a\r\nX_Forwarded_For: 1\r\n\r\n",
    );
    assert_eq!(request.body, b"hello");
    assert_eq!(request.trailers, [("x-checksum".to_owned(), "1".to_owned())]);
}

#[test]
fn a_body_arrives_whole_whatever_the_method() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PATCH", "PROPFIND"] {
        let head = format!("{method} /a HTTP/1.1\r\nHost: localhost\r\n");
        let chunks =
            format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
        let length = format!("{head}Content-Length: 5\r\n\r\nhello");
        for text in [chunks, length] {
            let stage = Stage::new(|line| {
                while line.request().is_some() {
                    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            });
            let mut caller = stage.caller();
            caller.send(&text);
            assert_eq!(caller.answer_to(method).status, 200, "{text}");
            let requests = stage.peer.requests();
            assert_eq!(requests.len(), 1, "{text}");
            assert_eq!(String::from_utf8_lossy(&requests[0].body), "hello", "{text}");
        }
    }
}

#[test]
fn hop_by_hop_fields_of_an_answer_stay_with_the_gateway() {
    let stage = Stage::new(|line| {
        while line.request().is_some() {
            line.send(
                b"HTTP/1.1 200 OK\r\nConnection: x-hop, keep-alive\r\nConnection: X-Hop-Too\r\n\
                  X-Hop: 1\r\nX-Hop-Too: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
                  Upgrade: h2c\r\nSet-Cookie: a=b\r\nX-Custom: 1\r\nContent-Length: 2\r\n\r\n{}",
            );
        }
    });
    let answer = stage.get("/a");
    let mut names: Vec<&str> = answer.fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "content-length",
            "date",
            "server-timing",
            "set-cookie",
            "via",
            "x-custom",
            "x-request-id"
        ]
    );
}

#[test]
fn an_expected_continue_comes_from_the_gateway_and_the_body_stays_a_body() {
    let stage = Stage::new(|line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    let body = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut caller = stage.caller();
    caller.send(format!(
        "POST /a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(caller.bytes(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    caller.send(body);
    assert_eq!(caller.answer().status, 200);
    let requests = stage.peer.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].body, body.as_bytes());
    assert!(requests[0].all("expect").is_empty());
}

#[test]
fn a_token_in_the_query_is_refused_and_no_log_holds_it() {
    let stage = Stage::new(|line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    // The stage looks for it in the log when it ends.
    let refused = stage.get(&format!("/a?access_token={TOKEN}"));
    assert_eq!(refused.status, 400);
    let target = format!("/a?q={TOKEN}&b=%zz%00");
    assert_eq!(stage.get(&target).status, 200);
    assert_eq!(stage.peer.requests()[0].target, target);
}

#[test]
fn what_would_end_the_shared_token_is_refused_however_it_is_spelled_unless_configured() {
    let answers = |line: &mut crate::support::raw::Line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    };
    let calls = [
        ("DELETE", "/api/v2/tokens/me"),
        ("DELETE", "/api/v2/x/%2e%2e/tokens/m%65"),
        ("PUT", "/api/v2/tokens/timeout"),
        ("POST", "/api/v2/oauth/clients"),
        ("PATCH", "/api/v2//oauth/clients/1/secret"),
    ];
    let call = |stage: &Stage, (method, path): (&str, &str)| {
        stage.call(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        ))
    };
    let stage = Stage::new(answers);
    for of in calls {
        let answer = call(&stage, of);
        assert_eq!((answer.status, answer.code().as_str()), (403, "proxy.denied"), "{of:?}");
    }
    assert_eq!(stage.get("/api/v2/tokens/me").status, 200, "looking at it is harmless");
    assert_eq!(stage.peer.requests().len(), 1);

    let stage = Stage::with("access.deny = []\n", answers);
    assert!(calls.iter().all(|of| call(&stage, *of).status == 200));
}
