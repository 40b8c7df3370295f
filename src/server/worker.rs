//! One worker a core: a current-thread runtime with its own listeners and its own connections.
//! It never shares a connection, a pool or a buffer with another worker.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    StartError,
    clock::{Drain, Patience, Ticker},
    connection::{self, Protocols},
    listen::{Bound, Listener},
    places::{Places, Seat},
    streams::Streams,
    tls::{self, Edge},
};
use crate::{
    config::Origin,
    gateway::{Caller, Gateway, Place, Shared, admit::Desk},
    telemetry::{access_log::AccessLog, output::Output, seldom::Seldom},
    upstream::{
        connect::Connector,
        deadline::{Deadlines, TICK},
        pool::{Pool, Warm},
    },
};

/// After an accept that failed for want of descriptors or memory: give them time to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Of all workers and listeners: they all want for the same.
static CANNOT_ACCEPT: Seldom = Seldom::new();

/// A drain gives a connection that has said nothing yet this long: its first request may be on the
/// way, and few clients send it again.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// What every worker is made from.
#[derive(Clone)]
pub struct WorkerPlan {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Trust towards upstream.
    pub tls: ClientConfig,
    /// What TCP listeners show; `None`: they speak plain text.
    pub edge: Option<Arc<Edge>>,
    /// Connections to the API that are kept ready.
    pub warm: Warm,
    /// Where access lines go, if anywhere.
    pub log: Option<Output>,
    /// The beginning of a drain.
    pub stop_accepting: CancellationToken,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    thread: JoinHandle<()>,
    connections: TaskTracker,
    over: CancellationToken,
}

struct Inside {
    gateway: Arc<Gateway>,
    protocols: Arc<Protocols>,
    ticker: Arc<Ticker>,
    places: Arc<Places>,
    edge: Option<Arc<Edge>>,
    connections: TaskTracker,
    stop_accepting: CancellationToken,
}

impl Worker {
    /// One a core that this process may use.
    pub fn start_all(plan: &WorkerPlan, bound: Bound) -> Result<Vec<Self>, StartError> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let places = Places::new(&plan.shared.config.access, Arc::clone(&plan.shared.metrics));
        let mut sets = Vec::with_capacity(count);
        for _ in 1..count {
            sets.push(bound.duplicate()?);
        }
        sets.push(bound.into_inner());
        sets.into_iter()
            .enumerate()
            .map(|(number, listeners)| {
                Self::start(plan.clone(), number, listeners, Arc::clone(&places))
            })
            .collect()
    }

    /// Resolves when no connection is open.
    pub async fn idle(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    /// Ends the worker; its connections were drained or cut.
    pub fn join(self) {
        self.over.cancel();
        if self.thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }

    fn start(
        plan: WorkerPlan,
        number: usize,
        listeners: Vec<Listener>,
        places: Arc<Places>,
    ) -> Result<Self, StartError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = TaskTracker::new();
        let over = CancellationToken::new();
        let inside = plan.build(places, connections.clone())?;
        let ended = over.clone();
        let log = Arc::clone(&inside.gateway.log);
        let thread =
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                runtime.block_on(inside.run(listeners, ended));
                // Not waited for: a blocking write to a replay file must not delay the end.
                runtime.shutdown_background();
                // Only now: tasks that went with the runtime wrote their lines as they were dropped.
                log.flush();
            })?;
        Ok(Self { thread, connections, over })
    }
}

impl WorkerPlan {
    fn build(self, places: Arc<Places>, connections: TaskTracker) -> Result<Inside, StartError> {
        let upstream = &self.shared.config.upstream;
        let connector = Connector::new(
            &self.tls,
            upstream.http2,
            upstream.proxy.as_ref(),
            upstream.connect_timeout,
        );
        // Not the callers' tracker: an idle upstream connection must not hold up a drain.
        let links = TaskTracker::new();
        let pool = |origin: &Origin, warm| {
            Pool::new(origin.clone(), connector.clone(), upstream.http2, warm, links.clone())
        };
        let (api, apps) = (pool(&upstream.api, self.warm)?, pool(&upstream.apps, Warm::default())?);
        let deadlines = Arc::<Deadlines>::default();
        let streams =
            Streams::new(connections.clone(), Arc::clone(&deadlines), upstream.idle_timeout);
        let protocols = Arc::new(Protocols::new(&self.shared.config.access, streams));
        let names = self.shared.callers.names();
        let log = AccessLog::new(self.shared.config.telemetry.format, names, self.log);
        Ok(Inside {
            gateway: Arc::new(Gateway {
                desk: Desk::new(&self.shared.admission),
                shared: self.shared,
                api,
                apps,
                log,
                deadlines,
                tasks: connections.clone(),
            }),
            protocols,
            ticker: Arc::default(),
            places,
            edge: self.edge,
            connections,
            stop_accepting: self.stop_accepting,
        })
    }
}

/// When a drain no longer waits for a first word.
async fn last_call(stop_accepting: CancellationToken) {
    stop_accepting.cancelled().await;
    sleep(FIRST_WORD).await;
}

impl Inside {
    async fn run(self, listeners: Vec<Listener>, over: CancellationToken) {
        let inside = Arc::new(self);
        for listener in listeners {
            let accept = Arc::clone(&inside).accept(listener);
            // Tracked with its connections: a drain waits for what it still lets in.
            inside.connections.spawn(async move {
                if let Err(error) = accept.await {
                    tracing::error!(%error, "a listener failed");
                }
            });
        }
        tokio::select! {
            () = inside.sweep() => {}
            () = inside.follow_drain() => {}
            () = over.cancelled() => {}
        }
    }

    async fn accept(self: Arc<Self>, listener: Listener) -> io::Result<()> {
        let callers = &self.gateway.shared.callers;
        match listener {
            Listener::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                while let Some(accepted) = self.next(listener.accept()).await {
                    let Ok((stream, peer)) = accepted else { continue };
                    let Some(seat) = self.places.seat(peer.ip()) else { continue };
                    // A refusal costs latency, not correctness.
                    let _ = stream.set_nodelay(true);
                    let Some(place) = self.place(seat).await else { continue };
                    self.begin(stream, peer, place);
                }
                // Who has connected already is not sent away: the kernel said yes in our name.
                let listener = listener.into_std()?;
                while let Ok((stream, peer)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let Some(seat) = self.places.seat(peer.ip()) else { continue };
                    let Some(place) = seat.place_now() else { continue };
                    self.begin(TcpStream::from_std(stream)?, peer, place);
                }
            }
            Listener::Unix(listener) => {
                let listener = UnixListener::from_std(listener)?;
                while let Some(accepted) = self.next(listener.accept()).await {
                    let Ok((stream, _)) = accepted else { continue };
                    let user = callers.on(&stream);
                    let Some(place) = self.place(self.places.anywhere()).await else { continue };
                    self.serve(stream, Caller::new(place, user));
                }
                let listener = listener.into_std()?;
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let stream = UnixStream::from_std(stream)?;
                    let user = callers.on(&stream);
                    let Some(place) = self.places.anywhere().place_now() else { continue };
                    self.serve(stream, Caller::new(place, user));
                }
            }
        }
        Ok(())
    }

    /// The next connection, or `None` when the drain begins.
    async fn next<T>(&self, accept: impl Future<Output = io::Result<T>>) -> Option<io::Result<T>> {
        let accepted = self.stop_accepting.run_until_cancelled(accept).await?;
        if let Err(error) = &accepted {
            let caller_left = matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
            );
            if !caller_left {
                if let Some(left_out) = CANNOT_ACCEPT.say(Instant::now()) {
                    let what = "cannot accept: waiting for descriptors or memory";
                    tracing::warn!(%error, left_out, "{what}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
        Some(accepted)
    }

    /// The excess over `access.max_connections` waits here, and further ones in the kernel's backlog.
    async fn place(&self, seat: Seat) -> Option<Place> {
        self.stop_accepting.run_until_cancelled(seat.place()).await?
    }

    /// Serves a TCP connection in its own task, its handshake included.
    fn begin(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let principal = self.gateway.shared.callers.at(peer.ip());
        let Some(edge) = &self.edge else {
            self.serve(stream, Caller::new(place, principal));
            return;
        };
        let (edge, gateway) = (Arc::clone(edge), Arc::clone(&self.gateway));
        let (protocols, ticker) = (Arc::clone(&self.protocols), Arc::clone(&self.ticker));
        let last_call = last_call(self.stop_accepting.clone());
        self.connections.spawn(async move {
            let shared = &gateway.shared;
            let handshake = timeout(shared.config.access.header_timeout, edge.accept(stream));
            let stream = tokio::select! {
                ended = handshake => match ended {
                    Ok(Ok(stream)) => stream,
                    ended @ (Ok(Err(_)) | Err(_)) => {
                        shared.metrics.handshake_failed();
                        tracing::debug!(%peer, ?ended, "no TLS handshake");
                        return;
                    }
                },
                () = last_call => return,
            };
            let certified = shared.callers.certified(&tls::names(&stream));
            let caller = Caller::new(place, certified.unwrap_or(principal));
            connection::serve(stream, gateway, protocols, ticker, caller).await;
        });
    }

    fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, caller: Caller) {
        let serve = connection::serve(
            stream,
            Arc::clone(&self.gateway),
            Arc::clone(&self.protocols),
            Arc::clone(&self.ticker),
            caller,
        );
        self.connections.spawn(serve);
    }

    /// Tells the connections how far the drain has come. Does not end.
    async fn follow_drain(&self) {
        let cut = async {
            self.gateway.shared.cut.cancelled().await;
            self.ticker.drain(Drain::Cut);
        };
        let leave = async {
            self.stop_accepting.cancelled().await;
            self.ticker.drain(Drain::Begun);
            sleep(FIRST_WORD).await;
            self.ticker.drain(Drain::All);
        };
        tokio::join!(cut, leave, std::future::pending::<()>());
    }

    /// One coarse timer for all that need not be exact.
    async fn sweep(&self) {
        let config = &self.gateway.shared.config;
        let patience = Patience::new(&config.access, config.upstream.idle_timeout);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.ticker.tick(patience);
            self.gateway.deadlines.tick();
            self.gateway.desk.settle();
            self.gateway.log.flush();
            self.gateway.api.sweep();
            self.gateway.apps.sweep();
        }
    }
}
