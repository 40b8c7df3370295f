//! What passes, what is refused, and that portions do not matter.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { head_bytes: 1024, fields: 10 };

fn feed(text: &str) -> Result<Phase, Violation> {
    let mut framing = Framing::new(LIMITS);
    framing.feed(text.as_bytes())?;
    Ok(framing.phase())
}

#[test]
fn well_formed_requests_pass_and_leave_the_connection_idle() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(feed(text), Ok(Phase::Idle), "{text:?}");
    }
}

#[test]
fn every_ambiguous_framing_is_refused() {
    use Violation::*;
    for (head, violation) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\rb: c\r\n\r\n", BareLineFeed),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", FoldedLine),
        ("GET /a#b HTTP/1.1\r\n\r\n", RequestLine),
        ("GET /a b HTTP/1.1\r\n\r\n", RequestLine),
        ("GET  / HTTP/1.1\r\n\r\n", RequestLine),
        (" / HTTP/1.1\r\n\r\n", RequestLine),
        ("G(T / HTTP/1.1\r\n\r\n", RequestLine),
        ("GET /\0 HTTP/1.1\r\n\r\n", RequestLine),
        ("GET / ICY/1.1\r\n\r\n", RequestLine),
        ("GET / HTTP/1.10\r\n\r\n", RequestLine),
        ("GET / HTTP/1.2\r\n\r\n", Version),
        ("GET / HTTP/2.0\r\n\r\n", Version),
        ("GET / HTTP/1.1\r\nA\r\n\r\n", Field),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", Field),
        ("GET / HTTP/1.1\r\n: b\r\n\r\n", Field),
        ("GET / HTTP/1.1\r\nA: \u{b}b\r\n\r\n", Field),
        ("POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n", Field),
        ("POST / HTTP/1.1\r\nTransfer-Encoding:\u{c}chunked\r\n\r\n", Field),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", TransferEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", TransferEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", TransferEncoding),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            TransferEncoding,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncoding),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", TwoLengths),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", TwoLengths),
    ] {
        assert_eq!(feed(head), Err(violation), "{head:?}");
    }
}

#[test]
fn every_trick_with_chunks_is_refused() {
    for body in [
        "x\r\n",
        "\r\n",
        "3 \r\nabc",
        "0x3\r\nabc",
        "-1\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n",
        "3\nabc\r\n",
        "3;a\nb\r\nabc\r\n",
        "fffffffffffffffff\r\n",
        "3\r\nabc\r\n\r\n",
        "0\r\nGET / HTTP/1.1\r\n\r\n",
        "0\r\nA: \0\r\n\r\n",
    ] {
        let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert!(feed(&text).is_err(), "{body:?}");
    }
    // A line's end counts; "3;" is before the rest.
    for (extension, taken) in [(MAX_CHUNK_LINE - 4, true), (MAX_CHUNK_LINE - 3, false)] {
        let body = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(extension));
        let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let verdict = if taken { Ok(Phase::Idle) } else { Err(Violation::Chunk) };
        assert_eq!(feed(&text), verdict, "{extension}");
    }
}

#[test]
fn a_large_head_and_a_long_one_are_refused_as_too_large() {
    let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(2000));
    assert_eq!(feed(&long), Err(Violation::HeadTooLarge));
    let many = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(11));
    assert_eq!(feed(&many), Err(Violation::TooManyFields));
}

#[test]
fn http2_and_tunnels_are_not_read() {
    assert_eq!(feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n"), Ok(Phase::Opaque));
    assert_eq!(feed("PRI * HTTP/2.0\r\nA: b\r\n\r\n"), Err(Violation::Version));
    assert_eq!(feed("\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Err(Violation::Version));
    let mut framing = Framing::new(LIMITS);
    framing.tunnel();
    assert_eq!(framing.feed(b"\n\n\n"), Ok(()));
    assert_eq!(framing.unfinished(), 0);
}

#[test]
fn bytes_are_told_to_belong_to_their_request() {
    let mut framing = Framing::new(LIMITS);
    for (bytes, request, unfinished) in [
        (&b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r"[..], 1, 1),
        (b"\nab", 1, 0),
        (b"c\r\n", 2, 0),
        (b"GET / HTT", 2, 9),
        (b"P/1.1\r\n", 2, 0),
        (b"Transfer-Encoding: chunked\r\n\r\n3", 2, 1),
    ] {
        framing.feed(bytes).unwrap();
        assert_eq!((framing.request(), framing.unfinished()), (request, unfinished));
    }
}

proptest! {
    /// How the bytes are cut into reads changes nothing.
    #[test]
    fn the_verdict_does_not_depend_on_the_portions(
        bytes in prop::collection::vec(prop::sample::select(
            b"POST / HTTP/1.1\r\nContent-Length: 3\nTransfer-Encoding: chunked;A".to_vec()), 0..120),
        heads in 0usize..2,
        cut in 1usize..20,
    ) {
        let mut text = [&b""[..], b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"][heads].to_vec();
        text.extend(bytes);
        let mut whole = Framing::new(LIMITS);
        let mut parts = Framing::new(LIMITS);
        let one = whole.feed(&text).map(|()| whole.phase());
        let many = text.chunks(cut).try_for_each(|part| parts.feed(part)).map(|()| parts.phase());
        prop_assert_eq!(one, many);
    }
}
