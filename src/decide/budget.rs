//! When a call may leave: never more than the limit in any window, however the window is laid.
//! It never counts calls one by one: memory stays the same for a limit of sixty or of a billion.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// Into how many slots a window is cut. A call is held against the budget until the end of its
/// slot leaves the window, so at most 1/600 of the allowance is lost.
const SLOTS: u32 = 600;
/// Upstream counts when a call arrives, we when it leaves. Between a slow call and a quick one the
/// gap may shrink; the window is counted longer by this share so that upstream still sees it whole.
const SLACK: f64 = 0.009;

/// Slices are given of an allowance so many times their size: they are for crowds of workers, and a
/// small allowance is no crowd's.
const WORTH: u64 = 128;

/// One token's allowance. A call takes a place when its turn comes, and is counted when it leaves:
/// whatever it waits for in between, its window begins when upstream sees it.
#[derive(Debug)]
pub struct Budget {
    limit: Option<NonZeroU32>,
    /// The window, slack included.
    window: Duration,
    slot: Duration,
    epoch: Instant,
    /// Slot number and how many left in it, oldest first; at most `SLOTS` + 2 entries.
    sent: VecDeque<(u64, u32)>,
    /// Sum over `sent`.
    total: u64,
    /// Places taken whose calls have not left.
    reserved: u64,
    paused_until: Option<Instant>,
}

impl Budget {
    /// `limit` calls in any `window`; `None` never says no by itself.
    pub fn new(limit: Option<NonZeroU32>, window: Duration, epoch: Instant) -> Self {
        let window = window.mul_f64(1.0 + SLACK).max(Duration::from_micros(1));
        let slot = (window / SLOTS).max(Duration::from_nanos(1));
        Self {
            limit,
            window,
            slot,
            epoch,
            sent: VecDeque::new(),
            total: 0,
            reserved: 0,
            paused_until: None,
        }
    }

    /// A place for one call, to be followed by `leave` or `give_back`; or the moment at which it is
    /// worth asking again.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(until) = self.paused_until {
            if now < until {
                return Err(until);
            }
            self.paused_until = None;
        }
        let Some(limit) = self.limit else { return Ok(()) };
        let limit = u64::from(limit.get());
        if self.total + self.reserved >= limit {
            self.expire(now);
            if self.total + self.reserved >= limit {
                return Err(self.oldest_leaves().unwrap_or(now + self.window));
            }
        }
        self.reserved += 1;
        Ok(())
    }

    /// How many places are taken or used, if there is one left; else when it is worth asking again.
    /// Without a limit nothing is counted, and it is none.
    pub fn used(&mut self, now: Instant) -> Result<u64, Instant> {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Err(until);
        }
        let Some(limit) = self.limit else { return Ok(0) };
        self.expire(now);
        let taken = self.taken();
        if taken < u64::from(limit.get()) {
            return Ok(taken);
        }
        Err(self.oldest_leaves().unwrap_or(now + self.window))
    }

    /// Places taken or used, as last looked at.
    pub fn taken(&self) -> u64 {
        self.total + self.reserved
    }

    /// `count` places at once, if that leaves more than half of the allowance free: so far from the
    /// limit it does not matter who holds them. They count as taken.
    pub fn take_slice(&mut self, count: u32, now: Instant) -> bool {
        if self.paused_until.is_some() {
            return false;
        }
        let Some(limit) = self.limit else { return true };
        let limit = u64::from(limit.get());
        if u64::from(count) * WORTH > limit {
            return false;
        }
        let taken = |budget: &Self| budget.total + budget.reserved + u64::from(count);
        if taken(self) > limit / 2 {
            self.expire(now);
            if taken(self) > limit / 2 {
                return false;
            }
        }
        self.reserved += u64::from(count);
        true
    }

    /// So many calls that took a place leave now, or have left a moment ago: they are held from
    /// now, which is longer, never shorter.
    pub fn leave(&mut self, count: u32, now: Instant) {
        self.give_back(count);
        self.charge(count, now);
    }

    /// So many calls that took a place will not leave.
    pub fn give_back(&mut self, count: u32) {
        self.reserved = self.reserved.saturating_sub(count.into());
    }

    /// So many calls leave that took no place, whatever the limit says.
    pub fn charge(&mut self, count: u32, now: Instant) {
        if self.limit.is_some() && count > 0 {
            self.count(count, now);
        }
    }

    /// When a call could leave that has `ahead` others before it.
    pub fn available_at(&mut self, now: Instant, ahead: usize) -> Instant {
        let free_at = self.paused_until.map_or(now, |until| until.max(now));
        let Some(limit) = self.limit else { return free_at };
        self.expire(now);
        let limit = u64::from(limit.get());
        let ahead = ahead as u64;
        let windows = u32::try_from(ahead / limit).unwrap_or(u32::MAX);
        let taken = self.total + self.reserved;
        let mut missing = (taken + ahead % limit + 1).saturating_sub(limit);
        let mut at = free_at;
        for &(slot, count) in &self.sent {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(u64::from(count));
            at = at.max(self.leaves(slot));
        }
        if missing > 0 {
            // The rest has a turn and has not left: at best it does so now.
            at = at.max(now + self.window);
        }
        at + self.window.saturating_mul(windows)
    }

    /// Nothing leaves before `until`. A shorter pause does not end a longer one.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
    }

    /// When the pause ends, if one is on.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// A new token: upstream counts it from nothing, and so do we. Who has a place keeps it: it
    /// will leave under the new one.
    pub fn renew(&mut self) {
        self.sent.clear();
        self.total = 0;
        self.paused_until = None;
    }

    fn count(&mut self, calls: u32, now: Instant) {
        let slot = self.slot_of(now);
        self.total += u64::from(calls);
        match self.sent.back_mut() {
            // Two workers may read the clock in one order and arrive in the other: a call counted
            // in a later slot is held a moment longer, never shorter.
            Some((number, count)) if *number >= slot => *count = count.saturating_add(calls),
            _ => {
                self.expire(now);
                self.sent.push_back((slot, calls));
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(slot, count)) = self.sent.front() {
            if self.leaves(slot) > now {
                break;
            }
            self.total -= u64::from(count);
            self.sent.pop_front();
        }
    }

    fn oldest_leaves(&self) -> Option<Instant> {
        self.sent.front().map(|&(slot, _)| self.leaves(slot))
    }

    fn slot_of(&self, when: Instant) -> u64 {
        let since = when.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since / self.slot.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The end of a slot, one window later.
    fn leaves(&self, slot: u64) -> Instant {
        let nanos = self.slot.as_nanos().saturating_mul(u128::from(slot) + 1);
        let since = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.epoch + since + self.window
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::t0;

    const WINDOW: Duration = Duration::from_secs(60);

    fn budget(limit: u32, epoch: Instant) -> Budget {
        Budget::new(NonZeroU32::new(limit), WINDOW, epoch)
    }

    fn go(budget: &mut Budget, now: Instant) -> Result<(), Instant> {
        budget.take(now).map(|()| budget.leave(1, now))
    }

    #[test]
    fn the_call_over_the_limit_waits_for_the_oldest_to_leave_the_window() {
        let t0 = t0();
        let mut budget = budget(2, t0);
        assert_eq!(go(&mut budget, t0), Ok(()));
        assert_eq!(go(&mut budget, t0 + Duration::from_secs(30)), Ok(()));
        let again = budget.take(t0 + Duration::from_secs(31)).unwrap_err();
        assert!(again >= t0 + WINDOW && again <= t0 + WINDOW.mul_f64(1.011), "{:?}", again - t0);
        assert_eq!(budget.take(again), Ok(()));
    }

    #[test]
    fn a_place_given_back_is_free_at_once() {
        let t0 = t0();
        let mut budget = budget(1, t0);
        budget.take(t0).unwrap();
        assert!(budget.take(t0).is_err());
        budget.give_back(1);
        assert_eq!(budget.take(t0), Ok(()));
    }

    #[test]
    fn a_place_is_held_until_its_call_leaves_and_counted_from_then() {
        let t0 = t0();
        let mut budget = budget(1, t0);
        budget.take(t0).unwrap();
        let late = t0 + WINDOW * 3;
        assert_eq!(budget.available_at(late, 0), late + budget.window);
        assert!(budget.take(late).is_err(), "it waits for a token, say, and has not left");
        budget.leave(1, late);
        assert!(budget.take(late + WINDOW / 2).is_err());
        assert_eq!(budget.take(late + WINDOW.mul_f64(1.011)), Ok(()));
    }

    #[test]
    fn who_had_a_place_under_the_old_token_has_it_under_the_new_one() {
        let t0 = t0();
        let mut budget = budget(2, t0);
        go(&mut budget, t0).unwrap();
        budget.take(t0).unwrap();
        budget.renew();
        assert_eq!(budget.take(t0), Ok(()), "what left is forgotten");
        assert!(budget.take(t0).is_err(), "what has not is not");
    }

    #[test]
    fn a_slice_counts_like_its_calls_and_is_given_only_far_from_the_limit() {
        let t0 = t0();
        assert!(!budget(300, t0).take_slice(64, t0), "a small allowance is not cut");
        let mut budget = budget(1_280, t0);
        assert!(budget.take_slice(10, t0));
        budget.leave(10, t0);
        assert!((0..620).all(|_| budget.take(t0).is_ok()));
        assert!(budget.take_slice(10, t0));
        assert!(!budget.take_slice(1, t0), "half of the allowance is taken");
        budget.give_back(630);
        assert!((0..1_270).all(|_| budget.take(t0).is_ok()), "10 have left");
        assert!(budget.take(t0).is_err());
        budget.give_back(1_270);
        budget.pause(t0 + WINDOW);
        assert!(!budget.take_slice(1, t0));
    }

    #[test]
    fn a_pause_holds_everything_and_a_shorter_one_does_not_end_it() {
        let t0 = t0();
        let mut budget = budget(10, t0);
        let until = t0 + Duration::from_secs(42);
        budget.pause(until);
        budget.pause(t0 + Duration::from_secs(1));
        assert_eq!(budget.take(t0 + Duration::from_secs(2)), Err(until));
        assert_eq!(budget.available_at(t0, 0), until);
        assert_eq!(budget.take(until), Ok(()));
    }

    #[test]
    fn a_new_token_starts_from_nothing() {
        let t0 = t0();
        let mut budget = budget(1, t0);
        go(&mut budget, t0).unwrap();
        budget.pause(t0 + WINDOW);
        budget.renew();
        assert_eq!(budget.take(t0), Ok(()));
    }

    #[test]
    fn a_limit_of_a_billion_costs_no_more_memory_than_one_of_sixty() {
        let t0 = t0();
        let mut budget = budget(1_000_000_000, t0);
        for i in 0..200_000u64 {
            go(&mut budget, t0 + Duration::from_millis(i)).unwrap();
        }
        assert!(budget.sent.len() <= SLOTS as usize + 2, "{}", budget.sent.len());
    }

    #[test]
    fn the_estimate_for_the_nth_waiter_is_when_the_nth_place_frees() {
        let t0 = t0();
        let mut budget = budget(2, t0);
        go(&mut budget, t0).unwrap();
        go(&mut budget, t0 + Duration::from_secs(10)).unwrap();
        let now = t0 + Duration::from_secs(20);
        let secs = |at: Instant| (at - t0).as_secs();
        let waits: Vec<u64> = (0..4).map(|n| secs(budget.available_at(now, n))).collect();
        assert_eq!(waits, [60, 70, 121, 131]);
    }

    proptest! {
        /// The shadow model is the definition itself: every window of the log of sends.
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            limit in 1u32..40,
            gaps in prop::collection::vec(0u64..3_000, 1..400),
        ) {
            let t0 = t0();
            let mut budget = budget(limit, t0);
            let mut now = t0;
            let mut sends: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if go(&mut budget, now).is_ok() {
                    sends.push(now);
                    let inside = sends.iter().filter(|&&at| now - at < WINDOW).count();
                    prop_assert!(inside <= limit as usize);
                }
            }
        }

        /// A caller that always comes back when told uses at least 98 % of the allowance.
        #[test]
        fn asking_again_when_told_uses_the_allowance(limit in 1u32..400) {
            let t0 = t0();
            let mut budget = budget(limit, t0);
            let end = t0 + WINDOW * 50;
            let (mut now, mut sent) = (t0, 0u32);
            while now < end {
                match go(&mut budget, now) {
                    Ok(()) => sent += 1,
                    Err(again) => {
                        prop_assert!(again > now);
                        now = again;
                    }
                }
            }
            prop_assert!(f64::from(sent) >= 0.98 * 50.0 * f64::from(limit), "{sent} of {limit}");
        }
    }
}
