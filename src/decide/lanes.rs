//! Several tokens, each with its own budget: which of them a call goes under.
//! It never lets one token's limit stand for another's, and never counts a call under two.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::{budget::Budget, freshness::Generation};

/// One of the tokens, by its number from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lane(usize);

impl Lane {
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

#[derive(Debug)]
struct State {
    budget: Budget,
    generation: Generation,
    /// There is a token, as far as anybody knows.
    usable: bool,
    /// When it last gave a place, as a number that grows: of two that are used alike, the one that
    /// rested longer is next.
    gave: u64,
}

/// All budgets. At least one: the common case, which costs no more than the budget itself.
#[derive(Debug)]
pub struct Lanes {
    first: State,
    more: Vec<State>,
    given: u64,
}

impl Lanes {
    /// `count` of them, at least one, each with `limit` calls in any `window`.
    pub fn new(count: usize, limit: Option<NonZeroU32>, window: Duration, epoch: Instant) -> Self {
        let state = || State {
            budget: Budget::new(limit, window, epoch),
            generation: Generation::default(),
            usable: false,
            gave: 0,
        };
        Self { first: state(), more: (1..count).map(|_| state()).collect(), given: 0 }
    }

    /// A place under the least used token that has one; else when it is worth asking again.
    pub fn take(&mut self, now: Instant) -> Result<Spot, Instant> {
        let lane = self.least_used(now)?;
        let state = self.lane(lane);
        state.budget.take(now)?;
        Ok(Spot { lane, generation: state.generation })
    }

    /// A place under this very token.
    pub fn take_under(&mut self, lane: Lane, now: Instant) -> Result<(), Instant> {
        self.lane(lane).budget.take(now)
    }

    /// `count` places at once, if the token is far from its limit. Of several tokens none gives
    /// any: call by call, the least used is next.
    pub fn take_slice(&mut self, count: u32, now: Instant) -> Option<Spot> {
        let state = &mut self.first;
        let taken = self.more.is_empty() && state.budget.take_slice(count, now);
        taken.then_some(Spot { lane: Lane::default(), generation: state.generation })
    }

    /// So many calls that had a place left, signed with this token.
    pub fn leave(&mut self, count: u32, spot: Spot, now: Instant) {
        let state = self.lane(spot.lane);
        if spot.generation < state.generation {
            // Replaced a moment ago: its calls are not the successor's.
            state.budget.give_back(count);
        } else {
            state.budget.leave(count, now);
        }
    }

    /// So many calls that had a place will not leave.
    pub fn give_back(&mut self, count: u32, lane: Lane) {
        self.lane(lane).budget.give_back(count);
    }

    /// A call leaves that had no place.
    pub fn charge(&mut self, lane: Lane, now: Instant) {
        self.lane(lane).budget.charge(1, now);
    }

    /// When a call could leave that has `ahead` others before it. Exact for one token; for several
    /// it may be late, never early.
    pub fn available_at(&mut self, now: Instant, ahead: usize) -> Instant {
        if self.more.is_empty() {
            return self.first.budget.available_at(now, ahead);
        }
        let open: Vec<Lane> = self.open(now);
        // Those ahead spread evenly, so each token has served `each`, some one more.
        let (each, rest) = (ahead / open.len().max(1), ahead % open.len().max(1));
        let mut at: Vec<Instant> = Vec::with_capacity(open.len());
        let mut spread = now;
        for &lane in &open {
            let budget = &mut self.lane(lane).budget;
            at.push(budget.available_at(now, each));
            if let Some(before) = each.checked_sub(1) {
                spread = spread.max(budget.available_at(now, before));
            }
        }
        at.sort_unstable();
        at.get(rest).copied().unwrap_or(now).max(spread)
    }

    /// Upstream said 429 to this token: nothing leaves under it before `until`. False when it has
    /// been replaced since.
    pub fn pause(&mut self, spot: Spot, until: Instant) -> bool {
        let state = self.lane(spot.lane);
        let current = spot.generation == state.generation;
        if current {
            state.budget.pause(until);
        }
        current
    }

    /// Whether some token is paused: then slices may not be given past a look at it.
    pub fn paused(&self) -> bool {
        self.all().any(|state| state.budget.paused_until().is_some())
    }

    /// This token is there. A newer one is counted by upstream from nothing. False when nothing is
    /// new about it.
    pub fn seen(&mut self, spot: Spot) -> bool {
        let state = self.lane(spot.lane);
        let newer = spot.generation > state.generation;
        if newer {
            state.generation = spot.generation;
            state.budget.renew();
        }
        let found = spot.generation == state.generation && !state.usable;
        state.usable |= found;
        newer || found
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
        let free_at = budget.available_at(now, 0);
        (budget.taken(), free_at)
    }

    fn least_used(&mut self, now: Instant) -> Result<Lane, Instant> {
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
            match state.budget.used(now) {
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::t0;

    const WINDOW: Duration = Duration::from_secs(60);

    fn lanes(count: usize, limit: u32, epoch: Instant) -> Lanes {
        Lanes::new(count, NonZeroU32::new(limit), WINDOW, epoch)
    }

    /// The n-th life of a lane.
    fn spot(lane: usize, n: u64) -> Spot {
        let mut freshness = crate::decide::freshness::Freshness::new(Duration::ZERO);
        let now = t0();
        let lives = (0..n).map(|_| freshness.fetched(now, WINDOW, 0.0));
        Spot { lane: Lane(lane), generation: lives.last().unwrap_or_default() }
    }

    fn go(lanes: &mut Lanes, now: Instant) -> Result<Lane, Instant> {
        let spot = lanes.take(now)?;
        lanes.leave(1, spot, now);
        Ok(spot.lane)
    }

    #[test]
    fn the_least_used_token_is_next_and_together_they_give_the_sum() {
        let t0 = t0();
        let mut lanes = lanes(3, 2, t0);
        (0..3).for_each(|lane| assert!(lanes.seen(spot(lane, 1))));
        let order: Vec<_> = (0..6).map(|_| go(&mut lanes, t0).unwrap().number()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
        let again = go(&mut lanes, t0).unwrap_err();
        assert!(again > t0 + WINDOW && go(&mut lanes, again).is_ok());
    }

    #[test]
    fn without_a_limit_they_take_turns() {
        let t0 = t0();
        let mut lanes = lanes(2, 0, t0);
        let order: Vec<_> = (0..4).map(|_| go(&mut lanes, t0).unwrap().number()).collect();
        assert_eq!(order, [0, 1, 0, 1]);
    }

    #[test]
    fn a_lane_without_a_token_is_passed_over_while_another_has_one() {
        let t0 = t0();
        let mut lanes = lanes(2, 10, t0);
        assert!(lanes.take(t0).is_ok(), "at a cold start any will do: its token is on the way");
        lanes.seen(spot(1, 1));
        assert!((0..4).all(|_| go(&mut lanes, t0) == Ok(Lane(1))));
        lanes.seen(spot(0, 1));
        lanes.lost(spot(1, 1));
        assert!((0..4).all(|_| go(&mut lanes, t0) == Ok(Lane(0))));
        lanes.lost(spot(0, 0));
        assert!(lanes.usable(), "an older life tells nothing about this one");
        lanes.lost(spot(0, 1));
        assert!(!lanes.usable());
        lanes.seen(spot(1, 1));
        assert!(lanes.usable());
    }

    #[test]
    fn a_pause_holds_one_token_and_the_others_go_on() {
        let t0 = t0();
        let mut lanes = lanes(2, 10, t0);
        (0..2).for_each(|lane| assert!(lanes.seen(spot(lane, 1))));
        let until = t0 + Duration::from_secs(42);
        assert!(lanes.pause(spot(0, 1), until) && lanes.paused());
        assert!(!lanes.pause(spot(0, 0), until), "not the successor's fault");
        assert!((0..10).all(|_| go(&mut lanes, t0) == Ok(Lane(1))));
        assert_eq!(go(&mut lanes, t0), Err(until));
        assert_eq!(lanes.available_at(t0, 0), t0.max(lanes.available_at(t0, 0)));
        assert_eq!(go(&mut lanes, until), Ok(Lane(0)));
    }

    #[test]
    fn a_new_token_starts_from_nothing_and_leaves_the_others_alone() {
        let t0 = t0();
        let mut lanes = lanes(2, 1, t0);
        (0..2).for_each(|lane| assert!(lanes.seen(spot(lane, 1))));
        assert!((0..2).all(|_| go(&mut lanes, t0).is_ok()));
        assert!(lanes.seen(spot(1, 2)) && !lanes.seen(spot(1, 2)));
        assert_eq!(go(&mut lanes, t0), Ok(Lane(1)));
        assert!(go(&mut lanes, t0).is_err());
    }

    proptest! {
        /// The shadow model is the definition: every window of the log of sends, token by token.
        #[test]
        fn no_window_of_any_token_ever_holds_more_than_the_limit(
            count in 1usize..5,
            limit in 1u32..10,
            steps in prop::collection::vec((0u64..4_000, 0u8..20, 0usize..5), 1..300),
        ) {
            let t0 = t0();
            let mut lanes = lanes(count, limit, t0);
            let mut now = t0;
            let mut sends: Vec<(Instant, Lane)> = Vec::new();
            for (gap, what, lane) in steps {
                now += Duration::from_millis(gap);
                match what {
                    0 => drop(lanes.pause(Spot { lane: Lane(lane % count), ..Spot::default() }, now + WINDOW / 4)),
                    1 => lanes.lost(Spot { lane: Lane(lane % count), ..Spot::default() }),
                    2 => drop(lanes.seen(Spot { lane: Lane(lane % count), ..Spot::default() })),
                    _ => if let Ok(lane) = go(&mut lanes, now) {
                        sends.push((now, lane));
                        let inside = sends.iter().filter(|(at, of)| *of == lane && now - *at < WINDOW);
                        prop_assert!(inside.count() <= limit as usize);
                    }
                }
            }
        }

        /// Whoever is told when its turn comes has it then, to a slot of the window for each window
        /// waited, when those before it go as told.
        #[test]
        fn a_turn_that_was_promised_is_kept(
            count in 1usize..5,
            limit in 1u32..8,
            sent in prop::collection::vec(0u64..70_000, 0..40),
            ahead in 0usize..60,
        ) {
            let t0 = t0();
            let mut lanes = lanes(count, limit, t0);
            let mut arrivals = sent;
            arrivals.sort_unstable();
            let mut now = t0;
            for at in arrivals {
                now = t0 + Duration::from_millis(at);
                let _ = go(&mut lanes, now);
            }
            let promised = lanes.available_at(now, ahead);
            let mut at = now;
            for _ in 0..ahead {
                while let Err(again) = go(&mut lanes, at) {
                    at = again;
                }
            }
            let windows = u32::try_from(ahead).unwrap() / (limit * u32::try_from(count).unwrap());
            let promised = promised + WINDOW / 500 * (windows + 1);
            prop_assert!(at <= promised, "{:?} late", at - promised);
            prop_assert!(go(&mut lanes, promised).is_ok());
        }
    }
}
