//! The watch over what callers send: every byte passes it before the parser.

use divan::{Bencher, black_box, counter::BytesCount};
use genesys_proxy::decide::framing::{Framing, Limits};

const LIMITS: Limits = Limits { head_bytes: 64 * 1024, fields: 100 };

const GET: &[u8] =
    b"GET /api/v2/users/9b1f1a3c-0d3e-4f5a-8b7c-1d2e3f4a5b6c?expand=presence HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Connection: keep-alive\r\n\
    Content-Type: application/json\r\n\
    purecloud-sdk: python\r\n\
    User-Agent: PureCloud SDK/python\r\n\
    X-Request-Id: 6f1c2c7e-5f0a-4f0e-9b3d-2f5f5a1c9f00\r\n\
    \r\n";

/// One request after the other on a connection, each in one piece.
#[divan::bench]
fn a_request_in_one_piece(bencher: Bencher) {
    let mut framing = Framing::new(LIMITS);
    bencher
        .counter(BytesCount::of_slice(GET))
        .bench_local(|| framing.feed(black_box(GET)).expect("it is well formed"));
}

/// The same in small pieces, each of which ends within a line.
#[divan::bench]
fn a_request_in_pieces_of_32(bencher: Bencher) {
    let mut framing = Framing::new(LIMITS);
    bencher.counter(BytesCount::of_slice(GET)).bench_local(|| {
        for piece in black_box(GET).chunks(32) {
            framing.feed(piece).expect("it is well formed");
        }
    });
}

/// An upload in chunks as a client library cuts them.
#[divan::bench]
fn a_chunked_upload_of_1_mib(bencher: Bencher) {
    let piece = 16 * 1024;
    let mut upload =
        b"POST /api/v2/uploads HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..64 {
        upload.extend_from_slice(format!("{piece:x}\r\n").as_bytes());
        upload.resize(upload.len() + piece, b'x');
        upload.extend_from_slice(b"\r\n");
    }
    upload.extend_from_slice(b"0\r\n\r\n");
    let mut framing = Framing::new(LIMITS);
    bencher.counter(BytesCount::of_slice(&upload)).bench_local(|| {
        for piece in black_box(&upload).chunks(piece) {
            framing.feed(piece).expect("it is well formed");
        }
    });
}
