//! A request body that streams upstream while a copy of itself is kept, so that it can go again.
//! It never keeps more than it was allowed, and never lets two attempts read the caller at once.
//!
//! The caller's body is read by whichever attempt has the turn. A later attempt first plays the
//! copy, then goes on where the earlier one stopped: a 401 that comes before the upload ends
//! costs neither the upload nor a wait for its end.

mod copy;

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use copy::Copy;
pub use copy::Memory;

use super::unbroken::{Unbroken, Unread};
use crate::{decide::headers::strip_trailers, telemetry::causes::causes};

/// Why the caller's body could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It was malformed.
    Broken,
    /// The caller left before it ended.
    Left,
    /// Nothing came for `access.body_timeout`.
    Timeout,
}

impl Fault {
    /// Why a body of a caller's failed: what the caller said, or that it says no more.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        if causes(error).any(is_leave) { Self::Left } else { Self::Broken }
    }
}

/// The caller's own reset or farewell, or the end of its connection.
fn is_leave(error: &(dyn Error + 'static)) -> bool {
    if let Some(Unread::Reset) = error.downcast_ref() {
        return true;
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return error.is_remote() || error.is_io();
    }
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::TimedOut
        )
    })
}

/// Why an attempt cannot go on; its request is then broken off.
#[derive(Debug)]
pub enum AttemptError {
    /// The caller's fault.
    Caller(Fault),
    /// A later attempt took over.
    Superseded,
    /// The copy could not be read back.
    Copy(io::Error),
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(Fault::Broken) => f.write_str("the caller's body broke"),
            Self::Caller(Fault::Left) => f.write_str("the caller left in mid-body"),
            Self::Caller(Fault::Timeout) => f.write_str("the caller's body stopped coming"),
            Self::Superseded => f.write_str("the body went to a later attempt"),
            Self::Copy(error) => write!(f, "the copy of the body cannot be read: {error}"),
        }
    }
}

impl Error for AttemptError {}

/// How much is kept of one body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In memory; above, an unlinked temporary file.
    pub memory: usize,
    /// At all; above, nothing is kept.
    pub total: u64,
}

/// A request's body for as long as it may be needed again.
#[derive(Debug)]
pub struct Replay<B = Unbroken>(Option<Shared<B>>);

type Shared<B> = Arc<Mutex<Source<B>>>;

/// The body of one try.
pub struct Attempt<B = Unbroken> {
    source: Option<Shared<B>>,
    turn: u64,
    /// How much of the body this attempt has sent.
    sent: u64,
    hint: SizeHint,
    done: bool,
}

struct Source<B> {
    incoming: B,
    turn: u64,
    waker: Option<Waker>,
    end: Option<Result<Option<HeaderMap>, Fault>>,
    copy: Copy,
    /// Bytes read from the caller.
    read: u64,
    /// Bytes sent by whoever has the turn.
    sent: u64,
    /// Nobody will come after whoever has the turn.
    settled: bool,
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Instant,
}

impl<B> fmt::Debug for Source<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("turn", &self.turn)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Attempt<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("turn", &self.turn)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

fn lock<B>(source: &Mutex<Source<B>>) -> MutexGuard<'_, Source<B>> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body<Data = Bytes, Error: Error + 'static> + Unpin> Replay<B> {
    /// `timeout` is the longest pause between two reads of the caller.
    pub fn new(incoming: B, limits: Limits, memory: &Arc<Memory>, timeout: Duration) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        let hint = incoming.size_hint();
        let copy = if hint.lower() > limits.total {
            Copy::Gone
        } else {
            Copy::new(limits, Arc::clone(memory), hint.exact())
        };
        Self(Some(Arc::new(Mutex::new(Source {
            incoming,
            turn: 0,
            waker: None,
            end: None,
            copy,
            read: 0,
            sent: 0,
            settled: false,
            timeout,
            timer: None,
            progress: Instant::now(),
        }))))
    }

    /// A request without a body.
    pub fn empty() -> Self {
        Self(None)
    }

    /// The next try's body, from the first byte. The try before it can read no more.
    pub fn attempt(&self) -> Attempt<B> {
        let Some(shared) = &self.0 else { return Attempt::empty() };
        let mut source = lock(shared);
        source.hand_over();
        source.progress = Instant::now();
        let hint = match source.incoming.size_hint().exact() {
            Some(left) => SizeHint::with_exact(left + source.read),
            None => SizeHint::default(),
        };
        let turn = source.turn;
        drop(source);
        Attempt { source: Some(Arc::clone(shared)), turn, sent: 0, hint, done: false }
    }

    /// The current try is over: it reads no more of the caller, and the copy grows no further
    /// until the next one. Without this, an upload that upstream has refused already could outgrow
    /// its copy during the wait for a token.
    pub fn stop(&self) {
        if let Some(shared) = &self.0 {
            lock(shared).hand_over();
        }
    }

    /// It can be sent again from the first byte.
    pub fn replayable(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| {
            let source = lock(shared);
            !matches!(source.end, Some(Err(_))) && (source.copy.is_kept() || source.read == 0)
        })
    }

    /// No copy is kept even now, before the first try: it is too large.
    pub fn too_large(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| !lock(shared).copy.is_kept())
    }

    /// The caller has not been read to its end.
    pub fn unread(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| {
            let source = lock(shared);
            source.end.is_none() && !source.incoming.is_end_stream()
        })
    }

    /// What the caller did wrong, if it did.
    pub fn fault(&self) -> Option<Fault> {
        match lock(self.0.as_ref()?).end {
            Some(Err(fault)) => Some(fault),
            Some(Ok(_)) | None => None,
        }
    }

    /// For how long the body has not moved: an upload that moves is not a slow answer.
    pub fn still(&self) -> Option<Duration> {
        self.0.as_ref().map(|shared| lock(shared).progress.elapsed())
    }

    /// The answer is decided: no later attempt will need the copy. The one that is still playing
    /// it does, so it goes when that one has caught up.
    pub fn settle(self) {
        if let Some(shared) = &self.0 {
            let mut source = lock(shared);
            source.settled = true;
            let sent = source.sent;
            source.let_go(sent);
        }
    }
}

impl<B> Attempt<B> {
    /// No body at all.
    pub fn empty() -> Self {
        Self { source: None, turn: 0, sent: 0, hint: SizeHint::with_exact(0), done: true }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, AttemptError>>>;

impl<B: Body<Data = Bytes, Error: Error + 'static> + Unpin> Body for Attempt<B> {
    type Data = Bytes;
    type Error = AttemptError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let Some(shared) = this.source.as_ref().filter(|_| !this.done) else {
            return Poll::Ready(None);
        };
        let mut source = lock(shared);
        if source.turn != this.turn {
            return Poll::Ready(Some(Err(AttemptError::Superseded)));
        }
        source.let_go(this.sent);
        let polled = if this.sent < source.read {
            source.poll_copy(this.sent, cx)
        } else {
            source.poll_caller(cx)
        };
        match &polled {
            Poll::Pending => source.waker = Some(cx.waker().clone()),
            Poll::Ready(Some(Ok(frame))) => {
                source.progress = Instant::now();
                this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                source.sent = this.sent;
                this.done = frame.is_trailers();
            }
            Poll::Ready(None | Some(Err(_))) => this.done = true,
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        match self.hint.exact() {
            Some(total) => SizeHint::with_exact(total.saturating_sub(self.sent)),
            None => SizeHint::default(),
        }
    }
}

impl<B: Body<Data = Bytes, Error: Error + 'static> + Unpin> Source<B> {
    /// Whoever had the turn has it no more, and is told so.
    fn hand_over(&mut self) {
        self.turn += 1;
        self.sent = 0;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Drops the copy once it was played to its end for the last time.
    fn let_go(&mut self, sent: u64) {
        if self.settled && sent >= self.read {
            self.copy = Copy::Gone;
        }
    }

    fn poll_copy(&mut self, from: u64, cx: &mut Context<'_>) -> Polled {
        self.copy
            .poll_read(from, cx)
            .map(|read| Some(read.map(Frame::data).map_err(AttemptError::Copy)))
    }

    fn poll_caller(&mut self, cx: &mut Context<'_>) -> Polled {
        match &self.end {
            Some(Err(fault)) => return Poll::Ready(Some(Err(AttemptError::Caller(*fault)))),
            Some(Ok(trailers)) => {
                let trailers = trailers.clone().map(|map| Ok(Frame::trailers(map)));
                return Poll::Ready(trailers);
            }
            None => {}
        }
        // The file is behind: the caller waits, memory does not grow.
        if self.copy.poll_settled(cx).is_pending() {
            return Poll::Pending;
        }
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => return self.poll_timer(cx),
            Poll::Ready(frame) => frame,
        };
        self.timer = None;
        let Some(frame) = frame else {
            self.end = Some(Ok(None));
            return Poll::Ready(None);
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return self.fail(Fault::of(&error)),
        };
        match frame.into_data() {
            Ok(data) => {
                self.read += data.len() as u64;
                self.copy.push(&data);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                strip_trailers(&mut trailers);
                self.end = Some(Ok(Some(trailers.clone())));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    /// Made only when the caller keeps us waiting, so that a body at hand costs no timer.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Polled {
        let timeout = self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.fail(Fault::Timeout)
    }

    fn fail(&mut self, fault: Fault) -> Polled {
        self.end = Some(Err(fault));
        Poll::Ready(Some(Err(AttemptError::Caller(fault))))
    }
}

#[cfg(test)]
mod tests;
