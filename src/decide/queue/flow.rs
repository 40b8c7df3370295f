//! One caller's part of the line: its turns, its calls by urgency, and those that are away.
//! It never binds a turn to a call: the most urgent call has the earliest turn.

use std::{collections::BTreeMap, num::NonZeroU32, time::Instant};

use super::{Known, Ticket, Who, arrivals::Arrivals};
use crate::decide::{callers::Principal, rank::Rank, urgency::Urgency};

/// A turn of a caller with weight 1 costs so much virtual time.
pub(super) const COST: u64 = 1 << 20;

/// All there are, as a share.
pub(super) const WHOLE: u32 = 1 << 24;

/// A turn in virtual time. Every turn has a number, so that no two are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) start: u64,
    pub(super) number: u64,
    pub(super) principal: Principal,
}

/// A call's place among its caller's own: a call that was told to come back has the place that it
/// had then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) urgency: Urgency,
    pub(super) since: u64,
    pub(super) ticket: Ticket,
}

/// A call that was told to come back, and may: its place among its caller's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Away {
    pub(super) urgency: Urgency,
    pub(super) since: u64,
    pub(super) number: u64,
}

/// One caller's part of the line.
#[derive(Debug, Clone)]
pub(super) struct Flow<W> {
    weight: NonZeroU32,
    /// Of one of its turns, in virtual time.
    pub(super) cost: u64,
    /// Start of its next turn, unless others are served past it.
    pub(super) next: u64,
    /// One for each member, not bound to any: the most urgent member has the earliest turn.
    pub(super) turns: Rank<Turn>,
    pub(super) members: BTreeMap<Place, W>,
    /// The members' places, to be counted.
    places: Rank<Place>,
    /// Those who are away, in the order in which they would go.
    away: Rank<Away>,
    /// And by when they will be back.
    due: Rank<(Instant, u64)>,
    /// Of those told to come back, the share that did lately.
    came: Share,
    /// Of calls that were not told to come.
    pub(super) arrivals: Arrivals,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) principal: Principal,
    pub(super) place: Place,
    pub(super) deadline: Instant,
    /// How often it has come back when it was told to.
    pub(super) back: u32,
}

/// How many of what there was lately were of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share(u32);

impl Share {
    pub(super) const ALL: Self = Self(WHOLE);

    /// One more, which counts for 2^-`memory`.
    pub(super) fn learn(&mut self, is: bool, memory: u32) {
        let outcome = if is { WHOLE } else { 0 };
        self.0 = self.0 - (self.0 >> memory) + (outcome >> memory);
    }

    /// Its part of so many.
    fn of(self, count: usize) -> f64 {
        number(count) * f64::from(self.0) / f64::from(WHOLE)
    }
}

/// How much the newest outcome counts in the share of a caller's calls that come back: 1/16.
const MEMORY: u32 = 4;

impl<W> Flow<W> {
    pub(super) fn new(weight: NonZeroU32, next: u64, came: Share) -> Self {
        Self {
            weight,
            cost: COST / u64::from(weight.get()),
            next,
            turns: Rank::default(),
            members: BTreeMap::new(),
            places: Rank::default(),
            away: Rank::default(),
            due: Rank::default(),
            came,
            arrivals: Arrivals::default(),
        }
    }

    /// Its turns cost so much from now on: what a caller is worth here changes when it calls
    /// elsewhere, too. The turns that moved, as they were and as they are.
    pub(super) fn weigh(&mut self, weight: NonZeroU32) -> Vec<(Turn, Turn)> {
        (self.weight, self.cost) = (weight, COST / u64::from(weight.get()));
        let before: Vec<Turn> = (0..self.turns.len()).filter_map(|n| self.turns.nth(n)).collect();
        let Some(first) = before.first().copied() else { return Vec::new() };
        let mut start = first.start;
        let mut moved = Vec::with_capacity(before.len());
        for turn in before {
            self.turns.remove(&turn);
            moved.push((turn, Turn { start, ..turn }));
            start = start.saturating_add(self.cost);
        }
        for (_, turn) in &moved {
            self.turns.insert(*turn);
        }
        self.next = start;
        moved
    }

    /// How many of its members go before a call.
    pub(super) fn before(&self, place: &Place) -> usize {
        self.places.before(place)
    }

    pub(super) fn add(&mut self, place: Place, turn: Turn, waiter: W) {
        self.next = self.next.max(turn.start.saturating_add(self.cost));
        self.turns.insert(turn);
        self.places.insert(place);
        self.members.insert(place, waiter);
    }

    /// A member goes, with this turn of its own.
    pub(super) fn take(&mut self, place: &Place, turn: &Turn) -> Option<W> {
        self.turns.remove(turn);
        self.places.remove(place);
        self.members.remove(place)
    }

    pub(super) fn goes_away(&mut self, away: Away, told: Instant) {
        self.away.insert(away);
        self.due.insert((told, away.number));
    }

    /// It has come back, or is not expected any longer.
    pub(super) fn away_no_longer(&mut self, (away, told): (Away, Instant), came: bool) {
        self.came.learn(came, MEMORY);
        self.away.remove(&away);
        self.due.remove(&(told, away.number));
    }

    /// Of those away, how many will come back and go before a call.
    pub(super) fn back_before(&self, place: &Place) -> f64 {
        let Place { urgency, since, .. } = *place;
        self.came.of(self.away.before(&Away { urgency, since, number: 0 }))
    }

    /// Of those away, how many will be back by then.
    pub(super) fn back_by(&self, then: Instant) -> f64 {
        self.came.of(self.due.before(&(then, u64::MAX)))
    }

    /// Its calls that wait, and those that will come back.
    pub(super) fn backlog(&self) -> f64 {
        number(self.members.len()) + self.came.of(self.away.len())
    }

    /// How many are away.
    pub(super) fn away(&self) -> usize {
        self.away.len()
    }

    /// Some of its calls wait, or may come back.
    pub(super) fn is_backlogged(&self) -> bool {
        !self.members.is_empty() || !self.away.is_empty()
    }

    /// Its first call is urgent: its first turn.
    pub(super) fn urgent(&self) -> Option<Turn> {
        let (first, _) = self.members.first_key_value()?;
        first.urgency.is_urgent().then(|| self.turns.first()).flatten()
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight.get().into()
    }

    pub(super) fn length(&self) -> u64 {
        self.cost.saturating_mul(self.members.len() as u64)
    }
}

#[cfg(test)]
impl<W> Flow<W> {
    pub(super) fn agrees(&self) -> bool {
        let members = self.members.len();
        (self.places.len(), self.turns.len(), self.due.len()) == (members, members, self.away.len())
    }
}

/// As a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "of millions, one more or less is no matter")]
pub(super) fn number(count: usize) -> f64 {
    count as f64
}

impl Who {
    /// Behind all of its caller's that are as urgent.
    pub(super) fn last(&self) -> Place {
        Place { since: u64::MAX, ..self.place(None) }
    }

    pub(super) fn place(&self, known: Option<Known>) -> Place {
        let since = known.map_or(self.ticket.0, |known| known.since);
        Place { urgency: self.urgency, since, ticket: self.ticket }
    }
}
