//! Whose calls wait, in all lines together.
//! It never asks in which: the room to wait in is one.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use crate::decide::{callers::Principal, queue::Who};

/// How many calls of each caller wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd {
    parts: BTreeMap<Principal, Part>,
    /// Callers by how much of the room is theirs.
    sizes: BTreeSet<(u64, Principal)>,
}

/// One caller's part.
#[derive(Debug, Clone, Copy)]
struct Part {
    calls: usize,
    weight: NonZeroU32,
}

/// A call of a caller with weight 1 is so much of the room.
const CALL: u64 = 1 << 20;

impl Part {
    /// By its weight.
    fn size(self) -> u64 {
        (CALL / u64::from(self.weight.get())).saturating_mul(self.calls as u64)
    }
}

impl Crowd {
    /// How many are this caller's.
    pub(super) fn calls_of(&self, principal: Principal) -> usize {
        self.parts.get(&principal).map_or(0, |part| part.calls)
    }

    /// Whose calls wait, and how many.
    pub(super) fn all(&self) -> impl Iterator<Item = (Principal, usize)> {
        self.parts.iter().map(|(principal, part)| (*principal, part.calls))
    }

    /// One more.
    pub(super) fn add(&mut self, who: &Who) {
        self.change(who.principal, |part| {
            let calls = part.map_or(0, |part| part.calls) + 1;
            Some(Part { calls, weight: who.weight })
        });
    }

    /// One less.
    pub(super) fn remove(&mut self, principal: Principal) {
        self.change(principal, |part| {
            let Part { calls, weight } = part?;
            (calls > 1).then(|| Part { calls: calls - 1, weight })
        });
    }

    /// Who is to give way to a call of this caller's: whoever has the most, if that is more than the
    /// caller's own with one more.
    pub(super) fn gives_way_to(&self, who: &Who) -> Option<Principal> {
        let &(size, principal) = self.sizes.last()?;
        let own = Part { calls: self.calls_of(who.principal) + 1, weight: who.weight };
        (principal != who.principal && size > own.size()).then_some(principal)
    }

    fn change(&mut self, principal: Principal, to: impl FnOnce(Option<Part>) -> Option<Part>) {
        let part = self.parts.remove(&principal);
        if let Some(part) = part {
            self.sizes.remove(&(part.size(), principal));
        }
        if let Some(part) = to(part) {
            self.sizes.insert((part.size(), principal));
            self.parts.insert(principal, part);
        }
    }
}

#[cfg(test)]
impl Crowd {
    /// It has counted these, and nobody else.
    pub(super) fn is_of(&self, waiting: impl Iterator<Item = Principal>) -> bool {
        let mut counted: BTreeMap<Principal, usize> = BTreeMap::new();
        waiting.for_each(|principal| *counted.entry(principal).or_default() += 1);
        let sizes = self.parts.iter().map(|(principal, part)| (part.size(), *principal));
        self.parts.iter().map(|(principal, part)| (principal, &part.calls)).eq(&counted)
            && sizes.collect::<BTreeSet<_>>() == self.sizes
    }
}
