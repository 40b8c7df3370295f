//! A budget that is one replica's part of a limit: its cap, and what it tells of itself.
//! It never tells fewer calls than count, or that they count for a shorter time.
//!
//! All tokens that replicas share count together: they change from one to the next not all at once, and
//! the others do not know under which of them a call went. A token of its own counts apart.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{Budget, sent::Sent};
use crate::decide::joint::part::Cap;

/// Groups of calls that are told of one by one.
const MOST: usize = 64;

/// How much of the limit is ours.
#[derive(Debug, Clone, Default)]
pub(super) enum Ours {
    /// All: there is nobody else.
    #[default]
    All,
    /// So much. The others have the rest.
    Part(Cap),
    /// All, under a token that nobody else has. What was sent of our part still counts there.
    Alone(Sent),
}

/// Whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// This replica's alone.
    Us,
    /// All replicas', or may be.
    All,
}

/// What counts against a cap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Places taken whose calls have not left.
    pub inside: u64,
    /// Calls that left: so many leave the window after so long.
    pub sent: Vec<(Duration, u64)>,
}

impl Budget {
    /// So much of the limit is ours from now on.
    pub fn share(&mut self, cap: Cap) {
        match mem::replace(&mut self.ours, Ours::Part(cap)) {
            Ours::All | Ours::Part(_) => {}
            // What was sent alone is of no account to the others.
            Ours::Alone(before) => self.sent = before,
        }
    }

    /// Nobody else has the token.
    pub fn is_alone(&self) -> bool {
        matches!(self.ours, Ours::Alone(_))
    }

    /// When what is ours may be others'.
    pub fn until(&self) -> Option<Instant> {
        self.cap()?.until
    }

    /// What is ours of it, if others have the rest.
    pub(super) fn cap(&self) -> Option<Cap> {
        match self.ours {
            Ours::All | Ours::Alone(_) => None,
            Ours::Part(cap) => Some(cap),
        }
    }

    /// So many calls that had a place leave under a token that was replaced a moment ago.
    pub fn leave_late(&mut self, count: u32, now: Instant) {
        let slot = self.slot_of(now);
        match &mut self.ours {
            // They are not the successor's.
            Ours::All => {}
            // The others may still count under it.
            Ours::Part(_) => {
                self.leave(count, now);
                return;
            }
            Ours::Alone(before) => before.add(slot, count),
        }
        self.give_back(count, now);
    }

    /// For how long a call counts at most, to the end of its slot.
    pub fn window(&self) -> Duration {
        self.window + self.slot
    }

    /// What counts now.
    pub fn report(&mut self, now: Instant) -> Report {
        self.expire(now);
        let together = self.sent.slots().len().div_ceil(MOST).max(1);
        let slots: Vec<(u64, u32)> = self.sent.slots().collect();
        let groups = slots.chunks(together).filter_map(|group| {
            // All of them count until the last one does not.
            let &(last, _) = group.last()?;
            let calls = group.iter().map(|(_, calls)| u64::from(*calls)).sum();
            Some((self.leaves(last).saturating_duration_since(now), calls))
        });
        Report { inside: self.reserved, sent: groups.collect() }
    }
}
