//! Calls that come back when they were told to, and are refused again.

use super::*;

/// A call of caller 1, of which so many may wait.
fn asks(all: &mut World, asks: u64, patience: u32, most: usize) -> Call {
    let mut call = all.call(1, USERS, patience);
    call.who.asks = asks;
    call.most = Some(most);
    call
}

/// No call leaves until a while after this one is to come back, which it does: it waits, and so does
/// another of its caller's.
fn comes_back_to_a_pause(all: &mut World, refused: u32) -> u32 {
    let told = all.refused[&refused].retry_after;
    all.turns.lanes().hold(Spot::default(), all.now + told + SECOND * 10);
    all.now += told;
    let call = asks(all, 1, 3_000, 9);
    let back = all.arrives(call);
    assert_eq!((all.turns.len(), all.granted.len()), (2, 0));
    back
}

/// Who is served first.
fn first(all: &mut World) -> u32 {
    let mut out = Vec::new();
    while out.is_empty() {
        all.now += SECOND;
        all.turns.hand_out(all.now, &mut out);
    }
    assert!(out[0].1.is_ok());
    out[0].0
}

#[test]
fn who_comes_back_and_finds_no_room_keeps_its_place_before_its_callers_newer_calls() {
    let mut all = World::new(1, &[]);
    assert!(all.goes(2, USERS));
    let call = asks(&mut all, 1, 5, 1);
    let told = all.arrives(call);
    all.now += all.refused[&told].retry_after;
    while all.goes(2, USERS) {}
    let newer = asks(&mut all, 2, 3_000, 1);
    all.arrives(newer);
    let call = asks(&mut all, 1, 3_000, 1);
    let full = all.arrives(call);
    assert!(all.refused[&full].full);
    let back = comes_back_to_a_pause(&mut all, full);
    assert_eq!(first(&mut all), back);
}

#[test]
fn who_comes_back_and_finds_no_room_in_the_second_line_keeps_its_place_too() {
    let mut all = World::new(2, &[concurrent(1)]);
    let call = Call { gates: of(0), ..all.call(2, IVRS, 0) };
    let inside = all.arrives(call);
    all.leaves(inside);
    let call = Call { gates: of(0), ..asks(&mut all, 1, 1, 1) };
    let told = all.arrives(call);
    all.pass(2);
    all.now += all.refused[&told].retry_after;
    let call = Call { gates: of(0), ..asks(&mut all, 1, 3_000, 1) };
    let second = all.arrives(call);
    while all.goes(2, USERS) {}
    let newer = asks(&mut all, 2, 3_000, 9);
    all.arrives(newer);
    all.ends(inside);
    all.serve();
    assert!(all.refused[&second].full, "the one that may wait of its caller's is there already");
    let Count { claimed, broken, .. } = all.turns.promises();
    assert_eq!((claimed, broken), (1, 1));
    let back = comes_back_to_a_pause(&mut all, second);
    assert_eq!(first(&mut all), back);
}

#[test]
fn who_came_back_and_gives_way_to_somebody_with_less_is_counted_once() {
    let allowance = Allowance { limit: number(60), window: WINDOW, even: true, reserve: 0 };
    let mut all = World::with(allowance, &[]);
    all.turns.rules.max_queue = 2;
    while all.goes(2, USERS) {}
    let told = [1, 2].map(|n| {
        let call = asks(&mut all, n, 0, 9);
        all.arrives(call)
    });
    all.now += all.refused[&told[1]].retry_after;
    while all.goes(4, USERS) {}
    let back = [1, 2].map(|n| {
        let call = asks(&mut all, n, 3_000, 9);
        all.arrives(call)
    });
    all.comes(3, USERS, 3_000);
    assert!(all.refused[&back[1]].full);
    let Count { claimed, broken, .. } = all.turns.promises();
    assert_eq!((claimed, broken), (2, 1));
}

#[test]
fn who_comes_back_and_is_refused_at_once_by_another_limit_is_known_there() {
    let mut all = World::new(2, &[concurrent(1)]);
    let call = Call { gates: of(0), ..all.call(2, IVRS, 0) };
    let inside = all.arrives(call);
    all.leaves(inside);
    let call = Call { gates: of(0), ..asks(&mut all, 1, 1, 9) };
    let told = all.arrives(call);
    all.pass(2);
    all.ends(inside);
    all.now += all.refused[&told].retry_after;
    while all.goes(2, USERS) {}
    let call = Call { gates: of(0), ..asks(&mut all, 1, 0, 9) };
    let again = all.arrives(call);
    let Count { claimed, broken, .. } = all.turns.promises();
    assert_eq!((claimed, broken), (1, 1));
    // Before a call that came when it was away.
    let newer = asks(&mut all, 2, 3_000, 9);
    all.arrives(newer);
    let back = comes_back_to_a_pause(&mut all, again);
    assert_eq!(first(&mut all), back);
}
