//! Our token, said back by upstream: in no field of any answer does it reach a caller or a log
//! (threat T19; trap 26).

use crate::support::raw::{
    Line, Stage, TOKEN,
    http2::{DATA, END_HEADERS, END_STREAM, HEADERS, Line2, literals},
};

/// Answers everything with this.
fn says(answer: String) -> impl Fn(&mut Line) + Send + Sync + 'static {
    move |line| {
        while line.request().is_some() {
            line.send(answer.as_bytes());
        }
    }
}

/// All that a caller is sent, and all that is logged: neither holds the token.
fn told(stage: Stage) -> String {
    stage.gateway().wait_for_log("token minted");
    let mut caller = stage.caller();
    caller.send(
        "GET /a HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close, te\r\n\r\n",
    );
    let answer = String::from_utf8(caller.rest()).unwrap();
    assert!(!answer.contains(TOKEN), "{answer}");
    stage.gateway().wait_for_log("upstream said our token back");
    // It looks through the log.
    drop(stage);
    answer
}

#[test]
fn in_a_field_it_is_replaced_and_other_fields_stay() {
    let answer = told(Stage::new(says(format!(
        "HTTP/1.1 200 OK\r\nX-Echo: authorization=Bearer {TOKEN}; x\r\nX-Echo: kept\r\n\
         Inin-Correlation-Id: {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}"
    ))));
    assert!(answer.contains("x-echo: [redacted]\r\nx-echo: kept\r\n"), "{answer}");
    assert!(answer.contains("inin-correlation-id: [redacted]\r\n"), "{answer}");
    assert!(answer.ends_with("{}"), "{answer}");
}

#[test]
fn in_a_refusal_it_is_replaced_too() {
    for status in ["401 Unauthorized", "403 Forbidden", "429 Slow", "503 Away"] {
        let answer = told(Stage::with(
            if status.starts_with("429") { "rate_limit.max_wait = \"0s\"\n" } else { "" },
            says(format!(
                "HTTP/1.1 {status}\r\nWWW-Authenticate: Bearer error=\"{TOKEN}\"\r\n\
                 Retry-After: {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}"
            )),
        ));
        assert!(answer.contains("www-authenticate: [redacted]\r\n"), "{answer}");
    }
}

#[test]
fn in_the_reason_it_goes_with_the_reason() {
    let answer = told(Stage::new(says(format!(
        "HTTP/1.1 200 Hello {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}"
    ))));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn before_the_answer_and_after_it() {
    let answer = told(Stage::new(says(format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </{TOKEN}>\r\n\r\n\
         HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Echo\r\n\r\n\
         2\r\n{{}}\r\n0\r\nX-Sum: 1\r\nX-Echo: {TOKEN}\r\n\r\n"
    ))));
    assert!(answer.contains("link: [redacted]\r\n"), "{answer}");
    assert!(answer.contains("x-sum: 1\r\n"), "{answer}");
    assert!(answer.contains("x-echo: [redacted]\r\n"), "{answer}");
}

#[test]
fn over_http2_too() {
    let answer = told(Stage::with("upstream.http2 = \"always\"\n", |line| {
        let mut line = Line2::new(line);
        while let Some(stream) = line.request() {
            let fields = literals(&[("x-echo", TOKEN), ("x-kept", "1")]);
            line.send(HEADERS, END_HEADERS, stream, &[&[0x88][..], &fields].concat());
            line.send(DATA, END_STREAM, stream, b"{}");
        }
    }));
    assert!(answer.contains("x-echo: [redacted]\r\n"), "{answer}");
    assert!(answer.contains("x-kept: 1\r\n"), "{answer}");
}
