//! The body of an answer, read off its connection as the caller takes it.
//! It never ends well before its end: a connection that breaks in between is an error.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::AsyncRead;

use super::{Connection, FIRST_READ, LARGE_FIRST_READ, MAX_READ};
use crate::decide::answer::{Piece, Refused, Rest};

/// Why a body is cut.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended before it.
    #[error("the connection ended before the body")]
    Connection(#[from] io::Error),
    /// Its framing is malformed.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// A piece this many times smaller than the room it lies in is copied out of it: waiting for its
/// caller, it would keep all of it.
const LOOSE: usize = 8;

/// What is still to come of an answer, and the connection that it comes over.
#[derive(Debug)]
pub struct Body<S> {
    pub(super) connection: Box<Connection<S>>,
    pub(super) rest: Rest,
    pub(super) persists: bool,
    /// What the next read is ready for: more after full ones, less after small ones.
    room: usize,
}

impl<S> Body<S> {
    pub(super) fn new(connection: Box<Connection<S>>, rest: Rest, persists: bool) -> Self {
        Self { connection, rest, persists, room: 2 * LARGE_FIRST_READ }
    }

    /// The last byte was taken.
    pub fn ended(&self) -> bool {
        self.rest.ended()
    }

    /// The connection may be used again, once the body has ended.
    pub fn persists(&self) -> bool {
        self.persists
    }

    /// The connection, if the next request may use it: the answer has ended, and nothing follows.
    pub fn finish(mut self) -> Option<Box<Connection<S>>> {
        let clean = self.persists && self.rest.ended() && self.connection.read.is_empty();
        self.connection.idle();
        clean.then_some(self.connection)
    }

    /// How long it is from here.
    pub fn size_hint(&self) -> SizeHint {
        self.rest.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<S: AsyncRead + Unpin> Body<S> {
    /// As `http_body::Body::poll_frame`.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match self.rest.next(&mut self.connection.read)? {
                Piece::Data(data) => {
                    let loose =
                        !self.rest.ended() && data.len() < self.connection.read.capacity() / LOOSE;
                    let data = if loose { Bytes::copy_from_slice(&data) } else { data };
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Piece::Trailers(fields) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                Piece::End => return Poll::Ready(None),
                Piece::Missing => {}
            }
            let left = self.rest.length().and_then(|left| usize::try_from(left).ok());
            let wanted = left.unwrap_or(usize::MAX).min(self.room);
            let count = ready!(self.connection.poll_fill(cx, wanted))?;
            if count >= self.room {
                self.room = (self.room * 2).min(MAX_READ);
            } else if count < self.room / 4 {
                self.room = (self.room / 2).max(FIRST_READ);
            }
            if count == 0 {
                if self.rest != Rest::UntilClose {
                    let early = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Poll::Ready(Some(Err(early.into())));
                }
                (self.rest, self.persists) = (Rest::Exactly(0), false);
            }
        }
    }
}
