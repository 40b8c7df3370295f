//! Limits that are shared with other replicas: what each tells of itself, and what is ours of it.
//! It never lets a call pass a limit of which nothing is ours yet.

use std::{collections::BTreeMap, num::NonZeroU32, time::Instant};

use super::{GateId, Turns};
use crate::decide::{
    budget::Report,
    callers::Principal,
    joint::{part::Cap, tally::Tally},
    lanes::{Lane, Spot},
};

/// A limit that replicas share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitId {
    /// Of a token.
    Lane(Lane),
    /// Calls in a window, of a caller or a named family.
    Rate(GateId),
    /// Calls at once, of a named family.
    Crowd(GateId),
}

/// How a limit stands here.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What all replicas may send together.
    pub limit: u64,
    /// What counts here.
    pub report: Report,
    /// Whose calls wait for it, and how many.
    pub waiting: BTreeMap<Principal, u64>,
}

impl<W> Turns<W> {
    /// From now on there are others: until it is known what is ours, nothing is.
    pub fn share(&mut self, now: Instant) {
        self.tally = Some(Tally::new(self.lanes.allowance().window, now));
        let Some(limit) = self.lanes.allowance().limit else { return };
        for lane in self.lanes.numbers() {
            self.lanes.share(lane, Cap::nothing(limit.get().into()));
        }
    }

    /// A call came, whether or not it leaves.
    pub fn came(&mut self, principal: Principal, calls: u32, now: Instant) {
        if let Some(tally) = &mut self.tally {
            tally.add(principal, calls, now);
        }
    }

    /// Calls of each caller in a window, lately.
    pub fn lately(&mut self, now: Instant) -> BTreeMap<Principal, u64> {
        self.tally.as_mut().map(|tally| tally.in_a_window(now).collect()).unwrap_or_default()
    }

    /// Of each token's limit, what may leave here in a window.
    pub fn shares(&mut self, now: Instant) -> Vec<u64> {
        let lanes: Vec<Lane> = self.lanes.numbers().collect();
        let spots = lanes.into_iter().map(|lane| Spot { lane, ..Spot::default() });
        spots.filter_map(|spot| self.lanes.limit_of(spot, now)).map(u64::from).collect()
    }

    /// What callers are worth here has changed.
    pub fn weigh(&mut self, weight: impl Fn(Principal) -> NonZeroU32) {
        self.line.weigh(&weight);
        self.gates.values_mut().for_each(|gate| gate.line.weigh(&weight));
    }

    /// Of all limits that are shared and in use, how they stand here.
    pub fn limits(&mut self, now: Instant) -> BTreeMap<LimitId, Facts> {
        let mut limits = BTreeMap::new();
        let waiting: BTreeMap<Principal, u64> = self.line.waiting().collect();
        let several = self.lanes.numbers().count() as u64;
        if let Some(limit) = self.lanes.allowance().limit {
            let shared: Vec<Lane> = self.lanes.shared().collect();
            for lane in shared {
                let report = self.lanes.report(lane, now);
                // Any of them will do for a call.
                let part =
                    |(principal, calls): (&Principal, &u64)| (*principal, calls.div_ceil(several));
                let waiting = waiting.iter().map(part).collect();
                let facts = Facts { limit: limit.get().into(), report, waiting };
                limits.insert(LimitId::Lane(lane), facts);
            }
        }
        for (id, gate) in self.gates.iter_mut().filter(|(id, _)| id.is_shared()) {
            // There may be as many ceilings as callers, and few of them are in use at a time.
            if matches!(id, GateId::Ceiling(_)) && gate.is_idle(now) {
                continue;
            }
            let waiting: BTreeMap<Principal, u64> = gate.line.waiting().collect();
            if let Some(limit) = gate.rate() {
                let report = gate.budget.report(now);
                let facts = Facts { limit: limit.into(), report, waiting: waiting.clone() };
                limits.insert(LimitId::Rate(*id), facts);
            }
            if let Some((limit, inside)) = gate.crowd() {
                let report = Report { inside: inside.into(), sent: Vec::new() };
                let facts = Facts { limit: limit.into(), report, waiting };
                limits.insert(LimitId::Crowd(*id), facts);
            }
        }
        limits
    }

    /// So much of a limit is ours from now on.
    pub fn cap(&mut self, id: LimitId, cap: Cap) {
        match id {
            // A token of its own may have come since the others were asked.
            LimitId::Lane(lane) if self.lanes.is_alone(lane) => {}
            LimitId::Lane(lane) => self.lanes.share(lane, cap),
            LimitId::Rate(id) => {
                if let Some(gate) = self.gates.get_mut(&id) {
                    gate.budget.share(cap);
                }
            }
            LimitId::Crowd(id) => {
                if let Some(gate) = self.gates.get_mut(&id) {
                    gate.seats = Some(cap);
                }
            }
        }
    }
}

impl GateId {
    /// What upstream was seen to limit each replica sees for itself.
    pub(super) fn is_shared(self) -> bool {
        match self {
            Self::Ceiling(_) | Self::Family(_) => true,
            Self::Learned(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::{
        budget::{Allowance, Belongs},
        freshness::Freshness,
        lanes::{Lanes, Spot},
        t0,
        turns::{
            Rules,
            gate::{Gate, Limit},
        },
    };

    const WINDOW: Duration = Duration::from_secs(60);
    /// The first one.
    const LANE: Lane = Lane::FIRST;

    struct World {
        turns: Turns<u32>,
        life: Freshness,
    }

    impl World {
        /// One token, of whose limit of sixty a part is ours.
        fn new() -> Self {
            let limit = NonZeroU32::new(60);
            let allowance = Allowance { limit, window: WINDOW, even: false, reserve: 0 };
            let rules = Rules { max_queue: 10, families: Vec::new(), ceilings: false };
            let mut turns = Turns::new(rules, Lanes::new(1, allowance, t0()), t0());
            turns.share(t0());
            Self { turns, life: Freshness::new(WINDOW) }
        }

        fn part(&mut self, now: u64) {
            self.turns.cap(LimitId::Lane(LANE), Cap { now, soon: now, until: None });
        }

        fn fetches(&mut self) -> Spot {
            Spot { lane: LANE, generation: self.life.fetched(t0(), WINDOW, 0.0) }
        }

        /// Another token.
        fn renew(&mut self) -> Spot {
            let spot = self.fetches();
            self.turns.seen(spot, Belongs::All, t0());
            spot
        }

        /// One that nobody else has.
        fn renew_alone(&mut self) -> Spot {
            let spot = self.fetches();
            self.turns.seen(spot, Belongs::Us, t0());
            spot
        }

        fn sends(&mut self, calls: u32, spot: Spot) {
            for _ in 0..calls {
                self.turns.lanes.take(t0(), false).unwrap();
                self.turns.lanes.leave(1, spot, t0());
            }
        }

        fn has_room(&self) -> bool {
            self.turns.clone().lanes.take(t0(), false).is_ok()
        }

        fn sent(&mut self) -> u64 {
            self.turns.lanes.report(LANE, t0()).sent.iter().map(|(_, calls)| calls).sum()
        }
    }

    #[test]
    fn after_a_token_of_its_own_nothing_is_ours_until_it_is_known_what_is() {
        let mut world = World::new();
        assert!(!world.has_room(), "nobody was asked");
        world.renew_alone();
        assert!(world.has_room(), "a token of its own");
        world.part(0);
        assert!(world.has_room(), "what was asked for before is not of this token");
        world.renew();
        assert!(!world.has_room(), "another token, and nobody was asked");
    }

    #[test]
    fn what_was_sent_of_a_part_counts_under_the_next_token_too() {
        let mut world = World::new();
        let old = world.renew();
        world.part(10);
        world.sends(9, old);
        // The others may use the old one a moment longer.
        let new = world.renew();
        assert_eq!(world.sent(), 9);
        world.sends(1, new);
        assert!(!world.has_room());
        // So does a call that had its place before.
        world.part(11);
        world.turns.lanes.take(t0(), false).unwrap();
        world.renew();
        world.turns.lanes.leave(1, new, t0());
        assert_eq!(world.sent(), 11);
    }

    #[test]
    fn a_token_of_its_own_counts_apart_and_what_was_sent_before_is_not_forgotten_for_it() {
        let mut world = World::new();
        let old = world.renew();
        world.part(10);
        world.sends(4, old);
        world.turns.lanes.take(t0(), false).unwrap();
        let own = world.renew_alone();
        // Signed with the token of all, a moment ago.
        world.turns.lanes.leave(1, old, t0());
        world.sends(60, own);
        assert!(!world.has_room());
        world.renew();
        world.part(10);
        assert_eq!(world.sent(), 5);
    }

    #[test]
    fn a_token_of_its_own_that_is_seen_again_is_no_new_one() {
        let mut world = World::new();
        let own = world.renew_alone();
        world.sends(60, own);
        // Given up, and found to be good.
        world.turns.lanes.lost(own);
        world.turns.seen(own, Belongs::Us, t0());
        assert!(!world.has_room());
        // Seen so late that there is another one.
        world.renew();
        world.turns.seen(own, Belongs::Us, t0());
        assert!(!world.has_room(), "everybody's, and nobody was asked");
    }

    #[test]
    fn who_stood_still_while_others_took_its_seats_lets_nobody_in() {
        let limit = Limit { requests_per_minute: None, concurrent: NonZeroU32::new(4) };
        let mut gate = Gate::<u32>::new(limit, WINDOW, (t0(), t0()));
        gate.seats = Some(Cap { now: 2, soon: 2, until: Some(t0() + WINDOW) });
        assert!(gate.take(t0()).is_ok());
        assert!(gate.take(t0() + WINDOW).is_err());
    }

    #[test]
    fn a_ceiling_is_told_of_while_its_caller_calls() {
        let mut world = World::new();
        let ceiling = GateId::Ceiling(Principal::Named(3));
        world.turns.gate(ceiling, NonZeroU32::new(5), t0());
        let told =
            |world: &mut World, now| world.turns.limits(now).contains_key(&LimitId::Rate(ceiling));
        assert!(!told(&mut world, t0()));
        let gate = world.turns.gates.get_mut(&ceiling).unwrap();
        gate.budget.share(Cap { now: 5, soon: 5, until: None });
        gate.take(t0()).unwrap();
        assert!(told(&mut world, t0()));
        let gate = world.turns.gates.get_mut(&ceiling).unwrap();
        gate.budget.leave(1, t0());
        gate.ended(t0(), t0());
        assert!(told(&mut world, t0() + WINDOW / 2));
        assert!(!told(&mut world, t0() + WINDOW * 2));
    }
}
