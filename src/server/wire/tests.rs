//! What hyper sees of a connection, and what its caller does.

use std::{future::poll_fn, sync::atomic::Ordering};

use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::{gateway::Caller, server::clock::Ticker};

/// A wire and the caller's end of it; `room` is what fits between them.
fn wire(room: usize) -> (Wire<DuplexStream>, DuplexStream) {
    let (inner, caller) = duplex(room);
    let connection = Arc::new(Ticker::default()).connection(Arc::new(Caller::alone()));
    (Wire::new(inner, Limits { head_bytes: 1024, fields: 10 }, connection), caller)
}

#[tokio::test]
async fn an_interim_answer_waits_until_the_answer_before_it_is_written() {
    let (mut wire, mut caller) = wire(8);
    // More than fits: what is left of it is with hyper.
    let written = wire.write(b"the end of an answer").await.unwrap();
    assert_eq!(written, 8);
    wire.connection.caller.interim.push(StatusCode::EARLY_HINTS, &HeaderMap::new());
    let rest = async {
        wire.write_all(b"n answer").await.unwrap();
        wire.flush().await.unwrap();
        drop(wire);
    };
    let mut text = String::new();
    let ((), read) = tokio::join!(rest, caller.read_to_string(&mut text));
    read.unwrap();
    assert_eq!(text, "the end n answerHTTP/1.1 103 Early Hints\r\n\r\n");
}

#[tokio::test]
async fn an_interim_answer_comes_before_the_answer_that_hyper_begins() {
    let (mut wire, mut caller) = wire(1024);
    wire.connection.caller.interim.push(StatusCode::EARLY_HINTS, &HeaderMap::new());
    wire.write_all(b"HTTP/1.1 200 OK").await.unwrap();
    drop(wire);
    let mut text = String::new();
    caller.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK");
}

#[tokio::test]
async fn hyper_reads_whole_lines_and_bodies_as_they_come() {
    let (mut wire, mut caller) = wire(1024);
    let mut read = Vec::new();
    for (sent, seen) in [
        (&b"POST / HT"[..], &b""[..]),
        (b"TP/1.1\r\nContent-Length: 5", b"POST / HTTP/1.1\r\n"),
        (b"\r\n\r\nhe", b"Content-Length: 5\r\n\r\nhe"),
        (b"l", b"l"),
        (b"loGET", b"lo"),
    ] {
        caller.write_all(sent).await.unwrap();
        let before = read.len();
        while read.len() < before + seen.len() {
            wire.read_buf(&mut read).await.unwrap();
        }
        assert_eq!(&read[before..], seen);
    }
    // The tunnel gets what was held.
    wire.connection.switched.store(true, Ordering::Relaxed);
    caller.write_all(b"\n\n").await.unwrap();
    drop(caller);
    let before = read.len();
    wire.read_to_end(&mut read).await.unwrap();
    assert_eq!(&read[before..], b"GET\n\n");
}

#[tokio::test]
async fn blank_lines_are_forgotten_between_requests_and_the_rest_of_a_body_is_not() {
    let (mut wire, mut caller) = wire(1024);
    caller.write_all(b"GET / HTTP/1.1\r\n\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    wire.read_buf(&mut read).await.unwrap();
    assert!(wire.rest(b"\r\n"));
    let silent = poll_fn(|cx| Poll::Ready(wire.poll_first(cx).is_pending())).await;
    assert!(silent, "or the connection would wake itself for ever");
    assert!(!wire.rest(b"\r\n0\r\n"));
}

/// Takes everything, as TLS does, and has not sent it yet.
struct Unsent;

impl AsyncRead for Unsent {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Unsent {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn what_tls_has_taken_and_not_sent_keeps_its_connection_from_being_parked() {
    let ticker = Arc::<Ticker>::default();
    let connection = ticker.connection(Arc::new(Caller::alone()));
    let limits = Limits { head_bytes: 1024, fields: 10 };
    let mut wire = Wire::new(Unsent, limits, Arc::clone(&connection));
    connection.begin();
    connection.request.store(2, Ordering::Relaxed);
    connection.clock.phase(Phase::Idle);
    wire.write_all(b"the answer").await.unwrap();
    connection.clock.end();
    // In a crowd it would be parked at once.
    let _crowd: Vec<_> = (0..1000).map(|_| connection.warm()).collect();
    wire.connection.flushed.store(true, Ordering::Relaxed);
    assert!(connection.may_park());
    let unsent = poll_fn(|cx| Poll::Ready(Pin::new(&mut wire).poll_flush(cx).is_pending()));
    assert!(unsent.await);
    assert!(!connection.may_park());
}

#[tokio::test]
async fn interim_answers_to_a_caller_that_does_not_read_do_not_gather() {
    let (mut wire, _caller) = wire(1024);
    for _ in 0..10_000 {
        wire.connection.caller.interim.push(StatusCode::EARLY_HINTS, &HeaderMap::new());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = Pin::new(&mut wire).poll_flush(&mut cx);
    }
    assert!(wire.interim.len() < 32 * 1024);
    let waiting = wire.connection.caller.interim.take().unwrap();
    assert!(waiting.len() < 32 * 1024);
}

#[tokio::test]
async fn a_caller_that_leaves_before_its_answer_is_noticed_at_a_flush_and_one_that_stays_is_not() {
    let (mut wire, mut caller) = wire(1024);
    caller.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    wire.read_buf(&mut read).await.unwrap();
    wire.connection.begin();
    wire.flush().await.unwrap();
    drop(caller);
    let left = wire.flush().await.unwrap_err();
    assert_eq!(left.kind(), io::ErrorKind::UnexpectedEof);
    wire.connection.clock.end();
    wire.flush().await.unwrap();
}

#[tokio::test]
async fn what_a_caller_sends_before_its_answer_waits_unchanged() {
    let (mut wire, mut caller) = wire(1024);
    let next = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(AHEAD));
    caller.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    wire.read_buf(&mut read).await.unwrap();
    wire.connection.begin();
    caller.write_all(next.as_bytes()).await.unwrap();
    for _ in 0..3 {
        wire.flush().await.unwrap();
        assert_eq!(wire.held.len(), AHEAD, "and no more of it");
    }
    wire.connection.clock.end();
    read.clear();
    while read.len() < next.len() {
        wire.read_buf(&mut read).await.unwrap();
    }
    assert_eq!(read, next.as_bytes());
}

#[tokio::test]
async fn http2_is_told_from_http1_however_its_preface_comes() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (bytes, speaks) in [
        (&preface[..], Speaks::Http2),
        (b"POST / HTTP/1.1\r\n", Speaks::Http1),
        (b"PRI / HTTP/1.1\r\n", Speaks::Http1),
    ] {
        for step in [1, 2, 15, bytes.len()] {
            let (mut wire, mut caller) = wire(1024);
            let mut first = None;
            for piece in bytes.chunks(step) {
                caller.write_all(piece).await.unwrap();
                let polled = poll_fn(|cx| Poll::Ready(wire.poll_first(cx))).await;
                if let Poll::Ready(known) = polled {
                    first = Some(known.unwrap());
                    break;
                }
            }
            assert_eq!(first, Some(speaks), "{step} at a time");
        }
    }
}

#[tokio::test]
async fn what_is_malformed_is_refused_and_never_read() {
    let (mut wire, mut caller) = wire(1024);
    caller.write_all(b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    wire.read_buf(&mut read).await.unwrap_err();
    assert!(read.is_empty());
    drop(wire);
    let mut text = String::new();
    caller.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && text.contains("\"status\":400"));
}

#[tokio::test]
async fn many_small_frames_are_read_in_turn_with_what_others_do() {
    let (mut wire, mut caller) = wire(1 << 16);
    caller.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let data = b"\0\0\x01\0\0\0\0\0\x01.".repeat(5000);
    caller.write_all(&data).await.unwrap();
    let mut turns = Vec::new();
    while turns.iter().sum::<usize>() < data.len() + 24 {
        let turn = poll_fn(|cx| {
            let (mut room, mut read) = ([0; 4096], 0);
            let mut room = ReadBuf::new(&mut room);
            while Pin::new(&mut wire).poll_read(cx, &mut room).is_ready() {
                read += room.filled().len();
                room.clear();
            }
            Poll::Ready(read)
        });
        turns.push(turn.await);
        tokio::task::yield_now().await;
    }
    assert!(turns.iter().all(|read| *read < 20_000), "{turns:?}");
}
