//! The token that signs every call: minted once for everybody, renewed before it ends.
//! It never lets a caller own a mint: one task of its own fetches, callers only wait.

pub mod answer;
mod ask;
pub mod awake;
mod bearer;
pub mod certificate;
pub mod claims;
pub mod client_auth;
pub mod error;
pub mod expectations;
pub mod issuer;
mod keep;
pub mod keys;
pub mod look;
mod operated;
mod others;
mod oversee;
pub mod pool;
pub mod provider;
mod seals;
mod seen;
pub mod shared;
pub mod verify;
mod wire;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::{
    decide::{
        freshness::{Freshness, Generation, Step, Trouble, Verdict},
        lanes::Lane,
        renewals::Renewals,
        suspicion::Suspicion,
    },
    telemetry::metrics::{Metrics, OfToken},
};
use error::MintError;
use issuer::Issuer;
use verify::Check;

pub use answer::Share;
pub use bearer::Token;
pub use oversee::Toll;
pub use seen::Seen;

/// No usable token within the caller's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable {
    /// The endpoint refuses our credentials, rather than being out of reach.
    pub refused: bool,
    /// When the next mint starts, from now.
    pub retry_after: Duration,
}

impl Unavailable {
    /// None came in time, and one is being asked for.
    const LATE: Self = Self { refused: false, retry_after: Duration::from_secs(1) };
}

/// Why a client has no token.
#[derive(Debug, Clone)]
pub struct NoToken {
    /// Its id.
    pub client: String,
    /// What its last try ended in.
    pub error: Arc<MintError>,
}

/// The token's keeper, shared by all workers.
#[derive(Debug)]
pub struct Tokens {
    /// Which of the tokens it keeps.
    pub lane: Lane,
    of: OfToken,
    metrics: Arc<Metrics>,
    current: ArcSwapOption<Token>,
    freshness: Mutex<Freshness>,
    /// Of its client, shared by the client's tokens.
    renewals: Arc<Mutex<Renewals>>,
    suspicion: Mutex<Suspicion>,
    /// The token that a 401 made us give up; it may be good after all.
    suspect: ArcSwapOption<Token>,
    /// The newest shared token that was given up, here or elsewhere.
    given_up: AtomicU64,
    /// For who tells the other replicas: a token was given up, or is in use again, or is ours alone.
    news: Notify,
    /// Why the last mint brought none, if it did not.
    failure: ArcSwapOption<MintError>,
    /// Bumped on every success and failure, of any of the tokens: waiters look again.
    changed: watch::Sender<u64>,
    /// A rejection: the minting task looks again.
    nudge: Notify,
    /// A burst of 401s: the token is checked at once.
    doubt: Notify,
}

/// What the keepers of all tokens share.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// How long before its expiry a token is replaced.
    pub refresh_before: Duration,
    /// How often it is checked; `None` for never.
    pub verify_every: Option<Duration>,
    /// Where mints and checks are counted.
    pub metrics: Arc<Metrics>,
    /// Bumped when any of the tokens changes.
    pub changed: watch::Sender<u64>,
    /// The keepers' tasks.
    pub tasks: TaskTracker,
    /// Where they run.
    pub runtime: Handle,
    /// Their end.
    pub stop: CancellationToken,
}

impl Keeping {
    /// No checks; the rest as given.
    pub fn new(
        refresh_before: Duration,
        tasks: &TaskTracker,
        runtime: &Handle,
        stop: CancellationToken,
    ) -> Self {
        Self {
            refresh_before,
            verify_every: None,
            metrics: Arc::default(),
            changed: watch::Sender::new(0),
            tasks: tasks.clone(),
            runtime: runtime.clone(),
            stop,
        }
    }

    /// A task that ends with them.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let task = async move {
            stop.run_until_cancelled(task).await;
        };
        // Of which organisation it is, its lines say.
        self.tasks.spawn_on(task.in_current_span(), &self.runtime);
    }
}

impl Tokens {
    /// Starts the tasks that mint and check. They end when `keeping.stop` is cancelled.
    pub fn spawn<I: Issuer + Check>(
        issuer: Arc<I>,
        toll: impl Toll,
        lane: Lane,
        renewals: &Arc<Mutex<Renewals>>,
        keeping: &Keeping,
    ) -> Arc<Self> {
        let number = u32::try_from(lane.number()).unwrap_or(u32::MAX);
        let tokens = Arc::new(Self {
            lane,
            of: OfToken { client: issuer.client().to_owned(), token: number },
            metrics: Arc::clone(&keeping.metrics),
            current: ArcSwapOption::empty(),
            freshness: Mutex::new(Freshness::new(keeping.refresh_before)),
            renewals: Arc::clone(renewals),
            suspicion: Mutex::default(),
            suspect: ArcSwapOption::empty(),
            given_up: AtomicU64::new(0),
            news: Notify::new(),
            failure: ArcSwapOption::empty(),
            changed: keeping.changed.clone(),
            nudge: Notify::new(),
            doubt: Notify::new(),
        });
        let toll = Arc::new(toll);
        let (keeper, minter, paid) = (Arc::clone(&tokens), Arc::clone(&issuer), Arc::clone(&toll));
        keeping.spawn(async move { keeper.keep(&*minter, &*paid).await });
        let keeper = Arc::clone(&tokens);
        let watched = Arc::clone(&issuer);
        keeping.spawn(async move { keeper.follow_credentials(&*watched).await });
        if let Some(every) = keeping.verify_every {
            let keeper = Arc::clone(&tokens);
            keeping.spawn(async move { keeper.oversee(&*issuer, &*toll, every).await });
        }
        tokens
    }

    /// The usable token, if there is one: one atomic load and a comparison.
    pub fn current(&self, now: Instant) -> Option<Arc<Token>> {
        self.current.load_full().filter(|token| now < token.expires_at)
    }

    /// The usable token, waiting for a mint until `deadline` if need be.
    pub async fn get(&self, deadline: Instant) -> Result<Arc<Token>, Unavailable> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let now = Instant::now();
            if let Some(token) = self.current(now) {
                return Ok(token);
            }
            if let Some(refused) = self.refusal(now, deadline) {
                return Err(refused);
            }
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return Err(Unavailable::LATE);
            }
        }
    }

    /// Why there will be no token before `deadline`, when that is known already.
    fn refusal(&self, now: Instant, deadline: Instant) -> Option<Unavailable> {
        let Step::Refuse { retry_at, trouble } = self.freshness().step(now.into_std()) else {
            return None;
        };
        let retry_at = Instant::from_std(retry_at);
        let refused = trouble == Trouble::Permanent;
        (refused || retry_at >= deadline)
            .then(|| Unavailable { refused, retry_after: retry_at - now })
    }

    /// Its first try is under way.
    fn beginning(&self) -> bool {
        let untried = self.failure.load().is_none() && self.current.load().is_none();
        untried && self.freshness().generation() == Generation::default()
    }

    /// Why the last try brought no token, if it has ended and did not.
    fn failure(&self) -> Option<NoToken> {
        let error = self.failure.load_full()?;
        Some(NoToken { client: self.of.client.clone(), error })
    }

    /// The last mint failed, and the next one is not yet due.
    fn failing(&self, now: Instant) -> bool {
        matches!(self.freshness().step(now.into_std()), Step::Refuse { .. })
    }

    /// Calls `seen` with the token in use, now and whenever there may be another. Does not end.
    pub async fn follow(&self, seen: impl Fn(&Token)) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(token) = self.current(Instant::now()) {
                seen(&token);
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// A request signed with `token` got a 401 from path family `family`.
    pub fn rejected(&self, token: &Arc<Token>, family: u64) -> Verdict {
        let worked = token.ever_worked();
        let now = Instant::now().into_std();
        let mut freshness = self.freshness();
        let mut renewals = self.renewals();
        let verdict = freshness.rejected(&mut renewals, now, token.generation, family, worked);
        drop(renewals);
        let given_up = freshness.expires_at().is_none() && self.current.load().is_some();
        if given_up {
            // Its number may be newer than the one that the call was signed under.
            self.give_up(self.current.load().as_ref().unwrap_or(token));
            self.suspect.store(self.current.swap(None));
        }
        drop(freshness);
        if given_up {
            tracing::info!(
                token = self.lane.number(),
                generation = token.generation.number(),
                "token rejected by Genesys Cloud: renewing it"
            );
            self.nudge.notify_one();
        } else if verdict == Verdict::PassOn && self.suspicion().unexplained(now) {
            self.doubt.notify_one();
        }
        verdict
    }

    /// A replay signed with the renewed `token` got a 401 too.
    pub fn fruitless(&self, token: &Token, family: u64) {
        let worked = token.ever_worked();
        let now = Instant::now().into_std();
        let freshness = self.freshness();
        freshness.fruitless(&mut self.renewals(), now, token.generation, family, worked);
        drop(freshness);
        if self.suspicion().unexplained(now) {
            self.doubt.notify_one();
        }
    }

    /// A replay with a renewed token went through.
    pub fn recovered(&self) {
        self.renewals().recovered();
    }

    /// The machine slept: the token is so much older than our clock says.
    pub fn slept(&self, slept: Duration) {
        let mut freshness = self.freshness();
        freshness.slept(slept);
        self.suspect.store(None);
        if let Some(token) = self.current.load_full() {
            let ends = token.expires_at.checked_sub(slept).unwrap_or(token.born);
            self.current.store(Some(Arc::new(token.ending(ends))));
        }
        drop(freshness);
        self.nudge.notify_one();
    }

    /// Brings the gauges up to date, for a scrape.
    pub fn measure(&self) {
        let now = Instant::now();
        let current = self.current(now);
        let left = current.as_ref().map_or(0.0, |token| (token.expires_at - now).as_secs_f64());
        let generation = self.freshness().generation().number();
        self.metrics.token(&self.of, left, generation);
    }

    /// The machine never panics while locked, and its state stays sound if something else did.
    fn freshness(&self) -> MutexGuard<'_, Freshness> {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taken last, after `freshness`.
    fn renewals(&self) -> MutexGuard<'_, Renewals> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspicion(&self) -> MutexGuard<'_, Suspicion> {
        self.suspicion.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
