//! Calls that were told when to come back.
//! It never keeps a place empty for one that may not come: it knows who is expected, and when.
//!
//! Whoever is told "in 40 seconds" is reckoned with all the same: those who come later are told when
//! they can be served behind it, so that a thousand refused callers are not sent home to return all
//! at once, for the same place.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{Known, flow::Away};
use crate::decide::{callers::Principal, urgency::Urgency};

/// Who is late by this will not come, probably: others need not reckon with it any longer.
const LATE: Duration = Duration::from_secs(1);

/// Whose call, and what it asks for. A caller's new calls must not take the places of those that it
/// was told to repeat; which of two that ask for the same comes back nobody can tell.
type Asks = (Principal, u64);

/// The promises of one line.
#[derive(Debug, Clone, Default)]
pub struct Promises {
    open: BTreeMap<u64, Promise>,
    /// By when they were told to come, by who and what.
    told: BTreeMap<Asks, BTreeSet<(Instant, u64)>>,
    /// When something is to be done about them.
    passing: BTreeSet<(Instant, u64)>,
    count: Count,
}

/// A call that was told to come back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    pub(super) asks: Asks,
    /// Its place among its caller's calls: when it came first.
    pub(super) since: u64,
    /// How often it has come back before.
    pub(super) back: u32,
    pub(super) urgency: Urgency,
    /// When it is to come back.
    pub(super) told: Instant,
    /// Until when it is known.
    pub(super) expires: Instant,
    /// It is reckoned with no longer.
    pub(super) late: bool,
}

/// A promise whose call has not come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Passed {
    /// It is late.
    Late(u64, Promise),
    /// It is forgotten.
    Gone(u64, Promise),
}

/// What became of them, ever. Those that are not accounted for are open, or were never claimed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Made.
    pub made: u64,
    /// Their calls came back in time.
    pub claimed: u64,
    /// They came back in time and were refused again.
    pub broken: u64,
}

impl std::ops::Add for Count {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            made: self.made + more.made,
            claimed: self.claimed + more.claimed,
            broken: self.broken + more.broken,
        }
    }
}

impl Promises {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// The oldest promise that a caller may claim by now for what it asks.
    pub(super) fn due(&self, asks: Asks, now: Instant) -> Option<&Promise> {
        let &(told, number) = self.told.get(&asks)?.first()?;
        if told <= now { self.open.get(&number) } else { None }
    }

    /// The caller is back.
    pub(super) fn redeem(&mut self, asks: Asks, now: Instant) -> Option<(u64, Promise)> {
        let &(told, number) = self.told.get(&asks)?.first()?;
        if told > now {
            return None;
        }
        self.count.claimed += 1;
        Some((number, self.close(number)?))
    }

    pub(super) fn add(&mut self, number: u64, promise: Promise) {
        let Promise { asks, told, expires, .. } = promise;
        self.open.insert(number, promise);
        self.told.entry(asks).or_default().insert((told, number));
        self.passing.insert((expires.min(told + LATE), number));
        self.count.made += 1;
    }

    /// One whose call has not come by now.
    pub(super) fn pass(&mut self, now: Instant) -> Option<Passed> {
        let &(at, number) = self.passing.first()?;
        if at > now {
            return None;
        }
        let promise = self.open.get_mut(&number)?;
        if !promise.late && at < promise.expires {
            let passed = Passed::Late(number, *promise);
            promise.late = true;
            self.passing.pop_first();
            self.passing.insert((promise.expires, number));
            return Some(passed);
        }
        Some(Passed::Gone(number, self.close(number)?))
    }

    /// A call that had come back was refused again.
    pub(super) fn broken(&mut self) {
        self.count.broken += 1;
    }

    pub(super) fn count(&self) -> Count {
        self.count
    }

    fn close(&mut self, number: u64) -> Option<Promise> {
        let promise = self.open.remove(&number)?;
        let Promise { asks, told, expires, late, .. } = promise;
        self.passing.remove(&(if late { expires } else { expires.min(told + LATE) }, number));
        if let Some(own) = self.told.get_mut(&asks) {
            own.remove(&(told, number));
            if own.is_empty() {
                self.told.remove(&asks);
            }
        }
        Some(promise)
    }
}

impl Promise {
    /// What is known of it when it is back.
    pub(super) fn known(&self) -> Known {
        Known { since: self.since, back: self.back.saturating_add(1) }
    }

    /// As its caller's part of the line knows it.
    pub(super) fn away(&self, number: u64) -> Away {
        Away { urgency: self.urgency, since: self.since, number }
    }
}

#[cfg(test)]
impl Promises {
    /// Those that are not late.
    pub(super) fn expected(&self) -> usize {
        assert_eq!(self.open.len(), self.passing.len());
        assert_eq!(self.open.len(), self.told.values().map(BTreeSet::len).sum::<usize>());
        self.open.values().filter(|promise| !promise.late).count()
    }
}
