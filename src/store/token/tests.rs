//! The rules of a place, and that the scripts have the same.

use std::time::Duration;

use super::*;
use crate::store::memory::Slot;

const LEASE: Duration = Duration::from_secs(10);

fn news(fence: u64) -> News<'static> {
    News { fence, left: Duration::from_secs(100), sealed: b"a token", message: b"news" }
}

fn taken(slot: &mut Slot, now: u64, me: &[u8]) -> u64 {
    match slot.take(now, me, LEASE, DEAD) {
        Lock::Taken(fence) => fence,
        Lock::Held => panic!("{slot:?}"),
    }
}

#[test]
fn a_slower_fence_never_overwrites_a_newer_one() {
    let mut slot = Slot::default();
    let first = taken(&mut slot, 1_000, b"a");
    assert_eq!(slot.take(1_500, b"b", LEASE, DEAD), Lock::Held);
    // It was silent for too long.
    let second = taken(&mut slot, 5_000, b"b");
    assert!(second > first);
    assert!(!slot.publish(5_001, b"a", news(first)), "although there is none yet");
    assert!(slot.publish(5_002, b"b", news(second)));
    assert!(!slot.publish(5_003, b"a", news(first)));
    assert_eq!(slot.serial, second);
}

#[test]
fn a_fence_grows_although_the_clock_goes_back() {
    let mut slot = Slot::default();
    let first = taken(&mut slot, 1_000_000, b"a");
    assert!(slot.publish(1_000_001, b"a", news(first)));
    assert!(taken(&mut slot, 10, b"b") > first);
}

#[test]
fn a_lock_ends_by_release_by_publishing_by_silence_and_by_its_lease() {
    let mut slot = Slot::default();
    let fence = taken(&mut slot, 0, b"a");
    slot.release(b"b", fence);
    assert_eq!(slot.take(1, b"b", LEASE, DEAD), Lock::Held);
    slot.release(b"a", fence);
    let fence = taken(&mut slot, 2, b"b");
    assert!(slot.publish(3, b"b", news(fence)));
    let fence = taken(&mut slot, 4, b"a");
    for second in 1..=9 {
        slot.beat(second * 1_000, b"a", fence);
        assert_eq!(slot.take(second * 1_000, b"b", LEASE, DEAD), Lock::Held);
    }
    slot.beat(10_005, b"a", fence);
    assert_ne!(slot.take(10_006, b"b", LEASE, DEAD), Lock::Held, "whoever beats for ever");
}

#[test]
fn what_is_given_up_is_marked_until_there_is_another_or_it_is_vouched_for() {
    let mut slot = Slot::default();
    let first = taken(&mut slot, 1_000, b"a");
    assert!(slot.publish(1_001, b"a", news(first)));
    assert!(slot.give_up(first, b"gone"));
    assert_eq!(slot.record(1_002).gone, b"gone");
    slot.vouch(first);
    assert_eq!(slot.record(1_002).gone, b"");
    assert!(slot.give_up(first, b"gone"));
    let second = taken(&mut slot, 1_003, b"b");
    assert!(slot.publish(1_004, b"b", news(second)));
    assert_eq!(slot.record(1_005).gone, b"");
    assert!(!slot.give_up(first, b"gone"), "it is replaced: nobody needs to hear of it");
}
