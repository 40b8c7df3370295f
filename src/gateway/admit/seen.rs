//! What the admin listener shows of the budgets and the lines.
//! It never holds a call up for longer than a look takes.

use tokio::time::Instant;

use super::Admission;
use crate::decide::{callers::Principal, lanes::Spending};

impl Admission {
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
