//! What the admin listener shows of the budgets and the lines.
//! It never holds a call up for longer than a look takes.

use std::sync::{Arc, Weak, atomic::Ordering};

use tokio::time::Instant;

use super::{Admission, Desk};
use crate::decide::{callers::Principal, lanes::Spending};

impl Admission {
    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.state().len()
    }

    /// Requests admitted whose answer has not ended.
    pub fn in_flight(&self) -> usize {
        let desks = self.desks();
        let of = |desk: Arc<Desk>| desk.in_flight().load(Ordering::Relaxed);
        let at_desks: usize = desks.iter().filter_map(Weak::upgrade).map(of).sum();
        self.in_flight.load(Ordering::Relaxed) + at_desks
    }

    /// How the budgets stand. What a worker has in hand counts as used.
    pub fn spending(&self, now: Instant) -> Spending {
        self.state().lanes().spending(now.into_std())
    }

    /// Whose calls wait, and how many.
    pub fn crowd(&self) -> Vec<(Principal, usize)> {
        self.state().crowd().collect()
    }

    /// Its limits are shared with other replicas, if there are some.
    pub fn is_shared(&self) -> bool {
        self.joint.get().is_some()
    }
}
