//! Answers that are kept for a while, and the writes that undo them.
//! It never grows beyond its memory, and a write never looks for what it undoes.
//!
//! A write leaves its number at the marks of what it may have changed. A kept answer knows how many
//! writes there had been when it was asked for, and is good as long as no mark of its path has a
//! higher number. So it does not matter in which order a write and a fetch that overlap end.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use tokio::time::Instant;

use super::whole::Whole;
use crate::decide::saving::{Identity, Origin, Write, age_at_arrival};

/// When a call was begun.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    /// By the clock.
    pub at: Instant,
    /// By the writes there had been.
    pub writes: u64,
}

/// One kept answer.
#[derive(Debug)]
pub struct Entry {
    /// The answer.
    pub whole: Arc<Whole>,
    /// When it was asked for.
    pub begun: Begun,
    /// How long it is kept from then.
    pub life: Duration,
}

impl Entry {
    /// Where the answer comes from, if it is still good at `now`.
    pub fn origin(&self, now: Instant) -> Option<Origin> {
        // Counted from the question: an answer may be as old as that when it comes.
        let age = now.saturating_duration_since(self.begun.at);
        let left = self.life.checked_sub(age).filter(|left| !left.is_zero())?;
        let age = age.as_secs() + age_at_arrival(&self.whole.parts.headers);
        Some(Origin::Kept { age, ttl: left.as_secs() })
    }
}

#[derive(Debug, Clone)]
struct Weigh;

impl Weighter<Identity, Arc<Entry>> for Weigh {
    fn weight(&self, identity: &Identity, entry: &Arc<Entry>) -> u64 {
        (identity.size() + entry.whole.size()) as u64
    }
}

/// All of them.
pub struct Kept(Cache<Identity, Arc<Entry>, Weigh>);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("answers", &self.count()).finish_non_exhaustive()
    }
}

/// Parts of the cache that are locked one by one. Each has its share of the memory, so there are
/// few: the largest answer must fit into one.
const SHARDS: usize = 4;
/// What most answers take, for the tables' first size.
const USUAL: usize = 4 << 10;

impl Kept {
    /// Within `memory`.
    pub fn new(memory: usize) -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(memory / USUAL)
            .weight_capacity(memory as u64)
            .build()
            .expect("both capacities are given");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self(Cache::with_options(options, Weigh, hasher, lifecycle))
    }

    /// The kept answer, as long as it is `good`; one that is not is forgotten.
    pub fn get(&self, identity: &Identity, good: impl Fn(&Entry) -> bool) -> Option<Arc<Entry>> {
        let entry = self.0.get(identity)?;
        if good(&entry) {
            return Some(entry);
        }
        self.0.remove_if(identity, |other| Arc::ptr_eq(other, &entry));
        None
    }

    /// Keeps an answer, unless there is one that was asked for later. Nobody else may put one in
    /// meanwhile.
    pub fn put(&self, identity: Identity, entry: Entry) {
        if self.0.peek(&identity).is_none_or(|other| other.begun.at <= entry.begun.at) {
            self.0.insert(identity, Arc::new(entry));
        }
    }

    /// Forgets what was asked for before this.
    pub fn forget(&self, identity: &Identity, begun: Begun) {
        self.0.remove_if(identity, |other| other.begun.at <= begun.at);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How much memory.
    pub fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

/// Marks share places; then a write undoes more than it must.
const PLACES: usize = 4096;

/// The writes so far.
#[derive(Debug)]
pub struct Writes {
    count: AtomicU64,
    /// The last that may have changed anything.
    all: AtomicU64,
    /// The last at each mark.
    at: Box<[AtomicU64]>,
}

impl Default for Writes {
    fn default() -> Self {
        let at = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { count: AtomicU64::new(0), all: AtomicU64::new(0), at }
    }
}

impl Writes {
    /// How many there have been.
    pub fn so_far(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// One has ended. Before its caller hears of it, so that it reads what it wrote.
    pub fn note(&self, write: &Write) {
        let last = |place: &AtomicU64| {
            place.fetch_max(self.count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        };
        match write {
            Write::Nothing => {}
            Write::Anything => last(&self.all),
            Write::Marked(marks) => {
                marks.iter().filter_map(|mark| self.place(*mark)).for_each(last);
            }
        }
    }

    /// Whether there was none at these marks since there had been so many.
    pub fn none_since(&self, writes: u64, marks: &[u64]) -> bool {
        let before = |place: &AtomicU64| place.load(Ordering::SeqCst) <= writes;
        before(&self.all) && marks.iter().filter_map(|mark| self.place(*mark)).all(before)
    }

    fn place(&self, mark: u64) -> Option<&AtomicU64> {
        self.at.get(usize::try_from(mark % PLACES as u64).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
