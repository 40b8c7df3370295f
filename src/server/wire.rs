//! A caller's connection as hyper sees it, with the strict framing and the clock looking on.
//! It never changes a byte that hyper reads: it lets whole lines pass, or ends the connection with
//! a clear answer. hyper sees no half a line, so it never refuses one before we have judged it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop,
    time::Instant,
};

use super::clock::Connection;
use crate::{
    decide::framing::{Framing, Limits, Phase, Violation},
    gateway::{credential, respond},
    telemetry::seldom::Seldom,
};

/// Read at once where a request may begin.
const HEAD: usize = 4096;
/// Read at once where nothing but the caller's end is looked for.
const AHEAD: usize = 64;

/// So many frames of HTTP/2 count as a read.
const FRAMES: usize = 8;

/// GOAWAY with `ENHANCE_YOUR_CALM`; which streams were served is not said (RFC 9113 section 6.8).
const CALM: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\x0b";

/// Of all connections: it is strangers who cause it.
static BAD_FRAMING: Seldom = Seldom::new();

/// What a caller speaks, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// The I/O layer of one connection.
#[derive(Debug)]
pub struct Wire<S> {
    inner: S,
    framing: Framing,
    connection: Arc<Connection>,
    /// Read, but not by hyper: whole lines on their way to it, then a line whose end has not come.
    held: Vec<u8>,
    /// Interim answers on their way out.
    interim: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// At the beginning of a connection.
    pub fn new(inner: S, limits: Limits, connection: Arc<Connection>) -> Self {
        let framing = Framing::new(limits);
        Self { inner, framing, connection, held: Vec::new(), interim: Vec::new() }
    }

    /// The caller broke the protocol. It is told so if nobody else does; hyper is told that the
    /// connection failed.
    fn refuse(&mut self, violation: Violation, cx: &mut Context<'_>) -> io::Error {
        if let Some(left_out) = BAD_FRAMING.say(Instant::now()) {
            tracing::warn!(code = "bad.framing", ?violation, left_out, "connection refused");
        } else {
            tracing::debug!(code = "bad.framing", ?violation, "connection refused");
        }
        if let Some(answer) = self.last_words(violation) {
            // Best effort: a caller that does not read gets only the close.
            let _ = Pin::new(&mut self.inner).poll_write(cx, &answer);
            let _ = Pin::new(&mut self.inner).poll_flush(cx);
        }
        io::Error::new(io::ErrorKind::InvalidData, violation.failure().facts().message)
    }

    /// What is still to be said, if there is room for it between two messages.
    fn last_words(&self, violation: Violation) -> Option<Vec<u8>> {
        match violation {
            Violation::Flood => self.flushed().then(|| CALM.to_vec()),
            Violation::BareLineFeed
            | Violation::FoldedLine
            | Violation::RequestLine
            | Violation::Version
            | Violation::Field
            | Violation::ContentLength
            | Violation::TransferEncoding
            | Violation::TwoLengths
            | Violation::Chunk
            | Violation::HeadTooLarge
            | Violation::TooManyFields => self.may_answer().then(|| refusal(violation)),
        }
    }

    /// Nobody else answers: not the gateway, which tells of a broken body itself, and not for a
    /// second time, when a request was answered before its body came.
    fn may_answer(&self) -> bool {
        let begun = self.connection.begun.load(Ordering::Relaxed);
        !self.connection.clock.active()
            && begun < self.framing.request()
            && self.flushed()
            && self.interim.is_empty()
    }

    /// hyper holds nothing that it has begun to write.
    fn flushed(&self) -> bool {
        self.connection.flushed.load(Ordering::Relaxed)
    }

    /// Interim answers go out between two messages of hyper's: never while it holds unwritten
    /// bytes, which may be the rest of an answer.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.interim.is_empty() {
                // Not sooner: of a caller that does not read they would gather here.
                let waiting = self.flushed().then(|| self.connection.caller.interim.take());
                match waiting.flatten() {
                    Some(more) => self.interim = more,
                    None => return Poll::Ready(Ok(())),
                }
            }
            let polled = Pin::new(&mut self.inner).poll_write(cx, &self.interim);
            self.connection.clock.stalled(polled.is_pending());
            let written = ready!(polled)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.drain(..written);
        }
    }

    fn note_write(&mut self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = polled {
            self.framing.wrote(*written);
        }
        self.connection.flushed.store(false, Ordering::Relaxed);
        self.connection.clock.stalled(polled.is_pending());
    }

    /// What was read is judged before hyper sees it; hyper sees whole lines only.
    fn judge(&mut self, fresh: &[u8], cx: &mut Context<'_>) -> Result<(), Violation> {
        if self.framing.low() {
            self.framing.refill(Instant::now().into_std());
        }
        let judged = self.framing.feed(fresh);
        self.spend(cx);
        self.connection.clock.phase(self.framing.phase());
        self.connection.request.store(self.framing.request(), Ordering::Relaxed);
        judged
    }

    /// A read costs a task one of the reads that tokio lets it do before others have their turn: with
    /// a thousand HTTP/2 frames in each, that would be a hundred thousand frames.
    fn spend(&mut self, cx: &mut Context<'_>) {
        for _ in 0..self.framing.frames() / FRAMES {
            match coop::poll_proceed(cx) {
                Poll::Ready(turn) => turn.made_progress(),
                // The next read waits for the next turn.
                Poll::Pending => return,
            }
        }
    }

    /// Hands `held` on as far as it is judged.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let judged = self.held.len() - self.framing.unfinished();
        let count = judged.min(buf.remaining());
        buf.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.drain(..count);
        if self.held.is_empty() {
            // Needed again after the next pause at the earliest.
            self.held = Vec::new();
        }
        count > 0
    }

    /// hyper gives the connection back between two requests, with what it has read and not used:
    /// at most blank lines, which mean nothing there (RFC 9112 section 2.2). `false` if it is more,
    /// the rest of a body that nobody read: what would follow it is not to be understood.
    pub fn rest(&mut self, unused: &[u8]) -> bool {
        let blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let clean = unused.iter().all(blank) && self.held.iter().all(blank);
        self.held = Vec::new();
        self.framing.rest();
        clean
    }

    /// Reads until it is clear what the caller speaks. An end, or what is malformed, is an error.
    pub fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Speaks>> {
        loop {
            if !self.held.is_empty()
                && let Some(http2) = self.framing.speaks_http2()
            {
                return Poll::Ready(Ok(if http2 { Speaks::Http2 } else { Speaks::Http1 }));
            }
            if !ready!(self.poll_hold::<HEAD>(cx))? {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// A caller that leaves while its answer is under way takes its request with it. hyper would
    /// look, too, but with a new buffer for each request: the one that it has still holds the
    /// request's fields. A caller that does not wait for the answer is read a little ahead, once.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let answering = self.connection.clock.active() && self.framing.phase() == Phase::Idle;
        if !answering || !self.held.is_empty() || self.connection.switched.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.poll_hold::<AHEAD>(cx) {
            Poll::Ready(Ok(false)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(true)) | Poll::Pending => Ok(()),
        }
    }

    /// Reads what hyper is not to see yet, or not before it exists; `false` at the end. Copied, but
    /// only once a pause, or for a line that comes in several pieces.
    fn poll_hold<const ROOM: usize>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = [0; ROOM];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
        if let Err(violation) = self.judge(piece.filled(), cx) {
            return Poll::Ready(Err(self.refuse(violation, cx)));
        }
        self.held.extend_from_slice(piece.filled());
        Poll::Ready(Ok(!piece.filled().is_empty()))
    }
}

/// A whole answer in bytes: hyper never sees this request.
fn refusal(violation: Violation) -> Vec<u8> {
    let id = credential::new_request_id();
    let failure = violation.failure();
    let facts = failure.facts();
    let body = respond::error_body(failure, id.to_str().unwrap_or_default());
    let status = StatusCode::from_u16(facts.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Content-Security-Policy: {}\r\nProxy-Status: genesys-proxy; error={}; details=\"{}\"\r\n\
         X-Request-Id: {}\r\nConnection: close\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
        respond::NO_PAGE.to_str().unwrap_or_default(),
        facts.proxy_status,
        facts.code,
        id.to_str().unwrap_or_default(),
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.switched.load(Ordering::Relaxed) {
            this.framing.tunnel();
        }
        loop {
            if !this.held.is_empty() && this.hand_over(buf) {
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                let fresh = buf.filled().get(before..).unwrap_or_default();
                let count = fresh.len();
                if let Err(violation) = this.judge(fresh, cx) {
                    buf.set_filled(before);
                    return Poll::Ready(Err(this.refuse(violation, cx)));
                }
                let unfinished = this.framing.unfinished();
                if unfinished == 0 {
                    return Poll::Ready(Ok(()));
                }
                let judged = count.saturating_sub(unfinished);
                this.held.extend_from_slice(fresh.get(judged..).unwrap_or_default());
                buf.set_filled(before + judged);
                if judged > 0 || count == 0 {
                    return Poll::Ready(Ok(()));
                }
            } else if !ready!(this.poll_hold::<HEAD>(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        let polled = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, pieces);
        this.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes when it has written all that it holds.
        this.connection.flushed.store(true, Ordering::Relaxed);
        ready!(this.poll_interim(cx))?;
        this.poll_left(cx)?;
        let polled = Pin::new(&mut this.inner).poll_flush(cx);
        // TLS takes what the socket has no room for. Until that has gone the connection is not
        // parked, as nobody would send the rest, and its caller is held to the clock.
        this.connection.clock.stalled(polled.is_pending());
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
