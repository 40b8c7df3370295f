//! How long a call will wait, in turns of others.
//! It never takes a caller for one with endless calls because it has one.
//!
//! Others take their share as far as they have calls for it: those that wait, those that are
//! expected back, and those that will come by then if they come as they did lately.

use std::time::Instant;

use super::{
    Known, Queue, Turn, Who,
    arrivals::Moment,
    flow::{Flow, number},
    promises::Promise,
};

/// Callers that are looked at one by one; of more, these stand for all.
const MOST: usize = 256;
/// An answer is found in fewer steps than this, nearly always.
const STEPS: usize = 8;

/// What a caller will want of the turns until some call's, beside those of its calls in line.
struct Demand {
    /// No more than its share.
    share: f64,
    /// It has so many calls.
    backlog: f64,
    /// And so many new ones for each turn there is.
    rate: f64,
}

/// Whose return is reckoned with.
#[derive(Debug, Clone, Copy)]
enum Absent {
    None,
    By(Instant),
    All,
}

impl<W> Queue<W> {
    /// How many turns come before this call's.
    pub fn ahead(&self, who: &Who, (now, deadline): (Instant, Instant)) -> usize {
        if self.is_calm() {
            return 0;
        }
        let Some(promise) = self.promises.due((who.principal, who.asks), now) else {
            let place = who.place(None);
            let own = self.flows.get(&who.principal).map_or(0.0, |flow| {
                number(flow.before(&place)) + flow.back_before(&place).min(flow.back_by(deadline))
            });
            return self.before(who, own, (now, Absent::By(deadline)));
        };
        // Who was told to come now goes before all that were told to come later.
        let flow = self.flows.get(&who.principal);
        let here = flow.map_or(0, |flow| flow.before(&who.place(Some(promise.known()))));
        self.before(who, number(here), (now, Absent::None))
    }

    /// How many will come before this call's when it comes back, if it is told to.
    pub fn ahead_when_told(&self, who: &Who, now: Instant, known: Option<Known>) -> usize {
        let due = self.promises.due((who.principal, who.asks), now).map(Promise::known);
        let known = known.or(due);
        let last = self.rated && known.is_some_and(|known| !known.keeps_its_place());
        let place = if last { who.last() } else { who.place(known) };
        let own = self
            .flows
            .get(&who.principal)
            .map_or(0.0, |flow| number(flow.before(&place)) + flow.back_before(&place));
        self.before(who, own, (now, Absent::All))
    }

    /// With so many of its caller's own before it; `away`: who of the others is expected.
    fn before(&self, who: &Who, own: f64, (now, away): (Instant, Absent)) -> usize {
        let moment = self.clock.at(now);
        let turn = self.turn(who, whole(own));
        let others = self.flows.iter().filter(|(principal, _)| **principal != who.principal);
        let all = self.flows.len() - usize::from(self.flows.contains_key(&who.principal));
        let demands = others.take(MOST).map(|(_, flow)| self.demand(flow, &turn, (moment, away)));
        let demands: Vec<Demand> = demands.filter(|demand| demand.share > 0.0).collect();
        let scale = (number(all) / number(MOST)).max(1.0);
        // Of those who wait nobody is left out.
        let own_here = self.flows.get(&who.principal).map_or(0, |flow| flow.turns.before(&turn));
        let certain = own + number(self.line.before(&turn) - own_here);
        let mut turns = certain + scale * demands.iter().map(|demand| demand.share).sum::<f64>();
        for _ in 0..STEPS {
            let (mut fixed, mut rate) = (certain, 0.0);
            for demand in &demands {
                if demand.backlog + demand.rate * turns >= demand.share {
                    fixed += scale * demand.share;
                } else {
                    fixed += scale * demand.backlog;
                    rate += scale * demand.rate;
                }
            }
            // Newton's method on a concave function, from above: it never comes out too low.
            let next = fixed / (1.0 - rate).max(f64::EPSILON);
            if next >= turns - 0.5 {
                break;
            }
            turns = next;
        }
        whole(turns)
    }

    fn demand(&self, flow: &Flow<W>, turn: &Turn, (moment, away): (Moment, Absent)) -> Demand {
        let here = number(flow.turns.before(turn));
        let present = number(flow.members.len());
        let backlog = match away {
            Absent::None => present,
            Absent::By(deadline) => present + flow.back_by(deadline),
            Absent::All => flow.backlog(),
        };
        let mut share = 0.0;
        if let Some(room) = turn.start.checked_sub(self.first_of(flow)) {
            share = rounds(room.div_ceil(flow.cost));
            // Of two turns with the same start the older one is first: those who are away were there
            // before a call that is new.
            if turn.number > self.issued {
                share = share.max((here + backlog - present).min(rounds(room / flow.cost) + 1.0));
            }
        }
        let rate = flow.arrivals.rate(moment);
        Demand { share: share - here, backlog: (backlog - here).max(0.0), rate }
    }

    /// The turn of a call with so many of its caller's own before it.
    fn turn(&self, who: &Who, own: usize) -> Turn {
        let new = |start| Turn { start, number: self.issued + 1, principal: who.principal };
        let Some(flow) = self.flows.get(&who.principal) else { return new(self.served) };
        flow.turns.nth(own).unwrap_or_else(|| {
            let later = own.saturating_sub(flow.turns.len()) as u64;
            new(flow.next.max(self.served).saturating_add(later.saturating_mul(flow.cost)))
        })
    }

    /// Where a caller's next turn starts that is served.
    fn first_of(&self, flow: &Flow<W>) -> u64 {
        let first = flow.turns.first().map_or(flow.next, |turn| turn.start);
        first.max(self.served)
    }
}

fn rounds(room: u64) -> f64 {
    number(usize::try_from(room).unwrap_or(usize::MAX))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn whole(number: f64) -> usize {
    number.round() as usize
}
