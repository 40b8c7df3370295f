//! The budgets that replicas share: what this one tells the store, and what it may send.
//! It never holds a call up for an answer of the store: caps change beside the calls.

pub mod books;
mod partner;
mod wants;

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Admission;
use crate::{
    decide::{
        callers::Principal,
        joint::{LEASE, ledger::Opening},
        lanes::Lane,
        turns::LimitId,
    },
    store::{
        Down,
        budget::{Answer, Word},
    },
    token::Share,
};
use partner::Partner;

/// Where replicas meet; tests bring their own.
pub trait Books: Send + Sync + 'static {
    /// What wishes are sealed with.
    type Keys: Send + Sync;

    /// Says all words at once. `tell`: the others are to look, too.
    fn sync(
        &self,
        opening: Opening,
        words: &[Word],
        tell: bool,
    ) -> impl Future<Output = Result<Answer, Down>> + Send;

    /// How many connections there have been: with another one, what was written may be gone.
    fn connection(&self) -> u64;

    /// Ends when another replica says that it is worth looking.
    fn called(&self) -> impl Future<Output = ()> + Send;

    /// As a caller is known to all replicas.
    fn caller(&self, principal: Principal) -> u64;

    /// The callers of a replica that are not known one by one, as if they were one.
    fn callers_of(&self, replica: &str) -> u64;

    /// As a limit is known to all replicas.
    fn ledger(&self, id: LimitId) -> String;

    /// This replica.
    fn replica(&self) -> &str;

    /// Whether this limit is kept in these books: a client's tokens are in its own, families and ceilings
    /// in the first client's.
    fn holds(&self, id: LimitId) -> bool;

    /// What wishes are sealed with, now.
    fn keys(&self) -> impl Future<Output = Self::Keys> + Send;

    /// Nobody else can read or make it.
    fn seal(&self, keys: &Self::Keys, ledger: &str, wishes: &[u8]) -> Vec<u8>;

    /// What another replica sealed.
    fn open(&self, keys: &Self::Keys, ledger: &str, from: &str, sealed: &[u8]) -> Option<Vec<u8>>;
}

/// What calls see of it.
#[derive(Debug)]
pub(super) struct Joint {
    /// A call waits that need not, perhaps: all partners look.
    stir: watch::Sender<()>,
    /// Callers whose turns are worth less here, as they have some elsewhere: so many steps.
    worths: ArcSwap<BTreeMap<Principal, u32>>,
    /// Those that have a token; when we made it, if we did and others have it, too.
    lanes: Mutex<BTreeMap<Lane, Option<Instant>>>,
    /// For how long the machine slept, in all.
    slept: watch::Sender<Duration>,
    /// Replicas, as the store told; 0: it has told nothing yet.
    heard: AtomicUsize,
    ends: CancellationToken,
    tasks: TaskTracker,
}

/// Weights are told from one another in so many steps.
const STEPS: u32 = 16;

impl Joint {
    fn new() -> Self {
        Self {
            stir: watch::Sender::new(()),
            worths: ArcSwap::default(),
            lanes: Mutex::default(),
            slept: watch::Sender::default(),
            heard: AtomicUsize::new(0),
            ends: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// A call waits.
    pub(super) fn stir(&self) {
        self.stir.send_replace(());
    }

    /// A caller's weight here.
    pub(super) fn weight(&self, principal: Principal, weight: NonZeroU32) -> NonZeroU32 {
        let worth = self.worths.load().get(&principal).copied().unwrap_or(STEPS);
        NonZeroU32::new(weight.get().saturating_mul(worth)).unwrap_or(NonZeroU32::MIN)
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<Lane, Option<Instant>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// From now on its limits are shared; nothing may leave before [`Admission::meet`] has brought
    /// something. To be called before anything is admitted.
    pub fn share(&self) {
        if self.joint.set(Joint::new()).is_ok() {
            self.state().share(Instant::now().into_std());
        }
    }

    /// Meets the others in these books until it leaves, or `stop`.
    pub fn meet<B: Books>(
        self: &Arc<Self>,
        books: B,
        runtime: &tokio::runtime::Handle,
        stop: CancellationToken,
    ) {
        let Some(joint) = self.joint.get() else { return };
        let admission = Arc::clone(self);
        joint.tasks.spawn_on(
            async move {
                let mut partner = Partner::new(admission, books);
                stop.run_until_cancelled(partner.run()).await;
            },
            runtime,
        );
    }

    /// The machine slept for so long: what was its own may be the others'.
    pub fn slept(&self, nap: Duration) {
        if let Some(joint) = self.joint.get() {
            joint.slept.send_modify(|slept| *slept += nap);
            joint.stir();
        }
    }

    /// Tells the others that it goes: what it had is theirs.
    pub async fn part(&self) {
        if let Some(joint) = self.joint.get() {
            joint.ends.cancel();
            joint.tasks.close();
            // A question may be on its way, before the last word. Without the store they find out by
            // themselves.
            let _ = timeout(LEASE, joint.tasks.wait()).await;
        }
    }

    /// Replicas that share the limits, this one included, as far as it knows.
    pub fn replicas(&self) -> usize {
        self.joint.get().map_or(1, |joint| joint.heard.load(Ordering::Relaxed).max(1))
    }

    /// Calls of this lane are signed with a token from now on that was asked for at `born`.
    pub(super) fn signs(&self, lane: Lane, share: Share, born: Instant) {
        let Some(joint) = self.joint.get() else { return };
        let made = match share {
            Share::Published(_) => Some(born),
            Share::Private | Share::Unheard | Share::Adopted(_) => None,
        };
        joint.lanes().insert(lane, made);
        joint.stir();
    }
}
