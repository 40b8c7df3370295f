//! A TCP connection that a fault can end abruptly, with a FIN or with a RST.
//! It must never delay or change a byte otherwise.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How a connection shall end; shared by the connection and its requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending(Arc<AtomicU8>);

const CLOSE: u8 = 1;
const RESET: u8 = 2;

impl Ending {
    /// Ends it with a FIN.
    pub(super) fn close(&self) {
        self.0.store(CLOSE, Ordering::Relaxed);
    }

    /// Ends it with a RST.
    pub(super) fn reset(&self) {
        self.0.store(RESET, Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Wire {
    io: TokioIo<TcpStream>,
    ending: Ending,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, ending: Ending) -> Self {
        Self { io: TokioIo::new(stream), ending }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.ending.0.load(Ordering::Relaxed) == RESET {
            // Without linger the kernel drops what is unsent and answers with a RST. A socket
            // that refuses the option is already gone.
            self.io.inner().set_zero_linger().ok();
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.ending.check()?;
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.ending.check()?;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.ending.check()?;
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }
}
