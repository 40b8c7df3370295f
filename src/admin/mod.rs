//! Health, on a listener of its own.
//! It never proxies, never shows a secret, and answers only those who name it as itself.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    gateway::{Shared, guard},
    server::StartError,
};

/// Serves until `stop`; tells where.
pub async fn serve(
    address: SocketAddr,
    shared: Arc<Shared>,
    draining: CancellationToken,
    tasks: &TaskTracker,
    runtime: &Handle,
    stop: CancellationToken,
) -> Result<SocketAddr, StartError> {
    let refused = |source| StartError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let hosts = guard::Hosts::new(&[bound], &shared.config.access.hosts);
    let connections = tasks.clone();
    tasks.spawn_on(
        async move {
            while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
                let Ok((stream, _)) = accepted else { continue };
                let (shared, draining) = (Arc::clone(&shared), draining.clone());
                let (hosts, stop) = (hosts.clone(), stop.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(request, &shared, &hosts, &draining);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    if let Some(Err(error)) = stop.run_until_cancelled(served).await {
                        tracing::debug!(%error, "admin connection ended");
                    }
                });
            }
        },
        runtime,
    );
    Ok(bound)
}

fn answer(
    request: Request<Incoming>,
    shared: &Shared,
    hosts: &guard::Hosts,
    draining: &CancellationToken,
) -> Response<Full<Bytes>> {
    let (parts, _) = request.into_parts();
    let max_fields = shared.config.access.max_headers;
    if let Err(failure) = guard::guard(&parts, hosts, max_fields) {
        return text(failure.facts().status, failure.facts().message);
    }
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return text(405, "only GET");
    }
    match parts.uri.path() {
        "/healthz" => text(200, "ok"),
        "/readyz" if draining.is_cancelled() => text(503, "draining"),
        "/readyz" if shared.tokens.expires_at().is_none() => text(503, "no valid token"),
        "/readyz" => text(200, "ready"),
        _ => text(404, "only /healthz and /readyz"),
    }
}

fn text(status: u16, line: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{line}\n"))));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
