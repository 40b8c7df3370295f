//! Who stands in which line, and who gives way when there is no room.
//! It never lets one caller, or one limit, fill the room of all.

use std::time::Instant;

use super::{At, Call, Ticket, Turns, Visit, Waiting};
use crate::decide::queue::{Known, Who};

/// Whether a call stands in line.
pub(super) enum Joined<W> {
    Stands,
    /// In the place of this one, which stood there.
    Instead(Waiting<W>, At),
    /// There is no room for it.
    Full(Waiting<W>),
}

impl<W> Turns<W> {
    /// Stands in a line, if there is room for one more, of its caller's too; or in the place of a call
    /// of somebody who has more.
    pub(super) fn join(&mut self, now: Instant, waiting: Waiting<W>, at: At) -> Joined<W> {
        let Call { who, deadline, most, ceiling, .. } = waiting.call;
        if most.is_some_and(|most| self.crowd.calls_of(who.principal) >= most) {
            return Joined::Full(waiting);
        }
        let out = if self.waiting.len() < self.rules.max_queue {
            None
        } else {
            let Some(out) = self.make_room(&who) else { return Joined::Full(waiting) };
            Some(out)
        };
        let line = match at {
            Some(id) => &mut self.gate(id, ceiling, now).line,
            None => &mut self.line,
        };
        line.join((&who, waiting.visit.known), (now, deadline), waiting);
        self.stands(&who, at);
        match out {
            None => Joined::Stands,
            Some((out, at)) => Joined::Instead(out, at),
        }
    }

    /// What some line knows of a call that was told there to come back: it may wait in another now.
    pub(super) fn came_back(&mut self, now: Instant, call: &Call) -> Visit {
        let lines = call.gates.iter().map(|id| Some(*id)).chain([None]);
        let known = lines.filter_map(|at| self.line_at(at)?.redeem(&call.who, now)).last();
        Visit { known, ..Visit::default() }
    }

    /// What another line than this one knows of a call, if this one does not: who tells it to come once more
    /// must know that it has been told before.
    pub(super) fn known_elsewhere(&mut self, now: Instant, call: &Call, here: At) -> Option<Known> {
        let known = self.line_at(here).is_some_and(|line| line.is_due(&call.who, now));
        if known { None } else { self.came_back(now, call).known }
    }

    /// The last call of whoever has the most in all lines steps out for one that has less, from the
    /// line in which there are the most of them.
    fn make_room(&mut self, who: &Who) -> Option<(Waiting<W>, At)> {
        let principal = self.crowd.gives_way_to(who)?;
        let lines = self.busy.iter().map(|id| Some(*id)).chain([None]);
        let calls = lines.filter_map(|at| {
            let line = match at {
                Some(id) => &self.gates.get(&id)?.line,
                None => &self.line,
            };
            Some((line.calls_of(principal), at))
        });
        let (_, at) = calls.max()?;
        let (ticket, out) = self.line_at(at)?.last_of(principal)?;
        self.stands_no_longer(ticket);
        Some((out, at))
    }

    fn stands(&mut self, who: &Who, at: At) {
        self.busy.extend(at);
        self.waiting.insert(who.ticket, (who.principal, at));
        self.crowd.add(who);
    }

    /// Out of the books; the line that it stands in.
    pub(super) fn stands_no_longer(&mut self, ticket: Ticket) -> Option<At> {
        let (principal, at) = self.waiting.remove(&ticket)?;
        self.crowd.remove(principal);
        Some(at)
    }
}
