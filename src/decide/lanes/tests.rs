//! Several budgets against the definition of a window.

use std::{num::NonZeroU32, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::decide::{blame::Suspect, t0};

const WINDOW: Duration = Duration::from_secs(60);

fn lanes(count: usize, limit: u32, epoch: Instant) -> Lanes {
    Lanes::new(
        count,
        Allowance { limit: NonZeroU32::new(limit), window: WINDOW, even: false, reserve: 0 },
        epoch,
    )
}

/// The n-th life of a lane.
fn spot(lane: usize, n: u64) -> Spot {
    let mut freshness = crate::decide::freshness::Freshness::new(Duration::ZERO);
    let now = t0();
    let lives = (0..n).map(|_| freshness.fetched(now, WINDOW, 0.0));
    Spot { lane: Lane(lane), generation: lives.last().unwrap_or_default() }
}

fn go(lanes: &mut Lanes, now: Instant) -> Result<Lane, Instant> {
    let spot = lanes.take(now, false)?;
    lanes.leave(1, spot, now);
    Ok(spot.lane)
}

#[test]
fn the_least_used_token_is_next_and_together_they_give_the_sum() {
    let t0 = t0();
    let mut lanes = lanes(3, 2, t0);
    (0..3).for_each(|lane| assert!(lanes.seen(spot(lane, 1), Belongs::All)));
    let order: Vec<_> = (0..6).map(|_| go(&mut lanes, t0).unwrap().number()).collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    let again = go(&mut lanes, t0).unwrap_err();
    assert!(again > t0 + WINDOW && go(&mut lanes, again).is_ok());
}

#[test]
fn without_a_limit_they_take_turns() {
    let t0 = t0();
    let mut lanes = lanes(2, 0, t0);
    let order: Vec<_> = (0..4).map(|_| go(&mut lanes, t0).unwrap().number()).collect();
    assert_eq!(order, [0, 1, 0, 1]);
}

#[test]
fn a_lane_without_a_token_is_passed_over_while_another_has_one() {
    let t0 = t0();
    let mut lanes = lanes(2, 10, t0);
    assert!(lanes.take(t0, false).is_ok(), "at a cold start any will do: its token is on the way");
    lanes.seen(spot(1, 1), Belongs::All);
    assert!((0..4).all(|_| go(&mut lanes, t0) == Ok(Lane(1))));
    lanes.seen(spot(0, 1), Belongs::All);
    lanes.lost(spot(1, 1));
    assert!((0..4).all(|_| go(&mut lanes, t0) == Ok(Lane(0))));
    lanes.lost(spot(0, 0));
    assert!(lanes.usable(), "an older life tells nothing about this one");
    lanes.lost(spot(0, 1));
    assert!(!lanes.usable());
    lanes.seen(spot(1, 1), Belongs::All);
    assert!(lanes.usable());
}

#[test]
fn a_pause_holds_one_token_and_the_others_go_on() {
    let t0 = t0();
    let mut lanes = lanes(2, 10, t0);
    (0..2).for_each(|lane| assert!(lanes.seen(spot(lane, 1), Belongs::All)));
    let until = t0 + Duration::from_secs(42);
    lanes.hold(spot(0, 0), until);
    assert!(!lanes.paused(), "not the successor's fault");
    lanes.hold(spot(0, 1), until);
    assert!(lanes.paused());
    assert!((0..10).all(|_| go(&mut lanes, t0) == Ok(Lane(1))));
    assert_eq!(go(&mut lanes, t0), Err(until));
    assert_eq!(lanes.available_at(t0, 0, false), t0.max(lanes.available_at(t0, 0, false)));
    assert_eq!(go(&mut lanes, until), Ok(Lane(0)));
}

#[test]
fn a_token_that_was_not_to_blame_for_one_call_is_held_up_for_the_others() {
    let t0 = t0();
    let seconds = |n| t0 + Duration::from_secs(n);
    let mut lanes = lanes(3, 10, t0);
    (0..3).for_each(|lane| assert!(lanes.seen(spot(lane, 1), Belongs::All)));
    let mut refused = |lane, family, until| {
        lanes.limited(spot(lane, 1), (Suspect::Family(family), false), (t0, seconds(until)));
        lanes.lane(Lane(lane)).budget.paused_until()
    };
    assert_eq!(refused(0, 1, 10), Some(seconds(10)));
    assert_eq!(refused(0, 2, 30), Some(seconds(30)));
    refused(1, 1, 10);
    assert_eq!(refused(0, 3, 5), Some(seconds(30)), "one of two reasons is left");
    refused(1, 2, 30);
    assert_eq!(lanes.lane(Lane(0)).budget.paused_until(), Some(seconds(5)));
}

#[test]
fn a_new_token_starts_from_nothing_and_leaves_the_others_alone() {
    let t0 = t0();
    let mut lanes = lanes(2, 1, t0);
    (0..2).for_each(|lane| assert!(lanes.seen(spot(lane, 1), Belongs::All)));
    assert!((0..2).all(|_| go(&mut lanes, t0).is_ok()));
    assert!(lanes.seen(spot(1, 2), Belongs::All) && !lanes.seen(spot(1, 2), Belongs::All));
    assert_eq!(go(&mut lanes, t0), Ok(Lane(1)));
    assert!(go(&mut lanes, t0).is_err());
}

proptest! {
    /// The shadow model is the definition: every window of the log of sends, token by token.
    #[test]
    fn no_window_of_any_token_ever_holds_more_than_the_limit(
        count in 1usize..5,
        limit in 1u32..10,
        steps in prop::collection::vec((0u64..4_000, 0u8..20, 0usize..5), 1..300),
    ) {
        let t0 = t0();
        let mut lanes = lanes(count, limit, t0);
        let mut now = t0;
        let mut sends: Vec<(Instant, Lane)> = Vec::new();
        for (gap, what, lane) in steps {
            now += Duration::from_millis(gap);
            match what {
                0 => lanes.hold(Spot { lane: Lane(lane % count), ..Spot::default() }, now + WINDOW / 4),
                1 => lanes.lost(Spot { lane: Lane(lane % count), ..Spot::default() }),
                2 => drop(lanes.seen(Spot { lane: Lane(lane % count), ..Spot::default() }, Belongs::All)),
                _ => if let Ok(lane) = go(&mut lanes, now) {
                    sends.push((now, lane));
                    let inside = sends.iter().filter(|(at, of)| *of == lane && now - *at < WINDOW);
                    prop_assert!(inside.count() <= limit as usize);
                }
            }
        }
    }

    /// Whoever is told when its turn comes has it then, to a slot of the window for each window
    /// waited, when those before it go as told.
    #[test]
    fn a_turn_that_was_promised_is_kept(
        count in 1usize..5,
        limit in 1u32..8,
        sent in prop::collection::vec(0u64..70_000, 0..40),
        ahead in 0usize..60,
    ) {
        let t0 = t0();
        let mut lanes = lanes(count, limit, t0);
        let mut arrivals = sent;
        arrivals.sort_unstable();
        let mut now = t0;
        for at in arrivals {
            now = t0 + Duration::from_millis(at);
            let _ = go(&mut lanes, now);
        }
        let promised = lanes.available_at(now, ahead, false);
        let mut at = now;
        for _ in 0..ahead {
            while let Err(again) = go(&mut lanes, at) {
                at = again;
            }
        }
        let windows = u32::try_from(ahead).unwrap() / (limit * u32::try_from(count).unwrap());
        let promised = promised + WINDOW / 500 * (windows + 1);
        prop_assert!(at <= promised, "{:?} late", at - promised);
        prop_assert!(go(&mut lanes, promised).is_ok());
    }
}

#[test]
fn whoever_watches_sees_each_token_by_itself_and_that_changes_nothing() {
    let t0 = t0();
    let mut lanes = lanes(2, 5, t0);
    (0..2).for_each(|lane| assert!(lanes.seen(spot(lane, 1), Belongs::All)));
    go(&mut lanes, t0).unwrap();
    lanes.hold(spot(1, 1), t0 + Duration::from_secs(9));
    let seen =
        |used, seconds| Usage { allowed: Some(5), used, paused: Duration::from_secs(seconds) };
    assert_eq!(lanes.usages(t0), [seen(1, 0), seen(0, 9)]);
    assert_eq!(lanes.usages(t0 + Duration::from_secs(10)), [seen(1, 0), seen(0, 0)]);
    assert_eq!(lanes.usages(t0 + WINDOW * 2), [seen(0, 0), seen(0, 0)]);
}
