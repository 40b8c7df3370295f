//! Quotas that do not say how many calls they are of.

use super::*;
use crate::decide::quota::Quota;

/// A call of this family goes, and its answer says how much is left, for half a minute.
fn told(world: &mut World, family: Family, remaining: u64) -> bool {
    let name = world.comes(1, family, 0);
    let Some(grant) = world.granted.remove(&name) else { return false };
    let number = world.turns.left(&grant.gates, grant.spot, world.now);
    let quota = Quota { limit: None, remaining, reset: Some(SECOND * 30) };
    world.turns.told((grant.spot, family), &quota, number, world.now);
    world.turns.ended(&grant.gates, world.now, world.now);
    true
}

#[test]
fn one_that_is_used_up_holds_its_own_family_and_no_other() {
    let mut world = World::new(100, &[]);
    assert!(told(&mut world, IVRS, 0));
    assert!(!world.goes(1, IVRS));
    assert!([USERS, QUEUES].into_iter().all(|family| world.goes(1, family)));
    world.pass(30);
    assert!((0..20).all(|_| world.goes(1, IVRS)));
}

#[test]
fn one_with_plenty_left_holds_nobody_and_adds_no_line() {
    let mut world = World::new(100, &[]);
    assert!((0..20).all(|_| told(&mut world, IVRS, 50)));
    assert!(world.turns.gates.is_empty());
    assert!((0..80).all(|_| world.goes(1, USERS)));
}

#[test]
fn one_that_was_scarce_and_has_plenty_again_holds_nobody() {
    let mut world = World::new(100, &[]);
    assert!(told(&mut world, IVRS, 3));
    world.pass(60 * 5);
    assert!(told(&mut world, IVRS, 90));
    assert!((0..50).all(|_| world.goes(1, IVRS)));
    world.pass(60 * 6);
    assert!(world.goes(1, USERS) && world.turns.gates.is_empty(), "it is forgotten in time");
}

#[test]
fn one_that_falls_with_everybodys_calls_is_the_tokens() {
    let mut world = World::new(100, &[]);
    assert!(told(&mut world, IVRS, 0));
    world.pass(61);
    let mut left = 90;
    for _ in 0..3 {
        assert!(told(&mut world, IVRS, left - 1));
        assert!((0..9).all(|_| world.goes(1, USERS)));
        left -= 10;
    }
    assert!(told(&mut world, QUEUES, 5));
    assert_eq!((0..20).filter(|_| world.goes(1, USERS)).count(), 5);
}
