//! All the places that a call needs: taken together, or kept for a moment until the last one is free.
//! It never lets two calls hold what each other waits for, and never holds up others for long.
//!
//! A call whose turn has come at one limit and that lacks a place at another would give up the first
//! and never have both, when both are always wanted. It keeps what it has if the other will be free in
//! a moment, or when it was sent from line to line before. Places that time alone makes free can be
//! kept while waiting for anything. Those that only a call's end makes free are kept for others of
//! their kind in the order of the gates.

use std::time::Instant;

use super::{At, Call, Entered, Gate, GateId, Grant, Turns};
use crate::decide::{lanes::Spot, queue::Known};

/// Places at gates and under a token. With each, whether its line has counted the turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    gates: Vec<(GateId, bool)>,
    spot: Option<(Spot, bool)>,
}

/// What a call has been through.
#[derive(Debug, Clone, Default)]
pub(super) struct Visit {
    pub(super) held: Held,
    /// What the line knew of it in which it stood before.
    pub(super) known: Option<Known>,
    /// How often it was sent from one line to another.
    pub(super) moves: u32,
}

/// Who was sent on so often keeps what it has, and goes past whoever waits.
const MOVES: u32 = 2;
/// A moment is so small a part of the window.
const MOMENT: u32 = 30;

impl Visit {
    /// Its turn has come where it stood: under this token, or at this gate.
    pub(super) fn has(mut self, at: At, spot: Option<Spot>, known: Known) -> Self {
        self.known = Some(known);
        self.held.gates.extend(at.map(|id| (id, true)));
        self.held.spot = spot.map(|spot| (spot, true)).or(self.held.spot);
        self
    }

    /// On to another line.
    pub(super) fn on(self, held: Held) -> Self {
        Self { held, moves: self.moves + 1, ..self }
    }
}

impl Held {
    fn has(&self, id: GateId) -> bool {
        self.gates.iter().any(|(held, _)| *held == id)
    }

    /// The place of this line is among them.
    pub(super) fn is_of(&self, at: At) -> bool {
        at.map_or(self.spot.is_some(), |id| self.has(id))
    }
}

impl<W> Turns<W> {
    /// A place at each gate and under a token. `visit`: it waited, and has had a turn.
    pub(super) fn enter(&mut self, now: Instant, mut call: Call, visit: Option<&Visit>) -> Entered {
        self.detour(&mut call);
        let mut held = visit.map(|visit| visit.held.clone()).unwrap_or_default();
        self.let_go_of_paused(&mut held, now);
        let stopped = match self.missing_gate(now, &call, &mut held, visit) {
            Some(id) => Some(id),
            None if held.spot.is_some() => return self.grant(now, call, &held),
            None => match self.take_under(now, &call, visit) {
                Some(spot) => {
                    held.spot = Some((spot, false));
                    return self.grant(now, call, &held);
                }
                None => None,
            },
        };
        if visit.is_some_and(|visit| visit.moves >= MOVES || self.soon(now, &call, stopped)) {
            self.keep_in_order(&call, stopped, &mut held, now);
        } else {
            self.let_go(&held, now);
            held = Held::default();
        }
        Entered::Stopped(call, stopped, held)
    }

    /// The first gate at which there is no place. Whoever comes goes past nobody; who has had a turn
    /// elsewhere, past those behind it.
    fn missing_gate(
        &mut self,
        now: Instant,
        call: &Call,
        held: &mut Held,
        visit: Option<&Visit>,
    ) -> At {
        for &id in &call.gates {
            if held.has(id) {
                continue;
            }
            let gate = self.gate(id, call.ceiling, now);
            gate.line.expire(now);
            let first = gate.line.is_empty()
                || visit.is_some_and(|visit| visit.moves >= MOVES || gate.line.precedes(&call.who));
            if !first || gate.take(now).is_err() {
                return Some(id);
            }
            held.gates.push((id, false));
        }
        None
    }

    fn take_under(&mut self, now: Instant, call: &Call, visit: Option<&Visit>) -> Option<Spot> {
        let first = self.line.is_empty()
            || visit.is_some_and(|visit| visit.moves >= MOVES || self.line.precedes(&call.who));
        if !first {
            return None;
        }
        self.lanes.take(now, call.who.urgency.is_urgent()).ok()
    }

    fn grant(&mut self, now: Instant, call: Call, held: &Held) -> Entered {
        let Call { who, ceiling, gates, .. } = call;
        for (id, _) in held.gates.iter().filter(|(_, counted)| !counted) {
            if let Some(gate) = self.gates.get_mut(id) {
                gate.line.passed(&who, now);
            }
        }
        let (spot, counted) = held.spot.unwrap_or_default();
        if !counted {
            self.line.passed(&who, now);
        }
        let standing = self.standing(now, &who, ceiling);
        Entered::Granted(Grant { ticket: who.ticket, spot, gates, standing })
    }

    /// Whether what it lacks will be there in a moment.
    fn soon(&mut self, now: Instant, call: &Call, at: At) -> bool {
        let free_at = match at.and_then(|id| self.gates.get_mut(&id)) {
            Some(gate) => gate.available_at(now, 0),
            None => self.lanes.available_at(now, 0, call.who.urgency.is_urgent()),
        };
        free_at <= now + self.lanes.allowance().window / MOMENT
    }

    /// Keeps what it may keep while it waits there.
    fn keep_in_order(&mut self, call: &Call, at: At, held: &mut Held, now: Instant) {
        let crowd = |id: &GateId| self.gates.get(id).is_some_and(Gate::is_crowd);
        let order = |id: GateId| call.gates.iter().position(|gate| *gate == id);
        let waits = at.filter(crowd);
        let (keeps, gives): (Vec<_>, Vec<_>) =
            held.gates.iter().copied().partition(|(id, _)| {
                !crowd(id) || waits.is_none_or(|waits| order(*id) < order(waits))
            });
        held.gates = keeps;
        self.let_go(&Held { gates: gives, spot: None }, now);
    }

    /// A limit that was held up since: its places are not to be used.
    fn let_go_of_paused(&mut self, held: &mut Held, now: Instant) {
        let paused = |id: &GateId| self.gates.get(id).is_none_or(|gate| gate.is_paused(now));
        let (gives, keeps): (Vec<_>, Vec<_>) =
            held.gates.iter().copied().partition(|(id, _)| paused(id));
        held.gates = keeps;
        let spot = held.spot.take_if(|(spot, _)| self.lanes.is_paused(spot.lane, now));
        self.let_go(&Held { gates: gives, spot }, now);
    }

    /// These places are others'. Whether there were any.
    pub(super) fn let_go(&mut self, held: &Held, now: Instant) -> bool {
        for (id, _) in &held.gates {
            if let Some(gate) = self.gates.get_mut(id) {
                gate.give_back(now);
            }
        }
        if let Some((spot, _)) = held.spot {
            self.lanes.give_back(1, spot.lane, now);
        }
        !held.gates.is_empty() || held.spot.is_some()
    }
}
