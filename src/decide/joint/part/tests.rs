//! A part asked for, told, and without the store, moment by moment.

use super::*;

const WINDOW: Duration = Duration::from_secs(60);

#[test]
fn who_stood_still_for_longer_than_its_part_is_kept_has_nothing_until_it_has_asked() {
    let begin = crate::decide::t0();
    let mut part = Part::new("a", 300, WINDOW);
    part.told(begin, 100, BTreeMap::new());
    let kept = LEASE + WINDOW;
    assert_eq!(part.cap().at(begin + WINDOW), 100);
    assert_eq!(part.cap().at(begin + kept), 0);
    let mut still = part.clone();
    assert_eq!(still.ask(begin + kept, Vec::new()).has, 0);
    let mut asleep = part.clone();
    asleep.slept(kept);
    assert_eq!(asleep.cap().at(begin + WINDOW), 0);
    // Nobody answers, but it asks: it is not the one that stands still.
    part.unheard(begin + kept, 1);
    assert_eq!(part.cap().at(begin + kept + Duration::from_secs(1)), 100);
}

#[test]
fn who_stood_still_while_it_waited_for_an_answer_has_nothing_either() {
    let begin = crate::decide::t0();
    let mut part = Part::new("a", 300, WINDOW);
    part.told(begin, 100, BTreeMap::new());
    part.ask(begin + LEASE, Vec::new());
    let wakes = begin + 10 * WINDOW;
    part.unheard(wakes, 1);
    assert_eq!(part.cap().at(wakes), 0);
    part.ask(wakes, Vec::new());
    part.unheard(wakes + LEASE / 6, 1);
    assert_ne!(part.cap().at(wakes + LEASE / 6), 0, "now it was awake");
}

#[test]
fn what_is_sent_until_the_store_is_back_is_claimed_when_it_is() {
    let begin = crate::decide::t0();
    let mut part = Part::new("a", 300, WINDOW);
    part.told(begin, 100, BTreeMap::from([("b".to_owned(), Vec::new())]));
    let kept = LEASE + WINDOW;
    part.ask(begin + 2 * kept, Vec::new());
    part.unheard(begin + 2 * kept, 1);
    assert_eq!(part.ask(begin + 2 * kept, Vec::new()).has, 150);
    assert_eq!(part.ask(begin + 3 * kept, Vec::new()).has, 0, "it stood still");
}

const BEGIN: Duration = Duration::from_secs(1_000);

fn at(seconds: u64) -> Instant {
    crate::decide::t0() + BEGIN + Duration::from_secs(seconds)
}

/// Another replica, which wants all there is.
fn greedy() -> BTreeMap<String, Vec<Wish>> {
    BTreeMap::from([("b".to_owned(), vec![Wish { caller: 2, weight: 1, calls: 1000 }])])
}

fn wish() -> Vec<Wish> {
    vec![Wish { caller: 1, weight: 1, calls: 1000 }]
}

#[test]
fn who_was_never_heard_has_nothing_for_a_lease_and_then_an_even_part() {
    let mut part = Part::new("a", 300, WINDOW);
    part.unheard(at(0), 3);
    assert_eq!(part.cap().at(at(0)), 0);
    part.unheard(at(2), 3);
    assert_eq!(part.cap().at(at(2)), 0);
    part.unheard(at(3), 3);
    assert_eq!(part.cap().at(at(3)), 100);
    let mut part = Part::new("a", 300, WINDOW);
    part.away(at(0));
    part.unheard(at(9), 3);
    assert_eq!(part.cap().at(at(9)), 100, "the store has been away for long");
}

#[test]
fn without_the_store_who_has_more_goes_down_and_then_who_has_less_comes_up() {
    let idle = |name: &str| (name.to_owned(), Vec::new());
    let others = || BTreeMap::from([idle("b"), idle("c")]);
    for (cap, at_first, at_last) in [(200, 100, 100), (10, 10, 100)] {
        let mut part = Part::new("a", 300, WINDOW);
        part.told(at(0), cap, others());
        let seen: Vec<u64> = (1..140)
            .map(|second| {
                part.ask(at(second), wish());
                assert!(part.cap().at(at(second)) > 0, "after {second} s, asking");
                part.unheard(at(second), 3);
                part.cap().at(at(second))
            })
            .collect();
        assert_eq!((seen[60], seen[64], seen[130]), (cap, at_first, at_last));
    }
}

#[test]
fn a_store_that_comes_and_goes_and_gives_nothing_is_as_good_as_none() {
    let mut part = Part::new("a", 300, WINDOW);
    for begin in (0..).step_by(4).take(3) {
        part.reconnected(at(begin));
        part.ask(at(begin), wish());
        part.whole(true);
        part.told(at(begin), 0, greedy());
        part.ask(at(begin + 2), wish());
        part.unheard(at(begin + 2), 2);
    }
    assert_eq!(part.cap().at(at(10)), 150);
}

#[test]
fn after_a_new_connection_nothing_is_taken_or_given_up_for_a_lease() {
    let mut part = Part::new("a", 300, WINDOW);
    part.told(at(0), 60, greedy());
    part.reconnected(at(10));
    assert_eq!(part.ask(at(12), wish()), Claim { has: 60, wants: 60 });
    assert_eq!(part.ask(at(13), wish()), Claim { has: 60, wants: 150 });
    part.told(at(13), 200, greedy());
    part.reconnected(at(14));
    assert_eq!(part.ask(at(14), wish()), Claim { has: 200, wants: 200 }, "it would be nobody's");
    assert_eq!(part.ask(at(17), wish()), Claim { has: 150, wants: 150 });
}

#[test]
fn while_the_store_lets_no_part_grow_none_is_given_up() {
    let mut part = Part::new("a", 300, WINDOW);
    part.told(at(0), 200, greedy());
    part.whole(false);
    assert_eq!(part.ask(at(1), wish()), Claim { has: 200, wants: 200 });
    part.whole(true);
    assert_eq!(part.ask(at(1), wish()), Claim { has: 150, wants: 150 });
}

#[test]
fn who_waits_next_to_a_storm_of_calls_is_told_of_a_part_like_the_others() {
    let mut part = Part::new("a", 60, WINDOW);
    let storm = |name: &str| (name.to_owned(), vec![Wish { calls: 30_000, ..wish()[0] }]);
    part.ask(at(0), vec![Wish { calls: 9, ..wish()[0] }]);
    part.told(at(0), 1, BTreeMap::from([storm("b"), storm("c")]));
    assert_eq!(part.cap().soon, 20);
}
