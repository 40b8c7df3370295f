//! An answer of upstream's, whatever it speaks: its head, and a body that gives its connection back
//! when it has ended.
//! It never gives back a connection that could surprise the next request.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, Version, response::Parts};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, ext::ReasonPhrase};
use tokio::sync::mpsc;

use super::{
    connect::Connector,
    http1::{self, Exchange, Following},
    pool::{Dial, StreamCount, Ticket},
    unbroken::{Unbroken, Unread},
};
use crate::decide::{
    answer::Head,
    headers::{self, Told},
};

/// A head, its hop-by-hop fields gone, and a body still to come. Boxed where it travels: it passes
/// through many hands.
#[derive(Debug)]
pub struct Answered<C: Dial = Connector> {
    /// Status and fields.
    pub parts: Parts,
    /// What the fields said to us.
    pub told: Told,
    /// The body.
    pub body: Body<C>,
}

/// A body. Dropped before its end, it takes its connection with it.
#[derive(Debug)]
pub enum Body<C: Dial = Connector> {
    /// It has ended.
    Ended,
    /// Read off its connection.
    Http1(http1::Body<C::Stream>, Ticket<C>),
    /// Read by a task, which sends the rest of the request, too.
    Both {
        /// What it has read.
        frames: mpsc::Receiver<Result<Frame<Bytes>, http1::BodyError>>,
        /// How much is to come, if that was said.
        left: Option<u64>,
    },
    /// One that was read in part, and is to be read from its beginning again.
    Begun {
        /// What was read.
        begun: Bytes,
        /// What follows.
        rest: Box<Self>,
    },
    /// A stream of a shared connection.
    Http2(Unbroken, StreamCount),
    /// After a 101: the connection, and what upstream has said on it already.
    Switched(C::Stream, Bytes),
}

/// Why a body is cut.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] http1::BodyError),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] Unread),
}

impl<C: Dial> Answered<C> {
    /// The answer of an exchange over HTTP/1.1, on a connection that came with `ticket`.
    pub fn http1(head: Head, exchange: Exchange<C::Stream>, ticket: Ticket<C>) -> Self {
        let following = exchange.following(&head);
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = head.status;
        parts.headers = head.fields;
        if let Some(reason) = head.reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
            parts.extensions.insert(reason);
        }
        let body = match following {
            Following::Body(body) => Body::Http1(body, ticket),
            Following::Both(both) => {
                let (sender, frames) = mpsc::channel(1);
                let left = both.length();
                let tasks = ticket.tasks().clone();
                tasks.spawn(async move {
                    if let Some(connection) = both.carry(sender).await {
                        ticket.park(connection);
                    }
                });
                Body::Both { frames, left }
            }
            Following::Switched(stream, said) => Body::Switched(stream, said),
        };
        Self { parts, told: head.told, body: body.settled() }
    }

    /// Over HTTP/2, on `stream`.
    pub fn http2(answer: Response<Incoming>, stream: StreamCount) -> Self {
        let (mut parts, body) = answer.into_parts();
        let told = headers::strip_response(&mut parts.headers);
        Self {
            parts,
            told,
            body: Body::Http2(Unbroken::new(body, Version::HTTP_2), stream).settled(),
        }
    }
}

impl<C: Dial> Body<C> {
    /// Reading it to its end saves its connection.
    pub fn worth_reading(&self) -> bool {
        match self {
            Self::Http1(body, _) => body.persists(),
            Self::Begun { rest, .. } => rest.worth_reading(),
            Self::Ended | Self::Http2(..) => true,
            Self::Both { .. } | Self::Switched(..) => false,
        }
    }

    /// The same after `begun`, which was read of it already.
    #[must_use]
    pub fn after(self, begun: Bytes) -> Self {
        if begun.is_empty() { self } else { Self::Begun { begun, rest: Box::new(self) } }
    }

    fn settled(mut self) -> Self {
        self.settle();
        self
    }

    /// Gives the connection back as soon as the last byte was taken.
    fn settle(&mut self) {
        let ended = match self {
            Self::Http1(body, _) => body.ended(),
            Self::Http2(body, _) => http_body::Body::is_end_stream(body),
            Self::Both { left, .. } => *left == Some(0),
            Self::Ended | Self::Begun { .. } | Self::Switched(..) => false,
        };
        if ended {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Self::Http1(body, ticket) = mem::replace(self, Self::Ended)
            && let Some(connection) = body.finish()
        {
            ticket.park(connection);
        }
    }
}

impl<C: Dial> http_body::Body for Body<C> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match this {
            Self::Ended | Self::Switched(..) => return Poll::Ready(None),
            Self::Begun { begun, rest } => {
                let begun = Poll::Ready(Some(Ok(Frame::data(mem::take(begun)))));
                *this = mem::replace(rest, Self::Ended);
                return begun;
            }
            Self::Http1(body, _) => body.poll_frame(cx).map_err(BodyError::Http1),
            Self::Both { frames, left } => {
                let polled = frames.poll_recv(cx);
                if let (Poll::Ready(Some(Ok(frame))), Some(left)) = (&polled, left) {
                    *left -= frame.data_ref().map_or(0, |data| data.len() as u64).min(*left);
                }
                polled.map_err(BodyError::Http1)
            }
            Self::Http2(body, _) => Pin::new(body).poll_frame(cx).map_err(BodyError::Http2),
        };
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(_))) => this.settle(),
            Poll::Ready(None) => this.end(),
            Poll::Ready(Some(Err(_))) => *this = Self::Ended,
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ended | Self::Switched(..) => true,
            Self::Http1(..) | Self::Both { .. } | Self::Begun { .. } => false,
            Self::Http2(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ended | Self::Switched(..) => SizeHint::with_exact(0),
            Self::Http1(body, _) => body.size_hint(),
            Self::Both { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Begun { begun, rest } => match rest.size_hint().exact() {
                Some(left) => SizeHint::with_exact(begun.len() as u64 + left),
                None => SizeHint::default(),
            },
            Self::Http2(body, _) => body.size_hint(),
        }
    }
}
