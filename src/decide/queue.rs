//! Who waits for a place in the budget: in order of arrival, with a deadline, bounded.
//! It never wakes anybody; it says who is next, and who has run out of patience.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Instant,
};

/// A place in the order of arrival. A call that comes back after a 429 keeps its ticket, and so
/// stands before everybody who came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Some tickets, oldest first.
#[derive(Debug)]
pub struct Tickets(RangeInclusive<u64>);

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

/// The line is at its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The line; `W` is how to reach the one who waits.
#[derive(Debug)]
pub struct Queue<W> {
    bound: usize,
    issued: u64,
    waiting: BTreeMap<Ticket, (Instant, W)>,
    deadlines: BTreeSet<(Instant, Ticket)>,
}

impl<W> Queue<W> {
    /// At most `bound` wait at once.
    pub fn new(bound: usize) -> Self {
        Self { bound, issued: 0, waiting: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    /// The next ticket in order of arrival.
    pub fn ticket(&mut self) -> Ticket {
        self.issued += 1;
        Ticket(self.issued)
    }

    /// The next tickets in order of arrival, for arrivals that will not stand in line.
    pub fn tickets(&mut self, count: u32) -> Tickets {
        let first = self.issued + 1;
        self.issued += u64::from(count);
        Tickets(first..=self.issued)
    }

    /// How many stand before this ticket. New arrivals, the common case, are not searched for.
    pub fn ahead(&self, ticket: Ticket) -> usize {
        match self.waiting.last_key_value() {
            Some((last, _)) if *last > ticket => self.waiting.range(..ticket).count(),
            _ => self.waiting.len(),
        }
    }

    /// Stands in line until `deadline`.
    pub fn join(&mut self, ticket: Ticket, deadline: Instant, waiter: W) -> Result<(), Full> {
        if self.waiting.len() >= self.bound {
            return Err(Full);
        }
        self.waiting.insert(ticket, (deadline, waiter));
        self.deadlines.insert((deadline, ticket));
        Ok(())
    }

    /// Leaves the line; `None` when the turn came first.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        let (deadline, waiter) = self.waiting.remove(&ticket)?;
        self.deadlines.remove(&(deadline, ticket));
        Some(waiter)
    }

    /// Who is first in line.
    pub fn head(&self) -> Option<Ticket> {
        self.waiting.first_key_value().map(|(ticket, _)| *ticket)
    }

    /// Somebody whose deadline lies before `moment` steps out.
    pub fn impatient(&mut self, moment: Instant) -> Option<W> {
        let &(deadline, ticket) = self.deadlines.first()?;
        if deadline >= moment { None } else { self.leave(ticket) }
    }

    /// The earliest deadline in the line.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::decide::t0;

    #[test]
    fn a_call_that_comes_back_stands_before_all_who_came_later() {
        let (t0, mut queue) = (t0(), Queue::new(10));
        let early = queue.ticket();
        for name in ["b", "c"] {
            let ticket = queue.ticket();
            queue.join(ticket, t0, name).unwrap();
        }
        assert_eq!(queue.ahead(early), 0);
        queue.join(early, t0, "a").unwrap();
        let order: Vec<_> =
            std::iter::from_fn(|| queue.head().and_then(|t| queue.leave(t))).collect();
        assert_eq!(order, ["a", "b", "c"]);
    }

    #[test]
    fn tickets_taken_ahead_are_older_than_all_that_follow() {
        let mut queue = Queue::<()>::new(10);
        let before = queue.ticket();
        let some: Vec<Ticket> = queue.tickets(3).collect();
        let after = queue.ticket();
        assert!(before < some[0] && some.is_sorted() && some.len() == 3 && some[2] < after);
        assert_eq!(Tickets::default().count(), 0);
    }

    #[test]
    fn the_bound_holds_and_a_leaver_frees_its_place() {
        let (t0, mut queue) = (t0(), Queue::new(1));
        let (first, second) = (queue.ticket(), queue.ticket());
        queue.join(first, t0, 1).unwrap();
        assert_eq!(queue.join(second, t0, 2), Err(Full));
        assert_eq!(queue.leave(first), Some(1));
        assert_eq!(queue.join(second, t0, 2), Ok(()));
        assert_eq!(queue.leave(first), None);
    }

    proptest! {
        /// A plain vector is the shadow model: same members, same order, same impatience.
        #[test]
        fn it_agrees_with_a_plain_list(ops in prop::collection::vec((0u8..5, 0u64..50), 1..300)) {
            let t0 = t0();
            let mut queue = Queue::new(20);
            let mut list: Vec<(Ticket, Instant)> = Vec::new();
            let mut known: Vec<Ticket> = Vec::new();
            for (op, n) in ops {
                let when = t0 + Duration::from_secs(n);
                match op {
                    0 => {
                        let ticket = queue.ticket();
                        known.push(ticket);
                        let joined = queue.join(ticket, when, ticket).is_ok();
                        prop_assert_eq!(joined, list.len() < 20);
                        if joined { list.push((ticket, when)); }
                    }
                    1 => {
                        list.sort();
                        let expected = (!list.is_empty()).then(|| list.remove(0).0);
                        let head = queue.head();
                        prop_assert_eq!(head.and_then(|t| queue.leave(t)), expected);
                    }
                    2 if !known.is_empty() => {
                        let ticket = known[usize::try_from(n).unwrap() % known.len()];
                        let at = list.iter().position(|(t, _)| *t == ticket);
                        prop_assert_eq!(queue.leave(ticket).is_some(), at.is_some());
                        if let Some(at) = at { list.remove(at); }
                    }
                    3 => {
                        let first = list.iter().map(|&(t, d)| (d, t)).min();
                        let expected = first.filter(|(d, _)| *d < when).map(|(_, t)| t);
                        prop_assert_eq!(queue.impatient(when), expected);
                        list.retain(|(t, _)| Some(*t) != expected);
                    }
                    4 if !known.is_empty() => {
                        let ticket = known[usize::try_from(n).unwrap() % known.len()];
                        if !list.iter().any(|(t, _)| *t == ticket) && list.len() < 20 {
                            let ahead = list.iter().filter(|(t, _)| *t < ticket).count();
                            prop_assert_eq!(queue.ahead(ticket), ahead);
                            queue.join(ticket, when, ticket).unwrap();
                            list.push((ticket, when));
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(queue.len(), list.len());
                prop_assert_eq!(queue.deadline(), list.iter().map(|l| l.1).min());
            }
        }
    }
}
