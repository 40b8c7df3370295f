//! How many calls of each caller came lately.
//! It never remembers longer than a window, and never more callers than a table has room for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::decide::callers::Principal;

/// Callers counted one by one; of more, all others are one.
const MOST: usize = 1_024;

#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    now: u32,
    before: u32,
}

/// Calls by caller, in this half of a window and in the one before.
#[derive(Debug, Clone)]
pub struct Tally {
    half: Duration,
    begin: Instant,
    callers: BTreeMap<Principal, Calls>,
}

impl Tally {
    /// Nobody called.
    pub fn new(window: Duration, now: Instant) -> Self {
        let half = (window / 2).max(Duration::from_nanos(1));
        Self { half, begin: now, callers: BTreeMap::new() }
    }

    /// So many calls come.
    pub fn add(&mut self, principal: Principal, calls: u32, now: Instant) {
        self.turn(now);
        let known = self.callers.len() < MOST || self.callers.contains_key(&principal);
        let principal = if known { principal } else { Principal::Unknown };
        let own = self.callers.entry(principal).or_default();
        own.now = own.now.saturating_add(calls);
    }

    /// Who called lately, and how often it would in a window.
    pub fn in_a_window(&mut self, now: Instant) -> impl Iterator<Item = (Principal, u64)> {
        self.turn(now);
        let rest = now.saturating_duration_since(self.begin);
        // A first call is one call, not the first of a flood.
        let part = (2 * self.half).div_duration_f64(self.half + rest);
        self.callers.iter().map(move |(principal, calls)| {
            let calls = f64::from(calls.now) + f64::from(calls.before);
            (*principal, whole(calls * part))
        })
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.begin);
        if passed < self.half {
            return;
        }
        let long = passed >= 2 * self.half;
        self.callers.retain(|_, calls| {
            *calls = Calls { now: 0, before: if long { 0 } else { calls.now } };
            calls.before > 0
        });
        self.begin = if long { now } else { self.begin + self.half };
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn whole(calls: f64) -> u64 {
    calls.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    const SECOND: Duration = Duration::from_secs(1);

    fn of(tally: &mut Tally, now: Instant) -> Vec<u64> {
        tally.in_a_window(now).map(|(_, calls)| calls).collect()
    }

    #[test]
    fn who_calls_evenly_is_counted_as_it_calls_and_who_stops_is_forgotten() {
        let (begin, mut tally) = (t0(), Tally::new(SECOND * 60, t0()));
        for call in 0..600 {
            tally.add(Principal::Named(0), 1, begin + SECOND * call);
        }
        let [calls] = of(&mut tally, begin + SECOND * 600)[..] else { panic!("one caller") };
        assert!((55..=61).contains(&calls), "{calls}");
        assert_eq!(of(&mut tally, begin + SECOND * 700), [0_u64; 0]);
    }

    #[test]
    fn a_crowd_of_callers_is_counted_whole() {
        let (now, mut tally) = (t0(), Tally::new(SECOND, t0()));
        for n in 0..2_000_u32 {
            tally.add(Principal::User(n), 1, now);
        }
        assert!(tally.callers.len() <= MOST + 1);
        let sum: u32 = tally.callers.values().map(|calls| calls.now).sum();
        assert_eq!(sum, 2_000);
    }
}
