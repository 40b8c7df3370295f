//! One worker a core: a current-thread runtime with its own listeners and its own connections.
//! It never shares a connection, a pool or a buffer with another worker.

mod accept;
mod plan;

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use arc_swap::ArcSwap;
use tokio::{runtime, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    StartError,
    clock::{Drain, Patience, Ticker},
    connection::Protocols,
    door::{Door, Hall},
    handshakes::Handshakes,
    listen::{Bound, Listener},
    places::Places,
    pulse::Beat,
    streams::Streams,
    tls::Edge,
};
use crate::{
    config::Config,
    gateway::{Gateway, Shared},
    upstream::deadline::{Deadlines, TICK},
};

pub use plan::{OrganisationPlan, WorkerPlan};

/// A drain gives a connection that has said nothing yet this long: its first request may be on the
/// way, and few clients send it again.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    thread: JoinHandle<()>,
    beat: Beat,
    connections: TaskTracker,
    over: CancellationToken,
    hall: Arc<ArcSwap<Hall>>,
    deadlines: Arc<Deadlines>,
}

struct Inside {
    hall: Arc<ArcSwap<Hall>>,
    deadlines: Arc<Deadlines>,
    /// The end of a drain.
    cut: CancellationToken,
    ticker: Arc<Ticker>,
    places: Arc<Places>,
    edge: Option<Arc<Edge>>,
    handshakes: Arc<Handshakes>,
    beat: Beat,
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

    /// Requests that come from now on go by this; of each organisation, what is shared and which hosts lead
    /// there. Those that are under way end as they began.
    pub fn renew(&self, all: &[(Arc<Shared>, Vec<String>)]) {
        let hall = self.hall.load();
        let renewed = |(it, (shared, hosts)): (&Arc<Gateway>, &(Arc<Shared>, Vec<String>))| {
            let it = Gateway { shared: Arc::clone(shared), ..Gateway::clone(it) };
            (hosts.clone(), Arc::new(it))
        };
        let gateways: Vec<_> = hall.gateways().zip(all).map(renewed).collect();
        let protocols = gateways.first().map_or_else(
            || Arc::clone(&hall.protocols),
            |(_, first)| protocols(&first.shared.config, &self.connections, &self.deadlines),
        );
        self.hall.store(Arc::new(Hall::new(&gateways, protocols)));
    }

    /// Told by whether it moves.
    pub fn beat(&self) -> Beat {
        self.beat.clone()
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
        let beat = inside.beat.clone();
        let ended = over.clone();
        let (hall, deadlines) = (Arc::clone(&inside.hall), Arc::clone(&inside.deadlines));
        let logs: Vec<_> = hall.load().gateways().map(|it| Arc::clone(&it.log)).collect();
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
        Ok(Self { thread, beat, connections, over, hall, deadlines })
    }
}

impl Inside {
    async fn run(self, listeners: Vec<(usize, Listener)>, over: CancellationToken) {
        let inside = Arc::new(self);
        for (org, listener) in listeners {
            let Some(door) = Door::new(&inside.hall, org) else { continue };
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

    /// Tells the connections how far the drain has come. Does not end.
    async fn follow_drain(&self) {
        let cut = async {
            self.cut.cancelled().await;
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
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.beat.beat();
            let hall = self.hall.load();
            if let Some(first) = hall.gateways().next() {
                let config = &first.shared.config;
                self.ticker.tick(Patience::new(&config.access, config.upstream.idle_timeout));
            }
            self.deadlines.tick();
            for gateway in hall.gateways() {
                gateway.desk.settle();
                gateway.log.flush();
                gateway.api.sweep();
                gateway.apps.sweep();
            }
        }
    }
}

/// How connections are served.
fn protocols(
    config: &Config,
    connections: &TaskTracker,
    deadlines: &Arc<Deadlines>,
) -> Arc<Protocols> {
    let idle = config.upstream.idle_timeout;
    let streams = Streams::new(connections.clone(), Arc::clone(deadlines), idle);
    Arc::new(Protocols::new(&config.access, streams))
}
