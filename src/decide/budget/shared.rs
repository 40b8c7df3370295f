//! A budget that is one replica's part of a limit: its cap, and what it tells of itself.
//! It never tells fewer calls than count, or that they count for a shorter time.

use std::time::{Duration, Instant};

use super::Budget;
use crate::decide::joint::part::Cap;

/// Groups of calls that are told of one by one.
const MOST: usize = 64;

/// What counts against a cap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Places taken whose calls have not left.
    pub inside: u64,
    /// Calls that left: so many leave the window after so long.
    pub sent: Vec<(Duration, u64)>,
}

impl Budget {
    /// So much of the limit is ours from now on; `None`: all of it.
    pub fn share(&mut self, cap: Option<Cap>) {
        self.cap = cap;
    }

    /// All of the limit is ours.
    pub fn is_whole(&self) -> bool {
        self.cap.is_none()
    }

    /// For how long a call counts at most, to the end of its slot.
    pub fn window(&self) -> Duration {
        self.window + self.slot
    }

    /// What counts now.
    pub fn report(&mut self, now: Instant) -> Report {
        self.expire(now);
        let together = self.sent.len().div_ceil(MOST).max(1);
        let slots: Vec<(u64, u32)> = self.sent.iter().copied().collect();
        let groups = slots.chunks(together).filter_map(|group| {
            // All of them count until the last one does not.
            let &(last, _) = group.last()?;
            let calls = group.iter().map(|(_, calls)| u64::from(*calls)).sum();
            Some((self.leaves(last).saturating_duration_since(now), calls))
        });
        Report { inside: self.reserved, sent: groups.collect() }
    }
}
