//! Health, metrics and status, on a listener of its own.
//! It never proxies, never shows a secret, and answers only those who name it as itself.

mod actions;
mod busy;
mod dashboard;
mod history;
mod key;
mod ready;
mod routes;
pub mod status;
mod survey;

use std::{
    convert::Infallible,
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Access,
    gateway::{Shared, guard::Guard},
    server::{StartError, inherited::Inherited, organisation::Common},
    telemetry::seldom::Seldom,
};
use history::History;
use routes::Answers;

/// Connections at once; more wait in the kernel's backlog.
const PLACES: usize = 64;
/// What a request's head may take. There is one request a connection: an idle one keeps no place.
const HEAD: Duration = Duration::from_secs(5);
/// What all of it may take, a reader that is slow included.
const WHOLE: Duration = Duration::from_secs(30);
/// After an accept that failed for want of descriptors or memory: give them time to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listener, bound before any worker serves: a taken port must not end a gateway at work.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    /// Port 0 resolved.
    pub address: SocketAddr,
}

impl Bound {
    /// Binds, or says why not.
    pub async fn new(address: SocketAddr, inherited: &mut Inherited) -> Result<Self, StartError> {
        let refused = |source| StartError::Listen { address: address.to_string(), source };
        let listener = match inherited.tcp(address) {
            Some(ours) => ours.set_nonblocking(true).and_then(|()| TcpListener::from_std(ours)),
            None => TcpListener::bind(address).await,
        };
        let listener = listener.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Serves until the gateway's `stop`. `draining`: it is not ready any longer; `end`: how it is asked to
    /// drain.
    pub fn serve(
        self,
        all: Arc<[Arc<Shared>]>,
        (draining, end): (CancellationToken, CancellationToken),
        common: &Common,
    ) -> Option<Admin> {
        let access = &all.first()?.config.access;
        let guard = of_admin(self.address, access);
        let (tasks, stop) = (common.tasks.clone(), common.stop.clone());
        let answers = Arc::new(Answers {
            guard,
            store: common.store.clone(),
            draining,
            end,
            errors: Arc::clone(&common.errors),
            history: Arc::new(History::new(all.len())),
            started: Instant::now(),
            key: all.first().and_then(|shared| shared.config.admin_key),
            refused: Arc::new(Seldom::new()),
            address: self.address,
            all,
        });
        let followed = Arc::clone(&answers);
        common.spawn(async move { followed.history.follow(&followed.all).await });
        let admin = Admin(Arc::new(ArcSwap::new(answers)));
        common.spawn(accept(self.listener, admin.clone(), tasks, stop));
        Some(admin)
    }
}

/// The listener at work.
#[derive(Clone)]
pub struct Admin(Arc<ArcSwap<Answers>>);

impl Admin {
    /// It shows these from now on, and goes by their configuration.
    pub fn renew(&self, all: Arc<[Arc<Shared>]>) {
        self.0.store(Arc::new(self.0.load().renewed(all)));
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("address", &self.0.load().address).finish_non_exhaustive()
    }
}

fn of_admin(address: SocketAddr, access: &Access) -> Guard {
    Guard::without_pages(&[address], &access.hosts, access)
}

async fn accept(
    listener: TcpListener,
    admin: Admin,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(PLACES));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept on the admin listener");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (answers, stop) = (admin.0.load_full(), stop.clone());
        let ends = Arc::new(AtomicBool::new(false));
        let (asked, told) = (Arc::clone(&answers), Arc::clone(&ends));
        let service = service_fn(move |request: Request<Incoming>| {
            let (asked, told) = (Arc::clone(&asked), Arc::clone(&told));
            async move {
                let answer = asked.to(peer, request).await;
                told.fetch_or(answer.ends, Ordering::Relaxed);
                Ok::<_, Infallible>(answer.response)
            }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            let served = tokio::time::timeout(WHOLE, served);
            if let Some(Ok(Err(error))) = stop.run_until_cancelled(served).await {
                tracing::debug!(%error, "admin connection ended");
            }
            // Whoever asked for the end has been told that it comes.
            if ends.load(Ordering::Relaxed) {
                answers.end.cancel();
            }
            drop(place);
        });
    }
}

fn metrics(all: &[Arc<Shared>]) -> Response<Full<Bytes>> {
    for shared in all {
        shared.tokens.all().for_each(|tokens| tokens.measure());
        shared.admission.measure(&shared.metrics);
        if let Some(saving) = &shared.saving {
            saving.measure(&shared.metrics);
        }
    }
    if let Some((shared, audit)) =
        all.first().and_then(|shared| Some((shared, shared.audit.as_ref()?)))
    {
        audit.measure(&shared.metrics);
    }
    if let Some(shared) = all.first() {
        shared.metrics.process.buffered(shared.memory.used());
    }
    // It is one page.
    let page = all.first().map(|shared| shared.metrics.render()).unwrap_or_default();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    content(200, kind, page)
}

fn text(status: u16, line: &str) -> Response<Full<Bytes>> {
    content(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

fn content(status: u16, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
