//! Calls that were told when to come back: the turns that wait for them.
//! It never keeps a place empty for one that may not come: a turn that is promised is only the
//! first to be served when its call is there.
//!
//! Whoever is told "in 40 seconds" stands in line all the same, only not here. Those who come later
//! are told when they can be served behind it, so that a thousand refused callers are not sent home
//! to return all at once, for the same place.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::flow::Turn;
use crate::decide::{callers::Principal, rank::Rank};

/// Promises at once. Who is refused beyond them is told a time all the same, but stands nowhere.
const MOST: usize = 10_000;
/// How much the newest outcome counts in the share of those who come back: 1/64.
const MEMORY: u32 = 6;
const ALL: u32 = 1 << 16;

/// Whose call, and what it asks for. A caller's new calls must not take the turns of those that it
/// was told to repeat; which of two that ask for the same comes back nobody can tell.
type Asks = (Principal, u64);

/// The promises of one line.
#[derive(Debug, Clone)]
pub struct Promises {
    turns: Rank<Turn>,
    /// By when they were told to come, by who and what.
    told: BTreeMap<Asks, BTreeSet<(Instant, Turn)>>,
    expiring: BTreeSet<(Instant, Turn)>,
    times: BTreeMap<Turn, Times>,
    /// Of those told, the share that came back lately.
    came: u32,
    count: Count,
}

/// When a call was told to come back, and until when its turn waits for it.
#[derive(Debug, Clone, Copy)]
struct Times {
    asks: u64,
    told: Instant,
    expires: Instant,
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

impl Default for Promises {
    fn default() -> Self {
        Self {
            turns: Rank::default(),
            told: BTreeMap::new(),
            expiring: BTreeSet::new(),
            times: BTreeMap::new(),
            came: ALL,
            count: Count::default(),
        }
    }
}

impl Promises {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.turns.len() >= MOST
    }

    /// How many turns before this one are to be reckoned with.
    pub(super) fn before(&self, turn: &Turn) -> usize {
        let before = self.turns.before(turn) as u64 * u64::from(self.came);
        usize::try_from(before.div_ceil(u64::from(ALL))).unwrap_or(usize::MAX)
    }

    /// The next turn whose call is away.
    pub(super) fn first(&self) -> Option<Turn> {
        self.turns.first()
    }

    /// The oldest turn that a caller may claim by now for what it asks.
    pub(super) fn due(&self, asks: Asks, now: Instant) -> Option<Turn> {
        let &(told, turn) = self.told.get(&asks)?.first()?;
        (told <= now).then_some(turn)
    }

    /// The caller is back: its turn is its own.
    pub(super) fn redeem(&mut self, asks: Asks, now: Instant) -> Option<Turn> {
        let turn = self.due(asks, now)?;
        self.drop_turn(&turn);
        self.count.claimed += 1;
        self.learn(ALL);
        Some(turn)
    }

    pub(super) fn add(&mut self, turn: Turn, asks: u64, told: Instant, expires: Instant) {
        self.turns.insert(turn);
        self.told.entry((turn.principal, asks)).or_default().insert((told, turn));
        self.expiring.insert((expires, turn));
        self.times.insert(turn, Times { asks, told, expires });
        self.count.made += 1;
    }

    /// One whose time to come back is over.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Turn> {
        let &(expires, turn) = self.expiring.first()?;
        if expires > now {
            return None;
        }
        self.drop_turn(&turn);
        self.learn(0);
        Some(turn)
    }

    /// A call that had come back was refused again.
    pub(super) fn broken(&mut self) {
        self.count.broken += 1;
    }

    pub(super) fn count(&self) -> Count {
        self.count
    }

    fn drop_turn(&mut self, turn: &Turn) {
        let Some(Times { asks, told, expires }) = self.times.remove(turn) else { return };
        let asks = (turn.principal, asks);
        self.turns.remove(turn);
        self.expiring.remove(&(expires, *turn));
        if let Some(own) = self.told.get_mut(&asks) {
            own.remove(&(told, *turn));
            if own.is_empty() {
                self.told.remove(&asks);
            }
        }
    }

    fn learn(&mut self, outcome: u32) {
        self.came = self.came - (self.came >> MEMORY) + (outcome >> MEMORY);
    }
}

#[cfg(test)]
impl Promises {
    pub(super) fn open(&self) -> usize {
        assert_eq!(self.turns.len(), self.expiring.len());
        assert_eq!(self.turns.len(), self.times.len());
        assert_eq!(self.turns.len(), self.told.values().map(BTreeSet::len).sum::<usize>());
        self.turns.len()
    }
}
