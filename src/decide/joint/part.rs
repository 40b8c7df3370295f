//! One replica's part in a limit: the cap that it has, and the one that it asks for.
//! It never goes past a cap that the store has not confirmed, and lowers its own before it says so: an
//! answer may be lost on its way.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    LEASE,
    shares::{self, float, most, shares, whole},
    wish::Wish,
};

/// What a replica may send of a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Cap {
    /// Calls in any window, now.
    pub now: u64,
    /// So many it would have in a moment if it asked: what others do not want.
    pub soon: u64,
    /// Others may have it from then on, unless the store is asked before: a process that stood still
    /// wakes up with nothing. `None`: it does not end.
    pub until: Option<Instant>,
}

impl Cap {
    /// Of a limit of which nothing is ours, until the store has been asked.
    pub fn nothing(limit: u64) -> Self {
        Self { now: 0, soon: limit, until: None }
    }

    /// Calls in any window.
    pub fn at(&self, now: Instant) -> u64 {
        if self.until.is_some_and(|until| until <= now) { 0 } else { self.now }
    }
}

/// What the store is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// It has this much already, and the store knows, or knew.
    pub has: u64,
    /// It would like this much.
    pub wants: u64,
}

/// A part of one limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    limit: u64,
    window: Duration,
    cap: Cap,
    /// When the newest question was asked.
    asked: Option<Instant>,
    /// And when the newest one that has been answered.
    heard: Option<Instant>,
    /// Since when the store did not answer, now and then, if at all: that it was heard in between counts
    /// for nothing until it was told by one that knew of all.
    unheard: Option<Instant>,
    /// It was heard by a store that knew of all: what it has is what the others leave it.
    sure: bool,
    me: String,
    /// What the callers of each replica want that is alive, the others' as they last said: in one order
    /// for all, so that all work out the same.
    wishes: BTreeMap<String, Vec<Wish>>,
    /// What follows from them.
    target: Target,
    /// The store may have lost what others told it: nothing is taken until they have told it again.
    settled: Option<Instant>,
    /// It gives nobody more now: what is given up would be nobody's.
    frozen: bool,
}

/// What a replica should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Target {
    cap: u64,
    /// Nobody who should have some should have less.
    least: u64,
}

/// A cap that is not off by more than this part is left as it is: each move costs a moment in which
/// a place is nobody's.
const STEADY: u64 = 16;

/// Of the time that a part is kept a hundredth less: clocks do not go alike.
const CLOCKS: u32 = 100;

impl Part {
    /// Nothing of it, until the store has been asked.
    pub fn new(me: &str, limit: u64, window: Duration) -> Self {
        let wishes = BTreeMap::from([(me.to_owned(), Vec::new())]);
        Self {
            limit,
            window,
            cap: Cap::nothing(limit),
            asked: None,
            heard: None,
            unheard: None,
            sure: false,
            me: me.to_owned(),
            wishes,
            target: Target { cap: limit, least: limit },
            settled: None,
            frozen: false,
        }
    }

    /// What all replicas may send together.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What may be sent.
    pub fn cap(&self) -> Cap {
        self.cap
    }

    /// Replicas, this one included, as far as it has heard.
    pub fn replicas(&self) -> usize {
        self.wishes.len()
    }

    /// Whether the store lets caps grow.
    pub fn whole(&mut self, whole: bool) {
        self.frozen = !whole;
    }

    /// The connection is a new one: the store may be another, with less in it.
    pub fn reconnected(&mut self, now: Instant) {
        self.settled = Some(now + LEASE);
    }

    /// The store is away since then.
    pub fn away(&mut self, since: Instant) {
        self.unheard = Some(since);
    }

    /// The machine slept for so long, and its clock with it: the others did not.
    pub fn slept(&mut self, slept: Duration) {
        let earlier = |at: Instant| at.checked_sub(slept).unwrap_or(at);
        self.asked = self.asked.map(earlier);
        self.heard = self.heard.map(earlier);
        self.cap.until = self.cap.until.map(earlier);
    }

    /// The store is about to be asked: what for. What is too much is given up first.
    pub fn ask(&mut self, now: Instant, mine: Vec<Wish>) -> Claim {
        self.asked = Some(now);
        self.wishes.insert(self.me.clone(), mine);
        self.target = self.aim();
        let settled = self.settled.is_none_or(|settled| settled <= now);
        // Whoever stood still has nothing.
        self.cap.now = self.cap.at(now);
        let target = self.target.cap;
        let more = target > self.cap.now;
        let small = target.abs_diff(self.cap.now) <= self.steady();
        // What is given up while nobody may take it would be nobody's.
        let stays = !settled || (!more && (small || self.frozen));
        let wants = if stays { self.cap.now } else { target };
        self.cap.now = self.cap.now.min(wants);
        Claim { has: self.cap.now, wants }
    }

    /// The store answered what was asked at `asked`: the cap, and what the others want.
    pub fn told(&mut self, asked: Instant, cap: u64, others: BTreeMap<String, Vec<Wish>>) {
        self.heard = Some(asked);
        self.sure |= !self.frozen && self.settled.is_none_or(|settled| settled <= asked);
        let mine = self.wishes.remove(&self.me).unwrap_or_default();
        self.wishes = others;
        self.wishes.insert(self.me.clone(), mine);
        self.target = self.aim();
        let now = cap.min(self.limit);
        let until = Some(asked + self.kept());
        self.cap = Cap { now, soon: self.outlook().max(now), until };
    }

    /// The store did not answer. `replicas`: as many as there were; this part may know of fewer, when it is
    /// of a limit that not all use.
    pub fn unheard(&mut self, now: Instant, replicas: usize) {
        let replicas = self.replicas().max(replicas);
        let even = (self.limit / replicas as u64).max(1);
        let since = |then: Instant| now.saturating_duration_since(then);
        let in_vain = since(*self.unheard.get_or_insert(now));
        let kept = self.kept();
        // It stood still since it asked, and was not heard for want of patience.
        let stood = self.asked.is_some_and(|asked| since(asked) >= LEASE);
        let silent = self.heard.filter(|_| self.sure).map(since);
        if !stood {
            // It is awake, and asks in vain: what it has ends when it stops doing so.
            self.cap.until = self.cap.until.max(Some(now + LEASE));
        }
        self.cap.now = match silent {
            None if in_vain < LEASE => return,
            Some(silent) if silent < kept => self.cap.now,
            // First those go down who have more; what they sent is out of the window when the
            // others come up.
            Some(silent) if silent < 2 * kept => self.cap.now.min(even),
            // Or nobody ever told how much it may who knew: an even part is what it would have.
            None | Some(_) => even,
        };
        // It will have an even part, if it comes to that.
        self.cap.soon = self.cap.now.max(even);
    }

    /// The cap should be another one: it is worth asking at once.
    pub fn is_off(&self) -> bool {
        self.target.cap.abs_diff(self.cap.now) > self.steady()
    }

    /// Others have too much of what is missing here.
    pub fn is_short(&self) -> bool {
        self.is_off() && self.target.cap > self.cap.now
    }

    /// What a caller's turn is worth here, next to one whose calls all come here: between 0 and 1.
    pub fn worth(&self, caller: u64) -> f64 {
        let calls = |of: &dyn Fn(&str) -> bool| -> u64 {
            let wishes = self.wishes.iter().filter(|(name, _)| of(name)).flat_map(|(_, w)| w);
            wishes.filter(|wish| wish.caller == caller).map(|wish| wish.calls).sum()
        };
        let (here, everywhere) = (calls(&|name| name == self.me), calls(&|_| true));
        if here == 0 { 1.0 } else { float(here) / float(everywhere) }
    }

    /// For how long the store leaves a part alone of which it hears nothing, a little less than that.
    fn kept(&self) -> Duration {
        (LEASE + self.window) / CLOCKS * (CLOCKS - 1)
    }

    /// By how much the cap may be off. Somebody may miss what all others have too much of: that is
    /// no more than half of what it should have, however little that is.
    fn steady(&self) -> u64 {
        let others = 2 * self.replicas() as u64;
        (self.cap.now / STEADY).max(1).min(self.target.least / others)
    }

    fn aim(&self) -> Target {
        let all: Vec<&[Wish]> = self.wishes.values().map(Vec::as_slice).collect();
        let caps = shares::caps(self.limit, &all);
        let least = caps.iter().copied().filter(|cap| *cap > 0).min().unwrap_or(self.limit);
        let mine = self.wishes.keys().zip(caps).find(|(name, _)| **name == self.me);
        Target { cap: mine.map_or(self.limit, |(_, cap)| cap), least }
    }

    /// Its part if its callers wanted all there is.
    fn outlook(&self) -> u64 {
        let all = most(self.limit).max(1);
        let mine = self.wishes.get(&self.me).into_iter().flatten();
        let mut greedy: Vec<Wish> = mine.map(|wish| Wish { calls: all, ..*wish }).collect();
        if greedy.is_empty() {
            greedy.push(Wish { caller: 0, weight: 1, calls: all });
        }
        let others = self.wishes.iter().filter(|(name, _)| **name != self.me);
        let others = others.map(|(_, wishes)| wishes.as_slice());
        let shares = shares(self.limit, std::iter::once(greedy.as_slice()).chain(others));
        whole(shares.of(&greedy, self.replicas())).min(self.limit)
    }
}

#[cfg(test)]
mod tests;
