//! HTTP/1.1 towards upstream, driven by whoever waits for the answer: no task of its own, no
//! channel, and the head is written from the caller's fields as they are. hyper's client is a task
//! and two channels away, which costs a quarter of a small request.
//! It never decides how bytes read: `decide::answer` does.

mod body;
mod both;
mod upload;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use secrecy::zeroize::Zeroizing;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::unconstrained,
};
use tokio_util::io::poll_read_buf;

use self::upload::Upload;
pub use self::{
    body::{Body, BodyError},
    both::Both,
    upload::{Coding, write_field},
};
use super::replay::{Attempt, AttemptError};
use crate::decide::answer::{self, Head, Refused, Rest};

/// What the first read of an answer is ready for: most are smaller.
const FIRST_READ: usize = 8 * 1024;
/// And after large ones, which are seldom alone.
const LARGE_FIRST_READ: usize = 32 * 1024;
/// Any later read, at most.
const MAX_READ: usize = 256 * 1024;
/// More room than asked for: a read that leaves some tells that there was no more, and saves the
/// system call that would.
const SLACK: usize = 64;
/// A connection keeps this much room for heads between two requests.
const MAX_KEPT: usize = 4 * 1024;

/// A connection between two requests, or with the head of one on it. Boxed where it travels: it
/// passes through many hands with every request.
pub struct Connection<S> {
    stream: S,
    /// The next request's head, then whatever frames its body.
    /// The head holds the token: zeroed when it goes.
    out: Zeroizing<Vec<u8>>,
    /// Read, and not yet taken apart.
    read: BytesMut,
    /// What the next answer may need: what the last one did.
    expect: usize,
    closed: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The connection was gone before a byte of the request went out.
    #[error("the connection was gone before the request")]
    Unsent,
    /// It ended, and the request may have arrived.
    #[error("the connection ended before its answer")]
    Cut(#[source] io::Error),
    /// What came cannot be passed on.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request's body could not be read to its end.
    #[error(transparent)]
    Caller(AttemptError),
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl<S> Connection<S> {
    /// A connection that has carried nothing yet.
    pub fn new(stream: S) -> Box<Self> {
        let (out, read) = (Zeroizing::default(), BytesMut::new());
        Box::new(Self { stream, out, read, expect: FIRST_READ, closed: false })
    }

    /// Where the next request's head is written.
    pub fn head(&mut self) -> &mut Vec<u8> {
        self.out.clear();
        &mut self.out
    }

    /// It will not be used for a while: its buffers go.
    pub fn rest(&mut self) {
        (self.out, self.read) = (Zeroizing::default(), BytesMut::new());
    }

    /// Between two requests it keeps what nearly every one needs.
    fn idle(&mut self) {
        if self.read.capacity() > LARGE_FIRST_READ + SLACK {
            self.read = BytesMut::new();
        }
        if self.out.capacity() > MAX_KEPT {
            self.out = Zeroizing::default();
        }
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Upstream has neither closed it nor said anything unasked since the last answer. Nobody is
    /// woken: it is asked before each use. Whatever the task has done before, it is looked at: a
    /// socket that only seems silent because the task's turn is over would carry a request.
    pub fn is_open(&mut self) -> bool {
        let (mut byte, mut cx) = ([0], Context::from_waker(Waker::noop()));
        let mut room = ReadBuf::new(&mut byte);
        let stream = &mut self.stream;
        let read =
            pin!(unconstrained(poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut room))));
        self.closed = self.closed || read.poll(&mut cx).is_ready();
        !self.closed
    }

    /// Reads some of the `wanted` bytes, or more; 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < wanted + SLACK {
            self.read.reserve(wanted + SLACK);
        }
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read)
    }
}

/// A request on its way, until the head of its answer has come.
#[derive(Debug)]
pub struct Exchange<S, B = Attempt> {
    connection: Box<Connection<S>>,
    upload: Upload<B>,
    to_head: bool,
}

/// What follows an answer's head.
#[derive(Debug)]
pub enum Following<S, B = Attempt> {
    /// A body.
    Body(Body<S>),
    /// A body, while the request's is still on its way.
    Both(Both<S, B>),
    /// After a 101: the connection, and what upstream has said on it already.
    Switched(S, Bytes),
}

impl<S, B> Exchange<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: http_body::Body<Data = Bytes, Error = AttemptError> + Unpin,
{
    /// The head is on the connection already, and says how `body` is coded. `to_head`: it is a
    /// HEAD's.
    pub fn new(connection: Box<Connection<S>>, body: B, to_head: bool) -> Self {
        Self { connection, upload: Upload::new(body), to_head }
    }

    /// Sends on. Ready with the head of the final answer; `interim` gets the ones before.
    pub fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut impl FnMut(&Head),
    ) -> Poll<Result<Head, Failed>> {
        let Self { connection, upload, to_head } = self;
        if !upload.ended()
            && let Poll::Ready(Err(error)) =
                upload.poll(&mut connection.stream, &mut connection.out, cx)
        {
            return Poll::Ready(Err(Failed::Caller(error)));
        }
        loop {
            if let Some(head) = answer::head(&mut connection.read, *to_head)? {
                if !upload.begun() {
                    // Said before there was a request to answer: a 408, as a goodbye.
                    return Poll::Ready(Err(Failed::Unsent));
                }
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS
                {
                    interim(&head);
                    continue;
                }
                return Poll::Ready(Ok(head));
            }
            let ended = match ready!(connection.poll_fill(cx, connection.expect)) {
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => continue,
                Err(error) => error,
            };
            let failed = if upload.begun() { Failed::Cut(ended) } else { Failed::Unsent };
            return Poll::Ready(Err(failed));
        }
    }

    /// What follows the head that has come.
    pub fn following(self, head: &Head) -> Following<S, B> {
        let Self { mut connection, upload, .. } = self;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Following::Switched(connection.stream, connection.read.freeze());
        }
        let length = head.rest.length().and_then(|length| usize::try_from(length).ok());
        connection.expect = match length {
            Some(length) if length < FIRST_READ / 2 => FIRST_READ,
            Some(_) | None => LARGE_FIRST_READ,
        };
        let ends = head.rest != Rest::UntilClose;
        let persists = head.persists && ends && !upload.unheard();
        let ended = upload.ended();
        let body = Body::new(connection, head.rest, persists);
        if ended { Following::Body(body) } else { Following::Both(Both { body, upload }) }
    }
}
