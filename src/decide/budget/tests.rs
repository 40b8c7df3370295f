//! The budget against the definition of a window.

use proptest::prelude::*;

use super::*;
use crate::decide::{joint::part::Cap, quota::Quota, t0};

const WINDOW: Duration = Duration::from_secs(60);

fn allowance(limit: u32) -> Allowance {
    Allowance { limit: NonZeroU32::new(limit), window: WINDOW, even: false, reserve: 0 }
}

fn budget(limit: u32, epoch: Instant) -> Budget {
    Budget::new(allowance(limit), epoch)
}

fn go(budget: &mut Budget, now: Instant) -> Result<(), Instant> {
    budget.take(now, false)?;
    budget.leave(1, now);
    Ok(())
}

#[test]
fn the_call_over_the_limit_waits_for_the_oldest_to_leave_the_window() {
    let t0 = t0();
    let mut budget = budget(2, t0);
    assert_eq!(go(&mut budget, t0), Ok(()));
    assert_eq!(go(&mut budget, t0 + Duration::from_secs(30)), Ok(()));
    let again = budget.take(t0 + Duration::from_secs(31), false).unwrap_err();
    assert!(again >= t0 + WINDOW && again <= t0 + WINDOW.mul_f64(1.011), "{:?}", again - t0);
    assert_eq!(budget.take(again, false), Ok(()));
}

#[test]
fn a_place_given_back_is_free_at_once() {
    let t0 = t0();
    let mut budget = budget(1, t0);
    budget.take(t0, false).unwrap();
    assert!(budget.take(t0, false).is_err());
    budget.give_back(1, t0);
    assert_eq!(budget.take(t0, false), Ok(()));
}

#[test]
fn a_place_is_held_until_its_call_leaves_and_counted_from_then() {
    let t0 = t0();
    let mut budget = budget(1, t0);
    budget.take(t0, false).unwrap();
    let late = t0 + WINDOW * 3;
    assert_eq!(budget.available_at(late, 0, false), late + budget.window);
    assert!(budget.take(late, false).is_err(), "it waits for a token, say, and has not left");
    budget.leave(1, late);
    assert!(budget.take(late + WINDOW / 2, false).is_err());
    assert_eq!(budget.take(late + WINDOW.mul_f64(1.011), false), Ok(()));
}

#[test]
fn who_had_a_place_under_the_old_token_has_it_under_the_new_one() {
    let t0 = t0();
    let mut budget = budget(2, t0);
    go(&mut budget, t0).unwrap();
    budget.take(t0, false).unwrap();
    budget.renew(Belongs::All);
    assert_eq!(budget.take(t0, false), Ok(()), "what left is forgotten");
    assert!(budget.take(t0, false).is_err(), "what has not is not");
}

#[test]
fn a_slice_counts_like_its_calls_and_is_given_only_far_from_the_limit() {
    let t0 = t0();
    assert!(!budget(300, t0).take_slice(64, t0), "a small allowance is not cut");
    let mut budget = budget(1_280, t0);
    assert!(budget.take_slice(10, t0));
    budget.leave(10, t0);
    assert!((0..620).all(|_| budget.take(t0, false).is_ok()));
    assert!(budget.take_slice(10, t0));
    assert!(!budget.take_slice(1, t0), "half of the allowance is taken");
    budget.give_back(630, t0);
    assert!((0..1_270).all(|_| budget.take(t0, false).is_ok()), "10 have left");
    assert!(budget.take(t0, false).is_err());
    budget.give_back(1_270, t0);
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
    assert_eq!(budget.take(t0 + Duration::from_secs(2), false), Err(until));
    assert_eq!(budget.available_at(t0, 0, false), until);
    assert_eq!(budget.take(until, false), Ok(()));
}

#[test]
fn a_new_token_starts_from_nothing() {
    let t0 = t0();
    let mut budget = budget(1, t0);
    go(&mut budget, t0).unwrap();
    budget.pause(t0 + WINDOW);
    budget.renew(Belongs::All);
    assert_eq!(budget.take(t0, false), Ok(()));
}

#[test]
fn a_limit_of_a_billion_costs_no_more_memory_than_one_of_sixty() {
    let t0 = t0();
    let mut budget = budget(1_000_000_000, t0);
    for i in 0..200_000u64 {
        go(&mut budget, t0 + Duration::from_millis(i)).unwrap();
    }
    assert!(budget.sent.slots().len() <= SLOTS as usize + 2, "{}", budget.sent.slots().len());
}

#[test]
fn the_estimate_for_the_nth_waiter_is_when_the_nth_place_frees() {
    let t0 = t0();
    let mut budget = budget(2, t0);
    go(&mut budget, t0).unwrap();
    go(&mut budget, t0 + Duration::from_secs(10)).unwrap();
    let now = t0 + Duration::from_secs(20);
    let secs = |at: Instant| (at - t0).as_secs();
    let waits: Vec<u64> = (0..4).map(|n| secs(budget.available_at(now, n, false))).collect();
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

#[test]
fn a_reserve_is_for_urgent_calls_only() {
    let t0 = t0();
    let mut budget = Budget::new(Allowance { reserve: 2, ..allowance(5) }, t0);
    assert!((0..3).all(|_| go(&mut budget, t0).is_ok()));
    let again = budget.take(t0, false).unwrap_err();
    assert!(again > t0 + WINDOW, "{:?}", again - t0);
    assert_eq!(budget.take(t0, true), Ok(()));
    assert_eq!(budget.available_at(t0, 0, false), again);
    assert_eq!(budget.available_at(t0, 0, true), t0);
}

/// How many go now, one after the other.
fn goes(budget: &mut Budget, now: Instant, urgent: bool) -> usize {
    (0..100).take_while(|_| budget.take(now, urgent).is_ok()).count()
}

#[test]
fn a_place_of_the_reserve_that_is_given_back_is_the_reserves_again() {
    let t0 = t0();
    let mut budget = Budget::new(Allowance { reserve: 3, ..allowance(10) }, t0);
    assert!((0..7).all(|_| go(&mut budget, t0).is_ok()));
    assert!((0..3).all(|_| budget.take(t0, true).is_ok()));
    budget.give_back(3, t0);
    assert_eq!((goes(&mut budget, t0, false), goes(&mut budget, t0, true)), (0, 3));
}

#[test]
fn under_a_new_token_the_reserve_is_whole() {
    let t0 = t0();
    let mut budget = Budget::new(Allowance { reserve: 3, ..allowance(10) }, t0);
    assert!((0..7).all(|_| go(&mut budget, t0).is_ok()));
    assert!((0..3).all(|_| budget.take(t0, true).is_ok()));
    budget.leave(3, t0);
    budget.renew(Belongs::All);
    assert_eq!((goes(&mut budget, t0, false), goes(&mut budget, t0, true)), (7, 3));
}

proptest! {
    /// Whatever is taken, in whatever order it leaves or is given back: who did not leave took
    /// nothing from anybody.
    #[test]
    fn a_call_that_does_not_leave_is_as_if_it_had_never_come(
        steps in prop::collection::vec(0u8..4, 0..60),
    ) {
        let t0 = t0();
        let mut budget = Budget::new(Allowance { reserve: 3, ..allowance(10) }, t0);
        let (mut taken, mut left) = (0, 0);
        for step in steps {
            match step {
                0 | 1 => taken += u32::from(budget.take(t0, step == 1).is_ok()),
                2 if taken > 0 => {
                    budget.leave(1, t0);
                    (taken, left) = (taken - 1, left + 1);
                }
                3 if taken > 0 => {
                    budget.give_back(1, t0);
                    taken -= 1;
                }
                _ => {}
            }
        }
        budget.give_back(taken, t0);
        prop_assert_eq!(goes(&mut budget, t0, false), 7_usize.saturating_sub(left));
        prop_assert_eq!(goes(&mut budget, t0, true), 3.min(10 - left));
    }
}

#[test]
fn beside_a_reserve_the_rest_is_spread_over_the_window() {
    let t0 = t0();
    let mut budget = Budget::new(Allowance { even: true, reserve: 30, ..allowance(60) }, t0);
    let (mut now, mut sent) = (t0, Vec::new());
    let mut urgent = None;
    while now < t0 + WINDOW * 3 {
        match go(&mut budget, now) {
            Ok(()) => sent.push(now),
            Err(again) => {
                if urgent.is_none() && now > t0 + WINDOW / 3 {
                    // Nobody else's turn: they go at once, and take nothing from the others.
                    urgent = Some(goes(&mut budget, now, true));
                    budget.leave(30, now);
                }
                now = again;
            }
        }
    }
    assert_eq!(urgent, Some(30));
    let in_four = |n: u64| sent.iter().filter(|at| (**at - t0).as_secs() / 4 == n).count();
    let counts: Vec<usize> = (0..45).map(in_four).collect();
    assert!(counts.iter().all(|count| (1..=3).contains(count)), "{counts:?}");
    assert!(sent.len() >= 30 * 3 * 98 / 100, "{}", sent.len());
}

#[test]
fn evenly_paced_calls_are_spread_over_the_window() {
    let t0 = t0();
    let mut budget = Budget::new(Allowance { even: true, ..allowance(60) }, t0);
    let (mut now, mut sent) = (t0, Vec::new());
    while now < t0 + WINDOW * 3 {
        match go(&mut budget, now) {
            Ok(()) => sent.push(now),
            Err(again) => now = again,
        }
    }
    let in_second = |n: u64| {
        let second = |at: &&Instant| (**at - t0).as_secs() == n;
        sent.iter().filter(second).count()
    };
    assert!((0..180).all(|second| in_second(second) <= 2), "never a burst");
    assert!(sent.len() >= 60 * 3 * 98 / 100, "{}", sent.len());
}

#[test]
fn the_promised_turn_of_an_even_pace_is_kept() {
    for reserve in [0, 20] {
        the_promise_is_kept(Allowance { even: true, reserve, ..allowance(60) });
    }
}

fn the_promise_is_kept(allowance: Allowance) {
    let t0 = t0();
    let mut budget = Budget::new(allowance, t0);
    for ahead in 0..130 {
        let promised = budget.available_at(t0, ahead, false);
        let mut other = budget.clone();
        let mut now = t0;
        for _ in 0..ahead {
            while let Err(again) = go(&mut other, now) {
                now = again;
            }
        }
        let late = now.saturating_duration_since(promised);
        assert!(
            late < WINDOW / 100 && other.take(promised.max(now), false).is_ok(),
            "{ahead}: {late:?}"
        );
    }
    let _ = go(&mut budget, t0);
}

#[test]
fn others_who_use_the_limit_are_noticed_and_forgotten_when_they_go() {
    let t0 = t0();
    let mut budget = budget(10, t0);
    assert!((0..6).all(|_| go(&mut budget, t0).is_ok()));
    let until = t0 + WINDOW;
    budget.refused(true);
    assert!(budget.limited(t0 + WINDOW / 10, until), "news");
    budget.refused(false);
    assert!(!budget.limited(t0 + WINDOW / 10, until), "two were on their way: one lesson");
    assert_eq!(budget.limit_at(until), Some(4), "6 left, 2 of them were refused");
    assert_eq!(budget.limit_at(until + WINDOW * 12), Some(10));
}

#[test]
fn a_quota_that_is_told_makes_us_careful_and_never_bold() {
    let t0 = t0();
    let mut budget = budget(10, t0);
    let left: Vec<u64> = (0..3)
        .map(|_| {
            budget.take(t0, false).unwrap();
            budget.leave(1, t0)
        })
        .collect();
    let told = |remaining| Quota { remaining, reset: Some(WINDOW / 2), limit: Some(10) };
    budget.told(&told(4), left[2], t0);
    assert_eq!(budget.taken(), 6, "3 of ours, 3 of others");
    budget.told(&told(9), left[0], t0);
    assert_eq!(budget.taken(), 6, "an answer to an earlier call is old news");
    budget.told(&told(50), left[2], t0);
    assert_eq!(budget.taken(), 3);
    budget.told(&told(0), left[2], t0);
    assert_eq!(budget.take(t0, false), Err(t0 + WINDOW / 2));
    assert_eq!(budget.take(t0 + WINDOW / 2, false), Ok(()));
}

#[test]
fn a_quota_of_which_some_calls_are_still_on_their_way_is_not_counted_twice() {
    let t0 = t0();
    let mut budget = budget(10, t0);
    let left: Vec<u64> = (0..5)
        .map(|_| {
            budget.take(t0, false).unwrap();
            budget.leave(1, t0)
        })
        .collect();
    for (n, number) in left.into_iter().enumerate() {
        let remaining = 10 - (n as u64 + 1);
        budget.told(&Quota { remaining, reset: Some(WINDOW), limit: None }, number, t0);
        assert_eq!(budget.taken(), 5);
    }
}

#[test]
fn a_429_that_our_own_count_explains_says_nothing_of_others() {
    let t0 = t0();
    let mut budget = budget(10, t0);
    assert!((0..10).all(|_| go(&mut budget, t0).is_ok()));
    budget.refused(true);
    assert!(!budget.limited(t0 + WINDOW / 60, t0 + WINDOW / 60));
    assert_eq!(budget.limit_at(t0), Some(10));
}

#[test]
fn a_quota_that_is_told_counts_what_other_replicas_sent_as_theirs() {
    let t0 = t0();
    let mut budget = budget(300, t0);
    budget.share(Cap { now: 150, soon: 150, until: None });
    for _ in 0..75 {
        go(&mut budget, t0).unwrap();
    }
    let left = budget.ever_left();
    let told = |remaining| Quota { remaining, reset: Some(WINDOW), limit: None };
    let room = |budget: &Budget| {
        let mut budget = budget.clone();
        (0..300).take_while(|_| go(&mut budget, t0).is_ok()).count()
    };
    // The other one sent as many of its part.
    budget.told(&told(150), left, t0);
    assert_eq!(room(&budget), 75);
    budget.told(&told(20), left, t0);
    assert_eq!(room(&budget), 20, "somebody else uses the rest");
}
