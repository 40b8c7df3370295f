//! Several tokens, each with its own budget: which of them a call goes under.
//! It never lets one token's limit stand for another's, and never counts a call under two.

mod limited;
mod spending;

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::{
    blame::Suspicion,
    budget::{Allowance, Belongs, Budget, Report},
    freshness::Generation,
    joint::part::Cap,
    quota::Quota,
};
use limited::Moved;
pub use limited::Whose;
pub use spending::Spending;

/// One of the tokens, by its number from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lane(usize);

impl Lane {
    /// The only one, mostly.
    pub const FIRST: Self = Self(0);

    /// The n-th.
    pub fn new(number: usize) -> Self {
        Self(number)
    }

    /// From 0.
    pub fn number(self) -> usize {
        self.0
    }
}

/// A place in the budget of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spot {
    /// Which token.
    pub lane: Lane,
    /// Which of its lives.
    pub generation: Generation,
}

/// A token's budget as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What may leave in a window; `None`: there is no limit, and nothing is counted.
    pub allowed: Option<u32>,
    /// What of it is taken.
    pub used: u64,
    /// Until it goes on; zero while it does.
    pub paused: Duration,
}

#[derive(Debug, Clone)]
struct State {
    budget: Budget,
    suspicion: Suspicion,
    generation: Generation,
    /// Places that were had under this token, or an older one, are none.
    void: Option<Generation>,
    /// There is a token, as far as anybody knows.
    usable: bool,
    /// When it last gave a place, as a number that grows: of two that are used alike, the one that
    /// rested longer is next.
    gave: u64,
}

/// All budgets. At least one: the common case, which costs no more than the budget itself.
#[derive(Debug, Clone)]
pub struct Lanes {
    allowance: Allowance,
    first: State,
    more: Vec<State>,
    given: u64,
    moved: Vec<Moved>,
}

impl Lanes {
    /// `count` of them, at least one, each with its own allowance.
    pub fn new(count: usize, allowance: Allowance, epoch: Instant) -> Self {
        let state = || State {
            budget: Budget::new(allowance, epoch),
            suspicion: Suspicion::default(),
            generation: Generation::default(),
            void: None,
            usable: false,
            gave: 0,
        };
        let more = (1..count).map(|_| state()).collect();
        Self { allowance, first: state(), more, given: 0, moved: Vec::new() }
    }

    /// What each of them allows.
    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Each of them allows so many from now on.
    pub fn allow(&mut self, limit: NonZeroU32) {
        self.allowance.limit = Some(limit);
        for state in std::iter::once(&mut self.first).chain(&mut self.more) {
            state.budget.allow(limit);
        }
    }

    /// For how long a call counts, clocks and networks reckoned with.
    pub fn window(&self) -> Duration {
        self.first.budget.window()
    }

    /// What all of them allow together.
    pub fn limit(&self) -> Option<NonZeroU32> {
        let count = u32::try_from(self.more.len() + 1).unwrap_or(u32::MAX);
        Some(self.allowance.limit?.saturating_mul(NonZeroU32::new(count)?))
    }

    /// A place under the least used token that has one; else when it is worth asking again.
    pub fn take(&mut self, now: Instant, urgent: bool) -> Result<Spot, Instant> {
        let lane = self.least_used(now, urgent)?;
        let state = self.lane(lane);
        state.budget.take(now, urgent)?;
        Ok(Spot { lane, generation: state.generation })
    }

    /// A place under this very token.
    pub fn take_under(&mut self, lane: Lane, now: Instant) -> Result<(), Instant> {
        self.lane(lane).budget.take(now, true)
    }

    /// `count` places at once, if the token is far from its limit. Of several tokens none gives
    /// any: call by call, the least used is next.
    pub fn take_slice(&mut self, count: u32, now: Instant) -> Option<Spot> {
        let state = &mut self.first;
        let taken = self.more.is_empty() && state.budget.take_slice(count, now);
        taken.then_some(Spot { lane: Lane::default(), generation: state.generation })
    }

    /// All of them.
    pub fn numbers(&self) -> impl Iterator<Item = Lane> + use<> {
        (0..=self.more.len()).map(Lane)
    }

    /// So much of a token's limit is ours.
    pub fn share(&mut self, lane: Lane, cap: Cap) {
        self.lane(lane).budget.share(cap);
    }

    /// When what is ours of a token's limit may be others'.
    pub fn until(&self, lane: Lane) -> Option<Instant> {
        self.all().nth(lane.0).and_then(|state| state.budget.until())
    }

    /// Whether nobody else has this token.
    pub fn is_alone(&self, lane: Lane) -> bool {
        self.all().nth(lane.0).is_some_and(|state| state.budget.is_alone())
    }

    /// Those whose tokens others have, too.
    pub fn shared(&self) -> impl Iterator<Item = Lane> {
        let numbered = self.all().enumerate();
        numbered.filter(|(_, state)| !state.budget.is_alone()).map(|(number, _)| Lane(number))
    }

    /// What counts under a token.
    pub fn report(&mut self, lane: Lane, now: Instant) -> Report {
        self.lane(lane).budget.report(now)
    }

    /// So many calls that had a place left, signed with this token. Returns how many ever left.
    pub fn leave(&mut self, count: u32, spot: Spot, now: Instant) -> u64 {
        let state = self.lane(spot.lane);
        if spot.generation < state.generation {
            state.budget.leave_late(count, now);
            return 0;
        }
        state.budget.leave(count, now)
    }

    /// So many calls that had a place will not leave.
    pub fn give_back(&mut self, count: u32, lane: Lane, now: Instant) {
        self.lane(lane).budget.give_back(count, now);
    }

    /// A call leaves that had no place.
    pub fn charge(&mut self, lane: Lane, now: Instant) {
        self.lane(lane).budget.charge(1, now);
    }

    /// When a call could leave that has `ahead` others before it. Exact for one token; for several
    /// it may be late, never early.
    pub fn available_at(&mut self, now: Instant, ahead: usize, urgent: bool) -> Instant {
        if self.more.is_empty() {
            return self.first.budget.available_at(now, ahead, urgent);
        }
        if ahead == 0 {
            let any = self.usable();
            let usable = self.all_mut().filter(|state| !any || state.usable);
            let each = usable.map(|state| state.budget.available_at(now, 0, urgent));
            return each.min().unwrap_or(now);
        }
        let open: Vec<Lane> = self.open(now);
        // Those ahead spread evenly, so each token has served `each`, some one more.
        let (each, rest) = (ahead / open.len().max(1), ahead % open.len().max(1));
        let mut at: Vec<Instant> = Vec::with_capacity(open.len());
        let mut spread = now;
        for &lane in &open {
            let budget = &mut self.lane(lane).budget;
            at.push(budget.available_at(now, each, urgent));
            if let Some(before) = each.checked_sub(1) {
                spread = spread.max(budget.available_at(now, before, urgent));
            }
        }
        at.sort_unstable();
        at.get(rest).copied().unwrap_or(now).max(spread)
    }

    /// What upstream said of this token's quota, with the answer to its `as_of`-th call.
    pub fn told(&mut self, spot: Spot, quota: &Quota, as_of: u64, now: Instant) {
        let state = self.lane(spot.lane);
        if spot.generation == state.generation {
            state.budget.told(quota, as_of, now);
        }
    }

    /// What may leave in a window under all tokens, and how much of it is taken.
    pub fn standing(&mut self, now: Instant) -> Option<(u64, u64)> {
        let mut sum = (0, 0);
        for state in self.all_mut() {
            let (limit, taken) = state.budget.standing(now)?;
            sum.0 += limit;
            sum.1 += taken;
        }
        Some(sum)
    }

    /// What may leave in a window under one token.
    pub fn limit_of(&mut self, spot: Spot, now: Instant) -> Option<u32> {
        self.lane(spot.lane).budget.limit_at(now)
    }

    /// Each of them as it stands now, for whoever watches.
    pub fn usages(&mut self, now: Instant) -> Vec<Usage> {
        let usage = |state: &mut State| Usage {
            allowed: state.budget.limit_at(now),
            used: state.budget.taken_at(now),
            paused: state
                .budget
                .paused_until()
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
        };
        self.all_mut().map(usage).collect()
    }

    /// How many calls ever left under the token, if there is only one.
    pub fn ever_left(&self) -> Option<u64> {
        self.more.is_empty().then(|| self.first.budget.ever_left())
    }

    /// When some token will have one place more than now.
    pub fn next_free(&self, now: Instant) -> Instant {
        let each = self.all().map(|state| state.budget.next_free(now));
        each.min().unwrap_or(now)
    }

    /// Nothing leaves under this token before `until`.
    pub fn hold(&mut self, spot: Spot, until: Instant) {
        let state = self.lane(spot.lane);
        if spot.generation == state.generation {
            state.budget.pause(until);
        }
    }

    /// Whether this token is.
    pub fn is_paused(&self, lane: Lane, now: Instant) -> bool {
        let state = self.all().nth(lane.0);
        let until = state.and_then(|state| state.budget.paused_until());
        until.is_some_and(|until| now < until)
    }

    /// Whether some token is paused: then slices may not be given past a look at it.
    pub fn paused(&self) -> bool {
        self.all().any(|state| state.budget.paused_until().is_some())
    }

    /// This token is there. A newer one is counted by upstream from nothing. False when nothing is
    /// new about it.
    pub fn seen(&mut self, spot: Spot, belongs: Belongs) -> bool {
        let state = self.lane(spot.lane);
        let newer = spot.generation > state.generation;
        if newer {
            let alone = state.budget.is_alone();
            state.budget.renew(belongs);
            if alone && !state.budget.is_alone() {
                state.void = Some(state.generation);
            }
            state.generation = spot.generation;
            state.suspicion = Suspicion::default();
        }
        let found = spot.generation == state.generation && !state.usable;
        state.usable |= found;
        newer || found
    }

    /// Whether a place that was had under this token is one still. Those of a token of our own are none
    /// of a limit that is everybody's.
    pub fn stands(&self, spot: Spot) -> bool {
        let void = self.all().nth(spot.lane.0).and_then(|state| state.void);
        void.is_none_or(|void| void < spot.generation)
    }

    /// There is no token in this lane any longer, until the next one comes.
    pub fn lost(&mut self, spot: Spot) {
        let state = self.lane(spot.lane);
        if spot.generation >= state.generation {
            state.usable = false;
        }
    }

    /// Some lane has a token.
    fn usable(&self) -> bool {
        self.all().any(|state| state.usable)
    }

    /// How many places of a lane are taken or used, and when it has one free.
    pub fn usage(&mut self, lane: Lane, now: Instant) -> (u64, Instant) {
        let budget = &mut self.lane(lane).budget;
        let free_at = budget.available_at(now, 0, true);
        (budget.taken(), free_at)
    }

    fn least_used(&mut self, now: Instant, urgent: bool) -> Result<Lane, Instant> {
        if self.more.is_empty() {
            return Ok(Lane::default());
        }
        let any = self.usable();
        let mut best: Option<(u64, u64, Lane)> = None;
        let mut soonest: Option<Instant> = None;
        for (number, state) in self.all_mut().enumerate() {
            if any && !state.usable {
                continue;
            }
            match state.budget.used(now, urgent) {
                Ok(used) => {
                    let candidate = (used, state.gave, Lane(number));
                    best = Some(best.map_or(candidate, |best| best.min(candidate)));
                }
                Err(at) => soonest = Some(soonest.map_or(at, |known| known.min(at))),
            }
        }
        let Some((.., lane)) = best else { return Err(soonest.unwrap_or(now)) };
        self.given += 1;
        let given = self.given;
        self.lane(lane).gave = given;
        Ok(lane)
    }

    /// The lanes that calls go under at the moment: with a token and without a pause, if there are.
    fn open(&self, now: Instant) -> Vec<Lane> {
        let any = self.usable();
        let usable = |state: &State| !any || state.usable;
        let running = |state: &State| state.budget.paused_until().is_none_or(|until| until <= now);
        let chosen = |good: &dyn Fn(&State) -> bool| -> Vec<Lane> {
            let numbered = self.all().enumerate();
            numbered.filter(|(_, state)| good(state)).map(|(number, _)| Lane(number)).collect()
        };
        let open = chosen(&|state| usable(state) && running(state));
        if open.is_empty() { chosen(&usable) } else { open }
    }

    fn lane(&mut self, lane: Lane) -> &mut State {
        match lane.0.checked_sub(1).and_then(|index| self.more.get_mut(index)) {
            Some(state) => state,
            None => &mut self.first,
        }
    }

    fn all(&self) -> impl Iterator<Item = &State> {
        std::iter::once(&self.first).chain(&self.more)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut State> {
        std::iter::once(&mut self.first).chain(&mut self.more)
    }
}

#[cfg(test)]
mod tests;
