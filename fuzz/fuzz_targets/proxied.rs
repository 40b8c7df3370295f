//! What load balancers put before a request to say where it comes from (the PROXY protocol): nobody
//! asked for it, anybody could write it, and so nothing behind it is read as a request.
#![no_main]

use genesys_proxy::decide::framing::{Framing, Limits};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { head_bytes: 2048, fields: 20 };
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fuzz_target!(|input: (bool, u8, &[u8], &[u8])| {
    let (binary, cut, told, request) = input;
    let told: Vec<u8> = if binary {
        told.to_vec()
    } else {
        // A line has an end.
        [told.split(|byte| *byte == b'\n').next().unwrap_or_default(), b"\r\n"].concat()
    };
    let whole = [if binary { V2 } else { V1 }, &told, request].concat();
    let mut framing = Framing::new(LIMITS);
    let pieces = whole.chunks(usize::from(cut).max(1));
    let verdict = pieces.into_iter().try_for_each(|piece| framing.feed(piece));
    // `PROXY` may be somebody's method: then its line is a request's, whole and alone.
    let line = told.strip_suffix(b"\r\n").unwrap_or(&told);
    let is_a_request = !binary && line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
    assert!(verdict.is_err() || is_a_request || framing.request() <= 1, "{verdict:?}");
});
