//! One worker a core: a current-thread runtime with its own listeners and its own connections.
//! It never shares a connection, a pool or a buffer with another worker.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    StartError,
    clock::{Drain, Patience, Ticker},
    connection::{self, Protocols},
    door::Door,
    handshakes::Handshakes,
    listen::{Bound, Listener},
    organisation::Organisation,
    places::{Places, Seat},
    streams::Streams,
    tls::{self, Edge},
};
use crate::{
    config::Origin,
    gateway::{Caller, Gateway, Place, Shared, admit::Desk, identify::Connected},
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
    /// The first one, then the others.
    pub organisations: Vec<OrganisationPlan>,
    /// What TCP listeners show; `None`: they speak plain text.
    pub edge: Option<Arc<Edge>>,
    /// Where access lines go, if anywhere.
    pub log: Option<Output>,
    /// The beginning of a drain.
    pub stop_accepting: CancellationToken,
}

/// What every worker knows of an organisation.
#[derive(Clone)]
pub struct OrganisationPlan {
    shared: Arc<Shared>,
    /// Trust towards upstream.
    tls: ClientConfig,
    /// What `Host` leads to it on a shared listener.
    hosts: Vec<String>,
    /// Connections to the API that are kept ready.
    warm: Warm,
}

impl OrganisationPlan {
    /// Of one that was started.
    pub fn of(org: &Organisation) -> Self {
        let Organisation { shared, tls, hosts, .. } = org;
        Self {
            shared: Arc::clone(shared),
            tls: tls.clone(),
            hosts: hosts.clone(),
            warm: Warm::new(shared.config.upstream.warm_connections),
        }
    }
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    thread: JoinHandle<()>,
    connections: TaskTracker,
    over: CancellationToken,
}

struct Inside {
    /// The first one: what is the same for all is asked of it.
    first: Arc<Gateway>,
    /// Of each organisation, the first one's leading to all.
    doors: Vec<Door>,
    deadlines: Arc<Deadlines>,
    protocols: Arc<Protocols>,
    ticker: Arc<Ticker>,
    places: Arc<Places>,
    edge: Option<Arc<Edge>>,
    handshakes: Arc<Handshakes>,
    connections: TaskTracker,
    stop_accepting: CancellationToken,
}

impl Worker {
    /// One a core that this process may use.
    pub fn start_all(plan: &WorkerPlan, bound: Bound) -> Result<Vec<Self>, StartError> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let first = plan.organisations.first().ok_or(StartError::NoClient)?;
        let shared = &first.shared;
        let places = Places::new(&shared.config.access, Arc::clone(&shared.metrics));
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
        listeners: Vec<(usize, Listener)>,
        places: Arc<Places>,
    ) -> Result<Self, StartError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = TaskTracker::new();
        let over = CancellationToken::new();
        let inside = plan.build(places, connections.clone())?;
        let ended = over.clone();
        let logs: Vec<_> = inside.gateways().map(|gateway| Arc::clone(&gateway.log)).collect();
        let thread =
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                runtime.block_on(inside.run(listeners, ended));
                // Not waited for: a blocking write to a replay file must not delay the end.
                runtime.shutdown_background();
                // Only now: tasks that went with the runtime wrote their lines as they were dropped.
                for log in &logs {
                    log.flush();
                }
            })?;
        Ok(Self { thread, connections, over })
    }
}

impl WorkerPlan {
    fn build(self, places: Arc<Places>, connections: TaskTracker) -> Result<Inside, StartError> {
        let deadlines = Arc::<Deadlines>::default();
        let mut gateways = Vec::with_capacity(self.organisations.len());
        for org in &self.organisations {
            let log = self.log.clone();
            gateways.push(org.gateway(log, Arc::clone(&deadlines), connections.clone())?);
        }
        let mut all = gateways.iter().zip(&self.organisations);
        let (first, _) = all.next().ok_or(StartError::NoClient)?;
        let others: Vec<_> = all.map(|(it, org)| (org.hosts.clone(), Arc::clone(it))).collect();
        let first = Arc::clone(first);
        let mut doors = vec![Door::shared(Arc::clone(&first), others)];
        doors.extend(gateways.into_iter().skip(1).map(Door::of));
        let config = &first.shared.config;
        let streams =
            Streams::new(connections.clone(), Arc::clone(&deadlines), config.upstream.idle_timeout);
        let protocols = Arc::new(Protocols::new(&config.access, streams));
        Ok(Inside {
            first,
            doors,
            deadlines,
            protocols,
            ticker: Arc::default(),
            places,
            edge: self.edge,
            handshakes: Arc::default(),
            connections,
            stop_accepting: self.stop_accepting,
        })
    }
}

impl OrganisationPlan {
    /// A worker's own part of it.
    fn gateway(
        &self,
        log: Option<Output>,
        deadlines: Arc<Deadlines>,
        tasks: TaskTracker,
    ) -> Result<Arc<Gateway>, StartError> {
        let config = &self.shared.config;
        let upstream = &config.upstream;
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
        let warm = self.warm.clone();
        let (api, apps) = (pool(&upstream.api, warm)?, pool(&upstream.apps, Warm::default())?);
        let names = self.shared.callers.names();
        let org = self.shared.name.clone();
        Ok(Arc::new(Gateway {
            desk: Desk::new(&self.shared.admission),
            shared: Arc::clone(&self.shared),
            api,
            apps,
            log: AccessLog::new(
                config.telemetry.format,
                org,
                names,
                (log, self.shared.audit.clone()),
            ),
            deadlines,
            tasks,
        }))
    }
}

/// When a drain no longer waits for a first word.
async fn last_call(stop_accepting: CancellationToken) {
    stop_accepting.cancelled().await;
    sleep(FIRST_WORD).await;
}

impl Inside {
    fn gateways(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.doors.iter().map(|door| &door.owner)
    }

    async fn run(self, listeners: Vec<(usize, Listener)>, over: CancellationToken) {
        let inside = Arc::new(self);
        for (org, listener) in listeners {
            let Some(door) = inside.doors.get(org).cloned() else { continue };
            let accept = Arc::clone(&inside).accept(listener, door);
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

    async fn accept(self: Arc<Self>, listener: Listener, door: Door) -> io::Result<()> {
        match listener {
            Listener::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                while let Some(accepted) = self.next(listener.accept()).await {
                    let Ok((stream, peer)) = accepted else { continue };
                    let Some(seat) = self.places.seat(peer.ip()) else { continue };
                    // A refusal costs latency, not correctness.
                    let _ = stream.set_nodelay(true);
                    let Some(place) = self.place(seat).await else { continue };
                    self.begin(stream, peer, place, &door);
                }
                // Who has connected already is not sent away: the kernel said yes in our name.
                let listener = listener.into_std()?;
                while let Ok((stream, peer)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let Some(seat) = self.places.seat(peer.ip()) else { continue };
                    let Some(place) = seat.place_now() else { continue };
                    self.begin(TcpStream::from_std(stream)?, peer, place, &door);
                }
            }
            Listener::Unix(listener) => {
                let listener = UnixListener::from_std(listener)?;
                while let Some(accepted) = self.next(listener.accept()).await {
                    let Ok((stream, _)) = accepted else { continue };
                    let user = Connected::on(&stream);
                    let Some(place) = self.place(self.places.anywhere()).await else { continue };
                    self.serve(stream, Caller::new(place, user), &door);
                }
                let listener = listener.into_std()?;
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let stream = UnixStream::from_std(stream)?;
                    let user = Connected::on(&stream);
                    let Some(place) = self.places.anywhere().place_now() else { continue };
                    self.serve(stream, Caller::new(place, user), &door);
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
        tokio::select! {
            // First: who was accepted at the moment when the drain began, and finds room, is not sent away.
            biased;
            place = seat.place() => place,
            () = self.stop_accepting.cancelled() => None,
        }
    }

    /// Serves a TCP connection in its own task, its handshake included.
    fn begin(&self, stream: TcpStream, peer: SocketAddr, place: Place, door: &Door) {
        let Some(edge) = &self.edge else {
            self.serve(stream, Caller::new(place, Connected::at(peer.ip())), door);
            return;
        };
        let (edge, door) = (Arc::clone(edge), door.clone());
        let line = self.handshakes.line(peer.ip());
        let (protocols, ticker) = (Arc::clone(&self.protocols), Arc::clone(&self.ticker));
        let last_call = last_call(self.stop_accepting.clone());
        self.connections.spawn(async move {
            let shared = &door.owner.shared;
            let patience = shared.config.access.header_timeout;
            let handshake = edge.accept(stream, patience, &line);
            let stream = tokio::select! {
                ended = handshake => match ended {
                    Ok(stream) => stream,
                    Err(none) => {
                        shared.metrics.handshake_failed();
                        none.tell(peer);
                        return;
                    }
                },
                () = last_call => return,
            };
            let connected = Connected::showing(peer.ip(), tls::names(&stream));
            connection::serve(stream, door, protocols, ticker, Caller::new(place, connected)).await;
        });
    }

    fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        caller: Caller,
        door: &Door,
    ) {
        let serve = connection::serve(
            stream,
            door.clone(),
            Arc::clone(&self.protocols),
            Arc::clone(&self.ticker),
            caller,
        );
        self.connections.spawn(serve);
    }

    /// Tells the connections how far the drain has come. Does not end.
    async fn follow_drain(&self) {
        let cut = async {
            self.first.shared.cut.cancelled().await;
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
        let config = &self.first.shared.config;
        let patience = Patience::new(&config.access, config.upstream.idle_timeout);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.ticker.tick(patience);
            self.deadlines.tick();
            for gateway in self.gateways() {
                gateway.desk.settle();
                gateway.log.flush();
                gateway.api.sweep();
                gateway.apps.sweep();
            }
        }
    }
}
