//! A request on its way to upstream: its head, then its body as the head says it is coded.
//! It never sends more or less than that, and never fails because upstream stopped listening: who
//! refuses an upload early (401, 413) often closes with the rest unread, and its answer counts.

use std::{
    io::{IoSlice, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use crate::upstream::replay::{AttemptError, Fault};

/// How a body goes over HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// There is none.
    Nothing,
    /// So many bytes.
    Exactly(u64),
    /// In chunks.
    Chunked,
}

impl Coding {
    /// By what is known of its length.
    pub fn of(body: &impl Body) -> Self {
        match body.size_hint().exact() {
            length if body.is_end_stream() || length == Some(0) => Self::Nothing,
            Some(length) => Self::Exactly(length),
            None => Self::Chunked,
        }
    }
}

/// How far a request has come.
#[derive(Debug)]
pub(super) struct Upload<B> {
    body: B,
    coding: Coding,
    /// Written of the head, or of what frames a chunk.
    written: usize,
    /// On its way, after that.
    data: Bytes,
    /// And this after the data.
    after: &'static [u8],
    stage: Stage,
    /// Bytes, the head's included.
    sent: u64,
    /// Some of them may have arrived.
    begun: bool,
    unheard: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// More of the body is to come.
    Body,
    /// All of it is staged.
    Last,
    /// All of it is gone.
    Ended,
}

impl<B> Upload<B> {
    /// All was written and flushed, or nobody listens.
    pub(super) fn ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Some of it may have arrived.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    /// Bytes written, the head's included.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Upstream stopped listening before the end.
    pub(super) fn unheard(&self) -> bool {
        self.unheard
    }

    fn stop_listening(&mut self) {
        (self.stage, self.unheard) = (Stage::Ended, true);
    }
}

impl<B: Body<Data = Bytes, Error = AttemptError> + Unpin> Upload<B> {
    pub(super) fn new(body: B) -> Self {
        let coding = Coding::of(&body);
        let stage = if coding == Coding::Nothing { Stage::Last } else { Stage::Body };
        Self {
            body,
            coding,
            written: 0,
            data: Bytes::new(),
            after: b"",
            stage,
            sent: 0,
            begun: false,
            unheard: false,
        }
    }

    /// Sends on, what is in `out` first. Ready when it has ended, or when the body broke.
    pub(super) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), AttemptError>> {
        loop {
            let mut waits = false;
            if self.stage == Stage::Body && self.data.is_empty() && self.after.is_empty() {
                waits = self.stage_next(out, cx)?.is_pending();
            }
            match ready!(self.poll_write(stream, out, cx)) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(_) => {
                    self.stop_listening();
                    return Poll::Ready(Ok(()));
                }
            }
            let flushed = ready!(Pin::new(&mut *stream).poll_flush(cx));
            if flushed.is_err() {
                self.stop_listening();
            } else if waits {
                return Poll::Pending;
            } else if self.stage == Stage::Body {
                continue;
            }
            self.stage = Stage::Ended;
            return Poll::Ready(Ok(()));
        }
    }

    /// The body's next frame, framed.
    fn stage_next(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, AttemptError> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return Ok(Poll::Pending);
        };
        let Some(frame) = frame.transpose()? else {
            return self.stage_end(out, &HeaderMap::new()).map(Poll::Ready);
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return self.stage_end(out, &trailers).map(Poll::Ready);
            }
        };
        match &mut self.coding {
            _ if data.is_empty() => {}
            Coding::Chunked => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "{:x}\r\n", data.len());
                self.after = b"\r\n";
            }
            Coding::Exactly(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(BROKEN)?;
                if *left == 0 {
                    self.stage = Stage::Last;
                }
            }
            Coding::Nothing => return Err(BROKEN),
        }
        self.data = data;
        Ok(Poll::Ready(()))
    }

    fn stage_end(&mut self, out: &mut Vec<u8>, trailers: &HeaderMap) -> Result<(), AttemptError> {
        match self.coding {
            Coding::Chunked => {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    write_field(out, name.as_str(), value.as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
            // Shorter than its head said.
            Coding::Exactly(left) if left > 0 => return Err(BROKEN),
            Coding::Exactly(_) | Coding::Nothing => {}
        }
        self.stage = Stage::Last;
        Ok(())
    }

    /// Writes some of what is staged; `false` when nothing is.
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<bool>> {
        let head = out.get(self.written..).unwrap_or_default();
        if head.is_empty() && self.data.is_empty() && self.after.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let stream = Pin::new(stream);
        let written = if self.data.is_empty() && self.after.is_empty() {
            ready!(stream.poll_write(cx, head))
        } else {
            let pieces = [head, &self.data, self.after].map(IoSlice::new);
            ready!(stream.poll_write_vectored(cx, &pieces))
        };
        // Of several TLS records the first may be on its way when the second fails.
        self.begun |= written.is_ok() || head.len() + self.data.len() > MAX_RECORD;
        let mut count = written?;
        if count == 0 {
            return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
        }
        self.sent += count as u64;
        let of_head = count.min(head.len());
        self.written += of_head;
        if self.written == out.len() {
            out.clear();
            self.written = 0;
        }
        count -= of_head;
        let of_data = count.min(self.data.len());
        self.data.advance(of_data);
        self.after = self.after.get(count - of_data..).unwrap_or_default();
        Poll::Ready(Ok(true))
    }
}

/// TLS writes no more at once (RFC 8446 section 5.1), and nobody can read a part of it.
const MAX_RECORD: usize = 16 * 1024;

/// The body is not what its head said: for upstream, the caller broke it off.
const BROKEN: AttemptError = AttemptError::Caller(Fault::Broken);

/// One line of a head, or of trailers.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
