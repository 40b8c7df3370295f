//! What browsers are told, byte by byte: a listed origin exactly what it needs, all others nothing.

use crate::support::raw::{
    Answer, Line, Stage,
    http2::{Caller2, END_HEADERS, END_STREAM, HEADERS, literals},
};

const APP: &str = "https://app.example";
const LISTED: &str = "access.origins = [\"https://app.example\"]\n";

/// Upstream lets everybody read, with credentials: that is not for it to say.
fn generous(line: &mut Line) {
    while line.request().is_some() {
        line.send(
            b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n\
              Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: *\r\n\
              Access-Control-Allow-Private-Network: true\r\nAccess-Control-Max-Age: 86400\r\n\
              Vary: Accept\r\nContent-Length: 2\r\n\r\n{}",
        );
    }
}

fn ask(stage: &Stage, method: &str, fields: &[(&str, &str)]) -> Answer {
    let mut caller = stage.caller();
    caller.send(format!("{method} /api/v2/a HTTP/1.1\r\nHost: localhost\r\n"));
    for (name, value) in fields {
        caller.send(format!("{name}: {value}\r\n"));
    }
    caller.send("\r\n");
    caller.answer_to(method)
}

/// All that an answer says to browsers.
fn told(answer: &Answer) -> Vec<(&str, &str)> {
    let of_cors = |name: &str| name.starts_with("access-control-") || name == "vary";
    let told = answer.fields.iter().filter(|(name, _)| of_cors(name));
    told.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

const PREFLIGHT: [(&str, &str); 3] = [
    ("Access-Control-Request-Method", "PUT"),
    ("Access-Control-Request-Headers", "content-type,x-genesys-proxy"),
    ("Access-Control-Request-Private-Network", "true"),
];

#[test]
fn no_answer_tells_a_page_that_is_not_listed_anything() {
    for settings in ["", LISTED] {
        let stage = Stage::with(settings, generous);
        let vary: &[_] = if settings.is_empty() { &[] } else { &[("vary", "origin")] };
        for origin in ["https://evil.example", "null", "https://app.example.evil.example", "*"] {
            for method in ["GET", "POST", "OPTIONS"] {
                for more in [&[][..], &PREFLIGHT] {
                    let answer = ask(&stage, method, &[&[("Origin", origin)], more].concat());
                    assert_eq!(
                        (answer.status, answer.code()),
                        (403, "proxy.cross.site".to_owned())
                    );
                    assert_eq!(told(&answer), vary, "{origin}");
                }
            }
        }
        assert!(stage.end().iter().all(|record| record.bytes.is_empty()));
    }
}

#[test]
fn what_upstream_tells_browsers_is_taken_out() {
    let stage = Stage::new(generous);
    assert_eq!(told(&ask(&stage, "GET", &[])), [("vary", "Accept")]);
    // No browser asks this without an origin: it is a call like any other.
    assert_eq!(told(&ask(&stage, "OPTIONS", &PREFLIGHT)), [("vary", "Accept")]);
    assert_eq!(stage.peer.requests().len(), 2);
}

#[test]
fn a_listed_origin_may_read_what_it_calls_refusals_included() {
    let stage = Stage::with(LISTED, generous);
    let page = [("Origin", APP), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors")];
    let may = [
        ("vary", "origin"),
        ("access-control-allow-origin", APP),
        ("access-control-expose-headers", "*"),
    ];
    let answer = ask(&stage, "GET", &page);
    assert_eq!(answer.status, 200);
    assert_eq!(told(&answer), [&[("vary", "Accept")], &may[..]].concat());
    let refused = ask(&stage, "TRACE", &page);
    assert_eq!(refused.status, 405);
    assert_eq!(told(&refused), may);
    let requests = stage.peer.requests();
    assert!(requests.len() == 1 && requests[0].all("origin").is_empty(), "{requests:?}");
}

#[test]
fn a_listed_origins_preflight_is_answered_here_with_exactly_what_it_asks() {
    let stage =
        Stage::with(&format!("{LISTED}access.require_header = \"X-Genesys-Proxy\"\n"), generous);
    let page = [&[("Origin", APP)], &PREFLIGHT[..]].concat();
    let answer = ask(&stage, "OPTIONS", &page);
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let mut fields = told(&answer);
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            ("access-control-allow-headers", "content-type,x-genesys-proxy"),
            ("access-control-allow-methods", "PUT"),
            ("access-control-allow-origin", APP),
            ("access-control-allow-private-network", "true"),
            ("access-control-expose-headers", "*"),
            ("access-control-max-age", "600"),
            ("vary", "access-control-request-headers"),
            ("vary", "access-control-request-method"),
            ("vary", "origin"),
        ]
    );
    let plain = ask(&stage, "OPTIONS", &[("Origin", APP), PREFLIGHT[0]]);
    assert!(plain.all("access-control-allow-private-network").is_empty(), "nobody asked");
    let mut caller = Caller2::new(stage.caller());
    let head = [
        (":method", "OPTIONS"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/api/v2/a"),
        ("origin", APP),
        ("access-control-request-method", "PUT"),
    ];
    caller.send(HEADERS, END_HEADERS | END_STREAM, 1, &literals(&head));
    assert_eq!(caller.outcome(1).status, 204);
    let foreign = ask(&stage, "OPTIONS", &[&[("Host", "evil.example")], &page[..]].concat());
    assert_eq!(foreign.status, 400, "two hosts");
    assert!(stage.end().iter().all(|record| record.bytes.is_empty()), "nothing went on");
}

#[test]
fn without_the_required_header_nobody_is_served_and_upstream_never_sees_it() {
    let stage = Stage::with("access.require_header = \"X-Genesys-Proxy\"\n", generous);
    for fields in
        [&[][..], &[("X_Genesys_Proxy", "1")], &[("Origin", APP), ("X-Genesys-Proxy", "1")]]
    {
        let answer = ask(&stage, "GET", fields);
        let code = if fields.len() == 2 { "proxy.cross.site" } else { "proxy.header.required" };
        assert_eq!((answer.status, answer.code().as_str()), (403, code), "{fields:?}");
    }
    let twins = [("x-genesys-proxy", ""), ("X-Genesys-Proxy", "2"), ("X_Genesys_Proxy", "3")];
    assert_eq!(ask(&stage, "GET", &twins).status, 200);
    let requests = stage.peer.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].fields.iter().all(|(name, _)| !name.contains("genesys")), "{requests:?}");
}

#[test]
fn a_target_that_is_too_long_is_a_414_in_both_versions() {
    let stage = Stage::new(generous);
    for (length, status) in [(8192, 200), (8193, 414), (30_000, 414)] {
        let path = format!("/{}", "a".repeat(length - 1));
        let answer = stage.get(&path);
        let code = if status == 414 { "proxy.uri.too.long" } else { "" };
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        let mut caller = Caller2::new(stage.caller());
        let head = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", &path),
        ];
        let block = literals(&head);
        let (first, rest) = block.split_at(block.len().min(16_000));
        caller.send(HEADERS, END_STREAM, 1, first);
        // CONTINUATION
        let pieces: Vec<&[u8]> =
            if rest.is_empty() { vec![rest] } else { rest.chunks(16_000).collect() };
        for (n, piece) in pieces.iter().enumerate() {
            caller.send(9, if n + 1 == pieces.len() { END_HEADERS } else { 0 }, 1, piece);
        }
        assert_eq!(caller.outcome(1).status, status);
    }
    let stage = Stage::with("access.max_uri_bytes = \"32KiB\"\n", generous);
    assert_eq!(stage.get(&format!("/{}", "a".repeat(30_000))).status, 200);
}
