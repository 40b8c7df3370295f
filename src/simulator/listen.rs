//! Accepts connections and serves HTTP/1.1 and HTTP/2 (prior knowledge) on them.
//! It must never leave a task behind that the tracker does not know.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{
    body::Incoming,
    rt::Executor,
    service::service_fn,
    {Request, Response},
};
use hyper_util::{rt::TokioTimer, server::conn::auto::Builder};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    body::Body,
    journey::{self, Hangup},
    storage,
    wire::{Ending, Wire},
    world::World,
};

/// Which host a listener plays.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// Login, API and apps.
    Genesys,
    /// The host of signed URLs.
    Storage,
}

/// The two stages of stopping.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    /// Take nothing new, finish what is open.
    pub(super) soon: CancellationToken,
    /// Cut.
    pub(super) now: CancellationToken,
}

/// Where a request is served: the connection's side of it.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) world: Arc<World>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: Stop,
    pub(super) ending: Ending,
}

/// hyper's own tasks, tracked like ours.
#[derive(Debug, Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Who finds no room to wait comes again after a second, and a thousand calls may come at once.
const BACKLOG: u32 = 4096;

/// Listens, from within a runtime.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // A large body waits here, not in the kernel: accepted sockets inherit it.
    socket2::SockRef::from(&socket).set_tcp_notsent_lowat(128 * 1024).ok();
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until it is time to stop.
pub(super) async fn accept(
    listener: TcpListener,
    role: Role,
    world: Arc<World>,
    tasks: TaskTracker,
    stop: Stop,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.soon.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: some must close before the next try.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let site = Site {
            world: Arc::clone(&world),
            tasks: tasks.clone(),
            stop: stop.clone(),
            ending: Ending::default(),
        };
        tasks.spawn(connection(stream, role, Arc::new(site)));
    }
}

/// Serves one connection to its end. How a client leaves is the client's business.
async fn connection(stream: TcpStream, role: Role, site: Arc<Site>) {
    // Without this, small answers wait for the peer's delayed acknowledgement.
    stream.set_nodelay(true).ok();
    if matches!(role, Role::Genesys) {
        site.world.with(|state, _| state.report.counters.connections += 1);
    }
    let mut builder = Builder::new(Tracked(site.tasks.clone()));
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let wire = Wire::new(stream, site.ending.clone());
    let stop = site.stop.clone();
    let service = service_fn(move |request| answer(role, Arc::clone(&site), request));
    let mut serving = pin!(builder.serve_connection_with_upgrades(wire, service));
    tokio::select! {
        _ended = serving.as_mut() => return,
        () = stop.soon.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ended = serving.as_mut() => {}
        () = stop.now.cancelled() => {}
    }
}

async fn answer(
    role: Role,
    site: Arc<Site>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Hangup> {
    match role {
        Role::Genesys => journey::carry(site, request).await,
        Role::Storage => Ok(storage::answer(&site.world, &request)),
    }
}
