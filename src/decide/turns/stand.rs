//! Who stands in which line, and who gives way when there is no room.
//! It never lets one caller, or one limit, fill the room of all.

use std::time::Instant;

use super::{At, Call, Ticket, Turns, Visit, Waiting};
use crate::decide::queue::{self, Full, Who};

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
        let (who, deadline) = (waiting.call.who, waiting.call.deadline);
        let own = self.crowds.get(&who.principal).copied().unwrap_or(0);
        if waiting.call.most.is_some_and(|most| own >= most) {
            return Joined::Full(waiting);
        }
        let room = self.waiting.len() < self.rules.max_queue;
        let elsewhere = if room { None } else { self.make_room(&who, own, at) };
        let room = room || elsewhere.is_some();
        let Some(line) = self.line_at(at) else { return Joined::Full(waiting) };
        match line.join((&who, waiting.visit.known), (now, deadline), room, waiting) {
            Ok(evicted) => {
                self.stands(&who, at);
                let evicted = evicted.map(|(ticket, out)| {
                    self.stands_no_longer(ticket);
                    (out, at)
                });
                match evicted.or(elsewhere) {
                    None => Joined::Stands,
                    Some((out, at)) => Joined::Instead(out, at),
                }
            }
            Err((Full, back)) => Joined::Full(back),
        }
    }

    /// What some line knows of a call that was told there to come back: it may wait in another now.
    pub(super) fn came_back(&mut self, now: Instant, call: &Call) -> Visit {
        let lines = call.gates.iter().map(|id| Some(*id)).chain([None]);
        let known = lines.filter_map(|at| self.line_at(at)?.redeem(&call.who, now)).last();
        Visit { known, ..Visit::default() }
    }

    /// The last call of whoever has the most in some other line steps out for one that has less in
    /// all of them.
    fn make_room(&mut self, who: &Who, own: usize, at: At) -> Option<(Waiting<W>, At)> {
        let lines = self.busy.iter().map(|id| Some(*id)).chain([None]).filter(|line| *line != at);
        let longest = lines.filter_map(|at| {
            let line = match at {
                Some(id) => &self.gates.get(&id)?.line,
                None => &self.line,
            };
            Some((line.longest()?, at))
        });
        let ((length, principal), at) = longest.max()?;
        if principal == who.principal || length <= queue::length(who, own + 1) {
            return None;
        }
        let (ticket, out) = self.line_at(at)?.last_of(principal)?;
        self.stands_no_longer(ticket);
        Some((out, at))
    }

    fn stands(&mut self, who: &Who, at: At) {
        self.busy.extend(at);
        self.waiting.insert(who.ticket, (who.principal, at));
        *self.crowds.entry(who.principal).or_default() += 1;
    }

    /// Out of the books; the line that it stands in.
    pub(super) fn stands_no_longer(&mut self, ticket: Ticket) -> Option<At> {
        let (principal, at) = self.waiting.remove(&ticket)?;
        if let Some(count) = self.crowds.get_mut(&principal) {
            *count -= 1;
            if *count == 0 {
                self.crowds.remove(&principal);
            }
        }
        Some(at)
    }
}
