//! An HTTP/2 connection and the requests in flight on it.
//! It never takes more of them than its peer allows: the next one would wait inside, unseen, while
//! another connection could be dialled.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{Dial, Lease, Life};
use crate::upstream::{connect::ConnectError, half_heard::HalfHeard, replay::Attempt};

/// Requests in flight on one connection before a second one is opened, whatever the peer allows:
/// they share one congestion window.
pub(super) const MAX_STREAMS: usize = 100;
/// What upstream may send of one answer before its caller has read any.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same for all answers. Callers that have stopped reading cannot use it up: there are
/// `MAX_STREAMS` of them at most, and each keeps one `STREAM_WINDOW`.
#[expect(clippy::cast_possible_truncation, reason = "100 MiB")]
const CONNECTION_WINDOW: u32 = (MAX_STREAMS as u32 + 1) * STREAM_WINDOW;

/// A connection in the pool.
#[derive(Debug)]
pub(super) struct Shared {
    sender: http2::SendRequest<Attempt>,
    pub(super) life: Life,
    streams: Arc<Streams>,
    /// Since when no request was seen on it, as of the last sweep.
    pub(super) idle_since: Instant,
    /// It has just been dialled for somebody who waits.
    fresh: bool,
    /// A request took it since the last sweep.
    taken: bool,
    /// A request ever did.
    pub(super) served: bool,
}

/// What a connection and its requests know of one another.
#[derive(Debug)]
struct Streams {
    in_flight: AtomicUsize,
    /// As the peer's SETTINGS say, `MAX_STREAMS` at most.
    most: AtomicUsize,
    /// Wakes the connection's task, which reads them.
    driver: OnceLock<Waker>,
    /// Told when a full connection has room again.
    room: Arc<Notify>,
}

/// One request in flight on a shared connection.
#[derive(Debug)]
pub struct StreamCount {
    streams: Arc<Streams>,
    /// The connection was idle or carried requests before.
    pub reused: bool,
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        let before = self.streams.in_flight.fetch_sub(1, Ordering::Relaxed);
        if before >= self.streams.most.load(Ordering::Relaxed) {
            self.streams.room.notify_one();
        }
    }
}

impl Shared {
    /// The HTTP/2 handshake over `stream`; the connection runs as one of `tasks`, and `room` is
    /// told when it was full and no longer is.
    pub(super) async fn handshake<S>(
        stream: S,
        life: Life,
        room: &Arc<Notify>,
        tasks: &TaskTracker,
    ) -> Result<Self, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(TokioIo::new(HalfHeard::new(stream)))
            .await
            .map_err(|error| handshake_failed(&error))?;
        let streams = Arc::new(Streams {
            in_flight: AtomicUsize::new(0),
            most: AtomicUsize::new(MAX_STREAMS),
            driver: OnceLock::new(),
            room: Arc::clone(room),
        });
        let counted = Arc::clone(&streams);
        tasks.spawn(async move {
            let mut connection = pin!(connection);
            let ended = poll_fn(|cx| {
                counted.driver.get_or_init(|| cx.waker().clone());
                let polled = connection.as_mut().poll(cx);
                // One is allowed whatever the peer says: without it nothing would ever be asked.
                let most = connection.current_max_send_streams().clamp(1, MAX_STREAMS);
                counted.most.store(most, Ordering::Relaxed);
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Self {
            sender,
            life,
            streams,
            idle_since: life.born,
            fresh: true,
            taken: false,
            served: false,
        })
    }

    /// Upstream said goodbye, or is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Another request may go at once.
    pub(super) fn has_room(&self) -> bool {
        let Streams { in_flight, most, .. } = &*self.streams;
        in_flight.load(Ordering::Relaxed) < most.load(Ordering::Relaxed)
    }

    /// A place for one request.
    pub(super) fn lease<C: Dial>(&mut self) -> Lease<C> {
        self.streams.in_flight.fetch_add(1, Ordering::Relaxed);
        let stream = StreamCount { streams: Arc::clone(&self.streams), reused: !self.fresh };
        (self.fresh, self.taken, self.served) = (false, true, true);
        Lease::Http2 { sender: self.sender.clone(), stream }
    }

    /// Once a sweep: whether it is idle, and what its peer allows now.
    pub(super) fn look(&mut self, now: Instant) {
        if self.taken || self.streams.in_flight.load(Ordering::Relaxed) > 0 {
            self.idle_since = now;
        }
        (self.fresh, self.taken) = (false, false);
        // SETTINGS and GOAWAY reach the connection's I/O, and the rest of it with the next request:
        // this is sooner.
        if let Some(driver) = self.streams.driver.get() {
            driver.wake_by_ref();
        }
    }
}

fn handshake_failed(error: &hyper::Error) -> ConnectError {
    ConnectError::Http(error.to_string())
}
