//! Shares, urgency, bounds and promises, against what a caller would call fair.

use std::{net::Ipv4Addr, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::decide::t0;

const SECOND: Duration = Duration::from_secs(1);
const FAR: Duration = Duration::from_secs(3_600);
/// Of 300 a minute.
const PACE: Duration = Duration::from_millis(200);
const WINDOW: Duration = Duration::from_secs(60);

fn principal(n: u8) -> Principal {
    Principal::at(Ipv4Addr::new(10, 0, 0, n).into())
}

fn who<W>(queue: &mut Queue<W>, n: u8, weight: u32, urgency: &str) -> Who {
    let weight = NonZeroU32::new(weight).unwrap();
    let urgency = Urgency::of(urgency).unwrap_or_default();
    Who { principal: principal(n), weight, urgency, ticket: queue.ticket(), asks: 0 }
}

fn join(queue: &mut Queue<u8>, n: u8, weight: u32, urgency: &str, label: u8) -> Who {
    let (who, now) = (who(queue, n, weight, urgency), t0());
    queue.join((&who, None), (now, now + FAR), label);
    who
}

/// If it can wait.
fn ahead<W>(queue: &Queue<W>, who: &Who, now: Instant) -> usize {
    queue.ahead(who, (now, now + FAR))
}

fn order(queue: &mut Queue<u8>) -> Vec<u8> {
    std::iter::from_fn(|| queue.next(false).map(|(_, label, _)| label)).collect()
}

#[test]
fn callers_take_turns_however_many_calls_one_of_them_has() {
    let mut queue = Queue::new(PACE, WINDOW);
    for _ in 0..6 {
        join(&mut queue, 1, 1, "", 1);
    }
    for _ in 0..2 {
        join(&mut queue, 2, 1, "", 2);
    }
    assert_eq!(order(&mut queue), [1, 2, 1, 2, 1, 1, 1, 1]);
}

#[test]
fn twice_the_weight_is_twice_the_turns() {
    let mut queue = Queue::new(PACE, WINDOW);
    for _ in 0..6 {
        join(&mut queue, 1, 1, "", 1);
        join(&mut queue, 2, 2, "", 2);
    }
    let mut first: Vec<u8> = order(&mut queue).into_iter().take(9).collect();
    first.sort_unstable();
    assert_eq!(first, [1, 1, 1, 2, 2, 2, 2, 2, 2]);
}

#[test]
fn urgency_counts_among_a_callers_own_and_moves_nobody_else() {
    let mut queue = Queue::new(PACE, WINDOW);
    join(&mut queue, 1, 1, "u=5", 15);
    join(&mut queue, 1, 1, "", 13);
    join(&mut queue, 2, 1, "u=7", 27);
    join(&mut queue, 1, 1, "u=0", 10);
    assert_eq!(order(&mut queue), [10, 27, 13, 15]);
}

#[test]
fn a_newcomer_waits_for_one_turn_and_whoever_was_away_has_saved_nothing_up() {
    let mut queue = Queue::new(PACE, WINDOW);
    for _ in 0..10 {
        join(&mut queue, 1, 1, "", 1);
    }
    for _ in 0..5 {
        queue.next(false);
    }
    for _ in 0..3 {
        join(&mut queue, 2, 1, "", 2);
    }
    assert_eq!(order(&mut queue), [2, 1, 2, 1, 2, 1, 1, 1]);
}

#[test]
fn a_caller_with_one_call_at_a_time_does_not_come_before_all_others_each_time() {
    let mut queue = Queue::new(PACE, WINDOW);
    for _ in 0..4 {
        join(&mut queue, 1, 1, "", 1);
    }
    let mut served = Vec::new();
    join(&mut queue, 2, 1, "", 2);
    while let Some((_, label, _)) = queue.next(false) {
        served.push(label);
        if label == 2 && served.len() < 7 {
            join(&mut queue, 2, 1, "", 2);
        }
    }
    assert_eq!(served, [1, 2, 1, 2, 1, 2, 1, 2]);
}

#[test]
fn who_leaves_gives_its_turn_to_the_callers_own() {
    let mut queue = Queue::new(PACE, WINDOW);
    let first = join(&mut queue, 1, 1, "", 11);
    join(&mut queue, 1, 1, "", 12);
    join(&mut queue, 2, 1, "", 21);
    assert_eq!(queue.leave(first.ticket), Some(11));
    assert_eq!(queue.leave(first.ticket), None);
    assert_eq!(order(&mut queue), [12, 21]);
}

#[test]
fn a_call_that_comes_back_stands_before_its_callers_later_ones() {
    let mut queue = Queue::new(PACE, WINDOW);
    let early = who(&mut queue, 1, 1, "");
    join(&mut queue, 1, 1, "", 12);
    join(&mut queue, 1, 1, "", 13);
    let now = t0();
    queue.join((&early, None), (now, now + FAR), 11);
    assert_eq!(order(&mut queue), [11, 12, 13]);
}

#[test]
fn only_those_whose_patience_ends_before_a_moment_step_out() {
    let (mut queue, now) = (Queue::new(PACE, WINDOW), t0());
    for (label, patience) in [(1, 5), (2, 1), (3, 9)] {
        let who = who(&mut queue, label, 1, "");
        queue.join((&who, None), (now, now + SECOND * patience), label);
    }
    assert_eq!(queue.deadline(), Some(now + SECOND));
    assert!(queue.impatient(now + SECOND).is_none(), "served in its last moment");
    let out: Vec<u8> =
        std::iter::from_fn(|| queue.impatient(now + SECOND * 6).map(|gone| gone.waiter)).collect();
    assert_eq!((out, queue.len()), (vec![2, 1], 1));
}

#[test]
fn urgent_calls_alone_are_served_in_the_order_of_their_callers() {
    let mut queue = Queue::new(PACE, WINDOW);
    for (n, urgency, label) in [(1, "", 1), (2, "u=1", 2), (1, "u=2", 3), (3, "u=3", 4)] {
        join(&mut queue, n, 1, urgency, label);
    }
    let urgent: Vec<u8> =
        std::iter::from_fn(|| queue.next(true).map(|(_, label, _)| label)).collect();
    assert_eq!((urgent, queue.len(), queue.has_next(true)), (vec![3, 2], 2, false));
}

#[test]
fn a_promised_turn_comes_before_those_who_came_later_and_is_lost_after_its_time() {
    let (mut queue, now) = (Queue::new(PACE, WINDOW), t0());
    let told = now + SECOND * 10;
    for _ in 0..3 {
        let refused = who(&mut queue, 1, 1, "");
        queue.promise(&refused, None, now, (told, told + SECOND, true));
    }
    assert!(!queue.is_calm());
    let early = who(&mut queue, 1, 1, "");
    assert_eq!(ahead(&queue, &early, now + SECOND), 3, "who is early stands behind its own");
    let other = who(&mut queue, 2, 1, "");
    assert_eq!(ahead(&queue, &other, told), 1, "shares, not order of arrival");
    let back = who(&mut queue, 1, 1, "");
    assert_eq!(ahead(&queue, &back, told), 0);
    queue.join((&back, None), (told, told + FAR), 1);
    assert_eq!(queue.promises(), promises::Count { made: 3, claimed: 1, broken: 0 });
    queue.expire(told + SECOND);
    let later = who(&mut queue, 1, 1, "");
    assert_eq!(ahead(&queue, &later, told + SECOND), 1);
    assert_eq!(queue.next(false).map(|(_, label, _)| label), Some(1));
    assert!(queue.is_calm() && queue.flows.is_empty());
}

#[test]
fn a_promised_turn_is_for_the_call_that_was_refused_and_not_for_a_new_one() {
    let (mut queue, now) = (Queue::<u8>::new(PACE, WINDOW), t0());
    let refused = who(&mut queue, 1, 1, "");
    queue.promise(&refused, None, now, (now + SECOND, now + SECOND * 5, true));
    let new = Who { asks: 1, ..who(&mut queue, 1, 1, "") };
    assert_eq!(ahead(&queue, &new, now + SECOND), 1);
    let back = who(&mut queue, 1, 1, "");
    assert_eq!(ahead(&queue, &back, now + SECOND), 0);
}

#[test]
fn who_has_many_calls_is_told_that_others_will_come_who_came_all_the_time() {
    let mut queue = Queue::new(PACE, WINDOW);
    for _ in 0..200 {
        join(&mut queue, 1, 1, "", 1);
    }
    let next = who(&mut queue, 1, 1, "");
    assert_eq!(ahead(&queue, &next, t0()), 200, "nobody else is known");
    let mut now = t0();
    for turn in 0..100 {
        now += PACE;
        if turn % 5 == 0 {
            let other = who(&mut queue, 2, 1, "");
            queue.join((&other, None), (now, now + FAR), 2);
        }
        queue.next(false);
    }
    // 120 of its own, and of five turns one is the other's.
    let ahead = ahead(&queue, &next, now);
    assert!((140..=160).contains(&ahead), "{ahead}");
}

#[test]
fn one_call_of_somebody_with_a_great_weight_is_one_call() {
    let (mut queue, now) = (Queue::new(PACE, WINDOW), t0());
    join(&mut queue, 1, 100, "", 1);
    let mut told = Vec::new();
    for asks in 0..60 {
        let refused = Who { asks, ..who(&mut queue, 2, 1, "") };
        told.push(queue.ahead_when_told(&refused, now, None));
        queue.promise(&refused, None, now, (now + FAR, now + FAR, true));
    }
    assert!(told[59] <= 80, "{told:?}");
}

#[test]
fn a_weight_is_not_forgotten_with_who_is_late() {
    let (mut queue, now) = (Queue::new(PACE, WINDOW), t0());
    let refused = who(&mut queue, 2, 3, "");
    let (told, late) = (now + SECOND, now + SECOND * 4);
    queue.promise(&refused, None, now, (told, told + SECOND * 5, true));
    queue.expire(late);
    // So many turns later nothing is known of it but that it may come.
    for _ in 0..=MAX_IDLE {
        join(&mut queue, 1, 1, "", 1);
        queue.next(false);
    }
    assert!(!queue.flows.contains_key(&principal(2)));
    for _ in 0..4 {
        let back = who(&mut queue, 2, 3, "");
        queue.join((&back, None), (late, late + FAR), 2);
        join(&mut queue, 1, 1, "", 1);
    }
    let first = order(&mut queue);
    assert_eq!(first[..2], [2, 2], "three turns for each of the other's: {first:?}");
}

#[test]
fn who_refuses_to_come_back_loses_nothing_and_holds_up_nobody() {
    let (mut queue, mut now) = (Queue::new(PACE, WINDOW), t0());
    for asks in 0..60 {
        let refused = Who { asks, ..who(&mut queue, 1, 1, "") };
        queue.promise(&refused, None, now, (now + SECOND * 100, now + SECOND * 115, true));
    }
    // Somebody is served all the time meanwhile.
    for _ in 0..50 {
        join(&mut queue, 2, 1, "", 2);
        queue.next(false);
    }
    for label in [3, 2, 1] {
        for _ in 0..3 {
            join(&mut queue, label, 1, "", label);
        }
    }
    let mut first: Vec<u8> = order(&mut queue).into_iter().take(5).collect();
    first.sort_unstable();
    assert_eq!(first, [1, 1, 2, 3, 3], "newcomers come next, and not before all others");
    now += SECOND * 200;
    queue.expire(now);
    assert!(queue.is_calm());
}

#[test]
fn whoever_comes_while_others_are_away_stands_before_their_later_turns() {
    let (mut queue, now) = (Queue::new(PACE, WINDOW), t0());
    let told = now + SECOND * 10;
    for asks in 0..5 {
        let refused = Who { asks, ..who(&mut queue, 1, 1, "") };
        queue.promise(&refused, None, now, (told, told + SECOND, true));
    }
    // A new call of the same caller has a place that nobody else is there to take.
    let new = Who { asks: 9, ..who(&mut queue, 1, 1, "") };
    queue.passed(&new, now);
    let other = join(&mut queue, 2, 1, "", 2);
    assert_eq!(
        ahead(&queue, &Who { asks: 7, ..other }, now),
        0,
        "the other has had its turn, and five are away"
    );
}

#[test]
fn a_call_whose_patience_ends_keeps_the_turn_that_it_had_in_line() {
    let (mut queue, now) = (Queue::new(PACE, WINDOW), t0());
    let impatient = who(&mut queue, 1, 1, "");
    queue.join((&impatient, None), (now, now + SECOND), 1);
    for _ in 0..5 {
        join(&mut queue, 1, 1, "", 2);
    }
    let out = queue.impatient(now + SECOND * 2).unwrap();
    assert_eq!((out.ticket, out.waiter), (impatient.ticket, 1));
    assert_eq!(ahead(&queue, &impatient, now), 0);
    let told = now + SECOND * 9;
    queue.promise(&impatient, Some(out.known), now, (told, told + SECOND, true));
    let back = who(&mut queue, 1, 1, "");
    assert_eq!(ahead(&queue, &back, told), 0, "and comes back to it");
    queue.join((&back, None), (told, told + FAR), 9);
    assert_eq!(queue.next(false).map(|(_, label, _)| label), Some(9));
}

#[test]
fn a_promise_that_cannot_be_kept_is_renewed_with_the_same_turn() {
    let (mut queue, now) = (Queue::<u8>::new(PACE, WINDOW), t0());
    let refused = who(&mut queue, 1, 1, "");
    queue.promise(&refused, None, now, (now + SECOND, now + SECOND * 5, true));
    let second = who(&mut queue, 1, 1, "");
    queue.promise(&second, None, now, (now + SECOND * 60, now + SECOND * 65, true));
    let back = who(&mut queue, 1, 1, "");
    queue.promise(&back, None, now + SECOND, (now + SECOND * 9, now + SECOND * 15, true));
    assert_eq!(queue.promises(), promises::Count { made: 3, claimed: 1, broken: 1 });
    assert_eq!(
        ahead(&queue, &who(&mut Queue::<u8>::new(PACE, WINDOW), 1, 1, ""), now + SECOND * 9),
        0
    );
}

#[test]
fn a_call_that_came_back_and_is_refused_again_takes_no_promise_of_another() {
    let (mut queue, now) = (Queue::new(PACE, WINDOW), t0());
    for told in [now + SECOND, now + SECOND * 2] {
        let refused = who(&mut queue, 1, 1, "");
        queue.promise(&refused, None, now, (told, told + SECOND * 9, true));
    }
    let back = who(&mut queue, 1, 1, "");
    queue.join((&back, None), (now + SECOND, now + SECOND * 3), 1);
    let later = now + SECOND * 4;
    let gone = queue.impatient(later).unwrap();
    queue.promise(&back, Some(gone.known), later, (later + SECOND, later + SECOND * 9, true));
    assert_eq!(queue.promises(), promises::Count { made: 3, claimed: 1, broken: 1 });
    assert_eq!(queue.open(), 2);
}

#[test]
fn when_nobody_comes_back_the_promised_are_no_longer_reckoned_with() {
    let (mut queue, now) = (Queue::<u8>::new(PACE, WINDOW), t0());
    let mut told = Vec::new();
    for round in 0..=250 {
        let now = now + SECOND * u32::from(round);
        queue.expire(now);
        let refused = who(&mut queue, round, 1, "");
        queue.promise(&refused, None, now, (now + SECOND * 10, now + SECOND * 20, true));
        let other = who(&mut queue, 251, 1, "");
        told.push(ahead(&queue, &other, now));
    }
    assert_eq!((told[9], told[11]), (10, 11), "who is late by a second is not expected");
    assert!(told[250] <= 2, "{told:?}");
}

#[test]
fn callers_that_come_and_go_leave_nothing_behind() {
    let (mut queue, now) = (Queue::new(PACE, WINDOW), t0());
    for n in 0..=255 {
        let told = now + SECOND;
        let refused = who(&mut queue, n, 1, "");
        queue.promise(&refused, None, now, (told, told + SECOND, true));
        join(&mut queue, n, 1, "", n);
    }
    while queue.next(false).is_some() {}
    queue.expire(now + FAR);
    assert!(queue.flows.is_empty() && queue.idle.is_empty() && queue.lengths.is_empty());
    assert!(queue.seats.is_empty() && queue.deadlines.is_empty() && queue.urgent.is_empty());
}

#[test]
fn whose_weight_changes_in_line_has_its_turns_as_often_from_then_on() {
    let mut queue = Queue::new(PACE, WINDOW);
    for n in 0..60 {
        join(&mut queue, n % 2, 1, "", n % 2);
    }
    let weight = |principal| NonZeroU32::new(if principal == self::principal(0) { 3 } else { 1 });
    queue.weigh(|principal| weight(principal).unwrap());
    let turns: Vec<u8> = (0..24).filter_map(|_| queue.next(false)).map(|(_, n, _)| n).collect();
    // Six of the other's, or one more or less.
    let others: u8 = turns.iter().sum();
    assert!((5..=7).contains(&others), "{turns:?}");
    assert!(queue.flows.values().all(Flow::agrees));
}

proptest! {
    /// What a caller is told of its place is what happens, if nobody else comes.
    #[test]
    fn as_many_are_served_before_a_call_as_it_was_told(
        steps in prop::collection::vec((0u8..4, 1u32..4, 0u8..8, 0u8..6), 1..80),
    ) {
        let (mut queue, mut now) = (Queue::new(PACE, WINDOW), t0());
        for (n, weight, urgency, what) in steps {
            if what == 0 {
                queue.next(false);
            }
            if what == 1 && let Some((&ticket, _)) = queue.seats.iter().next() {
                queue.leave(ticket);
            }
            let who = who(&mut queue, n, weight, &format!("u={urgency}"));
            // So long ago came the others that nobody new is expected.
            now += FAR;
            let ahead = ahead(&queue, &who, now);
            queue.join((&who, None), (now, now + FAR), 0);
            let mut alone = queue.clone();
            let mut served = 0;
            while let Some((ticket, ..)) = alone.next(false) {
                if ticket == who.ticket {
                    break;
                }
                served += 1;
            }
            prop_assert_eq!(served, ahead);
        }
    }

    /// The definition of fair: while two callers wait all the time, what they got, divided by their
    /// weights, never differs by more than one turn of each.
    #[test]
    fn callers_that_wait_all_the_time_get_their_shares(
        weights in prop::collection::vec(1u32..6, 2..6),
        others in prop::collection::vec((0u8..3, 0u8..20), 0..120),
    ) {
        let mut queue = Queue::new(PACE, WINDOW);
        let busy = u8::try_from(weights.len()).unwrap();
        for _ in 0..200 {
            for (n, &weight) in (0..busy).zip(&weights) {
                join(&mut queue, n, weight, "", n);
            }
        }
        let mut got = vec![0u32; weights.len()];
        for (n, calls) in others {
            for _ in 0..calls % 4 {
                join(&mut queue, 100 + n, 2, "", 100 + n);
            }
            let Some((_, label, _)) = queue.next(false) else { break };
            if let Some(got) = got.get_mut(usize::from(label)) {
                *got += 1;
            }
            for (i, &a) in weights.iter().enumerate() {
                for (j, &b) in weights.iter().enumerate() {
                    let apart = f64::from(got[i]) / f64::from(a) - f64::from(got[j]) / f64::from(b);
                    prop_assert!(apart.abs() <= 1.0 / f64::from(a) + 1.0 / f64::from(b) + 1e-6);
                }
            }
        }
    }

    /// Whatever happens to it, its books agree with each other.
    #[test]
    fn its_books_agree(
        steps in prop::collection::vec((0u8..8, 0u8..5, 0u8..8, 0u64..30), 1..200),
    ) {
        let (mut queue, begin) = (Queue::new(PACE, WINDOW), t0());
        let mut now = begin;
        for (what, n, urgency, seconds) in steps {
            now += SECOND * u32::try_from(seconds % 3).unwrap();
            let who = who(&mut queue, n, 1 + u32::from(n), &format!("u={urgency}"));
            match what {
                0..=2 => {
                    let room = queue.len() < 12 || queue.last_of(who.principal).is_some();
                    let times = (now, now + SECOND * u32::try_from(seconds).unwrap());
                    if room {
                        queue.join((&who, None), times, 0);
                    }
                }
                3 => drop(queue.next(seconds % 2 == 0)),
                4 => queue.passed(&who, now),
                5 => queue.promise(&who, None, now, (now + SECOND * 3, now + SECOND * 6, true)),
                6 => drop(queue.impatient(now)),
                _ => {
                    queue.expire(now);
                    queue.refund(who.principal);
                    if let Some((&ticket, _)) = queue.seats.iter().next_back() {
                        queue.leave(ticket);
                    }
                }
            }
            let members: usize = queue.flows.values().map(|flow| flow.members.len()).sum();
            let turns: usize = queue.flows.values().map(|flow| flow.turns.len()).sum();
            let waiting = queue.flows.values().filter(|flow| !flow.members.is_empty()).count();
            prop_assert_eq!(
                (turns, queue.line.len(), queue.seats.len(), queue.deadlines.len()),
                (members, members, members, members)
            );
            prop_assert_eq!(queue.lengths.len(), waiting);
            prop_assert!(members <= 12);
            let urgent = queue.flows.values().filter_map(Flow::urgent);
            prop_assert_eq!(urgent.collect::<BTreeSet<_>>(), queue.urgent.clone());
            prop_assert!(queue.flows.values().all(Flow::agrees));
            let away: usize = queue.flows.values().map(Flow::away).sum();
            prop_assert_eq!(away, queue.promises.expected());
            let idle = queue.flows.values().filter(|flow| !flow.is_backlogged()).count();
            prop_assert_eq!(idle, queue.idle.len());
        }
    }
}
