//! Bodies that go again, over in-memory bodies.

use http_body_util::{BodyExt, channel::Channel};
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { memory: 100_000, total: 400_000 };
const PATIENCE: Duration = Duration::from_secs(30);

type Chunks = Vec<Result<Frame<Bytes>, io::Error>>;
type TestBody = Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>;

struct Iter(std::vec::IntoIter<Result<Frame<Bytes>, io::Error>>);

impl Body for Iter {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.0.next())
    }
}

fn of(chunks: Chunks) -> TestBody {
    Box::pin(Iter(chunks.into_iter()))
}

fn bytes(total: usize, chunk: usize) -> (Vec<u8>, TestBody) {
    let all: Vec<u8> = (0..total).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let chunks = all.chunks(chunk).map(|c| Ok(Frame::data(Bytes::copy_from_slice(c)))).collect();
    (all, of(chunks))
}

async fn read(attempt: Attempt<TestBody>) -> Vec<u8> {
    attempt.collect().await.unwrap().to_bytes().to_vec()
}

fn replay(body: TestBody, memory: &Arc<Memory>) -> Replay<TestBody> {
    Replay::new(body, LIMITS, memory, PATIENCE)
}

#[tokio::test]
async fn a_body_goes_again_byte_for_byte_from_memory_and_from_disk() {
    for size in [1, 4096, 100_000, 100_001, 250_000, 400_000] {
        let memory = Memory::new(1 << 20);
        let (all, body) = bytes(size, 7_777);
        let replay = replay(body, &memory);
        assert_eq!(read(replay.attempt()).await, all);
        assert!(replay.replayable(), "{size}");
        assert_eq!(read(replay.attempt()).await, all, "{size}");
        drop(replay);
        assert_eq!(memory.used(), 0, "every byte was given back");
    }
}

#[tokio::test]
async fn a_replay_begins_before_the_upload_ends_and_goes_on_where_it_stopped() {
    let memory = Memory::new(1 << 20);
    let (all, body) = bytes(300_000, 10_000);
    let replay = replay(body, &memory);
    let mut first = replay.attempt();
    for _ in 0..12 {
        first.frame().await.unwrap().unwrap();
    }
    let second = replay.attempt();
    assert!(matches!(first.frame().await, Some(Err(AttemptError::Superseded))));
    assert_eq!(read(second).await, all);
}

#[tokio::test]
async fn a_refused_upload_reads_no_more_until_the_next_try_and_stays_replayable() {
    let memory = Memory::new(1 << 20);
    let (all, body) = bytes(500_000, 10_000);
    let replay = replay(body, &memory);
    let mut first = replay.attempt();
    for _ in 0..12 {
        first.frame().await.unwrap().unwrap();
    }
    replay.stop();
    // It would have read beyond the cap.
    assert!(matches!(first.frame().await, Some(Err(AttemptError::Superseded))));
    assert!(replay.replayable());
    assert_eq!(read(replay.attempt()).await, all);
}

#[tokio::test]
async fn a_body_above_the_cap_streams_and_is_not_replayable() {
    let memory = Memory::new(1 << 20);
    let (all, body) = bytes(400_001, 10_000);
    let replay = replay(body, &memory);
    assert!(replay.replayable());
    assert_eq!(read(replay.attempt()).await, all);
    assert!(!replay.replayable());
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn without_memory_left_the_copy_goes_to_disk() {
    let memory = Memory::new(10);
    let (all, body) = bytes(50_000, 1_000);
    let replay = replay(body, &memory);
    assert_eq!(read(replay.attempt()).await, all);
    assert_eq!(read(replay.attempt()).await, all);
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn trailers_go_again_too_and_credentials_in_them_do_not_go_at_all() {
    let memory = Memory::new(1 << 20);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    trailers.insert("authorization", "mine".parse().unwrap());
    let body = of(vec![Ok(Frame::data(Bytes::from_static(b"abc"))), Ok(Frame::trailers(trailers))]);
    let replay = replay(body, &memory);
    for _ in 0..2 {
        let whole = replay.attempt().collect().await.unwrap();
        let trailers = whole.trailers().unwrap();
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &"1".parse().unwrap()));
    }
}

#[tokio::test]
async fn a_body_that_breaks_is_the_callers_fault_and_not_replayable() {
    let memory = Memory::new(1 << 20);
    let body = of(vec![Ok(Frame::data(Bytes::from_static(b"abc"))), Err(io::Error::other("cut"))]);
    let replay = replay(body, &memory);
    assert!(replay.attempt().collect().await.is_err());
    assert_eq!(replay.fault(), Some(Fault::Broken));
    assert!(!replay.replayable());
}

#[tokio::test]
async fn a_caller_that_leaves_in_mid_body_is_told_from_one_that_sends_nonsense() {
    use io::ErrorKind::{ConnectionReset, InvalidData, InvalidInput, Other, UnexpectedEof};
    let memory = Memory::new(1 << 20);
    for (kind, fault) in [
        (UnexpectedEof, Fault::Left),
        (ConnectionReset, Fault::Left),
        (InvalidData, Fault::Broken),
        (InvalidInput, Fault::Broken),
        (Other, Fault::Broken),
    ] {
        // As TLS wraps it.
        let error = io::Error::other(io::Error::new(kind, "why"));
        let replay = replay(of(vec![Err(error)]), &memory);
        assert!(replay.attempt().collect().await.is_err());
        assert_eq!(replay.fault(), Some(fault), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stops_sending_runs_into_the_timeout() {
    let memory = Memory::new(1 << 20);
    let (_sender, body) = Channel::<Bytes, io::Error>::new(1);
    let replay = Replay::new(Box::pin(body) as TestBody, LIMITS, &memory, PATIENCE);
    let before = Instant::now();
    assert!(replay.attempt().collect().await.is_err());
    assert_eq!(replay.fault(), Some(Fault::Timeout));
    assert_eq!((Instant::now() - before).as_secs(), PATIENCE.as_secs());
}

/// Cut off while a piece of the file is on its way: the next attempt must not take it for its own.
#[tokio::test]
async fn an_attempt_that_ends_in_mid_read_leaves_nothing_to_the_next_one() {
    let memory = Memory::new(1 << 20);
    let (all, body) = bytes(400_000, 7_777);
    let replay = replay(body, &memory);
    assert_eq!(read(replay.attempt()).await, all);
    for pieces in [1, 2, 3].repeat(20) {
        let mut cut = replay.attempt();
        for _ in 0..pieces {
            cut.frame().await.unwrap().unwrap();
        }
        // Nearly always pending: another thread reads the file.
        let poll =
            std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut cut).poll_frame(cx).is_pending()));
        let _: bool = poll.await;
        assert_eq!(read(replay.attempt()).await, all);
    }
}

#[tokio::test]
async fn an_answer_that_is_decided_in_mid_replay_does_not_cut_the_upload() {
    for size in [90_000, 390_000] {
        let memory = Memory::new(1 << 20);
        let (all, body) = bytes(size, 7_777);
        let replay = replay(body, &memory);
        let mut first = replay.attempt();
        for _ in 0..10 {
            first.frame().await.unwrap().unwrap();
        }
        let mut second = replay.attempt();
        let mut sent = second.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();
        replay.settle();
        sent.extend(read(second).await);
        assert_eq!(sent, all, "{size}");
        assert_eq!(memory.used(), 0);
    }
}

#[tokio::test]
async fn the_length_is_told_again() {
    let memory = Memory::new(1 << 20);
    let body = http_body_util::Full::new(Bytes::from_static(b"hello"));
    let replay = Replay::new(body, LIMITS, &memory, PATIENCE);
    for _ in 0..2 {
        let attempt = replay.attempt();
        assert_eq!(attempt.size_hint().exact(), Some(5));
        assert_eq!(attempt.collect().await.unwrap().to_bytes(), "hello");
    }
}

#[tokio::test]
async fn no_body_costs_nothing() {
    let memory = Memory::new(1 << 20);
    let replay = Replay::new(http_body_util::Empty::<Bytes>::new(), LIMITS, &memory, PATIENCE);
    assert!(replay.replayable() && replay.attempt().is_end_stream());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whenever attempts are cut off, the last one delivers the whole body.
    #[test]
    fn the_last_attempt_always_delivers_everything(
        total in 1usize..300_000,
        chunk in 100usize..30_000,
        cuts in prop::collection::vec(0usize..40, 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = Memory::new(1 << 20);
            let (all, body) = bytes(total, chunk);
            let replay = replay(body, &memory);
            for cut in cuts {
                let mut attempt = replay.attempt();
                for _ in 0..cut {
                    let Some(frame) = attempt.frame().await else { break };
                    frame.unwrap();
                }
            }
            assert_eq!(read(replay.attempt()).await, all);
        });
    }
}
