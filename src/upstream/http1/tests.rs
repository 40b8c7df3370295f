//! Exchanges over memory, and what hyper makes of the same bytes.

use std::{future::poll_fn, time::Duration};

use http::{HeaderMap, Request, header::CONTENT_LENGTH};
use http_body::Frame;
use http_body_util::{BodyExt, channel::Channel};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    time::Instant,
};

use super::*;
use crate::{
    decide::headers::strip_response,
    upstream::replay::{Limits, Memory, Replay},
};

type Caller = Channel<Bytes, io::Error>;
type Sender = http_body_util::channel::Sender<Bytes, io::Error>;

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A connection, and upstream's end of it.
fn connected(room: usize) -> (Box<Connection<DuplexStream>>, DuplexStream) {
    let (near, far) = duplex(room);
    let mut connection = Connection::new(near);
    connection.head().extend_from_slice(GET);
    (connection, far)
}

/// A body that the test sends, of unknown length.
fn upload() -> (Sender, Attempt<Caller>) {
    let (sender, body) = Channel::new(8);
    let limits = Limits { memory: 1 << 20, total: 1 << 20 };
    let replay = Replay::new(body, limits, &Memory::new(1 << 20), Duration::from_secs(60));
    (sender, replay.attempt())
}

type Answer<B = Attempt> = Result<(Head, Following<DuplexStream, B>), Failed>;

async fn answer<B>(
    mut exchange: Exchange<DuplexStream, B>,
    mut interim: impl FnMut(&Head),
) -> Answer<B>
where
    B: http_body::Body<Data = Bytes, Error = AttemptError> + Unpin,
{
    let head = poll_fn(|cx| exchange.poll_answer(cx, &mut interim)).await?;
    let following = exchange.following(&head);
    Ok((head, following))
}

async fn get(connection: Box<Connection<DuplexStream>>) -> Answer {
    answer(Exchange::new(connection, Attempt::empty(), false), |_| {}).await
}

fn body<B: fmt::Debug>(following: Following<DuplexStream, B>) -> Body<DuplexStream> {
    match following {
        Following::Body(body) => body,
        other => panic!("{other:?}"),
    }
}

async fn read(body: &mut Body<DuplexStream>) -> Result<Vec<u8>, BodyError> {
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
        all.extend(frame?.into_data().unwrap_or_default());
    }
    Ok(all)
}

#[tokio::test]
async fn a_connection_carries_one_exchange_after_the_other() {
    let (mut connection, mut far) = connected(1 << 10);
    for _ in 0..3 {
        far.write_all(OK).await.unwrap();
        let (head, following) = get(connection).await.unwrap();
        assert_eq!(head.status, 200);
        let mut body = body(following);
        assert_eq!(read(&mut body).await.unwrap(), b"ok");
        connection = body.finish().expect("nothing is left on it");
        let mut sent = [0; GET.len()];
        far.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent, GET);
        assert!(connection.is_open());
        connection.head().extend_from_slice(GET);
    }
}

#[tokio::test]
async fn a_connection_is_given_up_when_the_next_request_could_be_surprised() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nok",
    ] {
        let (connection, mut far) = connected(1 << 10);
        far.write_all(answer.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let mut body = body(get(connection).await.unwrap().1);
        assert_eq!(read(&mut body).await.unwrap(), b"ok", "{answer:?}");
        assert!(body.finish().is_none(), "{answer:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_that_is_closed_or_spoken_on_is_not_open() {
    for speaks in [true, false] {
        let (mut connection, mut far) = connected(64);
        assert!(connection.is_open());
        if speaks {
            far.write_all(b"H").await.unwrap();
        } else {
            drop(far);
        }
        assert!(!connection.is_open());
        assert!(!connection.is_open(), "nor does it become so again");
    }
}

#[tokio::test]
async fn what_a_connection_is_does_not_depend_on_how_much_its_task_has_done() {
    let (connections, peers): (Vec<_>, Vec<_>) = (0..500).map(|_| connected(64)).unzip();
    drop(peers);
    // More than a task may do in one turn.
    let open = connections.into_iter().filter_map(|mut one| one.is_open().then_some(one));
    assert_eq!(open.count(), 0);
}

#[tokio::test]
async fn an_answer_that_came_before_the_request_is_not_its_answer() {
    let (connection, mut far) = connected(64);
    far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    drop(far);
    assert!(matches!(get(connection).await, Err(Failed::Unsent)));
}

#[tokio::test]
async fn a_connection_that_ends_tells_whether_the_request_may_have_arrived() {
    let (connection, far) = connected(64);
    drop(far);
    assert!(matches!(get(connection).await, Err(Failed::Unsent)));

    for said in ["", "HTTP/1.1 200 O"] {
        let (connection, mut far) = connected(64);
        far.write_all(said.as_bytes()).await.unwrap();
        let hang_up = async {
            far.read_exact(&mut [0; 3]).await.unwrap();
            drop(far);
        };
        let (answer, ()) = tokio::join!(get(connection), hang_up);
        assert!(matches!(answer, Err(Failed::Cut(_))), "{said:?}");
    }
}

#[tokio::test]
async fn a_truncated_body_is_an_error_however_it_is_framed() {
    for head in ["content-length: 9", "transfer-encoding: chunked"] {
        let (connection, mut far) = connected(1 << 10);
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhel");
        far.write_all(answer.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let mut body = body(get(connection).await.unwrap().1);
        assert!(read(&mut body).await.is_err(), "{head}");
    }
}

#[tokio::test]
async fn interim_answers_come_in_order_before_the_final_one() {
    let (connection, mut far) = connected(1 << 10);
    far.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 \r\n\r\n")
        .await
        .unwrap();
    far.write_all(OK).await.unwrap();
    let mut interim = Vec::new();
    let exchange = Exchange::new(connection, Attempt::<Caller>::empty(), false);
    let say = |head: &Head| interim.push((head.status.as_u16(), head.fields.len()));
    let (head, _) = answer(exchange, say).await.unwrap();
    assert_eq!((head.status.as_u16(), interim), (200, vec![(103, 1), (100, 0)]));
}

#[tokio::test]
async fn after_a_101_the_connection_is_handed_over_with_what_was_said_on_it() {
    let (connection, mut far) = connected(1 << 10);
    far.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello").await.unwrap();
    let (_, following) = get(connection).await.unwrap();
    let Following::Switched(mut stream, said) = following else { panic!("{following:?}") };
    assert_eq!(said, "hello");
    stream.write_all(b"hi").await.unwrap();
    let mut heard = vec![0; GET.len() + 2];
    far.read_exact(&mut heard).await.unwrap();
    assert!(heard.ends_with(b"hi"));
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_in_chunks_as_it_comes_with_its_trailers() {
    let (connection, mut far) = connected(1 << 10);
    let (mut sender, attempt) = upload();
    let talk = async {
        let mut heard = vec![0; GET.len()];
        far.read_exact(&mut heard).await.unwrap();
        for data in ["hello", "", "0123456789abcdef"] {
            sender.send_data(Bytes::from_static(data.as_bytes())).await.unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        sender.send_trailers(trailers).await.unwrap();
        let expected = b"5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nx-sum: 1\r\n\r\n";
        let mut heard = vec![0; expected.len()];
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, expected);
        far.write_all(OK).await.unwrap();
    };
    let exchange = Exchange::new(connection, attempt, false);
    let (answer, ()) = tokio::join!(answer(exchange, |_| {}), talk);
    let mut body = body(answer.unwrap().1);
    read(&mut body).await.unwrap();
    assert!(body.finish().is_some());
}

#[tokio::test]
async fn the_last_words_of_a_peer_that_stopped_listening_are_heard() {
    let (connection, mut far) = connected(8);
    let (mut sender, attempt) = upload();
    far.write_all(b"HTTP/1.1").await.unwrap();
    let talk = async {
        far.read_exact(&mut [0; 4]).await.unwrap();
        // The rest of the answer, then the end, most of the request unread.
        far.write_all(&OK[8..]).await.unwrap();
        drop(far);
        for _ in 0..3 {
            let _ = sender.send_data(Bytes::from_static(&[7; 1000])).await;
        }
    };
    let answer = async {
        let (head, following) =
            answer(Exchange::new(connection, attempt, false), |_| {}).await.unwrap();
        assert_eq!(head.status, 200);
        let (frames, mut taken) = mpsc::channel::<Result<Frame<Bytes>, BodyError>>(1);
        let taken = async {
            let mut all = Vec::new();
            while let Some(frame) = taken.recv().await {
                all.extend(frame.unwrap().into_data().unwrap());
            }
            all
        };
        match following {
            Following::Both(both) => {
                let (kept, all) = tokio::join!(both.carry(frames), taken);
                assert!(kept.is_none(), "nobody listens on it");
                assert_eq!(all, b"ok");
            }
            Following::Body(mut body) => {
                assert_eq!(read(&mut body).await.unwrap(), b"ok");
                assert!(body.finish().is_none(), "nobody listens on it");
            }
            Following::Switched(..) => panic!("{following:?}"),
        }
    };
    tokio::join!(answer, talk);
}

#[tokio::test]
async fn a_request_goes_on_beside_an_answer_that_began_early_and_nobody_reads() {
    let (connection, mut far) = connected(64);
    let (mut sender, attempt) = upload();
    let upstream = async {
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(far);
        let mut heard = Vec::new();
        let hear = async {
            while !heard.ends_with(b"0\r\n\r\n") {
                reader.read_buf(&mut heard).await.unwrap();
            }
        };
        tokio::join!(hear, async { writer.write_all(&vec![7; 100_000]).await.unwrap() });
        (reader, writer)
    };
    let answer = async {
        let (_, following) =
            answer(Exchange::new(connection, attempt, false), |_| {}).await.unwrap();
        let Following::Both(both) = following else { panic!("{following:?}") };
        let (frames, mut taken) = mpsc::channel::<Result<Frame<Bytes>, BodyError>>(1);
        let caller = async {
            // All of the request first, then the answer.
            for _ in 0..100 {
                sender.send_data(Bytes::from_static(&[1; 1000])).await.unwrap();
            }
            drop(sender);
            let mut all = 0;
            while let Some(frame) = taken.recv().await {
                all += frame.unwrap().into_data().unwrap().len();
            }
            assert_eq!(all, 100_000);
        };
        let (kept, ()) = tokio::join!(both.carry(frames), caller);
        kept.expect("both ended well")
    };
    let (mut kept, _far) = tokio::join!(answer, upstream);
    assert!(kept.is_open());
}

/// An answer that began early, and whoever takes it.
async fn both(
    far: &mut DuplexStream,
    connection: Box<Connection<DuplexStream>>,
    attempt: Attempt<Caller>,
) -> Both<DuplexStream, Attempt<Caller>> {
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await.unwrap();
    let exchange = Exchange::new(connection, attempt, false);
    match answer(exchange, |_| {}).await.unwrap().1 {
        Following::Both(both) => both,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_ends_with_the_caller_that_takes_it() {
    let (connection, mut far) = connected(1 << 10);
    let (_sender, attempt) = upload();
    let both = both(&mut far, connection, attempt).await;
    let (frames, taken) = mpsc::channel(1);
    let leave = async {
        tokio::task::yield_now().await;
        drop(taken);
    };
    let begin = Instant::now();
    let (kept, ()) = tokio::join!(both.carry(frames), leave);
    assert!(kept.is_none());
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_upstream_has_answered_and_does_not_read_is_given_up() {
    let (connection, mut far) = connected(64);
    let (mut sender, attempt) = upload();
    let both = both(&mut far, connection, attempt).await;
    far.write_all(b"ok").await.unwrap();
    sender.send_data(Bytes::from_static(&[1; 1000])).await.unwrap();
    let (frames, mut taken) = mpsc::channel(1);
    let take = async { while taken.recv().await.is_some() {} };
    let begin = Instant::now();
    let (kept, ()) = tokio::join!(both.carry(frames), take);
    assert!(kept.is_none());
    // It moved once, when it filled what lies between.
    assert_eq!(begin.elapsed().as_secs(), 120);
}

#[tokio::test]
async fn small_pieces_of_a_large_body_keep_no_large_room() {
    let (connection, mut far) = connected(1 << 10);
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
    let mut body = body(get(connection).await.unwrap().1);
    let mut kept = Vec::new();
    for _ in 0..100 {
        far.write_all(b"a").await.unwrap();
        let frame = poll_fn(|cx| body.poll_frame(cx)).await.unwrap().unwrap();
        kept.push(frame.into_data().unwrap());
    }
    assert!(kept.iter().all(Bytes::is_unique), "each lies alone");
}

#[tokio::test]
async fn a_caller_that_breaks_off_ends_the_try() {
    let (connection, _far) = connected(1 << 10);
    let (sender, attempt) = upload();
    sender.abort(io::ErrorKind::ConnectionReset.into());
    let answer = answer(Exchange::new(connection, attempt, false), |_| {}).await;
    assert!(matches!(answer, Err(Failed::Caller(_))));
}

#[tokio::test]
async fn buffers_are_used_again_and_an_idle_connection_gives_them_back() {
    let (mut connection, mut far) = connected(1 << 20);
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\n{}", "a".repeat(500_000));
    far.write_all(large.as_bytes()).await.unwrap();
    let mut body = body(get(connection).await.unwrap().1);
    assert_eq!(read(&mut body).await.unwrap().len(), 500_000);
    connection = body.finish().unwrap();
    assert!(connection.read.capacity() <= LARGE_FIRST_READ + SLACK);
    connection.rest();
    assert_eq!((connection.read.capacity(), connection.out.capacity()), (0, 0));
}

/// What a client makes of an answer: its head, and its body if that ended well.
type Understood = Option<(u16, HeaderMap, Option<Vec<u8>>)>;

async fn ours(answer: &[u8]) -> Understood {
    let (connection, mut far) = connected(1 << 16);
    far.write_all(answer).await.unwrap();
    far.shutdown().await.unwrap();
    let (head, following) = get(connection).await.ok()?;
    let Following::Body(mut body) = following else { return None };
    let all = read(&mut body).await.ok();
    Some((head.status.as_u16(), head.fields, all))
}

async fn hypers(answer: &[u8]) -> Understood {
    let (near, mut far) = duplex(1 << 16);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let exchange = async {
        let request = Request::new(http_body_util::Empty::<Bytes>::new());
        let upstream = async {
            far.read_exact(&mut [0; 4]).await.unwrap();
            far.write_all(answer).await.unwrap();
            far.shutdown().await.unwrap();
        };
        let (answer, ()) = tokio::join!(sender.send_request(request), upstream);
        let (mut parts, body) = answer.ok()?.into_parts();
        let chunked = parts.headers.contains_key(http::header::TRANSFER_ENCODING);
        strip_response(&mut parts.headers);
        if chunked {
            crate::decide::headers::drop_all(&mut parts.headers, &CONTENT_LENGTH);
        }
        let all = body.collect().await.ok().map(|all| all.to_bytes().to_vec());
        Some((parts.status.as_u16(), parts.headers, all))
    };
    tokio::select! {
        biased;
        understood = exchange => understood,
        () = driven => None,
    }
}

/// Parts of answers, good and bad.
const LINES: &[&str] = &[
    "content-length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length: 99\r\n",
    "content-length: 5, 5\r\n",
    "content-length : 5\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding: CHUNKED\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding:\tchunked \r\n",
    "connection: close\r\n",
    "connection: keep-alive, x-a\r\n",
    "x-a: b\r\n",
    "x-a:\r\n",
    "x-a: \u{e9}\r\n",
    "x-a: b\n",
    "x a: b\r\n",
    " folded\r\n",
    "a: b\rc: d\r\n",
    "set-cookie: a\r\nset-cookie: b\r\n",
];
const BODIES: &[&str] = &[
    "hello",
    "5\r\nhello\r\n",
    "5;x=y\r\nhello\r\n",
    "5 \r\nhello\r\n",
    "05\r\nhello\r\n",
    "5\nhello\r\n",
    "5\r\nhello\n",
    "5\r\nhello!\r\n",
    "ffffffffffffffff\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nx-t: 1\r\n\r\n",
    "0\n\n",
    "0;\r\n\r\n",
    "\r\n",
    "g\r\n",
];
const STATUSES: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200\r\n",
    "HTTP/1.1 404 \r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    "\r\nHTTP/1.1 200 OK\r\n",
    "HTTP/1.1  200 OK\r\n",
    "HTTP/1.2 200 OK\r\n",
    "http/1.1 200 OK\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// We may refuse more than hyper, which strangers have tried to fool for years; what we
    /// understand we understand as it does.
    #[test]
    fn nothing_is_understood_otherwise_than_by_hyper(
        status in prop::sample::select(STATUSES),
        lines in prop::collection::vec(prop::sample::select(LINES), 0..4),
        bodies in prop::collection::vec(prop::sample::select(BODIES), 0..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
    ) {
        let mut answer = [status, &lines.concat(), "\r\n", &bodies.concat()].concat().into_bytes();
        for (at, byte) in flips {
            let at = at.index(answer.len());
            answer[at] = byte;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (ours, hypers) = runtime.block_on(async { (ours(&answer).await, hypers(&answer).await) });
        let shown = String::from_utf8_lossy(&answer).into_owned();
        if let Some((status, fields, body)) = ours {
            let Some((their_status, their_fields, their_body)) = hypers else {
                panic!("hyper refuses {shown:?}");
            };
            prop_assert_eq!(status, their_status, "{:?}", shown);
            prop_assert_eq!(fields, their_fields, "{:?}", shown);
            if body.is_some() {
                prop_assert_eq!(body, their_body, "{:?}", shown);
            }
        }
    }
}
