//! One caller's connection, from accept to close.
//! It never outlives what its clock allows, and never ends in mid-answer on a drain.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OwnedSemaphorePermit,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    clock::{Connection, Ticker},
    wire::Wire,
};
use crate::{
    config::Access,
    decide::framing::Limits,
    gateway::{
        Caller, Gateway,
        interim::Interim,
        respond::{AnswerBody, Cut},
    },
};

/// A drain gives a connection that has said nothing yet this long: its first request may be on the
/// way, and few clients send it again.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// Where hyper spawns HTTP/2 streams: tracked, so that a drain ends after their last lines.
#[derive(Debug, Clone)]
pub struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// hyper's server settings, made once a worker.
pub fn builder(access: &Access, tasks: TaskTracker) -> Builder<Tracked> {
    let mut builder = Builder::new(Tracked(tasks));
    builder
        .http1()
        // The clock's sweeper does it, without a timer per request.
        .header_read_timeout(None)
        .max_headers(access.max_headers)
        // Larger than what the framing lets through, so that it is never hyper that refuses.
        .max_buf_size(access.max_header_bytes.max(64 * 1024) + 16 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(200)
        .max_header_list_size(u32::try_from(access.max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        // What a caller may send before anybody reads it: bodies wait here for their turn.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024)
        .keep_alive_interval(access.keep_alive)
        .keep_alive_timeout(access.header_timeout);
    builder
}

/// Serves one connection to its end. `draining` asks for that end after the current answers,
/// `cut` for it at once. `place` is free again when a tunnel that grew out of it has ended, too.
pub async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    gateway: Arc<Gateway>,
    builder: Arc<Builder<Tracked>>,
    ticker: Arc<Ticker>,
    draining: CancellationToken,
    place: OwnedSemaphorePermit,
) {
    let access = &gateway.shared.config.access;
    let limits = Limits { head_bytes: access.max_header_bytes, fields: access.max_headers };
    let interim = Arc::new(Interim::default());
    let connection = ticker.connection(Arc::clone(&interim));
    let wire = Wire::new(stream, limits, Arc::clone(&connection));
    let caller = Caller { interim: Arc::clone(&interim), place: Arc::new(place) };
    let cut = gateway.shared.cut.clone();
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request: Request<Incoming>| {
            let active = Active::new(Arc::clone(&connection));
            let (gateway, caller) = (Arc::clone(&gateway), caller.clone());
            let connection = Arc::clone(&connection);
            async move {
                let answer = gateway.answer(request, &caller).await;
                connection.answer(answer.status());
                Ok::<Response<Counted>, Infallible>(answer.map(|body| Counted { body, active }))
            }
        })
    };
    let served = builder.serve_connection_with_upgrades(TokioIo::new(wire), service);
    let mut served = std::pin::pin!(served);
    let mut told = false;
    let mut leave = std::pin::pin!(async {
        draining.cancelled().await;
        if !connection.clock.begun() {
            tokio::time::sleep(FIRST_WORD).await;
        }
    });
    loop {
        tokio::select! {
            biased;
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "connection ended");
                }
                return;
            }
            // Woken to write an interim answer, or because the clock has run out.
            () = interim.written.notified() => {
                if connection.clock.expired() {
                    return;
                }
            }
            () = leave.as_mut(), if !told => {
                told = true;
                served.as_mut().graceful_shutdown();
            }
            () = cut.cancelled() => return,
        }
    }
}

impl Connection {
    /// hyper is about to get a final answer.
    fn answer(&self, status: StatusCode) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.switched.store(true, Ordering::Relaxed);
        }
        // Behind what is still unwritten hyper will put this answer's head at once: an interim
        // answer would come after it, into the body.
        if !self.flushed.load(Ordering::Relaxed) {
            drop(self.interim.take());
        }
    }
}

/// A request under way, until its answer's last byte.
struct Active(Arc<Connection>);

impl Active {
    fn new(connection: Arc<Connection>) -> Self {
        connection.begun.fetch_add(1, Ordering::Relaxed);
        connection.clock.begin();
        Self(connection)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.clock.end();
    }
}

struct Counted {
    body: AnswerBody,
    #[expect(dead_code, reason = "its drop is what counts")]
    active: Active,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
