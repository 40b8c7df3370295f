//! Calls that left and have not left the window, slot by slot.
//! It never grows with the number of calls.

use std::collections::VecDeque;

/// Slot numbers and how many left in each, oldest first; a window has a fixed number of slots.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    slots: VecDeque<(u64, u32)>,
    /// Sum over all slots.
    total: u64,
}

impl Sent {
    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn slots(&self) -> impl ExactSizeIterator<Item = (u64, u32)> {
        self.slots.iter().copied()
    }

    /// The oldest slot with a call in it.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.slots.front().map(|(slot, _)| *slot)
    }

    /// Some left in this slot, or in a later one.
    pub(super) fn reaches(&self, slot: u64) -> bool {
        self.slots.back().is_some_and(|(newest, _)| *newest >= slot)
    }

    /// So many leave in this slot.
    pub(super) fn add(&mut self, slot: u64, calls: u32) {
        self.total += u64::from(calls);
        match self.slots.back_mut() {
            // Two workers may read the clock in one order and arrive in the other: a call counted
            // in a later slot is held a moment longer, never shorter.
            Some((number, count)) if *number >= slot => *count = count.saturating_add(calls),
            _ => self.slots.push_back((slot, calls)),
        }
    }

    /// So many of the latest that were counted were not.
    pub(super) fn uncount(&mut self, mut calls: u32) {
        while let Some((_, count)) = self.slots.back_mut().filter(|_| calls > 0) {
            let gone = calls.min(*count);
            (*count, calls) = (*count - gone, calls - gone);
            self.total -= u64::from(gone);
            if *count == 0 {
                self.slots.pop_back();
            }
        }
    }

    /// The oldest slot has left the window.
    pub(super) fn forget_oldest(&mut self) {
        if let Some((_, count)) = self.slots.pop_front() {
            self.total -= u64::from(count);
        }
    }

    /// So many left in this slot or later.
    pub(super) fn since(&self, slot: u64) -> u32 {
        let inside = self.slots.iter().filter(|(number, _)| *number >= slot);
        inside.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}
