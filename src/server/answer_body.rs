//! The body of an answer as hyper takes it, piece by piece.
//! It never gives hyper more of an HTTP/2 answer than the caller is about to take: h2 keeps each
//! piece with its own overhead, so a body that comes byte by byte would cost a hundred times its
//! length while nobody reads it.

use std::{
    cell::Cell,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use atomic_waker::AtomicWaker;
use bytes::{Buf, Bytes};
use http::Version;
use http_body::{Body, Frame, SizeHint};

use super::clock::Connection;
use crate::gateway::respond::{AnswerBody, Cut};

/// What one connection's answers may cost while hyper has them, besides the first two pieces of
/// each: those are always taken, so that no answer waits for another that its caller does not read.
const MOST: usize = 1024 * 1024;
/// What h2 needs for a piece, however short it is.
const OVERHEAD: usize = 256;

/// What the body under way has said to hyper last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It was not asked.
    Nothing,
    /// Upstream keeps it waiting: that has a clock of its own.
    Waits,
    /// Here is some.
    Gave,
    /// There may be more, when the caller has taken what there was.
    Held,
}

thread_local! {
    /// For the task around hyper's, which is polled on the same thread.
    static SAID: Cell<Said> = const { Cell::new(Said::Nothing) };
}

/// What the body that was polled since the last call has said.
pub fn said() -> Said {
    SAID.replace(Said::Nothing)
}

/// A request under way, until its answer's last byte.
pub struct Active(pub Arc<Connection>);

impl Active {
    /// From here on.
    pub fn new(connection: Arc<Connection>) -> Self {
        connection.begin();
        Self(connection)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.clock.end();
    }
}

/// An answer's body, counted while it lasts.
pub struct Counted {
    body: AnswerBody,
    active: Active,
    pace: Pace,
}

/// How fast hyper may take a body.
enum Pace {
    /// HTTP/1: hyper takes what it can write.
    Free,
    /// HTTP/2, nothing given yet. Most answers are one piece, which costs nothing here.
    First,
    /// HTTP/2.
    Watched(Arc<Unsent>),
}

/// What hyper has of one answer.
#[derive(Debug)]
struct Unsent {
    connection: Arc<Connection>,
    pieces: AtomicUsize,
    waker: AtomicWaker,
}

/// Some of a body, until it is written.
#[derive(Debug)]
pub struct Piece {
    bytes: Bytes,
    cost: usize,
    of: Option<Arc<Unsent>>,
}

impl Counted {
    /// The answer to a request of `version`.
    pub fn new(body: AnswerBody, active: Active, version: Version) -> Self {
        let pace = if version == Version::HTTP_2 { Pace::First } else { Pace::Free };
        Self { body, active, pace }
    }

    fn piece(&mut self, bytes: Bytes) -> Piece {
        match &self.pace {
            Pace::Free => Piece { bytes, cost: 0, of: None },
            Pace::First => {
                self.pace = Pace::Watched(Arc::new(Unsent {
                    connection: Arc::clone(&self.active.0),
                    pieces: AtomicUsize::new(0),
                    waker: AtomicWaker::new(),
                }));
                Piece { bytes, cost: 0, of: None }
            }
            Pace::Watched(unsent) => {
                let cost = bytes.len() + OVERHEAD;
                unsent.pieces.fetch_add(1, Ordering::Relaxed);
                unsent.connection.unsent.fetch_add(cost, Ordering::Relaxed);
                Piece { bytes, cost, of: Some(Arc::clone(unsent)) }
            }
        }
    }
}

impl Pace {
    /// hyper has enough; it is asked again when some of this answer is written.
    fn holds(&self, cx: &Context<'_>) -> bool {
        let Self::Watched(unsent) = self else { return false };
        if !unsent.enough() {
            return false;
        }
        unsent.waker.register(cx.waker());
        // A piece may have gone between the look and the note.
        unsent.enough()
    }
}

impl Unsent {
    fn enough(&self) -> bool {
        self.pieces.load(Ordering::Relaxed) > 0
            && self.connection.unsent.load(Ordering::Relaxed) >= MOST
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(of) = &self.of {
            of.connection.unsent.fetch_sub(self.cost, Ordering::Relaxed);
            of.pieces.fetch_sub(1, Ordering::Relaxed);
            of.waker.wake();
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}

impl Body for Counted {
    type Data = Piece;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Cut>>> {
        let this = self.get_mut();
        if this.pace.holds(cx) {
            SAID.set(Said::Held);
            return Poll::Pending;
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        SAID.set(if polled.is_pending() { Said::Waits } else { Said::Gave });
        polled.map_ok(|frame| frame.map_data(|bytes| this.piece(bytes)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
