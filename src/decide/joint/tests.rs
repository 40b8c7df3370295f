//! Replicas, their callers and a store that fails, on a clock of their own: each run is its seed.

mod every_order;
#[expect(
    clippy::unchecked_time_subtraction,
    clippy::cast_precision_loss,
    reason = "times are told in order, and calls are few"
)]
mod world;

use std::time::Duration;

use super::{
    LEASE,
    ledger::{Age, Ask, Ledger, Moment, Opening},
};
use world::{Callers, Fault, World};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_crowd_at_every_replica_uses_the_limit_and_never_more() {
    for seed in 0..8 {
        let mut world = World::new(seed, 300, MINUTE);
        for _ in 0..5 {
            world.joins(&[Callers::crowd(1, 100)]);
        }
        world.run(5 * MINUTE);
        world.never_over(0);
        let used = world.used_since(MINUTE);
        assert!(used >= 0.98, "seed {seed}: {used}");
    }
}

#[test]
fn one_busy_replica_has_nearly_all_in_a_moment() {
    let mut world = World::new(1, 300, MINUTE);
    for _ in 0..4 {
        world.joins(&[]);
    }
    world.run(10 * SECOND);
    world.joins(&[Callers::crowd(1, 400)]);
    world.run(SECOND / 2);
    assert!(world.sent(4) >= 290, "{}", world.sent(4));
    world.run(3 * MINUTE);
    world.never_over(0);
}

#[test]
fn who_wants_little_has_it_next_to_those_who_want_all() {
    for seed in 0..4 {
        let mut world = World::new(seed, 300, MINUTE);
        for n in 0..3 {
            world.joins(&[Callers::crowd(n, 100)]);
        }
        world.run(2 * MINUTE);
        world.joins(&[Callers::crowd(7, 1)]);
        world.run(SECOND + MINUTE);
        world.never_over(0);
        assert!(world.sent(3) > 3, "seed {seed}: {}", world.sent(3));
    }
}

#[test]
fn callers_have_equal_shares_wherever_they_call() {
    for seed in 0..8 {
        let mut world = World::new(seed, 300, MINUTE);
        world.joins(&[Callers::crowd(1, 50), Callers::crowd(2, 50)]);
        world.joins(&[Callers::crowd(1, 50)]);
        world.joins(&[Callers::crowd(1, 50), Callers::crowd(3, 50), Callers::crowd(4, 50)]);
        world.run(6 * MINUTE);
        world.never_over(0);
        let index = world.jain_since(2 * MINUTE);
        assert!(index >= 0.95, "seed {seed}: {index}");
        let used = world.used_since(2 * MINUTE);
        assert!(used >= 0.98, "seed {seed}: {used}");
    }
}

#[test]
fn what_one_asked_before_it_went_is_not_looked_at_after() {
    let mut ledger = Ledger::new(2, MINUTE);
    let ask = |call, want, leaves| Ask {
        call,
        claim: want,
        want,
        inside: 0,
        sent: Vec::new(),
        wishes: Vec::new(),
        leaves,
    };
    let at = |now| Moment { now, whole: true, lease: LEASE };
    let now = 1_000 * SECOND;
    assert!(ledger.sync("one", &ask(2, 0, true), at(now)).is_some());
    assert!(ledger.sync("other", &ask(1, 2, false), at(now)).is_some());
    assert_eq!(ledger.sync("one", &ask(1, 2, false), at(now + SECOND)), None);
    // It is not kept in mind for ever.
    let told = ledger.sync("other", &ask(2, 2, false), at(now + LEASE)).unwrap();
    assert_eq!(told.others.len(), 0);
}

/// Whether caps may grow, for somebody who comes then and has seen that version.
fn grows(age: &mut Age, seen: u64, at: Duration) -> bool {
    age.open(Opening { seen, fresh: false, lease: LEASE }, 1_000 * SECOND + at).whole
}

/// A store that somebody asks every second, and that lost nothing for a while; its version.
fn of_old(age: &mut Age) -> u64 {
    (0..=10).for_each(|second| {
        let seen = age.version;
        grows(age, seen, SECOND * second);
    });
    age.version
}

#[test]
fn caps_grow_in_a_store_that_was_there_for_a_lease() {
    let mut age = Age::default();
    assert!(!grows(&mut age, 0, Duration::ZERO));
    assert!(!grows(&mut age, 1, SECOND * 2));
    assert!(grows(&mut age, 2, SECOND * 3));
}

#[test]
fn where_somebody_has_seen_a_newer_version_no_cap_grows_for_a_lease() {
    let mut age = Age::default();
    let version = of_old(&mut age);
    assert!(grows(&mut age, version, SECOND * 11));
    assert!(!grows(&mut age, version + 9, SECOND * 12));
    assert!(!grows(&mut age, 0, SECOND * 14));
    assert!(grows(&mut age, 0, SECOND * 15));
}

#[test]
fn after_nobody_could_write_for_a_lease_no_cap_grows_for_another() {
    let mut age = Age::default();
    let version = of_old(&mut age);
    assert!(grows(&mut age, version, SECOND * 10 + LEASE));
    let later = SECOND * 11 + LEASE * 2;
    assert!(!grows(&mut age, version, later));
    assert!(!grows(&mut age, version, later + SECOND * 2));
    assert!(grows(&mut age, version, later + LEASE));
}

#[test]
fn what_was_given_away_twice_is_taken_back_as_far_as_it_must_be() {
    let mut ledger = Ledger::new(60, MINUTE);
    let ask = |call, claim, want| Ask {
        call,
        claim,
        want,
        inside: 0,
        sent: Vec::new(),
        wishes: Vec::new(),
        leaves: false,
    };
    let at = |now, whole| Moment { now, whole, lease: LEASE };
    let now = 1_000 * SECOND;
    let cap = |ledger: &mut Ledger, who, ask, at| ledger.sync(who, &ask, at).unwrap().cap;
    // The store had forgotten the others, and gave a new one all.
    assert_eq!(cap(&mut ledger, "new", ask(1, 0, 40), at(now, true)), 40);
    assert_eq!(cap(&mut ledger, "one", ask(1, 30, 30), at(now, false)), 20);
    assert_eq!(ledger.held(now), 70, "its answer may be lost: it may send what it had");
    assert_eq!(cap(&mut ledger, "new", ask(2, 40, 40), at(now, false)), 30);
    assert_eq!(cap(&mut ledger, "one", ask(2, 20, 30), at(now, false)), 20);
    assert_eq!(cap(&mut ledger, "new", ask(3, 30, 40), at(now, false)), 30);
    assert_eq!(cap(&mut ledger, "new", ask(4, 30, 40), at(now, true)), 40, "and all is used");
}

#[test]
fn replicas_come_and_go_and_the_limit_is_used() {
    for seed in 0..8 {
        let mut world = World::new(seed, 300, MINUTE);
        for _ in 0..3 {
            world.joins(&[Callers::crowd(1, 100)]);
        }
        world.run(2 * MINUTE);
        for _ in 0..2 {
            world.joins(&[Callers::crowd(1, 100)]);
            world.run(MINUTE);
        }
        world.leaves(0);
        world.run(MINUTE);
        world.leaves(1);
        world.run(3 * MINUTE);
        world.never_over(0);
        let used = world.used_since(MINUTE);
        assert!(used >= 0.98, "seed {seed}: {used}");
    }
}

#[test]
fn without_the_store_for_a_while_each_has_what_it_had() {
    for fault in [Fault::Down, Fault::Lost, Fault::Flushed, Fault::LostAndLate] {
        for seed in 0..8 {
            let mut world = World::new(seed, 300, MINUTE);
            for n in 0..5 {
                world.joins(&[Callers::crowd(n, 100)]);
            }
            world.run(2 * MINUTE);
            world.strikes(fault, 40 * SECOND);
            world.run(3 * MINUTE);
            world.never_over(0);
            let used = world.used_since(MINUTE);
            assert!(used >= 0.97, "{fault:?}, seed {seed}: {used}");
        }
    }
}

#[test]
fn without_the_store_for_long_each_has_an_even_part() {
    for seed in 0..8 {
        let mut world = World::new(seed, 300, MINUTE);
        world.joins(&[Callers::crowd(0, 100)]);
        for _ in 0..3 {
            world.joins(&[]);
        }
        world.run(2 * MINUTE);
        world.strikes(Fault::Down, 10 * MINUTE);
        world.run(MINUTE);
        for n in 1..4 {
            world.calls(n, Callers::crowd(n as u64, 100));
        }
        world.run(6 * MINUTE);
        world.never_over(0);
        for n in 0..4 {
            let used = world.sent_since(n, 7 * MINUTE);
            assert!((140..=160).contains(&used), "seed {seed}: {n} sent {used} in two minutes");
        }
    }
}

#[test]
fn one_that_is_cut_off_and_the_others_never_send_more_while_its_part_is_kept() {
    for seed in 0..8 {
        let mut world = World::new(seed, 300, MINUTE);
        for n in 0..5 {
            world.joins(&[Callers::crowd(n, 100)]);
        }
        world.run(2 * MINUTE);
        world.cut_off(2, MINUTE);
        world.run(4 * MINUTE);
        world.never_over(0);
        let used = world.used_since(MINUTE);
        assert!(used >= 0.97, "seed {seed}: {used}");
    }
}

#[test]
fn one_that_is_cut_off_for_long_sends_no_more_than_an_even_part_besides() {
    for seed in 0..8 {
        let mut world = World::new(seed, 300, MINUTE);
        for n in 0..5 {
            world.joins(&[Callers::crowd(n, 100)]);
        }
        world.run(2 * MINUTE);
        world.cut_off(2, 6 * MINUTE);
        world.run(9 * MINUTE);
        world.never_over(64);
    }
}

#[test]
fn a_busy_one_that_is_cut_off_for_long_goes_down_before_the_others_have_its_part() {
    for seed in 0..4 {
        let mut world = World::new(seed, 300, MINUTE);
        world.joins(&[Callers::crowd(0, 200)]);
        for _ in 0..3 {
            world.joins(&[]);
        }
        world.run(2 * MINUTE);
        world.cut_off(0, 6 * MINUTE);
        for n in 1..4 {
            world.calls(n, Callers::crowd(n as u64, 100));
        }
        world.run(10 * MINUTE);
        // An even part of four.
        world.never_over(75);
    }
}

#[test]
fn after_a_fail_over_that_lost_writes_no_window_has_more() {
    for seed in 0..24 {
        let mut world = World::new(seed, 300, MINUTE);
        for (caller, at_once) in (0..).zip([40, 80, 120, 160]) {
            world.joins(&[Callers::crowd(caller, at_once)]);
        }
        for _ in 0..6 {
            world.run(20 * SECOND);
            world.strikes(Fault::FailedOver, SECOND);
        }
        world.run(2 * MINUTE);
        world.never_over(0);
    }
}

/// Half an hour of faults for each seed.
fn faults(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut world = World::new(seed, 300, MINUTE);
        for n in 0..3 {
            world.joins(&[Callers::crowd(n, 60)]);
        }
        world.troubled(30 * MINUTE);
        let calm = world.lasted();
        world.run(5 * MINUTE);
        world.never_over(0);
        let used = world.used_since(calm + 2 * MINUTE);
        assert!(used >= 0.98, "seed {seed}: at last {used}");
    }
}

#[test]
fn half_a_day_of_faults_by_their_seeds() {
    faults(0..24);
}

#[test]
fn the_other_half_of_a_day_of_faults_by_their_seeds() {
    faults(24..48);
}
