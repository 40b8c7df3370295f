//! One caller's part of the line: its turns, and its calls by urgency.
//! It never binds a turn to a call: the most urgent call has the earliest turn.

use std::{collections::BTreeMap, num::NonZeroU32, time::Instant};

use super::{Ticket, Who};
use crate::decide::{callers::Principal, rank::Rank, urgency::Urgency};

/// A turn of a caller with weight 1 costs so much virtual time.
pub(super) const COST: u64 = 1 << 20;

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

/// One caller's part of the line.
#[derive(Debug, Clone)]
pub(super) struct Flow<W> {
    pub(super) weight: NonZeroU32,
    /// Of one of its turns, in virtual time.
    pub(super) cost: u64,
    /// Start of its next turn, unless others are served past it.
    pub(super) next: u64,
    /// One for each member, not bound to any: the most urgent member has the earliest turn.
    pub(super) turns: Rank<Turn>,
    pub(super) members: BTreeMap<Place, W>,
    /// Members by urgency.
    pub(super) counts: [usize; Urgency::COUNT],
    /// Turns of calls that were told to come back.
    pub(super) promised: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) principal: Principal,
    pub(super) place: Place,
    pub(super) deadline: Instant,
    /// It had been told to come back.
    pub(super) promised: bool,
}

impl<W> Flow<W> {
    pub(super) fn new(weight: NonZeroU32, next: u64) -> Self {
        Self {
            weight,
            cost: COST / u64::from(weight.get()),
            next,
            turns: Rank::default(),
            members: BTreeMap::new(),
            counts: [0; Urgency::COUNT],
            promised: 0,
        }
    }

    /// How many of its members go before a call. One that comes back is older than nearly all that
    /// are as urgent.
    pub(super) fn before(&self, place: &Place) -> usize {
        let after = self.members.range(place..).next();
        let older = after.is_some_and(|(next, _)| next.urgency == place.urgency);
        self.counts.iter().take(place.urgency.number() + usize::from(!older)).sum()
    }

    pub(super) fn count(&mut self, urgency: Urgency) -> Option<&mut usize> {
        self.counts.get_mut(urgency.number())
    }

    pub(super) fn take(&mut self, place: &Place) -> Option<W> {
        let waiter = self.members.remove(place)?;
        if let Some(count) = self.count(place.urgency) {
            *count -= 1;
        }
        Some(waiter)
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

impl Who {
    pub(super) fn place(&self, promised: Option<Turn>) -> Place {
        let since = promised.map_or(self.ticket.0, |turn| turn.number);
        Place { urgency: self.urgency, since, ticket: self.ticket }
    }
}
