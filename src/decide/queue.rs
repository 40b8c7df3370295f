//! Who waits for a place, and whose turn is next: callers share turns by weight, a caller's own
//! calls go by urgency. It never wakes anybody; it says who is next, and who has run out of patience.
//!
//! The order between callers is start-time fair queueing (Goyal, Vin, Cheng 1996). Each turn has a
//! start in virtual time: that of its caller's turn before it and its cost, 1/weight, or the start
//! of the turn served last, if that is later. The earliest start is next. Deficit round robin is
//! cheaper by a logarithm, but who has one call waits there until all others had their round; here
//! its turn comes next. Who had nothing to send saves nothing up.
//!
//! A call that is told to come back is expected: see [`promises`]. When it comes it goes before its
//! caller's newer calls; a refusal costs nobody a part of its share.

mod arrivals;
mod back;
mod estimate;
mod flow;
pub mod promises;
mod tickets;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::{callers::Principal, rank::Rank, urgency::Urgency};
use arrivals::Clock;
pub use back::Known;
use flow::{COST, Flow, Place, Seat, Share, Turn};
use promises::Promises;
pub use tickets::{Ticket, Tickets};

/// Callers without a call that are remembered for the turns they had. Far above what is needed; who
/// is forgotten starts like a newcomer.
const MAX_IDLE: usize = 1_000;
/// And for so many rounds, as they may come again.
const REMEMBERED: u64 = 64 * COST;

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
    line: Rank<Turn>,
    /// First turns of the callers whose first call is urgent.
    urgent: BTreeSet<Turn>,
    seats: BTreeMap<Ticket, Seat>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// Callers by how much of the line is theirs, as turns times cost.
    lengths: BTreeSet<(u64, Principal)>,
    /// Callers with no call, here or away, by when their turns would come again.
    idle: BTreeSet<(u64, Principal)>,
    promises: Promises,
    /// Of those told to come back, the share that did lately.
    came: Share,
    clock: Clock,
    /// Its turns come at a rate: the times that are told fill it.
    rated: bool,
}

/// A call that ran out of patience in line.
#[derive(Debug)]
pub struct Gone<W> {
    /// Its ticket.
    pub ticket: Ticket,
    /// Who waits.
    pub waiter: W,
    /// What is known of it.
    pub known: Known,
}

impl<W> Queue<W> {
    /// An empty one, in which a turn comes every `pace` when it is full, and `window`s are counted.
    pub fn new(pace: Duration, window: Duration) -> Self {
        Self {
            issued: 0,
            served: 0,
            flows: BTreeMap::new(),
            line: Rank::default(),
            urgent: BTreeSet::new(),
            seats: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            lengths: BTreeSet::new(),
            idle: BTreeSet::new(),
            promises: Promises::default(),
            came: Share::ALL,
            clock: Clock::new(pace, window),
            rated: true,
        }
    }

    /// A turn comes every `pace` from now on.
    pub fn paced(&mut self, pace: Duration) {
        self.clock.paced(pace);
    }

    /// How often a turn comes.
    #[cfg(test)]
    pub fn pace(&self) -> Duration {
        self.clock.pace()
    }

    /// The same, whose turns come when a call ends: nobody knows when that is.
    #[must_use]
    pub fn crowd(self) -> Self {
        Self { rated: false, ..self }
    }

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

    /// Stands in line until `deadline`. `known`: by another line.
    pub fn join(
        &mut self,
        (who, known): (&Who, Option<Known>),
        (now, deadline): (Instant, Instant),
        waiter: W,
    ) {
        let known = known.or_else(|| self.redeem(who, now));
        let (turn, place) = (self.new_turn(who), who.place(known));
        let moment = self.clock.start(now);
        self.change(who.principal, who.weight, |flow| {
            flow.add(place, turn, waiter);
            if known.is_none() {
                flow.arrivals.add(moment);
            }
        });
        self.line.insert(turn);
        let back = known.map_or(0, |known| known.back);
        let seat = Seat { principal: who.principal, place, deadline, back };
        self.seats.insert(who.ticket, seat);
        self.deadlines.insert((deadline, who.ticket));
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
    pub fn next(&mut self, only_urgent: bool) -> Option<(Ticket, W, Known)> {
        let turn = if only_urgent { self.urgent.first().copied()? } else { self.line.first()? };
        let (&place, _) = self.flows.get(&turn.principal)?.members.first_key_value()?;
        let waiter = self.take(turn, &place)?;
        let back = self.forget(place.ticket).map_or(0, |seat| seat.back);
        self.went(turn);
        Some((place.ticket, waiter, Known { since: place.since, back }))
    }

    /// A call was served that never stood in line: while others are to come back, it has had a turn
    /// like any other.
    pub fn passed(&mut self, who: &Who, now: Instant) {
        if self.is_calm() {
            return;
        }
        let known = self.redeem(who, now);
        let (turn, moment) = (self.new_turn(who), self.clock.start(now));
        self.change(who.principal, who.weight, |flow| {
            flow.next = turn.start.saturating_add(flow.cost);
            if known.is_none() {
                flow.arrivals.add(moment);
            }
        });
        self.went(turn);
    }

    /// A turn came to nothing, because upstream refused the call: it is the caller's again.
    pub fn refund(&mut self, principal: Principal) {
        if self.flows.contains_key(&principal) {
            self.change(principal, NonZeroU32::MIN, |flow| {
                flow.next = flow.next.saturating_sub(flow.cost);
            });
        }
    }

    /// Somebody whose deadline lies before `moment` steps out.
    pub fn impatient(&mut self, moment: Instant) -> Option<Gone<W>> {
        let &(deadline, ticket) = self.deadlines.first()?;
        if deadline >= moment {
            return None;
        }
        let Seat { place, back, .. } = *self.seats.get(&ticket)?;
        let (ticket, waiter) = self.step_out(ticket)?;
        Some(Gone { ticket, waiter, known: Known { since: place.since, back } })
    }

    /// The earliest deadline in the line.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// How many were told to come back, and may.
    pub fn open(&self) -> usize {
        self.promises.open()
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

    /// Whose calls wait, and how many.
    pub fn waiting(&self) -> impl Iterator<Item = (Principal, u64)> {
        self.lengths.iter().map(|(_, principal)| (*principal, self.calls_of(*principal) as u64))
    }

    /// Turns cost what `weight` says from now on, also those that calls have already: but for the next
    /// one, which stays where it is.
    pub fn weigh(&mut self, weight: impl Fn(Principal) -> NonZeroU32) {
        let known = self.flows.iter().map(|(who, flow)| (*who, weight(*who), flow.weight()));
        let known = known.filter(|(_, weight, now)| u64::from(weight.get()) != *now);
        let changed: Vec<(Principal, NonZeroU32)> =
            known.map(|(who, weight, _)| (who, weight)).collect();
        for (principal, weight) in changed {
            let moved = self.change(principal, weight, |flow| flow.weigh(weight));
            for (before, after) in moved {
                self.line.remove(&before);
                self.line.insert(after);
            }
        }
    }

    /// How many of this caller's wait.
    pub fn calls_of(&self, principal: Principal) -> usize {
        self.flows.get(&principal).map_or(0, |flow| flow.members.len())
    }

    /// Callers that share the turns at the moment, this one included: its weight, and that of all.
    pub fn share(&self, who: &Who) -> (u64, u64) {
        let own = u64::from(who.weight.get());
        let others = self.lengths.iter().filter(|(_, principal)| *principal != who.principal);
        let others = others.take(MAX_SHARERS).filter_map(|(_, other)| self.flows.get(other));
        (own, own + others.map(Flow::weight).sum::<u64>())
    }

    /// A turn of this caller's would come before all that wait.
    pub fn precedes(&self, who: &Who) -> bool {
        self.line.first().is_none_or(|first| self.start_of(who) < first.start)
    }

    fn number(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    fn new_turn(&mut self, who: &Who) -> Turn {
        let start = self.start_of(who);
        Turn { start, number: self.number(), principal: who.principal }
    }

    fn start_of(&self, who: &Who) -> u64 {
        let flow = self.flows.get(&who.principal);
        flow.map_or(self.served, |flow| flow.next.max(self.served))
    }

    /// The last call of a caller steps out.
    pub fn last_of(&mut self, principal: Principal) -> Option<(Ticket, W)> {
        let (last, _) = self.flows.get(&principal)?.members.last_key_value()?;
        let ticket = last.ticket;
        let out = self.step_out(ticket);
        self.settle();
        out
    }

    /// Out of the line without a turn: the caller's last turn goes, those behind move up.
    fn step_out(&mut self, ticket: Ticket) -> Option<(Ticket, W)> {
        let Seat { principal, place, .. } = self.forget(ticket)?;
        let last = self.flows.get(&principal)?.turns.last()?;
        let waiter = self.take(last, &place)?;
        self.change(principal, NonZeroU32::MIN, |flow| {
            if flow.next == last.start.saturating_add(flow.cost) {
                flow.next = last.start;
            }
        });
        Some((ticket, waiter))
    }

    /// A call goes out of the line, with a turn of its caller's.
    fn take(&mut self, turn: Turn, place: &Place) -> Option<W> {
        self.line.remove(&turn);
        self.change(turn.principal, NonZeroU32::MIN, |flow| flow.take(place, &turn))
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
        let (served, came) = (self.served, self.came);
        let flow = self.flows.entry(principal).or_insert_with(|| Flow::new(weight, served, came));
        self.lengths.remove(&(flow.length(), principal));
        self.idle.remove(&(flow.next, principal));
        if let Some(turn) = flow.urgent() {
            self.urgent.remove(&turn);
        }
        let result = change(flow);
        if !flow.members.is_empty() {
            self.lengths.insert((flow.length(), principal));
            self.urgent.extend(flow.urgent());
        }
        if !flow.is_backlogged() {
            self.idle.insert((flow.next, principal));
        }
        result
    }

    /// A call was served. Virtual time runs with the turns that are, but not past one that waits:
    /// an urgent call may go before others. Who has had no call for long is forgotten.
    fn went(&mut self, turn: Turn) {
        let first = self.line.first().map_or(turn.start, |first| first.start);
        self.served = self.served.max(turn.start.min(first));
        while let Some(&(next, principal)) = self.idle.first() {
            if next.saturating_add(REMEMBERED) > self.served && self.idle.len() <= MAX_IDLE {
                break;
            }
            self.idle.pop_first();
            self.flows.remove(&principal);
        }
        self.settle();
    }

    /// When all is calm there is nothing to be fair about: the next crowd begins anew.
    fn settle(&mut self) {
        if self.is_calm() && !self.flows.is_empty() {
            self.flows.clear();
            self.idle.clear();
            self.served = 0;
            self.clock.stop();
        }
    }
}

/// Callers counted for a share: of more, nobody's is worth telling.
const MAX_SHARERS: usize = 64;

#[cfg(test)]
mod tests;
