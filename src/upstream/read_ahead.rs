//! What lies below TLS: the socket read in large pieces. rustls asks for 4 KiB at a time, so that a
//! record of 16 KiB would cost five system calls, and one more to learn that there is no more.
//! It never reads before it is asked, and an idle connection never holds a buffer.

use std::{
    cell::RefCell,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Two TLS records at their largest are 33 KiB; an answer of 16 KiB with its head is one and a bit.
const BLOCK: usize = 32 * 1024;
/// Blocks that a worker keeps for its next read. Most reads empty theirs at once.
const MAX_SPARE: usize = 8;

thread_local! {
    /// A worker is a thread, so this is a worker's.
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn take() -> Box<[u8]> {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| vec![0; BLOCK].into_boxed_slice())
}

fn give_back(block: Box<[u8]>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MAX_SPARE {
            spare.push(block);
        }
    });
}

/// `S`, read a block at a time; written as it is.
pub struct ReadAhead<S> {
    inner: S,
    /// Read and not asked for yet. `None` between reads that were emptied.
    ahead: Option<Ahead>,
}

struct Ahead {
    block: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<S> ReadAhead<S> {
    /// Nothing is read yet.
    pub fn new(inner: S) -> Self {
        Self { inner, ahead: None }
    }
}

impl<S: fmt::Debug> fmt::Debug for ReadAhead<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Ahead {
    fn rest(&self) -> &[u8] {
        self.block.get(self.start..self.end).unwrap_or_default()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut ahead = match this.ahead.take() {
            Some(ahead) => ahead,
            None => match ready!(read(&mut this.inner, cx)) {
                Ok(Some(ahead)) => ahead,
                Ok(None) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        let wanted = ahead.rest().len().min(buf.remaining());
        buf.put_slice(ahead.rest().get(..wanted).unwrap_or_default());
        ahead.start += wanted;
        if ahead.rest().is_empty() {
            give_back(ahead.block);
        } else {
            this.ahead = Some(ahead);
        }
        Poll::Ready(Ok(()))
    }
}

/// A block of what there is, or `None` at the end.
fn read<S: AsyncRead + Unpin>(
    inner: &mut S,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<Ahead>>> {
    let mut block = take();
    let mut room = ReadBuf::new(&mut block);
    let polled = Pin::new(inner).poll_read(cx, &mut room);
    let end = room.filled().len();
    match polled {
        Poll::Ready(Ok(())) if end > 0 => Poll::Ready(Ok(Some(Ahead { block, start: 0, end }))),
        nothing => {
            give_back(block);
            nothing.map_ok(|()| None)
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::upstream::tests::Trust;

    /// A socket, and how often it was asked for bytes and had some.
    struct Counted {
        socket: DuplexStream,
        reads: usize,
        writes: usize,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            let polled = Pin::new(&mut this.socket).poll_read(cx, buf);
            this.reads += usize::from(polled.is_ready());
            polled
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            this.writes += 1;
            Pin::new(&mut this.socket).poll_write(cx, bytes)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            pieces: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            this.writes += 1;
            Pin::new(&mut this.socket).poll_write_vectored(cx, pieces)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().socket).poll_flush(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn an_answer_of_16_kib_over_tls_costs_one_read_and_an_idle_connection_holds_nothing() {
        let trust = Trust::new();
        let (near, far) = duplex(1 << 20);
        let counted = Counted { socket: near, reads: 0, writes: 0 };
        let (client, server) =
            tokio::join!(trust.connect(ReadAhead::new(counted)), trust.accept(far));
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        for _ in 0..3 {
            let before = client.get_ref().0.inner.reads;
            let answer = [7; 16 * 1024];
            server.write_all(&answer).await.unwrap();
            server.flush().await.unwrap();
            let mut got = vec![0; answer.len()];
            client.read_exact(&mut got).await.unwrap();
            assert_eq!(got, answer);
            assert_eq!(client.get_ref().0.inner.reads - before, 1);
            // Asked for more, as before each use of an idle connection.
            tokio::select! {
                biased;
                more = client.read(&mut got) => panic!("{more:?}"),
                () = std::future::ready(()) => {}
            }
            assert!(client.get_ref().0.ahead.is_none());
        }
        let before = client.get_ref().0.inner.writes;
        let pieces = [io::IoSlice::new(b"head"), io::IoSlice::new(b"body")];
        assert_eq!(client.write_vectored(&pieces).await.unwrap(), 8);
        client.flush().await.unwrap();
        assert_eq!(client.get_ref().0.inner.writes - before, 1, "one record, one write");
    }

    #[tokio::test]
    async fn every_byte_arrives_once_and_in_order_then_the_end() {
        for seed in 0..50 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let sent: Vec<u8> = (0..200_000).map(|_| dice.u8(..)).collect();
            let (near, mut far) = duplex(dice.usize(1..100_000));
            let mut near = ReadAhead::new(near);
            let write = async {
                far.write_all(&sent).await.unwrap();
                drop(far);
            };
            let read = async {
                let mut got = Vec::new();
                loop {
                    let mut piece = vec![0; dice.usize(1..50_000)];
                    let length = near.read(&mut piece).await.unwrap();
                    if length == 0 {
                        return got;
                    }
                    got.extend_from_slice(&piece[..length]);
                }
            };
            let ((), got) = tokio::join!(write, read);
            assert!(got == sent, "seed {seed}");
            assert!(near.ahead.is_none());
        }
    }

    #[tokio::test]
    async fn a_worker_keeps_few_blocks_however_many_connections_it_has() {
        let mut peers = Vec::new();
        for _ in 0..100 {
            let (near, mut far) = duplex(BLOCK);
            far.write_all(b"hello").await.unwrap();
            let mut near = ReadAhead::new(near);
            assert_eq!(near.read(&mut [0; 1]).await.unwrap(), 1);
            assert!(near.ahead.is_some(), "what was not asked for yet is kept");
            peers.push((near, far));
        }
        for (near, _) in &mut peers {
            near.read_exact(&mut [0; 4]).await.unwrap();
            assert!(near.ahead.is_none());
        }
        assert_eq!(SPARE.with_borrow(Vec::len), MAX_SPARE);
    }
}
