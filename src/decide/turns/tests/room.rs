//! Who gives way to whom when there is no room to wait.

use super::*;

/// Nobody is served for long; so many may wait.
fn full_at(max_queue: usize) -> World {
    let mut all = World::new(1, &[]);
    all.turns.rules.max_queue = max_queue;
    assert!(all.goes(9, USERS));
    all
}

#[test]
fn when_there_is_no_room_the_largest_part_of_it_gives_way_to_a_smaller() {
    let mut all = full_at(3);
    let first = [(); 3].map(|()| all.comes(1, USERS, 3_000));
    let more = all.comes(1, USERS, 3_000);
    assert!(all.refused[&more].full, "there is no room for one more of its own");
    let other = all.comes(2, USERS, 3_000);
    assert!(!all.refused.contains_key(&other));
    assert!(all.refused[&first[2]].full, "the last of the largest");
    let other = all.comes(2, USERS, 3_000);
    assert!(all.refused[&other].full, "both have two");
    let told: Vec<u32> = all.refused.keys().copied().collect();
    assert_eq!(told, [first[2], more, other]);
    assert_eq!(all.turns.len(), 3);
}

#[test]
fn by_its_weight_a_caller_has_more_of_the_room() {
    let mut all = full_at(6);
    let heavy = |all: &mut World| {
        let mut call = all.call(2, USERS, 3_000);
        call.who.weight = NonZeroU32::new(2).unwrap();
        all.arrives(call)
    };
    for _ in 0..6 {
        all.comes(1, USERS, 3_000);
    }
    let names = [(); 4].map(|()| heavy(&mut all));
    assert!(names.iter().all(|name| !all.refused.contains_key(name)), "four are as much as two");
    let one_more = heavy(&mut all);
    assert!(all.refused[&one_more].full);
}

/// Two families that are limited, beside the token.
fn three_lines(max_queue: usize) -> World {
    let mut all = full_at(max_queue);
    let lines = [USERS, IVRS].map(GateId::Learned);
    for id in lines {
        let until = all.now + SECOND * 600;
        all.turns.gate(id, None, all.now).budget.pause(until);
    }
    all
}

#[test]
fn who_has_the_most_in_all_lines_gives_way_whichever_line_is_longest() {
    let mut all = three_lines(9);
    let spread = [USERS, IVRS, IVRS, QUEUES, IVRS].map(|family| all.comes(1, family, 3_000));
    for _ in 0..4 {
        all.comes(2, QUEUES, 3_000);
    }
    let other = all.comes(3, USERS, 3_000);
    assert!(!all.refused.contains_key(&other));
    let told: Vec<u32> = all.refused.keys().copied().collect();
    assert_eq!(told, [spread[4]], "five in three lines are more than four; the last of three");
}

#[test]
fn who_fills_one_line_pushes_nobody_out_of_another() {
    let mut all = three_lines(10);
    for _ in 0..8 {
        all.comes(1, USERS, 3_000);
    }
    let others = [(); 2].map(|()| all.comes(2, QUEUES, 3_000));
    let more = all.comes(1, QUEUES, 3_000);
    assert!(all.refused[&more].full);
    assert!(others.iter().all(|name| !all.refused.contains_key(name)));
}
