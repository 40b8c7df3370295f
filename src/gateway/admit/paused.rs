//! Callers that the operator has paused: their calls take no turn until they are resumed.
//! It never touches a call that has left, and forgets with the process.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::Instant;

use super::{Admission, TurnedAway};
use crate::decide::{callers::Principal, failure::Failure};

/// Who is.
#[derive(Debug, Default)]
pub(super) struct Paused {
    /// Read by every call; the rest is looked at only when somebody is.
    any: AtomicBool,
    who: Mutex<BTreeSet<Principal>>,
}

impl Paused {
    pub(super) fn is(&self, principal: Principal) -> bool {
        self.any.load(Ordering::Relaxed) && self.who().contains(&principal)
    }

    fn who(&self) -> MutexGuard<'_, BTreeSet<Principal>> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// No call of this caller's takes a turn from now on. Those in line are sent away: how many.
    pub fn pause(&self, principal: Principal) -> usize {
        let mut who = self.paused.who();
        who.insert(principal);
        self.paused.any.store(true, Ordering::Relaxed);
        drop(who);
        let (waiting, held) = self.state().dismiss(principal, Instant::now().into_std());
        if held {
            self.wake.notify_one();
        }
        let away = TurnedAway { failure: Failure::CallerPaused, standing: None };
        // Outside the lock: a receiver that has left drops what it is sent.
        let told = waiting.into_iter().map(|turn| drop(turn.send(Err(away))));
        told.count()
    }

    /// Its calls take turns again. Whether it was paused.
    pub fn resume(&self, principal: Principal) -> bool {
        let mut who = self.paused.who();
        let was = who.remove(&principal);
        self.paused.any.store(!who.is_empty(), Ordering::Relaxed);
        was
    }

    /// All that are.
    pub fn paused(&self) -> Vec<Principal> {
        self.paused.who().iter().copied().collect()
    }

    /// Whose calls may take a turn.
    ///
    /// # Errors
    /// When they are not to.
    pub fn not_paused(&self, principal: Principal) -> Result<(), Failure> {
        if self.paused.is(principal) { Err(Failure::CallerPaused) } else { Ok(()) }
    }
}
