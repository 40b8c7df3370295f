//! A body as hyper reads it: a caller's, or an answer over HTTP/2.
//! It never takes a stream that was given up for a body that has ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What is still to come of it, up to its end and no less.
#[derive(Debug)]
pub struct Unbroken {
    incoming: Incoming,
    /// Its end is a flag on a frame, which may be missing.
    flagged: bool,
}

/// Why there is no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// What came is not a body, or the connection has ended.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// HTTP/2: the stream was reset with `NO_ERROR`. hyper calls that the end, as servers say it when
    /// they have answered and want no more of a request (RFC 9113 section 8.1): half a body would
    /// pass for a whole one.
    #[error("the stream was reset before the body had ended")]
    Reset,
}

impl Unbroken {
    /// Of a message of `version`.
    pub fn new(incoming: Incoming, version: Version) -> Self {
        Self { incoming, flagged: version == Version::HTTP_2 }
    }
}

impl Body for Unbroken {
    type Data = Bytes;
    type Error = Unread;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unread>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.incoming).poll_frame(cx));
        if frame.is_none() && this.flagged && !this.incoming.is_end_stream() {
            return Poll::Ready(Some(Err(Unread::Reset)));
        }
        Poll::Ready(frame.map(|read| read.map_err(Unread::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
