//! A connection after upstream's 101: bytes both ways, no HTTP.
//! It never opens without a 101, and never outlives a drain or ten silent minutes.

use std::{
    io::{self, Cursor},
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{
        AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, copy_bidirectional, join as join_halves,
        split,
    },
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Caller;
use crate::upstream::answer::{Answered, Body};

/// Without a byte either way for this long, a tunnel ends. Far longer than for answers: a `WebSocket`
/// may be silent for minutes, but a peer that is gone without a word must not keep its place.
const SILENCE: Duration = Duration::from_secs(600);

/// Joins the caller's connection with upstream's once both have switched. Keeps the connection's
/// place, which is `its`, to the end.
pub fn join(
    caller: OnUpgrade,
    answer: &mut Answered,
    tasks: &TaskTracker,
    cut: CancellationToken,
    its: Arc<Caller>,
) {
    debug_assert_eq!(answer.parts.status, StatusCode::SWITCHING_PROTOCOLS);
    let Body::Switched(upstream, said) = mem::replace(&mut answer.body, Body::Ended) else {
        return;
    };
    // hyper's graceful shutdown does not wait for tunnels: the tracker does (trap 3).
    tasks.spawn(async move {
        let both = async {
            let caller = caller.await?;
            let (read, write) = split(upstream);
            let upstream = join_halves(Cursor::new(said).chain(read), write);
            let moved = carry(TokioIo::new(caller), upstream).await;
            tracing::debug!(?moved, "tunnel ended");
            Ok::<(), hyper::Error>(())
        };
        if let Some(Err(error)) = cut.run_until_cancelled(both).await {
            tracing::debug!(%error, "tunnel did not open");
        }
        drop(its);
    });
}

/// Bytes both ways until both sides have ended, or neither says anything.
async fn carry<C, U>(caller: C, mut upstream: U) -> io::Result<(u64, u64)>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let newest = Arc::new(Mutex::new(Instant::now()));
    let mut caller = Watched { inner: caller, newest: Arc::clone(&newest) };
    let silent = async {
        loop {
            let end = *newest.lock().unwrap_or_else(PoisonError::into_inner) + SILENCE;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    };
    tokio::select! {
        moved = copy_bidirectional(&mut caller, &mut upstream) => moved,
        () = silent => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The caller's side, which every byte of a tunnel passes: when one last did.
struct Watched<S> {
    inner: S,
    newest: Arc<Mutex<Instant>>,
}

impl<S> Watched<S> {
    fn moved(&self) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if polled.is_ready() {
            self.moved();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if polled.is_ready() {
            self.moved();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_after_ten_silent_minutes_and_not_before() {
        let ((mut caller, ours), (theirs, mut upstream)) = (duplex(64), duplex(64));
        let begin = Instant::now();
        let talk = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(599)).await;
                upstream.write_all(b"ping").await.unwrap();
                caller.read_exact(&mut [0; 4]).await.unwrap();
            }
        };
        let (ended, ()) = tokio::join!(carry(ours, theirs), talk);
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed().as_secs(), 4 * SILENCE.as_secs() - 3);
    }
}
