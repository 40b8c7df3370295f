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
    decide::{callers::Principal, joint::ledger::Opening, lanes::Lane, turns::LimitId},
    store::{
        Down,
        budget::{Answer, Word},
    },
    token::{Share, Token},
};
use partner::Partner;

/// Where replicas meet; tests bring their own.
pub trait Books: Send + Sync + 'static {
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

    /// As a limit is known to all replicas.
    fn ledger(&self, id: LimitId) -> String;

    /// This replica.
    fn replica(&self) -> &str;

    /// The budgets of these tokens are in them; and those of families and ceilings, if they are the
    /// first ones.
    fn holds(&self, id: LimitId) -> bool;

    /// Nobody else can read or make it.
    fn seal(&self, ledger: &str, wishes: &[u8]) -> impl Future<Output = Vec<u8>> + Send;

    /// What another replica sealed.
    fn open(
        &self,
        ledger: &str,
        replica: &str,
        sealed: &[u8],
    ) -> impl Future<Output = Option<Vec<u8>>> + Send;
}

/// What calls see of it.
#[derive(Debug)]
pub(super) struct Joint {
    /// A call waits that need not, perhaps: all partners look.
    stir: watch::Sender<()>,
    /// Callers whose turns are worth less here, as they have some elsewhere.
    worths: ArcSwap<BTreeMap<Principal, f64>>,
    lanes: Mutex<BTreeMap<Lane, Signing>>,
    /// For how long the machine slept, in all.
    slept: watch::Sender<Duration>,
    /// Replicas, as the store told; 0: it has told nothing yet.
    heard: AtomicUsize,
    ends: CancellationToken,
    tasks: TaskTracker,
}

/// What a lane's calls are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signing {
    /// A token that others sign with, too.
    Shared {
        /// We made it, then. `None`: another replica did.
        made: Option<Instant>,
    },
    /// One of this replica alone: upstream counts its calls apart.
    Private,
}

/// Weights are told from one another in so many steps.
const STEPS: f64 = 16.0;
/// What the last word to the store may take.
const LAST_WORD: Duration = Duration::from_secs(1);

impl Signing {
    pub(super) fn with(token: &Token) -> Self {
        match token.share {
            Share::Private => Self::Private,
            Share::Published(_) => Self::Shared { made: Some(token.born()) },
            Share::Unheard | Share::Adopted(_) => Self::Shared { made: None },
        }
    }
}

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
        let worth = self.worths.load().get(&principal).copied().unwrap_or(1.0);
        let weight = (f64::from(weight.get()) * STEPS * worth).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let weight = weight as u32;
        NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN)
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<Lane, Signing>> {
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
            // Without the store they find out by themselves.
            let _ = timeout(LAST_WORD, joint.tasks.wait()).await;
        }
    }

    /// Replicas that share the limits, this one included, as far as it knows.
    pub fn replicas(&self) -> usize {
        self.joint.get().map_or(1, |joint| joint.heard.load(Ordering::Relaxed).max(1))
    }

    /// Calls of this lane are signed with such a token from now on.
    pub(super) fn signs(&self, lane: Lane, signing: Signing) {
        let Some(joint) = self.joint.get() else { return };
        let before = joint.lanes().insert(lane, signing);
        if before != Some(signing) {
            joint.stir();
        }
    }
}
