//! The framing of callers' bytes: no panic, no verdict that depends on how the bytes were cut, and
//! no head that passes here and not in hyper's parser, which comes after.
#![no_main]

use genesys_proxy::decide::framing::{Framing, Limits, Phase, Violation};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { head_bytes: 2048, fields: 20 };

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let mut whole = Framing::new(LIMITS);
    let verdict = whole.feed(bytes).map(|()| whole.phase());
    let mut parts = Framing::new(LIMITS);
    let pieces = bytes.chunks(usize::from(cut).max(1));
    let in_parts = pieces.into_iter().try_for_each(|piece| parts.feed(piece));
    assert_eq!(verdict, in_parts.map(|()| parts.phase()));
    assert!(whole.unfinished() <= bytes.len());
    agrees_with_httparse(bytes);
});

/// hyper reads a head with httparse, then its target with `Uri` and its method with `Method`.
fn agrees_with_httparse(bytes: &[u8]) {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return };
    let (head, _) = bytes.split_at(end + 4);
    let mut framing = Framing::new(LIMITS);
    let verdict: Result<(), Violation> = framing.feed(head);
    if verdict.is_err() || framing.phase() == Phase::Opaque || framing.request() != 2 {
        // Refused, or HTTP/2, or nothing but empty lines.
        let body = verdict.is_ok() && framing.phase() == Phase::Body;
        if !body {
            return;
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 20];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(head).expect("what passes here passes in hyper");
    assert!(parsed.is_complete());
    http::Method::from_bytes(request.method.unwrap_or_default().as_bytes()).expect("a method");
    request.path.unwrap_or_default().parse::<http::Uri>().expect("a target");
    let count = |name: &str| {
        request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
    };
    let framed = count("content-length") + count("transfer-encoding");
    assert!(framed <= 1, "two lengths passed");
    if framed == 0 {
        assert_ne!(framing.phase(), Phase::Body);
    }
}
