//! Whose call leaves when: through the limits of its caller and its path family, then under a token.
//! It never sends a call past a line, never holds a place for one that left, and never answers a
//! call twice.
//!
//! Each limit is a gate with a line of its own, so that what waits for one family stands in nobody
//! else's way. A call takes a place at each of its gates and under a token. While it waits it stands in
//! one line, that of the limit which holds it up, and keeps nothing; unless its turn has come there
//! and it waits but for a moment elsewhere, or has been sent from line to line: see `hold`.

mod crowd;
pub mod gate;
mod hold;
mod joint;
mod learn;
mod serve;
mod stand;
mod told;
mod tune;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Instant,
};

use super::{
    blame::Family,
    callers::Principal,
    joint::tally::Tally,
    lanes::{Lane, Lanes, Spot},
    queue::{Queue, Ticket, Tickets, Who, promises},
};
use crowd::Crowd;
use gate::{Gate, GateId, Limit};
use hold::{Held, Visit};
pub use joint::{Facts, LimitId};
pub use learn::{Limited, Refusal};
use stand::Joined;
pub use told::{Refused, Standing};

/// A call that wants to leave.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whose, and how urgent.
    pub who: Who,
    /// Until when it waits.
    pub deadline: Instant,
    /// How many of its caller's calls may wait; `None`: as many as may wait at all.
    pub most: Option<usize>,
    /// Its caller's ceiling.
    pub ceiling: Option<NonZeroU32>,
    /// Its path family.
    pub family: Family,
    /// The limits on its way, in order.
    pub gates: Vec<GateId>,
}

/// The right to leave: a place at each limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its place in the order of arrival.
    pub ticket: Ticket,
    /// The token's budget that it counts against.
    pub spot: Spot,
    /// The gates that it passed.
    pub gates: Vec<GateId>,
    /// What its caller has left.
    pub standing: Option<Standing>,
}

/// What becomes of a call that comes.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<W> {
    /// It leaves at once.
    Granted(Grant),
    /// It waits. Another one lost its place to it, when there was no room for both.
    Waits(Option<(W, Refused)>),
    /// It cannot be served in time.
    Refused(Refused),
}

/// Somebody's turn, or the end of its hopes.
pub type Outcome<W> = (W, Result<Grant, Refused>);

/// What the operator decided.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How many may wait at once, in all lines.
    pub max_queue: usize,
    /// `rate_limit.families`, in order.
    pub families: Vec<Limit>,
    /// Some callers have a ceiling.
    pub ceilings: bool,
}

#[derive(Debug, Clone)]
struct Waiting<W> {
    call: Call,
    visit: Visit,
    waiter: W,
}

/// Where a call waits: before a gate, or for a token.
type At = Option<GateId>;

/// All limits and all lines. `W` is how to reach the one who waits.
#[derive(Debug, Clone)]
pub struct Turns<W> {
    rules: Rules,
    lanes: Lanes,
    line: Queue<Waiting<W>>,
    gates: BTreeMap<GateId, Gate<W>>,
    /// Gates with a line.
    busy: BTreeSet<GateId>,
    waiting: BTreeMap<Ticket, (Principal, At)>,
    /// How many of each caller's.
    crowd: Crowd,
    /// Promises of lines that are gone.
    kept: promises::Count,
    /// A quota below the token's that is the token's all the same.
    told: Option<NonZeroU32>,
    /// A call went from one line to another.
    moved: bool,
    epoch: Instant,
    tidied: Instant,
    /// Who called lately, when there are other replicas to tell it.
    tally: Option<Tally>,
}

/// Whether a call went through, or where it stopped.
enum Entered {
    Granted(Grant),
    Stopped(Call, At, Held),
}

impl<W> Turns<W> {
    /// With nobody waiting.
    pub fn new(rules: Rules, lanes: Lanes, epoch: Instant) -> Self {
        let line = gate::line(lanes.limit(), lanes.allowance().window);
        Self {
            rules,
            lanes,
            line,
            gates: BTreeMap::new(),
            busy: BTreeSet::new(),
            waiting: BTreeMap::new(),
            crowd: Crowd::default(),
            kept: promises::Count::default(),
            told: None,
            moved: false,
            epoch,
            tidied: epoch,
            tally: None,
        }
    }

    /// The tokens' budgets.
    pub fn lanes(&mut self) -> &mut Lanes {
        &mut self.lanes
    }

    /// Nobody waits, is to come back or is held up: whoever comes needs no look at all this.
    pub fn is_calm(&self) -> bool {
        self.line.is_calm() && !self.lanes.paused() && !self.is_gated()
    }

    /// Calls may have to pass gates.
    pub fn is_gated(&self) -> bool {
        !self.gates.is_empty() || !self.rules.families.is_empty() || self.rules.ceilings
    }

    /// The next ticket in order of arrival.
    pub fn ticket(&mut self) -> Ticket {
        self.line.ticket()
    }

    /// The next tickets, for calls that leave without asking here.
    pub fn tickets(&mut self, count: u32) -> Tickets {
        self.line.tickets(count)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whose calls wait, and how many, in all lines.
    pub fn crowd(&self) -> impl Iterator<Item = (Principal, usize)> {
        self.crowd.all()
    }

    /// What became of those who were told when to come back.
    pub fn promises(&self) -> promises::Count {
        let gates = self.gates.values().map(|gate| gate.line.promises());
        gates.fold(self.kept + self.line.promises(), |sum, more| sum + more)
    }

    /// A call that meets nobody and no gate leaves at once, if there is a place under a token.
    pub fn quick(&mut self, now: Instant, who: &Who) -> Option<(Spot, Option<Standing>)> {
        if !self.is_calm() {
            return None;
        }
        let spot = self.lanes.take(now, who.urgency.is_urgent()).ok()?;
        Some((spot, self.standing(now, who, None)))
    }

    /// A call comes. `waiter` is made when it has to wait.
    pub fn arrive(&mut self, now: Instant, call: Call, waiter: impl FnOnce() -> W) -> Arrival<W> {
        self.tidy(now);
        self.line.expire(now);
        let (call, stopped) = match self.enter(now, call, None) {
            Entered::Granted(grant) => return Arrival::Granted(grant),
            Entered::Stopped(call, at, _) => (call, at),
        };
        let (turn_at, slowest) = self.turn_at(now, &call);
        let slowest = if turn_at > now { slowest } else { stopped };
        if turn_at > call.deadline {
            let known = self.known_elsewhere(now, &call, slowest);
            return Arrival::Refused(self.refuse(now, (&call, known), (turn_at, slowest), false));
        }
        let visit = self.came_back(now, &call);
        match self.join(now, Waiting { call, visit, waiter: waiter() }, slowest) {
            Joined::Stands => Arrival::Waits(None),
            Joined::Instead(out, at) => Arrival::Waits(Some(self.turned_away(now, out, at))),
            Joined::Full(back) => {
                let known = back.visit.known;
                Arrival::Refused(self.refuse(now, (&back.call, known), (turn_at, slowest), true))
            }
        }
    }

    /// When a call would leave that came now.
    pub fn expected(&mut self, now: Instant, mut call: Call) -> Instant {
        self.detour(&mut call);
        self.turn_at(now, &call).0
    }

    /// When a call would leave that has a place at these gates and lets go of them now.
    pub fn expected_again(&mut self, now: Instant, call: Call, gates: &[GateId]) -> Instant {
        let step = |turns: &mut Self, inside: fn(&mut Gate<W>)| {
            for id in gates {
                turns.gates.get_mut(id).map(inside);
            }
        };
        step(self, Gate::as_if_out);
        let at = self.expected(now, call);
        step(self, Gate::back_in);
        at
    }

    /// A call that waits goes away. With it, whether it held what somebody may wait for.
    pub fn leave(&mut self, ticket: Ticket, now: Instant) -> Option<(W, bool)> {
        let at = self.stands_no_longer(ticket)?;
        let Waiting { visit, waiter, .. } = self.line_at(at)?.leave(ticket)?;
        Some((waiter, self.let_go(&visit.held, now)))
    }

    /// All calls of a caller that wait go away. With them, whether one held what somebody may wait for.
    pub fn dismiss(&mut self, principal: Principal, now: Instant) -> (Vec<W>, bool) {
        let of = |(ticket, (whose, _)): (&Ticket, &(Principal, At))| {
            (*whose == principal).then_some(*ticket)
        };
        let tickets: Vec<Ticket> = self.waiting.iter().filter_map(of).collect();
        let left = tickets.into_iter().filter_map(|ticket| self.leave(ticket, now));
        let (waiters, held): (Vec<W>, Vec<bool>) = left.unzip();
        (waiters, held.contains(&true))
    }

    /// A call that had a place left, signed with this token. Returns how many ever left under it.
    pub fn left(&mut self, gates: &[GateId], spot: Spot, now: Instant) -> u64 {
        for id in gates {
            if let Some(gate) = self.gates.get_mut(id) {
                gate.budget.leave(1, now);
            }
        }
        self.lanes.leave(1, spot, now)
    }

    /// A call leaves once more that may have arrived before.
    pub fn again(&mut self, gates: &[GateId], lane: Lane, now: Instant) {
        for id in gates {
            if let Some(gate) = self.gates.get_mut(id) {
                gate.budget.charge(1, now);
            }
        }
        self.lanes.charge(lane, now);
    }

    /// A call that had a place will not leave.
    pub fn give_back(&mut self, gates: &[GateId], lane: Lane, now: Instant) {
        for id in gates {
            if let Some(gate) = self.gates.get_mut(id) {
                gate.give_back(now);
            }
        }
        self.lanes.give_back(1, lane, now);
    }

    /// A call that had left at `sent` has ended: its last byte is through. Whether somebody waits for
    /// that.
    pub fn ended(&mut self, gates: &[GateId], sent: Instant, now: Instant) -> bool {
        let mut waited_for = false;
        for id in gates {
            if let Some(gate) = self.gates.get_mut(id) {
                waited_for |= gate.is_crowded(now) && !gate.line.is_empty();
                gate.ended(sent, now);
            }
        }
        waited_for
    }

    /// A call that left at `sent` under this token was not refused. Whether somebody waits for that.
    pub fn passed(
        &mut self,
        (gates, lane): (&[GateId], Lane),
        sent: Instant,
        now: Instant,
    ) -> bool {
        self.lanes.passed(lane, sent);
        let mut waited_for = false;
        for id in gates {
            if let Some(gate) = self.gates.get_mut(id) {
                waited_for |= gate.is_crowded(now) && !gate.line.is_empty();
                gate.passed(sent);
            }
        }
        waited_for
    }

    /// Its family was found to be limited after it came: one gate more.
    fn detour(&self, call: &mut Call) {
        let learned = GateId::Learned(call.family);
        if self.gates.contains_key(&learned) && !call.gates.contains(&learned) {
            call.gates.push(learned);
        }
    }

    /// When a call would leave that came now, and the limit that decides it.
    fn turn_at(&mut self, now: Instant, call: &Call) -> (Instant, At) {
        let mut latest = (self.lanes_turn_at(now, call), None);
        for &id in &call.gates {
            let gate = self.gate(id, call.ceiling, now);
            let ahead = gate.line.ahead(&call.who, (now, call.deadline));
            let at = gate.available_at(now, ahead);
            if at > latest.0 {
                latest = (at, Some(id));
            }
        }
        latest
    }

    fn lanes_turn_at(&mut self, now: Instant, call: &Call) -> Instant {
        let ahead = self.line.ahead(&call.who, (now, call.deadline));
        let at = self.lanes.available_at(now, ahead, false);
        if call.who.urgency.is_urgent() && self.lanes.allowance().reserve > 0 {
            // Or out of the reserve, behind the other urgent ones.
            let reserved = self.lanes.available_at(now, self.line.urgent(), true);
            return at.min(reserved);
        }
        at
    }

    fn gate(&mut self, id: GateId, ceiling: Option<NonZeroU32>, now: Instant) -> &mut Gate<W> {
        self.gates.entry(id).or_insert_with(|| {
            let named = |n: u16| self.rules.families.get(usize::from(n)).copied();
            let known = match id {
                GateId::Ceiling(_) => Limit { requests_per_minute: ceiling, concurrent: None },
                GateId::Family(n) => named(n).unwrap_or_default(),
                GateId::Learned(_) => Limit::default(),
            };
            let requests_per_minute = known.requests_per_minute.or(self.lanes.limit());
            let limit = Limit { requests_per_minute, ..known };
            let mut gate = Gate::new(limit, self.lanes.allowance().window, (self.epoch, now));
            gate.assumed = known.requests_per_minute.is_none();
            if self.tally.is_some() && id.is_shared() {
                gate.share();
            }
            gate
        })
    }

    fn line_at(&mut self, at: At) -> Option<&mut Queue<Waiting<W>>> {
        match at {
            Some(id) => self.gates.get_mut(&id).map(|gate| &mut gate.line),
            None => Some(&mut self.line),
        }
    }
}

#[cfg(test)]
mod tests;
