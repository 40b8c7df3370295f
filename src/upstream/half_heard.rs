//! A connection whose peer may stop listening before it has said everything.
//! It never hides that nothing came: a peer that is gone reads as gone.
//!
//! Who refuses an upload early (401, 413) often closes with the rest unread. The next write then
//! fails, and hyper, which speaks HTTP/2 for us, gives up although the answer waits to be read. So a failed write is forgotten
//! here: what was written goes nowhere, and the reading side tells how it ended.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `S`, read to its end even when it can no longer be written.
#[derive(Debug)]
pub struct HalfHeard<S> {
    inner: S,
    /// It listens no more.
    deaf: bool,
    /// It says no more either, so that there is nothing left to wait for.
    silent: bool,
}

impl<S> HalfHeard<S> {
    /// A peer that still listens.
    pub fn new(inner: S) -> Self {
        Self { inner, deaf: false, silent: false }
    }

    /// Takes note of a peer that listens no more.
    fn forgive<T>(&mut self, polled: Poll<io::Result<T>>, instead: T) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(Err(error)) if gone(&error) && !self.silent => {
                self.deaf = true;
                Poll::Ready(Ok(instead))
            }
            Poll::Ready(_) | Poll::Pending => polled,
        }
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for HalfHeard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, room) = (buf.filled().len(), buf.remaining() > 0);
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        let ended = match &polled {
            Poll::Ready(Ok(())) => room && buf.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended {
            this.silent = true;
            this.deaf = false;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HalfHeard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.forgive(polled, bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let all = pieces.iter().map(|piece| piece.len()).sum();
        if this.deaf {
            return Poll::Ready(Ok(all));
        }
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, pieces);
        this.forgive(polled, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.deaf {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut this.inner).poll_flush(cx);
        this.forgive(polled, ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.forgive(polled, ())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_last_words_of_a_peer_that_stopped_listening_are_heard() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = HalfHeard::new(ours);
        theirs.write_all(b"401").await.unwrap();
        drop(theirs);
        for _ in 0..3 {
            ours.write_all(&[0; 1000]).await.unwrap();
            ours.flush().await.unwrap();
        }
        let mut heard = String::new();
        ours.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "401");
        assert!(ours.write_all(b"x").await.is_err(), "and then it is gone");
    }
}
