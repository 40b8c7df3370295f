//! The lines are served: gate by gate, then the one before the tokens.
//! It never wakes anybody who has no turn, and says when to look again.

use std::time::{Duration, Instant};

use super::{At, Entered, GateId, Joined, Outcome, Turns, Waiting};
use crate::decide::{lanes::Spot, queue::Gone};

/// The least time there is.
const TICK: Duration = Duration::from_nanos(1);

fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

impl<W> Turns<W> {
    /// Serves all lines as far as their limits allow; when to look again, if nothing happens before.
    pub fn hand_out(&mut self, now: Instant, out: &mut Vec<Outcome<W>>) -> Option<Instant> {
        loop {
            self.moved = false;
            let mut next = None;
            let mut after = None;
            while let Some(id) = self.busy_after(after) {
                next = sooner(next, self.hand_out_at(Some(id), now, out));
                after = Some(id);
            }
            next = sooner(next, self.hand_out_at(None, now, out));
            // Whoever went on to another line, or was sent back to one, has not been looked at.
            if !self.moved {
                return next;
            }
        }
    }

    fn hand_out_at(&mut self, at: At, now: Instant, out: &mut Vec<Outcome<W>>) -> Option<Instant> {
        self.line_at(at)?.expire(now);
        loop {
            let free_at = self.free_at(at, now);
            // Who cannot be served any more is told now, not when its patience ends.
            let hopeless = free_at.map_or(now + TICK, |free_at| self.soonest(at, now, free_at));
            while let Some(gone) = self.line_at(at)?.impatient(hopeless) {
                self.stands_no_longer(gone.ticket);
                let Gone { waiter: Waiting { call, visit, waiter }, known, .. } = gone;
                self.moved |= self.let_go(&visit.held, now);
                let refused = self.refuse_in_line(now, &call, (at, known));
                out.push((waiter, Err(refused)));
            }
            let line = self.line_at(at)?;
            if line.is_empty() {
                if let Some(id) = at {
                    self.busy.remove(&id);
                }
                return None;
            }
            // Until somebody goes out, or somebody's patience ends.
            let Some(again) = free_at else { return line.deadline() };
            let only_urgent = again > now;
            if only_urgent && !line.has_next(true) {
                return Some(again);
            }
            let spot = match self.take_at(at, now, only_urgent) {
                Ok(spot) => spot,
                Err(later) => return Some(later),
            };
            let (ticket, waiting, known) = self.line_at(at)?.next(only_urgent)?;
            self.stands_no_longer(ticket);
            let Waiting { call, visit, waiter } = waiting;
            let visit = visit.has(at, spot, known);
            self.go_on(now, Waiting { call, visit, waiter }, at, out);
        }
    }

    /// It has a place where it waited: away, or on to the line of another limit.
    fn go_on(
        &mut self,
        now: Instant,
        Waiting { call, visit, waiter }: Waiting<W>,
        from: At,
        out: &mut Vec<Outcome<W>>,
    ) {
        let who = call.who;
        let (call, at, held) = match self.enter(now, call, Some(&visit)) {
            Entered::Granted(grant) => return out.push((waiter, Ok(grant))),
            Entered::Stopped(call, at, held) => (call, at, held),
        };
        self.moved = true;
        if !held.is_of(from)
            && let Some(line) = self.line_at(from)
        {
            // It had a turn there, and could not use it.
            line.refund(who.principal);
        }
        let (gone, at) = match self.join(now, Waiting { call, visit: visit.on(held), waiter }, at) {
            Joined::Stands => return,
            Joined::Instead(gone, out_at) => (gone, out_at),
            // It was let in once, but its caller may have more there than it was to have.
            Joined::Full(back) => (back, at),
        };
        let (waiter, refused) = self.turned_away(now, gone, at);
        out.push((waiter, Err(refused)));
    }

    /// A place at a gate (then there is no spot), or under a token.
    fn take_at(
        &mut self,
        at: At,
        now: Instant,
        only_urgent: bool,
    ) -> Result<Option<Spot>, Instant> {
        match at.and_then(|id| self.gates.get_mut(&id)) {
            Some(gate) => gate.take(now).map(|()| None),
            None => self.lanes.take(now, only_urgent).map(Some),
        }
    }

    /// When the first in a line could go on; `None` while only one that goes out makes room.
    fn free_at(&mut self, at: At, now: Instant) -> Option<Instant> {
        match at {
            Some(id) => {
                let gate = self.gates.get_mut(&id)?;
                (!gate.is_crowded(now)).then(|| gate.available_at(now, 0))
            }
            None => Some(self.lanes.available_at(now, 0, false)),
        }
    }

    /// When the first in a line could go on, out of the reserve if it is urgent.
    fn soonest(&mut self, at: At, now: Instant, free_at: Instant) -> Instant {
        if at.is_none() && free_at > now && self.line.has_next(true) {
            return free_at.min(self.lanes.available_at(now, 0, true));
        }
        free_at
    }

    fn busy_after(&self, id: Option<GateId>) -> Option<GateId> {
        match id {
            None => self.busy.first().copied(),
            Some(id) => {
                let after = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
                self.busy.range(after).next().copied()
            }
        }
    }
}
