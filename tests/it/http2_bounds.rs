//! What an HTTP/2 caller is offered beforehand, and that the gateway takes no more of it: streams,
//! bodies that nobody reads yet, heads. h2 counts; how much is set here (threats T21, T22).

use crate::support::raw::{
    Line, Record, Stage,
    http2::{
        Caller2, DATA, END_HEADERS, END_STREAM, End, FLOW_CONTROL_ERROR, HEADERS, REFUSED_STREAM,
        frame, literals,
    },
    ok,
};

const CONTINUATION: u8 = 9;

/// `/slow` is answered when its caller has gone.
fn script(line: &mut Line) {
    while let Some(request) = line.request() {
        match request.target.as_str() {
            "/slow" => drop(line.bytes(1)),
            _ => line.send(&ok("{}")),
        }
    }
}

fn head(method: &str, path: &str) -> Vec<u8> {
    let fields =
        [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
    literals(&fields)
}

#[test]
fn of_streams_bodies_and_heads_no_more_is_taken_than_was_offered() {
    let one = "rate_limit.families = [{ match = \"POST /slow\", concurrent = 1 }]\n";
    let head_bytes = "access.max_header_bytes = \"32KiB\"\n";
    let stage = Stage::with(&format!("{one}{head_bytes}"), script);
    let mut caller = Caller2::new(stage.caller());
    for n in 0..201 {
        caller.0.send(frame(HEADERS, END_HEADERS | END_STREAM, n * 2 + 1, &head("GET", "/slow")));
    }
    assert_eq!(caller.outcome(401).end, End::Error(REFUSED_STREAM));

    let post = |stream| frame(HEADERS, END_HEADERS, stream, &head("POST", "/slow"));
    let data = |stream, times| frame(DATA, 0, stream, &[b'.'; 16_000]).repeat(times);
    let mut first = Caller2::new(stage.caller());
    first.0.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("POST", "/slow")));
    let is_post = |record: &Record| record.bytes.starts_with(b"POST /slow");
    stage.peer.wait("the one call at a time", |records| records.iter().any(is_post));
    // While they wait for it to end, nobody reads what they send.
    let mut caller = Caller2::new(stage.caller());
    caller.0.send([post(1), data(1, 4), post(3), data(3, 5)].concat());
    assert_eq!(caller.outcome(3).end, End::Error(FLOW_CONTROL_ERROR), "of one stream");
    let mut caller = Caller2::new(stage.caller());
    caller.0.send(
        (0..5).flat_map(|n| [post(n * 2 + 1), data(n * 2 + 1, 4)].concat()).collect::<Vec<_>>(),
    );
    assert_eq!(caller.outcome(9).end, End::Error(FLOW_CONTROL_ERROR), "of all together");

    let mut caller = Caller2::new(stage.caller());
    let block = [head("GET", "/"), literals(&[("x", "y".repeat(33 << 10))])].concat();
    let [first, rest @ .., last] = &block.chunks(16_000).collect::<Vec<_>>()[..] else { panic!() };
    caller.send(HEADERS, END_STREAM, 1, first);
    for piece in rest {
        caller.send(CONTINUATION, 0, 1, piece);
    }
    caller.send(CONTINUATION, END_HEADERS, 1, last);
    assert_eq!(caller.outcome(1).status, 431);
}
