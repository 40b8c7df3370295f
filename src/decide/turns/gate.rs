//! One limit below the token's, with its own line: a caller's ceiling, or a path family's.
//! It never lets a call stand before another gate's line that could not pass it anyway.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::Waiting;
use crate::decide::{
    budget::{Allowance, Budget},
    callers::Principal,
    queue::Queue,
};

/// Which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GateId {
    /// `requests_per_minute` of a `[[caller]]`.
    Ceiling(Principal),
    /// The n-th of `rate_limit.families`.
    Family(u16),
    /// A path family that upstream was seen to limit, by the key of `path::Family`.
    Learned(u64),
}

/// What a gate allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Calls in a window.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Calls at once, until the last byte of each.
    pub concurrent: Option<NonZeroU32>,
}

/// The limit, what is used of it, and who waits for it.
#[derive(Debug, Clone)]
pub(super) struct Gate<W> {
    pub(super) budget: Budget,
    concurrent: Option<NonZeroU32>,
    inside: u32,
    pub(super) line: Queue<Waiting<W>>,
    /// Upstream's last 429 to it.
    pub(super) limited_at: Option<Instant>,
}

impl<W> Gate<W> {
    pub(super) fn new(limit: Limit, window: Duration, epoch: Instant) -> Self {
        let Limit { requests_per_minute: limit, concurrent } = limit;
        let allowance = Allowance { limit, window, even: false, reserve: 0 };
        Self {
            budget: Budget::new(allowance, epoch),
            concurrent,
            inside: 0,
            line: Queue::default(),
            limited_at: None,
        }
    }

    /// A place, if there is one; else when it is worth asking again.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if self.is_crowded() {
            return Err(now);
        }
        self.budget.take(now, true)?;
        self.inside += 1;
        Ok(())
    }

    /// As many are inside as may be: only one that leaves makes room.
    pub(super) fn is_crowded(&self) -> bool {
        self.concurrent.is_some_and(|most| self.inside >= most.get())
    }

    /// When a call with so many ahead could pass. Who can say how long those inside take: a crowd
    /// is taken to move on at once.
    pub(super) fn available_at(&mut self, now: Instant, ahead: usize) -> Instant {
        self.budget.available_at(now, ahead, true)
    }

    /// A call that was let in went out.
    pub(super) fn out(&mut self) {
        self.inside = self.inside.saturating_sub(1);
    }

    /// A place that was not used.
    pub(super) fn give_back(&mut self, now: Instant) {
        self.budget.give_back(1, now);
        self.out();
    }

    /// Nobody is in it or before it, and it knows nothing that a new one would not.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.inside == 0 && self.line.is_calm() && self.budget.is_fresh(now)
    }
}
