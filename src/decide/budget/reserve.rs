//! Places of a budget that only urgent calls may take, when there are none for others.
//! It never counts a place as used whose call did not leave.
//!
//! All places are alike, so nobody knows whose it is that is given back: an urgent call's that took
//! it out of the reserve, or another's. It is the reserve's first. Had the call that does not leave
//! never come, an urgent one would have found a place among the others' instead of the reserve's; so
//! what is left is the same as without it, whoever gives back, in whatever order.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::{Allowance, Budget};

/// The places, and what is used of them.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    places: NonZeroU32,
    used: Budget,
    /// Of these, calls that may not have left yet. Those that have are used, whatever is given back
    /// afterwards.
    unsent: u32,
}

impl Reserve {
    pub(super) fn new(places: NonZeroU32, window: Duration, epoch: Instant) -> Self {
        let allowance = Allowance { limit: Some(places), window, even: false, reserve: 0 };
        Self { places, used: Budget::new(allowance, epoch), unsent: 0 }
    }

    /// How many there are.
    pub(super) fn places(&self) -> NonZeroU32 {
        self.places
    }

    /// How many nobody has used.
    pub(super) fn free_at(&mut self, now: Instant) -> u64 {
        u64::from(self.places.get()).saturating_sub(self.used.taken_at(now))
    }

    /// A call takes one.
    pub(super) fn take(&mut self, now: Instant) {
        self.used.charge(1, now);
        self.unsent = self.unsent.saturating_add(1);
    }

    /// Of all calls that took a place of the budget, so many have not left.
    pub(super) fn left(&mut self, unsent: u64) {
        self.unsent = u32::try_from(unsent).map_or(self.unsent, |unsent| self.unsent.min(unsent));
    }

    /// So many places of the budget are given back. Returns how many of them are the reserve's.
    pub(super) fn give_back(&mut self, count: u32, now: Instant) -> u32 {
        // Whoever took one and waited for more than a window holds none any longer.
        let used = self.used.taken_at(now);
        self.left(used);
        let own = count.min(self.unsent);
        self.used.sent.uncount(own);
        self.unsent -= own;
        own
    }

    /// What was used so far is another token's.
    pub(super) fn restart(&mut self) {
        self.used.restart();
        self.unsent = 0;
    }
}
