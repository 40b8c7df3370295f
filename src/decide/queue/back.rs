//! Calls that come back when they were told to.
//! It never lets a refusal cost a caller a part of its share.

use std::{num::NonZeroU32, time::Instant};

use super::{
    Queue, Who,
    promises::{Passed, Promise},
};

/// One caller's promises: nearly all that there may be, but not all.
const OWN: usize = 9_000;
/// How much the newest outcome counts in the share of calls that come back: 1/64.
const RETURNS: u32 = 6;

/// What is known of a call that came before.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// When it came first: its place among its caller's.
    pub(super) since: u64,
    /// How often it has come back.
    pub(super) back: u32,
}

impl Known {
    /// Whether it has its place among those who are away, too. Who comes back for the first time and
    /// is refused again goes behind them all: as many times were told as there are turns, and one
    /// that is pushed in between makes all that come after it late. Once.
    pub(super) fn keeps_its_place(self) -> bool {
        self.back != 1
    }
}

impl<W> Queue<W> {
    /// This call will come back at `told`, and is known if it does so before `expires`. `known`: of a
    /// call that was redeemed before, or stood in line. `room`: for one promise more.
    pub fn promise(
        &mut self,
        who: &Who,
        known: Option<Known>,
        now: Instant,
        (told, expires, room): (Instant, Instant, bool),
    ) {
        // What is due to a call that is known by another way is another one's.
        let earlier = if known.is_none() { self.redeem(who, now) } else { None };
        let (known, renewed) = (known.or(earlier), earlier.is_some());
        if known.is_some_and(|known| known.back > 0) {
            self.promises.broken();
        }
        let full = || self.flows.get(&who.principal).is_some_and(|flow| flow.away() >= OWN);
        if !renewed && (!room || full()) {
            return;
        }
        let Known { since, back } = known.unwrap_or(Known { since: who.ticket.0, back: 0 });
        let asks = (who.principal, who.asks);
        let promise =
            Promise { asks, since, back, urgency: who.urgency, told, expires, late: false };
        let (number, moment) = (self.number(), self.clock.start(now));
        self.promises.add(number, promise);
        self.change(who.principal, who.weight, |flow| {
            flow.goes_away(promise.away(number), told);
            if known.is_none() {
                flow.arrivals.add(moment);
            }
        });
    }

    /// Whoever has not come back by now is expected no longer.
    pub fn expire(&mut self, now: Instant) {
        while let Some(passed) = self.promises.pass(now) {
            match passed {
                Passed::Late(number, promise) => self.expected_no_longer(number, promise, false),
                Passed::Gone(number, promise) if !promise.late => {
                    self.expected_no_longer(number, promise, false);
                }
                Passed::Gone(..) => {}
            }
        }
        self.settle();
    }

    /// This call was told here to come by now, and has not been back.
    pub fn is_due(&self, who: &Who, now: Instant) -> bool {
        self.promises.due((who.principal, who.asks), now).is_some()
    }

    /// The call is back that was told to come.
    pub fn redeem(&mut self, who: &Who, now: Instant) -> Option<Known> {
        let (number, promise) = self.promises.redeem((who.principal, who.asks), now)?;
        self.expected_no_longer(number, promise, true);
        Some(promise.known())
    }

    fn expected_no_longer(&mut self, number: u64, promise: Promise, came: bool) {
        self.came.learn(came, RETURNS);
        // One that was late may be the last that is known of its caller.
        if self.flows.contains_key(&promise.asks.0) {
            self.change(promise.asks.0, NonZeroU32::MIN, |flow| {
                flow.away_no_longer((promise.away(number), promise.told), came);
            });
        }
    }
}
