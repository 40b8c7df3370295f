//! A caller's connection as hyper sees it, with the strict framing and the clock looking on.
//! It never changes a byte that hyper reads: it lets them pass, or ends the connection with a
//! clear answer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::Connection;
use crate::{
    decide::{
        failure::Failure,
        framing::{Framing, Limits, Phase, Violation},
    },
    gateway::{credential, respond},
};

/// The I/O layer of one connection.
#[derive(Debug)]
pub struct Wire<S> {
    inner: S,
    framing: Framing,
    connection: Arc<Connection>,
    /// Part of what hyper wrote last is still with hyper: nothing of ours may come between.
    partial: bool,
    /// Interim answers on their way out.
    interim: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// At the beginning of a connection.
    pub fn new(inner: S, limits: Limits, connection: Arc<Connection>) -> Self {
        let framing = Framing::new(limits);
        Self { inner, framing, connection, partial: false, interim: Vec::new() }
    }

    /// The caller broke the protocol. It is told so if nothing else is being written; hyper is told
    /// that the connection failed.
    fn refuse(&mut self, violation: Violation, cx: &mut Context<'_>) -> io::Error {
        tracing::warn!(code = "bad.framing", ?violation, "connection refused");
        let in_body = self.framing.phase() == Phase::Body;
        if !self.connection.clock.active() && !self.partial && !in_body {
            let answer = refusal(violation);
            // Best effort: a caller that does not read gets only the close.
            let _ = Pin::new(&mut self.inner).poll_write(cx, &answer);
            let _ = Pin::new(&mut self.inner).poll_flush(cx);
        }
        io::Error::new(io::ErrorKind::InvalidData, violation.sentence())
    }

    /// Interim answers go out between two writes of hyper's.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.partial {
            return Poll::Ready(Ok(()));
        }
        if let Some(more) = self.connection.interim.take() {
            self.interim.extend(more);
        }
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.interim))?;
            self.interim.drain(..written.max(1).min(self.interim.len()));
        }
        Poll::Ready(Ok(()))
    }

    fn note_write(&mut self, polled: &Poll<io::Result<usize>>, offered: usize) {
        match polled {
            Poll::Pending => self.connection.clock.stalled(true),
            Poll::Ready(Ok(written)) => {
                self.partial = *written < offered;
                self.connection.clock.stalled(false);
            }
            Poll::Ready(Err(_)) => {}
        }
    }
}

/// A whole answer in bytes: hyper never sees this request.
fn refusal(violation: Violation) -> Vec<u8> {
    let id = credential::request_id(&http::HeaderMap::new());
    let body = respond::error_body(
        Failure::BadRequest(violation.sentence()),
        id.to_str().unwrap_or_default(),
    );
    let status = match violation.status() {
        431 => "431 Request Header Fields Too Large",
        _ => "400 Bad Request",
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Proxy-Status: genesys-proxy; error=http_request_error\r\nX-Request-Id: {}\r\n\
         Connection: close\r\n\r\n",
        body.len(),
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
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let fed = this.framing.feed(fresh);
        this.connection.clock.phase(this.framing.phase());
        if let Err(violation) = fed {
            buf.set_filled(before);
            return Poll::Ready(Err(this.refuse(violation, cx)));
        }
        Poll::Ready(Ok(()))
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
        this.note_write(&polled, bytes.len());
        if bytes.starts_with(b"HTTP/1.1 101 ") {
            this.framing.tunnel();
        }
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
        this.note_write(&polled, pieces.iter().map(|piece| piece.len()).sum());
        if pieces.first().is_some_and(|piece| piece.starts_with(b"HTTP/1.1 101 ")) {
            this.framing.tunnel();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
