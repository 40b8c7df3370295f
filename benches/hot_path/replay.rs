//! A body on its way upstream while a copy is kept, against the same body without a copy.
//! Bodies stay in memory here: a file would measure the disk.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use divan::{Bencher, counter::BytesCount};
use genesys_proxy::upstream::replay::{Attempt, Limits, Memory, Replay};
use http_body::{Body, Frame, SizeHint};

/// What a socket hands out at once.
const PIECE: usize = 16 * 1024;
const SIZES: [usize; 3] = [4 * 1024, 64 * 1024, 1024 * 1024];

const KEPT: Limits = Limits { memory: 1024 * 1024, total: 16 * 1024 * 1024 };
const NOT_KEPT: Limits = Limits { memory: 0, total: 0 };

/// A caller's body that is there already.
struct Upload {
    left: usize,
    piece: Bytes,
}

impl Upload {
    fn of(size: usize) -> Self {
        Self { left: size, piece: Bytes::from(vec![b'x'; PIECE]) }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.left.min(PIECE);
        if next == 0 {
            return Poll::Ready(None);
        }
        self.left -= next;
        Poll::Ready(Some(Ok(Frame::data(self.piece.slice(..next)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

fn drain(mut attempt: Attempt<Upload>) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let mut sent = 0;
    while let Poll::Ready(Some(frame)) = Pin::new(&mut attempt).poll_frame(&mut cx) {
        let frame = frame.expect("nothing goes wrong in memory");
        sent += frame.data_ref().map_or(0, Bytes::len);
    }
    sent
}

fn once(bencher: Bencher, size: usize, limits: Limits) {
    let memory = Memory::new(256 * 1024 * 1024);
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| (Upload::of(size), Arc::clone(&memory)))
        .bench_local_values(|(upload, memory)| {
            let replay = Replay::new(upload, limits, &memory, Duration::from_secs(30));
            let sent = drain(replay.attempt());
            replay.settle();
            assert_eq!(sent, size);
        });
}

/// The usual way: sent once, the copy thrown away with the answer.
#[divan::bench(args = SIZES)]
fn sent_with_a_copy(bencher: Bencher, size: usize) {
    once(bencher, size, KEPT);
}

/// What is left of that when nothing is kept.
#[divan::bench(args = SIZES)]
fn sent_without_a_copy(bencher: Bencher, size: usize) {
    once(bencher, size, NOT_KEPT);
}

/// After a 401: the whole body once more, from the copy.
#[divan::bench(args = SIZES)]
fn sent_again(bencher: Bencher, size: usize) {
    let memory = Memory::new(256 * 1024 * 1024);
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| {
            let replay = Replay::new(Upload::of(size), KEPT, &memory, Duration::from_secs(30));
            drain(replay.attempt());
            replay
        })
        .bench_local_refs(|replay| assert_eq!(drain(replay.attempt()), size));
}
