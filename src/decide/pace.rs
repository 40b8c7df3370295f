//! Calls spread over the window, so that a batch leaves room for whoever comes after it.
//! It never allows more than the window does, and never loses what a late timer missed.
//!
//! The generic cell rate algorithm (ITU-T I.371): one time to remember, at which the next call is
//! due if calls came evenly. A few may be early, so that a page that makes five calls is not slow.

use std::time::{Duration, Instant};

/// Calls that may leave at once after a rest, as a share of the limit: a fiftieth. They are what a
/// window has no room for later, so the gap that follows is as short.
const EARLY: u32 = 50;

/// When the next call is due.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    due: Option<Instant>,
}

impl Pace {
    /// When a call may leave that has `ahead` others before it.
    pub fn free_at(&self, now: Instant, ahead: u64, (limit, window): (u32, Duration)) -> Instant {
        let gap = gap(limit, window);
        let early = gap.saturating_mul((limit / EARLY).max(1) - 1);
        let after = Duration::from_nanos(nanos(gap).saturating_mul(ahead));
        (self.base(now, gap) + after).checked_sub(early).unwrap_or(now)
    }

    /// One leaves.
    pub fn take(&mut self, now: Instant, (limit, window): (u32, Duration)) {
        let gap = gap(limit, window);
        self.due = Some(self.base(now, gap) + gap);
    }

    /// One that was to leave did not.
    pub fn give_back(&mut self, count: u32, (limit, window): (u32, Duration)) {
        self.due = self.due.and_then(|due| due.checked_sub(gap(limit, window) * count));
    }

    /// A timer is late by a little, always: that is made up for. A rest is not.
    fn base(&self, now: Instant, gap: Duration) -> Instant {
        let due = self.due.filter(|due| now.saturating_duration_since(*due) <= gap);
        due.unwrap_or(now)
    }
}

fn gap(limit: u32, window: Duration) -> Duration {
    window / limit.max(1)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    const RATE: (u32, Duration) = (100, Duration::from_secs(100));

    fn leave(pace: &mut Pace, now: Instant) -> Instant {
        let at = pace.free_at(now, 0, RATE).max(now);
        pace.take(at, RATE);
        at
    }

    #[test]
    fn a_few_leave_at_once_and_the_rest_evenly() {
        let (now, mut pace) = (t0(), Pace::default());
        let left: Vec<u64> = (0..5).map(|_| (leave(&mut pace, now) - now).as_secs()).collect();
        assert_eq!(left, [0, 0, 1, 2, 3]);
        let expected = pace.free_at(now, 3, RATE);
        for _ in 0..3 {
            leave(&mut pace, now);
        }
        assert_eq!(leave(&mut pace, now), expected);
    }

    #[test]
    fn a_timer_that_is_late_loses_nothing() {
        let (now, mut pace) = (t0(), Pace::default());
        let late = Duration::from_millis(200);
        let rate = (40, Duration::from_secs(40));
        let (mut at, mut left) = (now, 0);
        while at < now + rate.1 {
            pace.take(at, rate);
            left += 1;
            at = pace.free_at(at, 0, rate).max(at) + late;
        }
        assert!((40..=41).contains(&left), "{left}");
    }

    #[test]
    fn a_place_given_back_is_due_at_once() {
        let (now, mut pace) = (t0(), Pace::default());
        for _ in 0..2 {
            leave(&mut pace, now);
        }
        assert!(pace.free_at(now, 0, RATE) > now);
        pace.give_back(1, RATE);
        assert!(pace.free_at(now, 0, RATE) <= now);
    }
}
