//! One caller's connection, from accept to close.
//! It never outlives what its clock allows, and never ends in mid-answer on a drain.
//!
//! Between requests an HTTP/1 connection is parked: hyper's state and its buffers go, the socket
//! and its clock stay. Ten thousand idle callers are then a matter of sockets, not of buffers.

use std::{convert::Infallible, future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    answer_body::{Active, Counted},
    clock::{Connection, Order, Ticker},
    door::Door,
    streams::Streams,
    wire::{Speaks, Wire},
};
use crate::{
    config::Access,
    decide::framing::Limits,
    gateway::{Caller, Gateway},
};

/// hyper's server settings, made once a worker.
#[derive(Debug)]
pub struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
}

impl Protocols {
    /// HTTP/2 streams run as `streams`.
    pub fn new(access: &Access, streams: Streams) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // The clock's sweeper does it, without a timer per request.
            .header_read_timeout(None)
            // Nor does hyper look for callers that leave: the wire does.
            .half_close(true)
            .max_headers(access.max_headers)
            // Larger than what the framing lets through, so that it is never hyper that refuses.
            .max_buf_size(access.max_header_bytes.max(64 * 1024) + 16 * 1024);
        let mut http2 = http2::Builder::new(streams);
        http2
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
        Self { http1, http2 }
    }
}

/// Serves one connection to its end. The caller's place is free again when a tunnel that grew out
/// of it has ended, too.
pub async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    door: Door,
    ticker: Arc<Ticker>,
    caller: Caller,
) {
    let (limits, protocols) = {
        let (owner, hall) = (door.owner(), door.hall());
        let access = &owner.shared.config.access;
        let limits = Limits { head_bytes: access.max_header_bytes, fields: access.max_headers };
        (limits, Arc::clone(&hall.protocols))
    };
    let connection = ticker.connection(Arc::new(caller));
    let mut wire = Wire::new(stream, limits, Arc::clone(&connection));
    loop {
        let service = {
            let (door, connection) = (door.clone(), Arc::clone(&connection));
            service_fn(move |request| {
                let gateway = door.leads(&request);
                answer(request, gateway, Arc::clone(&connection))
            })
        };
        match first_words(&mut wire, &connection).await {
            Some(Speaks::Http1) => {
                let io = TokioIo::new(wire);
                let served = protocols.http1.serve_connection(io, service).with_upgrades();
                let Some(parked) = drive_http1(served, &connection).await else { return };
                wire = parked;
            }
            Some(Speaks::Http2) => {
                let served = protocols.http2.serve_connection(TokioIo::new(wire), service);
                return drive_http2(served, &connection).await;
            }
            None => return,
        }
    }
}

/// A block, where an `async fn` would copy the request once more.
fn answer(
    request: Request<Incoming>,
    gateway: Arc<Gateway>,
    connection: Arc<Connection>,
) -> impl Future<Output = Result<Response<Counted>, Infallible>> {
    // It counts from here, not from its future's first poll: hyper reads on before that.
    let (active, version) = (Active::new(connection), request.version());
    async move {
        let answer = gateway.answer(request, &active.0.caller).await;
        active.0.answer(answer.status());
        Ok(answer.map(|body| Counted::new(body, active, version)))
    }
}

/// Waits while the connection is silent; what it speaks once it is not, `None` at its end.
async fn first_words<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    connection: &Connection,
) -> Option<Speaks> {
    poll_fn(|cx| {
        connection.watch(cx);
        match connection.order_http1() {
            Order::Stay => wire.poll_first(cx).map(Result::ok),
            // A request that has arrived is answered, drain or not.
            Order::Leave => match wire.poll_first(cx) {
                Poll::Ready(first) => Poll::Ready(first.ok()),
                Poll::Pending => Poll::Ready(None),
            },
            Order::End => Poll::Ready(None),
        }
    })
    .await
}

type Http1<S, V> = http1::UpgradeableConnection<TokioIo<Wire<S>>, V>;

/// Serves until the connection ends, or is idle and may be parked.
async fn drive_http1<S, V>(served: Http1<S, V>, connection: &Connection) -> Option<Wire<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    V: hyper::service::HttpService<Incoming, ResBody = Counted, Error = Infallible>,
{
    // Boxed, so that a parked connection does not keep its room.
    let mut served = Box::pin(served);
    let mut leaving = false;
    let warm = connection.warm();
    let parked = poll_fn(|cx| {
        connection.watch(cx);
        loop {
            let before = connection.quiet_since();
            if let Poll::Ready(ended) = served.as_mut().poll(cx) {
                note(ended);
                return Poll::Ready(false);
            }
            match connection.order_http1() {
                Order::Stay if connection.may_park() => {
                    if before.is_some() && before == connection.quiet_since() {
                        return Poll::Ready(true);
                    }
                    // An answer has just ended: hyper looks once more whether it has read all of
                    // its request.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Order::Leave if !leaving => {
                    leaving = true;
                    served.as_mut().graceful_shutdown();
                }
                Order::Stay | Order::Leave => return Poll::Pending,
                Order::End => return Poll::Ready(false),
            }
        }
    })
    .await;
    drop(warm);
    if !parked {
        return None;
    }
    let parts = Pin::into_inner(served).into_parts()?;
    let mut wire = parts.io.into_inner();
    wire.rest(&parts.read_buf).then_some(wire)
}

async fn drive_http2<S, V>(
    served: http2::Connection<TokioIo<Wire<S>>, V, Streams>,
    connection: &Connection,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    V: hyper::service::HttpService<Incoming, ResBody = Counted, Error = Infallible>,
    V::Future: Send + 'static,
{
    let mut served = Box::pin(served);
    let mut leaving = false;
    poll_fn(|cx| {
        connection.watch(cx);
        loop {
            if let Poll::Ready(ended) = served.as_mut().poll(cx) {
                note(ended);
                return Poll::Ready(());
            }
            match connection.order() {
                Order::Leave if !leaving => {
                    leaving = true;
                    served.as_mut().graceful_shutdown();
                }
                Order::Stay | Order::Leave => return Poll::Pending,
                Order::End => return Poll::Ready(()),
            }
        }
    })
    .await;
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
