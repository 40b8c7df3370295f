//! One worker a core: a current-thread runtime with its own listeners and its own connections.
//! It never shares a connection, a pool or a buffer with another worker.

mod accept;
mod plan;

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{runtime, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    StartError,
    clock::{Drain, Patience, Ticker},
    connection::Protocols,
    door::Door,
    handshakes::Handshakes,
    listen::{Bound, Listener},
    places::Places,
    pulse::Beat,
    tls::Edge,
};
use crate::{
    gateway::Gateway,
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
        Ok(Self { thread, beat, connections, over })
    }
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
            self.beat.beat();
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
