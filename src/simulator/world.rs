//! The one organisation that the simulator plays: its state behind one short lock.
//! It must never hold the lock over a wait.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::Instant};

use super::{
    api,
    faults::{Faults, FaultsPatch},
    in_force::InForce,
    jwt::Signer,
    limits::Window,
    options::{Client, Options, TokenFormat},
    report::{Counters, Report, Snapshot},
    tokens::Tokens,
};

/// Everything that outlives a connection.
#[derive(Debug)]
pub(super) struct World {
    pub(super) options: Options,
    /// Login, API and apps.
    pub(super) addr: SocketAddr,
    /// The host of signed URLs.
    pub(super) storage: SocketAddr,
    /// Signs tokens when they are JWTs.
    pub(super) signer: Option<Signer>,
    started: Instant,
    started_at: SystemTime,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// What changes while it runs.
#[derive(Debug)]
pub(super) struct State {
    pub(super) faults: InForce,
    /// Counts the posts of faults; what a `hold` waits for.
    posts: u64,
    pub(super) tokens: Tokens,
    pub(super) report: Report,
    pub(super) clients: Vec<Client>,
    pub(super) logins: HashMap<String, Window>,
    pub(super) api: api::State,
}

impl State {
    fn new(clients: Vec<Client>) -> Self {
        Self {
            faults: InForce::default(),
            posts: 0,
            tokens: Tokens::default(),
            report: Report::default(),
            clients,
            logins: HashMap::new(),
            api: api::State::default(),
        }
    }
}

impl World {
    pub(super) fn new(options: Options, addr: SocketAddr, storage: SocketAddr) -> io::Result<Self> {
        let signer = match options.token_format {
            TokenFormat::Opaque => None,
            TokenFormat::Jwt => Some(Signer::generate()?),
        };
        Ok(Self {
            addr,
            storage,
            signer,
            started: Instant::now(),
            started_at: SystemTime::now(),
            state: Mutex::new(State::new(options.clients.clone())),
            changed: watch::Sender::new(()),
            options,
        })
    }

    /// Time since the start, on the monotonic clock.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Seconds since 1970, running with [`World::now`].
    pub(super) fn unix(&self) -> u64 {
        let since = self.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (since + self.now()).as_secs()
    }

    /// `now` on the wall, as Genesys writes times.
    pub(super) fn timestamp(&self, later: Duration) -> String {
        let at = self.started_at + self.now() + later;
        humantime::format_rfc3339_millis(at).to_string()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state or changes it, with the time at which the lock was got.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut State, Duration) -> R) -> R {
        let result = {
            let mut state = self.lock();
            act(&mut state, self.now())
        };
        self.changed.send_replace(());
        result
    }

    /// The counts.
    pub(super) fn counters(&self) -> Counters {
        self.lock().report.counters
    }

    /// Everything, with the newest `records` requests.
    pub(super) fn snapshot(&self, records: usize) -> Snapshot {
        let state = self.lock();
        let tokens_issued = state.tokens.issued();
        Snapshot { tokens_issued, ..state.report.snapshot(records) }
    }

    /// Waits until the counts are as wanted.
    pub(super) async fn until(&self, reached: impl Fn(&Counters) -> bool) {
        let mut changes = self.changed.subscribe();
        while !reached(&self.counters()) && changes.changed().await.is_ok() {}
    }

    /// Changes the faults, lets go what a `hold` kept, and returns what is in force.
    pub(super) fn patch(&self, patch: FaultsPatch) -> Faults {
        self.with(|state, _| {
            state.faults.apply(patch);
            state.posts += 1;
            state.faults.faults().clone()
        })
    }

    /// Back to the start: no tokens, no faults, nothing seen.
    pub(super) fn reset(&self) {
        self.with(|state, _| {
            let posts = state.posts + 1;
            let mut report = std::mem::take(&mut state.report);
            report.reset();
            *state = State { posts, report, ..State::new(self.options.clients.clone()) };
        });
    }

    /// Waits until the faults are next posted.
    pub(super) async fn hold(self: &Arc<Self>) {
        let mut changes = self.changed.subscribe();
        let before = self.with(|state, _| {
            let counters = &mut state.report.counters;
            counters.held += 1;
            counters.most_held = counters.most_held.max(counters.held);
            state.posts
        });
        let _held = Counted { world: Arc::clone(self), count: |counters| &mut counters.held };
        while self.lock().posts == before && changes.changed().await.is_ok() {}
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Counted {
        self.with(|state, _| state.report.entered());
        Counted { world: Arc::clone(self), count: |counters| &mut counters.in_flight }
    }
}

/// One in a count of what is going on; dropping it counts down.
#[derive(Debug)]
pub(super) struct Counted {
    world: Arc<World>,
    count: fn(&mut Counters) -> &mut u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = self.count;
        self.world.with(|state, _| {
            let count = count(&mut state.report.counters);
            *count = count.saturating_sub(1);
        });
    }
}
