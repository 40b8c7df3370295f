//! The bodies that the simulator answers with, from a constant to gigabytes.
//! It must never hold a large body in memory.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// Every answer's body.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body that is all there.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    boxed(Full::new(bytes.into()).map_err(|never| match never {}))
}

/// Any body, as an answer's.
pub(super) fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes, Error = io::Error> + Send + 'static,
{
    body.boxed_unsync()
}

/// One period of the bytes of every recording. A prime length makes a shifted copy show.
const PERIOD: usize = 65_521;
/// How much of a recording goes into one frame at most.
const FRAME: u64 = 64 * 1024;

static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(7);
    let period: Vec<u8> = (0..PERIOD).map(|_| random.u8(..)).collect();
    // A frame may start at the last byte of a period and be longer than one.
    Bytes::from(period.repeat(3))
});

/// Deterministic bytes of any length: byte `n` of every recording is the same.
#[derive(Debug)]
pub(super) struct Media {
    at: u64,
    end: u64,
}

impl Media {
    /// The bytes from `at` up to, not including, `end`.
    pub(super) const fn new(at: u64, end: u64) -> Self {
        Self { at, end }
    }

    fn next(&mut self) -> Bytes {
        let offset = usize::try_from(self.at % PERIOD as u64).unwrap_or_default();
        let length = usize::try_from(FRAME.min(self.end - self.at)).unwrap_or_default();
        self.at += length as u64;
        PATTERN.slice(offset..offset + length)
    }
}

impl HttpBody for Media {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready((self.at < self.end).then(|| Ok(Frame::data(self.next()))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end.saturating_sub(self.at))
    }
}

/// Bytes `at..end` of a recording, all in memory: what a test compares a download with.
pub fn media_bytes(at: u64, end: u64) -> Vec<u8> {
    let mut media = Media::new(at, end);
    let mut all = Vec::new();
    while media.at < media.end {
        all.extend_from_slice(&media.next());
    }
    all
}

/// Numbered lines with a pause before each: a stream whose length nobody knows beforehand.
#[derive(Debug)]
pub(super) struct Lines {
    next: u64,
    end: u64,
    gap: Duration,
    pause: Pin<Box<Sleep>>,
}

impl Lines {
    /// `count` lines, the first at once, then one every `gap`.
    pub(super) fn new(count: u64, gap: Duration) -> Self {
        Self { next: 0, end: count, gap, pause: Box::pin(sleep(Duration::ZERO)) }
    }
}

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.next >= self.end {
            return Poll::Ready(None);
        }
        if self.next > 0 {
            ready!(self.pause.as_mut().poll(context));
        }
        let line = format!("{{\"chunk\":{}}}\n", self.next);
        self.next += 1;
        self.pause = Box::pin(sleep(self.gap));
        Poll::Ready(Some(Ok(Frame::data(line.into()))))
    }
}

/// Data, then a trailer.
#[derive(Debug)]
pub(super) struct Trailed {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Trailed {
    /// `data` followed by `trailers`.
    pub(super) fn new(data: impl Into<Bytes>, trailers: HeaderMap) -> Self {
        Self { data: Some(data.into()), trailers: Some(trailers) }
    }
}

impl HttpBody for Trailed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }
}

/// A body that breaks after so many bytes: the answer is visibly cut, never short but whole.
#[derive(Debug)]
pub(super) struct Cut {
    inner: Body,
    left: u64,
    flushed: bool,
}

impl Cut {
    /// The first `length` bytes of `inner`, then a broken connection.
    pub(super) const fn new(inner: Body, length: u64) -> Self {
        Self { inner, left: length, flushed: false }
    }
}

impl HttpBody for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            if self.flushed {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            // One turn for hyper to write what it has, or the bytes before the cut would go too.
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => {
                let mut data = frame.into_data().unwrap_or_default();
                data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= data.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // A body shorter than the cut breaks at its own end.
            None => {
                self.left = 0;
                self.poll_frame(context)
            }
            error @ Some(Err(_)) => Poll::Ready(error),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that keeps something until its last byte: a slow download is still in flight.
#[derive(Debug)]
pub(super) struct Held<T> {
    inner: Body,
    _kept: T,
}

impl<T> Held<T> {
    /// `inner`, keeping `kept` as long.
    pub(super) const fn new(inner: Body, kept: T) -> Self {
        Self { inner, _kept: kept }
    }
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
