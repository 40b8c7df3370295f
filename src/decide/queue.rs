//! Who waits for a place, and whose turn is next: callers share turns by weight, a caller's own
//! calls go by urgency. It never wakes anybody; it says who is next, and who has run out of patience.
//!
//! The order between callers is start-time fair queueing (Goyal, Vin, Cheng 1996). Each turn has a
//! start in virtual time: that of its caller's turn before it and its cost, 1/weight, or the start
//! of the turn served last, if that is later. The earliest start is next. Deficit round robin is
//! cheaper by a logarithm, but who has one call waits there until all others had their round; here
//! its turn comes next. Who had nothing to send saves nothing up.
//!
//! A call that is told to come back keeps its turn: see [`promises`].

mod flow;
pub mod promises;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    ops::RangeInclusive,
    time::Instant,
};

use super::{callers::Principal, rank::Rank, urgency::Urgency};
use flow::{COST, Flow, Seat, Turn};
use promises::Promises;

/// A place in the order of arrival. A call that comes back after a 429 keeps its ticket, and so
/// stands before all of its caller's that came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Some tickets, oldest first.
#[derive(Debug)]
pub struct Tickets(RangeInclusive<u64>);

impl Default for Tickets {
    fn default() -> Self {
        #[expect(clippy::reversed_empty_ranges, reason = "it is to be empty")]
        Self(1..=0)
    }
}

impl Iterator for Tickets {
    type Item = Ticket;

    fn next(&mut self) -> Option<Ticket> {
        self.0.next().map(Ticket)
    }
}

/// The line is at its bound, or the caller at its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Callers without a call in line that are remembered for the turns they had. Far above what is
/// needed; who is forgotten starts like a newcomer.
const MAX_IDLE: usize = 10_000;

/// Whose call it is, and how it wants to wait.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    /// The caller.
    pub principal: Principal,
    /// Its share.
    pub weight: NonZeroU32,
    /// Among the caller's own.
    pub urgency: Urgency,
    /// Its place in the order of arrival.
    pub ticket: Ticket,
    /// What it asks for, as a number: a call that comes back asks for the same.
    pub asks: u64,
}

/// The line; `W` is how to reach the one who waits.
#[derive(Debug, Clone)]
pub struct Queue<W> {
    issued: u64,
    /// Start of the turn served last.
    served: u64,
    flows: BTreeMap<Principal, Flow<W>>,
    /// Of all of them, together.
    weights: u64,
    line: Rank<Turn>,
    /// First turns of the callers whose first call is urgent.
    urgent: BTreeSet<Turn>,
    seats: BTreeMap<Ticket, Seat>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// Callers by how much of the line is theirs, as turns times cost.
    lengths: BTreeSet<(u64, Principal)>,
    /// Callers with nothing in line, by when their turns would come again.
    idle: BTreeSet<(u64, Principal)>,
    promises: Promises,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            issued: 0,
            served: 0,
            flows: BTreeMap::new(),
            weights: 0,
            line: Rank::default(),
            urgent: BTreeSet::new(),
            seats: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            lengths: BTreeSet::new(),
            idle: BTreeSet::new(),
            promises: Promises::default(),
        }
    }
}

impl<W> Queue<W> {
    /// The next ticket in order of arrival.
    pub fn ticket(&mut self) -> Ticket {
        Ticket(self.number())
    }

    /// The next tickets in order of arrival, for arrivals that will not stand in line.
    pub fn tickets(&mut self, count: u32) -> Tickets {
        let first = self.issued + 1;
        self.issued += u64::from(count);
        Tickets(first..=self.issued)
    }

    /// How many turns come before this call's, those of absent callers weighed by how many come
    /// back.
    pub fn ahead(&self, who: &Who, now: Instant) -> usize {
        if self.is_calm() {
            return 0;
        }
        let due = self.promises.due((who.principal, who.asks), now);
        let turn = self.turn_of(who, due);
        let present = self.line.before(&turn);
        // Those who are away and were told later times do not hold up one that was told to come now.
        if due.is_some() { present } else { present + self.promises.before(&turn) }
    }

    /// How many turns come before this call's at most, if all who share the turns now go on to take
    /// theirs. That is what a caller far ahead of its share has to reckon with: others who come
    /// later will be served before it.
    pub fn ahead_at_most(&self, who: &Who, now: Instant) -> usize {
        let own = self.turn_of(who, self.promises.due((who.principal, who.asks), now));
        let lead = own.start.saturating_sub(self.served);
        let known = self.flows.contains_key(&who.principal);
        let weights = self.weights + if known { 0 } else { u64::from(who.weight.get()) };
        let turns = u128::from(lead) * u128::from(weights) / u128::from(COST);
        self.ahead(who, now).max(usize::try_from(turns).unwrap_or(usize::MAX))
    }

    /// Stands in line until `deadline`, if there is room for one more in all, or in the place of the
    /// last call of a caller that has more of the line: that one is returned. `most` of the caller's
    /// own may wait.
    pub fn join(
        &mut self,
        who: &Who,
        (now, deadline): (Instant, Instant),
        (room, most): (usize, Option<usize>),
        waiter: W,
    ) -> Result<Option<(Ticket, W)>, (Full, W)> {
        let own = self.flows.get(&who.principal).map_or(0, |flow| flow.members.len());
        if most.is_some_and(|most| own >= most) {
            return Err((Full, waiter));
        }
        let evicted = if room > 0 { None } else { self.make_room(who) };
        if room == 0 && evicted.is_none() {
            return Err((Full, waiter));
        }
        let promised = self.promises.redeem((who.principal, who.asks), now);
        let turn = promised.unwrap_or_else(|| self.new_turn(who));
        let (start, place) = (turn.start, who.place(promised));
        self.change(who.principal, who.weight, |flow| {
            flow.promised -= usize::from(promised.is_some());
            flow.next = flow.next.max(start.saturating_add(flow.cost));
            flow.turns.insert(turn);
            flow.members.insert(place, waiter);
            if let Some(count) = flow.count(who.urgency) {
                *count += 1;
            }
        });
        self.line.insert(turn);
        let promised = promised.is_some();
        let seat = Seat { principal: who.principal, place, deadline, promised };
        self.seats.insert(who.ticket, seat);
        self.deadlines.insert((deadline, who.ticket));
        Ok(evicted)
    }

    /// Leaves the line; `None` when the turn came first.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        let (_, waiter) = self.step_out(ticket)?;
        self.settle();
        Some(waiter)
    }

    /// Somebody can be served: an urgent call, if only those may go.
    pub fn has_next(&self, only_urgent: bool) -> bool {
        if only_urgent { !self.urgent.is_empty() } else { !self.line.is_empty() }
    }

    /// Callers whose first call is urgent.
    pub fn urgent(&self) -> usize {
        self.urgent.len()
    }

    /// Whose turn is next, out of the line.
    pub fn next(&mut self, only_urgent: bool) -> Option<(Ticket, W)> {
        let turn = if only_urgent { self.urgent.first().copied()? } else { self.line.first()? };
        let (&place, _) = self.flows.get(&turn.principal)?.members.first_key_value()?;
        let weight = NonZeroU32::MIN;
        let waiter = self.change(turn.principal, weight, |flow| {
            flow.turns.remove(&turn);
            flow.take(&place)
        })?;
        self.line.remove(&turn);
        self.forget(place.ticket);
        self.advance(turn.start);
        self.settle();
        Some((place.ticket, waiter))
    }

    /// A call was served that never stood in line: while others are to come back, it has had a turn
    /// like any other.
    pub fn passed(&mut self, who: &Who, now: Instant) {
        if self.is_calm() {
            return;
        }
        let promised = self.promises.redeem((who.principal, who.asks), now);
        let turn = promised.unwrap_or_else(|| self.new_turn(who));
        self.change(who.principal, who.weight, |flow| {
            flow.promised -= usize::from(promised.is_some());
            flow.next = flow.next.max(turn.start.saturating_add(flow.cost));
        });
        self.advance(turn.start);
        self.settle();
    }

    /// A turn came to nothing, because upstream refused the call: it is the caller's again.
    pub fn refund(&mut self, principal: Principal) {
        if self.flows.contains_key(&principal) {
            self.change(principal, NonZeroU32::MIN, |flow| {
                flow.next = flow.next.saturating_sub(flow.cost);
            });
        }
    }

    /// This call will come back at `told` and have its turn then, if it does so before `expires`.
    pub fn promise(&mut self, who: &Who, now: Instant, (told, expires): (Instant, Instant)) {
        if self.promises.is_full() {
            return;
        }
        let earlier = self.promises.redeem((who.principal, who.asks), now);
        if earlier.is_some() {
            self.promises.broken();
        }
        let last = earlier.unwrap_or_else(|| self.new_turn(who));
        let place = who.place(earlier);
        let turn = self.change(who.principal, who.weight, |flow| {
            flow.promised += usize::from(earlier.is_none());
            flow.next = flow.next.max(last.start.saturating_add(flow.cost));
            // Those of the caller's that come after it have later turns, in line or not.
            let n = flow.before(&place);
            let Some(turn) = flow.turns.nth(n).filter(|turn| *turn < last) else { return last };
            flow.turns.remove(&turn);
            flow.turns.insert(last);
            turn
        });
        if turn != last {
            self.line.remove(&turn);
            self.line.insert(last);
        }
        self.promises.add(turn, who.asks, told, expires);
    }

    /// Whoever has not come back by now has lost its turn.
    pub fn expire(&mut self, now: Instant) {
        while let Some(turn) = self.promises.expire(now) {
            self.change(turn.principal, NonZeroU32::MIN, |flow| flow.promised -= 1);
        }
        self.settle();
    }

    /// Somebody whose deadline lies before `moment` steps out.
    pub fn impatient(&mut self, moment: Instant) -> Option<(Ticket, W)> {
        let &(deadline, ticket) = self.deadlines.first()?;
        if deadline >= moment {
            return None;
        }
        if self.seats.get(&ticket).is_some_and(|seat| seat.promised) {
            self.promises.broken();
        }
        let out = self.step_out(ticket);
        self.settle();
        out
    }

    /// The earliest deadline in the line.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// What became of those who were told to come back.
    pub fn promises(&self) -> promises::Count {
        self.promises.count()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Nobody waits, and nobody was told to come back: whoever comes is served as it comes.
    pub fn is_calm(&self) -> bool {
        self.line.is_empty() && self.promises.is_empty()
    }

    /// Callers that share the turns at the moment, this one included: its weight, and that of all.
    pub fn share(&self, who: &Who) -> (u64, u64) {
        let own = u64::from(who.weight.get());
        let others = self.lengths.iter().filter(|(_, principal)| *principal != who.principal);
        let others = others.take(MAX_SHARERS).filter_map(|(_, other)| self.flows.get(other));
        (own, own + others.map(Flow::weight).sum::<u64>())
    }

    fn number(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    /// The turn that a call would have.
    fn turn_of(&self, who: &Who, promised: Option<Turn>) -> Turn {
        let fresh = Turn {
            start: self.start_of(who.principal),
            number: self.issued + 1,
            principal: who.principal,
        };
        let own = promised.unwrap_or(fresh);
        let Some(flow) = self.flows.get(&who.principal) else { return own };
        // Its turns and this one: the n-th is for the n-th of its calls.
        let n = flow.before(&who.place(promised));
        let before = flow.turns.before(&own);
        match n.cmp(&before) {
            std::cmp::Ordering::Less => flow.turns.nth(n).unwrap_or(own),
            std::cmp::Ordering::Equal => own,
            std::cmp::Ordering::Greater => flow.turns.nth(n - 1).unwrap_or(own),
        }
    }

    fn new_turn(&mut self, who: &Who) -> Turn {
        let start = self.start_of(who.principal);
        Turn { start, number: self.number(), principal: who.principal }
    }

    fn start_of(&self, principal: Principal) -> u64 {
        self.flows.get(&principal).map_or(self.served, |flow| flow.next.max(self.served))
    }

    /// The last call of the caller with the most of the line steps out for one that has less.
    fn make_room(&mut self, who: &Who) -> Option<(Ticket, W)> {
        let &(longest, principal) = self.lengths.last()?;
        let cost = COST / u64::from(who.weight.get());
        let own = self.flows.get(&who.principal).map_or(0, Flow::length).saturating_add(cost);
        if principal == who.principal || longest <= own {
            return None;
        }
        let (last, _) = self.flows.get(&principal)?.members.last_key_value()?;
        self.step_out(last.ticket)
    }

    /// Out of the line without a turn: the caller's last turn goes, those behind move up.
    fn step_out(&mut self, ticket: Ticket) -> Option<(Ticket, W)> {
        let Seat { principal, place, .. } = self.forget(ticket)?;
        let (waiter, last) = self.change(principal, NonZeroU32::MIN, |flow| {
            let last = flow.turns.last();
            if let Some(turn) = last {
                flow.turns.remove(&turn);
                if flow.next == turn.start.saturating_add(flow.cost) {
                    flow.next = turn.start;
                }
            }
            (flow.take(&place), last)
        });
        if let Some(turn) = last {
            self.line.remove(&turn);
        }
        Some((ticket, waiter?))
    }

    fn forget(&mut self, ticket: Ticket) -> Option<Seat> {
        let seat = self.seats.remove(&ticket)?;
        self.deadlines.remove(&(seat.deadline, ticket));
        Some(seat)
    }

    /// Changes a caller's part of the line, and all that is known of it elsewhere.
    fn change<R>(
        &mut self,
        principal: Principal,
        weight: NonZeroU32,
        change: impl FnOnce(&mut Flow<W>) -> R,
    ) -> R {
        let served = self.served;
        let flow = self.flows.entry(principal).or_insert_with(|| {
            self.weights += u64::from(weight.get());
            Flow::new(weight, served)
        });
        self.lengths.remove(&(flow.length(), principal));
        self.idle.remove(&(flow.next, principal));
        if let Some(turn) = flow.urgent() {
            self.urgent.remove(&turn);
        }
        let result = change(flow);
        if !flow.members.is_empty() {
            self.lengths.insert((flow.length(), principal));
            self.urgent.extend(flow.urgent());
        } else if flow.promised == 0 && flow.next <= served {
            self.remove(principal);
        } else if flow.promised == 0 {
            self.idle.insert((flow.next, principal));
        }
        result
    }

    /// Virtual time runs with the turns that are served, but not past one that waits or whose call is
    /// away: or whoever comes next would stand behind it. Who has nothing to wait for and no turn
    /// before others any longer is forgotten.
    fn advance(&mut self, start: u64) {
        let waiting = self.promises.first().into_iter().chain(self.line.first());
        let first = waiting.map(|turn| turn.start).min().unwrap_or(start);
        self.served = self.served.max(start.min(first));
        while let Some(&(next, principal)) = self.idle.first() {
            if next > self.served && self.idle.len() <= MAX_IDLE {
                break;
            }
            self.idle.pop_first();
            self.remove(principal);
        }
    }

    fn remove(&mut self, principal: Principal) {
        if let Some(flow) = self.flows.remove(&principal) {
            self.weights -= flow.weight();
        }
    }

    /// When all is calm there is nothing to be fair about: the next crowd begins anew.
    fn settle(&mut self) {
        if self.is_calm() && !self.flows.is_empty() {
            self.flows.clear();
            self.weights = 0;
            self.idle.clear();
            self.served = 0;
        }
    }
}

/// Callers counted for a share: of more, nobody's is worth telling.
const MAX_SHARERS: usize = 64;

#[cfg(test)]
mod tests;
