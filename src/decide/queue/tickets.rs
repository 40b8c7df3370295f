//! Places in the order of arrival.
//! It never gives one twice.

use std::ops::RangeInclusive;

/// A place in the order of arrival. A call that comes back after a 429 keeps its ticket, and so
/// stands before all of its caller's that came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// Some tickets, oldest first.
#[derive(Debug)]
pub struct Tickets(pub(super) RangeInclusive<u64>);

impl Default for Tickets {
    fn default() -> Self {
        #[expect(clippy::reversed_empty_ranges, reason = "it is to be empty")]
        Self(1..=0)
    }
}

impl Iterator for Tickets {
    type Item = Ticket;

    fn next(&mut self) -> Option<Ticket> {
        self.0.next().map(Ticket)
    }
}
