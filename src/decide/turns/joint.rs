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
            self.lanes.share(lane, Some(nothing(limit)));
        }
    }

    /// A token that was this replica's alone is the others', too: until it is known what is ours, nothing
    /// is.
    pub fn joins(&mut self, lane: Lane) {
        if let Some(limit) = self.lanes.allowance().limit {
            self.lanes.share(lane, Some(nothing(limit)));
        }
    }

    /// Another token, which may be everybody's.
    pub(super) fn renewed(&mut self, lane: Lane) {
        if self.tally.is_some() && self.lanes.is_whole(lane) {
            self.joins(lane);
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

    /// Of all limits that are shared, how they stand here.
    pub fn limits(&mut self, now: Instant) -> BTreeMap<LimitId, Facts> {
        let mut limits = BTreeMap::new();
        let waiting: BTreeMap<Principal, u64> = self.line.waiting().collect();
        let several = self.lanes.numbers().count() as u64;
        if let Some(limit) = self.lanes.allowance().limit {
            for lane in self.lanes.numbers() {
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

    /// So much of a limit is ours from now on; `None`: all of it, and nobody else's.
    pub fn cap(&mut self, id: LimitId, cap: Option<Cap>) {
        match id {
            LimitId::Lane(lane) => self.lanes.share(lane, cap),
            LimitId::Rate(id) => {
                if let Some(gate) = self.gates.get_mut(&id) {
                    gate.budget.share(cap);
                }
            }
            LimitId::Crowd(id) => {
                if let Some(gate) = self.gates.get_mut(&id) {
                    gate.seats = cap;
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

/// Of a limit of which it is not known what is ours.
pub(super) fn nothing(limit: NonZeroU32) -> Cap {
    Cap { now: 0, soon: limit.get().into(), until: None }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::{
        budget::Allowance,
        freshness::Freshness,
        lanes::{Lanes, Spot},
        t0,
        turns::Rules,
    };

    #[test]
    fn what_was_one_replicas_own_is_nobodys_when_the_next_token_may_be_everybodys() {
        let (limit, window) = (NonZeroU32::new(60), Duration::from_secs(60));
        let allowance = Allowance { limit, window, even: false, reserve: 0 };
        let rules = Rules { max_queue: 10, families: Vec::new(), ceilings: false };
        let mut turns = Turns::<u32>::new(rules, Lanes::new(1, allowance, t0()), t0());
        turns.share(t0());
        let lane = Lane::default();
        let has_room = |turns: &mut Turns<u32>| turns.lanes.take(t0(), false).is_ok();
        assert!(!has_room(&mut turns), "nobody was asked");
        turns.cap(LimitId::Lane(lane), None);
        assert!(has_room(&mut turns), "a token of its own");
        let mut life = Freshness::new(window);
        let generation = life.fetched(t0(), window, 0.0);
        turns.seen(Spot { lane, generation }, t0());
        assert!(!has_room(&mut turns), "another token, and nobody was asked");
        turns.cap(LimitId::Lane(lane), None);
        turns.joins(lane);
        assert!(!has_room(&mut turns), "the same token, which the others are given");
    }
}
