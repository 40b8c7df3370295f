//! What a 429 is blamed on, and what becomes of those who were blamed wrongly.

use super::*;
use crate::decide::{budget::Belongs, freshness::Freshness, quota::Quota};

fn rated() -> Limit {
    Limit { requests_per_minute: number(50), concurrent: None }
}

/// A call with these gates leaves, and is refused for so long.
fn refused(world: &mut World, family: Family, gates: Vec<GateId>, seconds: u32) -> Limited {
    let call = Call { gates, ..world.call(9, family, 0) };
    let name = world.arrives(call);
    world.leaves(name);
    let grant = world.granted.remove(&name).unwrap();
    let until = world.now + SECOND * seconds;
    let (gates, spot) = (&*grant.gates, grant.spot);
    let refusal = Refusal { spot, gates, family, until };
    let limited = world.turns.limited(refusal, world.now);
    world.turns.ended(&grant.gates, world.now, world.now);
    limited
}

fn paused(world: &World, id: GateId) -> Option<u64> {
    let until = world.turns.gates[&id].budget.paused_until()?;
    Some(until.saturating_duration_since(world.now).as_secs())
}

#[test]
fn a_named_family_that_was_blamed_for_the_token_is_free_again() {
    let mut world = World::new(100, &[rated()]);
    assert_eq!(refused(&mut world, IVRS, of(0), 30), Limited::Family(None));
    assert_eq!(paused(&world, GateId::Family(0)), Some(30));
    assert!(matches!(refused(&mut world, QUEUES, Vec::new(), 10), Limited::Token(_)));
    assert_eq!(paused(&world, GateId::Family(0)), None);
}

#[test]
fn a_pause_that_is_the_familys_for_certain_outlasts_a_wrong_one() {
    for long_first in [true, false] {
        let mut world = World::new(100, &[rated()]);
        let names = [(); 2].map(|()| {
            let call = Call { gates: of(0), ..world.call(9, IVRS, 0) };
            world.arrives(call)
        });
        let pauses = if long_first { [120, 30] } else { [30, 120] };
        for (name, seconds) in names.into_iter().zip(pauses) {
            let Grant { spot, gates, .. } = world.granted.remove(&name).unwrap();
            let until = world.now + SECOND * seconds;
            let gates = &*gates;
            let refusal = Refusal { spot, gates, family: IVRS, until };
            assert_eq!(world.turns.limited(refusal, world.now), Limited::Family(None));
        }
        assert!(matches!(refused(&mut world, QUEUES, Vec::new(), 10), Limited::Token(_)));
        assert_eq!(
            paused(&world, GateId::Family(0)),
            Some(120),
            "the long one first: {long_first}"
        );
    }
}

#[test]
fn what_was_proven_to_be_a_familys_is_not_undone_by_a_later_doubt() {
    let mut world = World::new(100, &[rated()]);
    let two = [(); 2].map(|()| {
        let call = Call { gates: of(0), ..world.call(9, IVRS, 0) };
        world.arrives(call)
    });
    let refuse = |world: &mut World, name| {
        let Grant { spot, gates, .. } = world.granted.remove(&name).unwrap();
        let (gates, until) = (&*gates, world.now + SECOND * 30);
        world.turns.limited(Refusal { spot, gates, family: IVRS, until }, world.now)
    };
    assert_eq!(refuse(&mut world, two[0]), Limited::Family(None));
    world.pass(1);
    world.turns.lanes().passed(Lane::default(), world.now);
    assert_eq!(refuse(&mut world, two[1]), Limited::Family(None));
    assert!(matches!(refused(&mut world, QUEUES, Vec::new(), 10), Limited::Token(_)));
    assert_eq!(paused(&world, GateId::Family(0)), Some(29), "others passed since the first");
}

#[test]
fn the_paths_of_one_named_family_are_one_suspect() {
    let mut world = World::new(100, &[rated()]);
    let two = [IVRS, QUEUES].map(|family| {
        let call = Call { gates: of(0), ..world.call(9, family, 0) };
        (world.arrives(call), family)
    });
    for (name, family) in two {
        let Grant { spot, gates, .. } = world.granted.remove(&name).unwrap();
        let (gates, until) = (&*gates, world.now + SECOND * 30);
        let refusal = Refusal { spot, gates, family, until };
        assert_eq!(world.turns.limited(refusal, world.now), Limited::Family(None));
    }
    assert!(world.goes(1, USERS), "whoever is not in it goes on");
}

/// An upstream with a fixed window, of which others use a part at once; and callers who always have
/// one more call, all of the same family. How many of ours it took and refused, window by window,
/// and what was said of it.
fn beside_others(
    world: &mut World,
    (theirs, gates): (u32, &[GateId]),
    windows: u32,
) -> (Vec<[u32; 2]>, Vec<Limited>) {
    let (mut counts, mut said) = (Vec::new(), Vec::new());
    for _ in 0..windows {
        let (end, mut count) = (world.now + WINDOW, [0, 0]);
        while world.now < end {
            let call = Call { gates: gates.to_vec(), ..world.call(1, IVRS, 0) };
            let name = world.arrives(call);
            let Some(grant) = world.granted.get(&name).cloned() else {
                world.now += SECOND / 10;
                continue;
            };
            world.leaves(name);
            let took = count[0] + theirs < 100;
            count[usize::from(!took)] += 1;
            if !took {
                let gates = &*grant.gates;
                let refusal = Refusal { spot: grant.spot, gates, family: IVRS, until: end };
                said.push(world.turns.limited(refusal, world.now));
            }
            world.ends(name);
        }
        counts.push(count);
    }
    (counts, said)
}

#[test]
fn the_estimate_bends_though_all_calls_are_of_one_family() {
    for gates in [Vec::new(), of(0)] {
        let mut world = World::new(100, &[concurrent(50)]);
        let (counts, said) = beside_others(&mut world, (30, &gates), 20);
        let took: u32 = counts[2..].iter().map(|[took, _]| took).sum();
        let refused: u32 = counts[3..].iter().map(|[_, refused]| refused).sum();
        assert!(took >= 18 * 70 * 9 / 10, "{gates:?}: {counts:?}");
        assert!(refused <= 5, "one 429 a window would be 17; {gates:?}: {counts:?}");
        assert!(said.iter().any(|said| matches!(said, Limited::Family(Some(60..=70)))), "{said:?}");
    }
}

#[test]
fn one_429_teaches_nothing_of_a_familys_limit_and_each_of_a_pattern_half_at_most() {
    let mut world = World::new(100, &[]);
    let (_, said) = beside_others(&mut world, (95, &[]), 4);
    let half = [None, Some(50), Some(25), Some(12)].map(Limited::Family);
    assert_eq!(said, half);
}

#[test]
fn the_429_of_one_path_leaves_the_others_of_a_broad_family_untouched() {
    let mut world = World::new(100, &[concurrent(50)]);
    assert_eq!(refused(&mut world, IVRS, of(0), 120), Limited::Family(None));
    let call = Call { gates: of(0), ..world.call(1, USERS, 0) };
    let name = world.arrives(call);
    assert!(world.granted.contains_key(&name));
}

#[test]
fn after_a_pause_one_goes_first_and_each_that_passes_lets_in_one_more() {
    let mut world = World::new(100, &[]);
    world.limited(IVRS, 10);
    for _ in 0..8 {
        world.comes(1, IVRS, 60);
    }
    world.pass(10);
    let mut sizes = Vec::new();
    while !world.granted.is_empty() {
        let names: Vec<u32> = world.granted.keys().copied().collect();
        sizes.push(names.len());
        for &name in &names {
            world.leaves(name);
        }
        world.now += SECOND / 10;
        let waited_for = names.iter().filter(|name| world.ends(**name)).count();
        assert!(waited_for > 0 || world.turns.is_empty(), "nobody is told");
        world.serve();
    }
    assert_eq!(sizes, [1, 2, 4, 1]);
}

#[test]
fn a_new_token_has_its_allowance_at_a_family_that_was_learned() {
    let mut world = World::new(100, &[]);
    world.limited(IVRS, 1);
    world.pass(1);
    let before = (0..100).filter(|_| world.goes(1, IVRS)).count();
    assert!(before >= 98 && !world.goes(1, IVRS), "{before}");
    let mut freshness = Freshness::new(Duration::ZERO);
    let generation = freshness.fetched(world.now, WINDOW, 0.0);
    assert!(world.turns.seen(Spot { lane: Lane::default(), generation }, Belongs::All, world.now));
    assert!((0..100).all(|_| world.goes(1, IVRS)) && !world.goes(1, IVRS));
}

#[test]
fn a_quota_that_is_told_holds_for_a_family_that_was_learned_before() {
    let mut world = World::new(100, &[]);
    world.limited(IVRS, 1);
    world.pass(1);
    let name = world.comes(1, IVRS, 0);
    let grant = world.granted[&name].clone();
    let number = world.turns.left(&grant.gates, grant.spot, world.now);
    world.sent.insert(name, world.now);
    let quota = Quota { limit: Some(10), remaining: 9, reset: None };
    world.turns.told((grant.spot, IVRS), &quota, number, world.now);
    world.sent.insert(name, world.now);
    world.ends(name);
    assert_eq!((0..20).filter(|_| world.goes(1, IVRS)).count(), 9);
}

/// A call, answered with what is left of a quota of `limit`, of which `used` are gone by then.
fn told(world: &mut World, family: Family, (limit, used): (u64, u64)) -> bool {
    let name = world.comes(1, family, 0);
    let Some(grant) = world.granted.get(&name).cloned() else { return false };
    let number = world.turns.left(&grant.gates, grant.spot, world.now);
    world.sent.insert(name, world.now);
    let quota = Quota {
        limit: Some(limit),
        remaining: limit.saturating_sub(used + 1),
        reset: Some(WINDOW),
    };
    world.turns.told((grant.spot, family), &quota, number, world.now);
    world.ends(name);
    true
}

#[test]
fn a_smaller_quota_that_falls_with_all_calls_is_the_tokens() {
    let mut world = World::new(100, &[]);
    let mut used = 0;
    while told(&mut world, used % 3, (60, used)) {
        used += 1;
    }
    assert_eq!(used, 60, "not one was refused, and none was kept back");
    assert_eq!(world.turns.told, number(60));
    let limits = world.turns.gates.values().map(|gate| gate.budget.limit()).collect::<Vec<_>>();
    assert_eq!(limits, [Some(100); 3], "no family has one of its own");
    assert!(!world.goes(1, 77), "nor a new one");
    world.pass(61);
    assert!(told(&mut world, 78, (60, 0)));
    assert_eq!(world.turns.gates.len(), 3);
}

#[test]
fn a_smaller_quota_of_each_family_is_its_own() {
    let mut world = World::new(100, &[]);
    for n in 0..30 {
        assert!((0..3).all(|family| told(&mut world, family, (30, n))));
    }
    assert!((0..3).all(|family| !world.goes(1, family)) && world.goes(1, 77));
    assert_eq!(world.turns.told, None);
}
