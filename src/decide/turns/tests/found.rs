//! Ways in which a limit was passed, a caller starved, or a call forgotten, once.

use super::*;
use crate::decide::{budget::Belongs, freshness::Generation, quota::Quota};

fn world(tokens: usize, limit: u32, even: bool, reserve: u32) -> World {
    let mut all = World::new(limit, &[]);
    let a = Allowance { limit: number(limit), window: WINDOW, even, reserve };
    let rules = Rules { max_queue: 100, families: Vec::new(), ceilings: true };
    all.turns = Turns::new(rules, Lanes::new(tokens, a, all.now), all.now);
    all
}

#[test]
fn who_is_sent_back_to_a_gate_is_told_by_its_deadline() {
    let mut all = World::new(2, &[]);
    let a = all.comes(1, USERS, 0);
    all.leaves(a);
    all.pass(50);
    let b = all.comes(1, USERS, 0);
    all.leaves(b);
    let c = all.comes(2, USERS, 12); // waits for the token until 61 s; deadline 62 s
    assert!(!all.granted.contains_key(&c) && !all.refused.contains_key(&c));
    let grant = all.granted.remove(&b).unwrap();
    let until = all.now + SECOND * 120;
    let refusal = Refusal { spot: grant.spot, gates: &grant.gates, family: USERS, until };
    assert_eq!(all.turns.limited(refusal, all.now), Limited::Family(None));
    let deadline = all.now + SECOND * 12;
    let mut slept = Vec::new();
    // as the pacer does: sleeps until it was told to look again, and nothing else happens
    while !all.refused.contains_key(&c) && !all.granted.contains_key(&c) {
        let next = all.serve();
        slept.push(next.map(|n| (n - all.now).as_secs_f64()));
        match next {
            Some(n) => all.now = n.max(all.now),
            None => break,
        }
    }
    assert!(
        all.now <= deadline + SECOND,
        "{} s late; slept {slept:?}",
        (all.now - deadline).as_secs()
    );
}

#[test]
fn a_token_that_is_paused_for_2s_is_reckoned_with() {
    let mut all = world(2, 2, false, 0);
    for lane in [0, 1] {
        all.turns
            .lanes()
            .seen(Spot { lane: Lane::new(lane), generation: Generation::default() }, Belongs::All);
    }
    // lane 0 used up
    for _ in 0..2 {
        all.turns.lanes().take_under(Lane::new(0), all.now).unwrap();
        all.turns.lanes().leave(
            1,
            Spot { lane: Lane::new(0), generation: Generation::default() },
            all.now,
        );
    }
    let until = all.now + SECOND * 2;
    all.turns.lanes().hold(Spot { lane: Lane::new(1), generation: Generation::default() }, until);
    let a = all.comes(1, USERS, 12);
    let r = all.refused.get(&a).map(|r| r.retry_after);
    assert!(r.is_none(), "told {r:?} though token 1 has places in 2 s");
}

#[test]
fn the_pacer_wakes_for_the_token_whose_pause_ends_first() {
    let mut all = world(2, 2, false, 0);
    let spot = |lane| Spot { lane: Lane::new(lane), generation: Generation::default() };
    for lane in [0, 1] {
        all.turns.lanes().seen(spot(lane), Belongs::All);
    }
    for _ in 0..2 {
        all.turns.lanes().take_under(Lane::new(0), all.now).unwrap();
        all.turns.lanes().leave(1, spot(0), all.now);
    }
    let until = all.now + SECOND * 2;
    all.turns.lanes().hold(spot(1), until);
    let a = all.comes(1, USERS, 120);
    let next = all.serve().unwrap();
    assert!(next <= until, "sleeps {:?}, {a}", next - all.now);
}

#[test]
fn a_late_429_of_a_family_already_blamed_does_not_hold_a_token() {
    let mut all = world(2, 100, false, 0);
    let spot = |lane| Spot { lane: Lane::new(lane), generation: Generation::default() };
    for lane in [0, 1] {
        all.turns.lanes().seen(spot(lane), Belongs::All);
    }
    let until = all.now + SECOND * 50;
    let mut got = Vec::new();
    for lane in [0, 1, 0] {
        // three calls of one family that were in flight together
        let refusal = Refusal { spot: spot(lane), gates: &[], family: USERS, until };
        got.push(all.turns.limited(refusal, all.now));
    }
    let mut ok = 0;
    for _ in 0..200 {
        ok += u32::from(all.goes(2, QUEUES));
    }
    assert_eq!(ok, 200, "{got:?}: other families have {ok} of 200 places");
}

#[test]
fn two_limited_families_do_not_stop_a_third() {
    let mut all = world(2, 100, false, 0);
    let spot = |lane| Spot { lane: Lane::new(lane), generation: Generation::default() };
    for lane in [0, 1] {
        all.turns.lanes().seen(spot(lane), Belongs::All);
    }
    let until = all.now + SECOND * 50;
    for (lane, family) in [(0, USERS), (1, IVRS)] {
        let refusal = Refusal { spot: spot(lane), gates: &[], family, until };
        all.turns.limited(refusal, all.now);
    }
    assert!(all.goes(2, QUEUES), "everything is paused for 50 s");
}

fn starve(even: bool) -> (u32, u32) {
    let mut all = world(1, 60, even, 6);
    let (mut greedy, mut polite) = (0, 0);
    let mut names: BTreeMap<u32, bool> = BTreeMap::new();
    let (mut waiting_g, mut waiting_p) = (0, 0);
    for tick in 0..(600 * 4) {
        all.now += SECOND / 4;
        while waiting_g < 20 {
            let mut c = all.call(1, USERS, 100_000);
            c.who.urgency = Urgency::of("u=0").unwrap();
            c.deadline = all.now + SECOND * 100_000;
            let n = all.arrives(c);
            names.insert(n, true);
            waiting_g += 1;
        }
        while waiting_p < 5 {
            let n = all.comes(2, QUEUES, 100_000);
            names.insert(n, false);
            waiting_p += 1;
        }
        all.serve();
        let done: Vec<u32> = all.granted.keys().copied().collect();
        for n in done {
            all.leaves(n);
            all.ends(n);
            let g = names[&n];
            if g {
                waiting_g -= 1;
            } else {
                waiting_p -= 1;
            }
            if tick > 120 * 4 {
                if g { greedy += 1 } else { polite += 1 }
            }
        }
    }
    (greedy, polite)
}

#[test]
fn urgency_does_not_starve_other_callers_even() {
    let (greedy, polite) = starve(true);
    assert!(polite * 3 > greedy, "greedy {greedy}, polite {polite}");
}

#[test]
fn an_absurd_reset_of_a_quota_neither_freezes_a_family_nor_overflows() {
    for reset in [1_700_000_000_000, u64::MAX - 1_800_000_000] {
        let mut all = World::new(300, &[]);
        let name = all.comes(1, USERS, 0);
        let grant = all.granted[&name].clone();
        let number = all.turns.left(&grant.gates, grant.spot, all.now);
        let reset = Some(Duration::from_secs(reset));
        let quota = Quota { limit: Some(100), remaining: 0, reset };
        all.turns.told((grant.spot, USERS), &quota, number, all.now);
        all.pass(600);
        assert!(all.goes(1, USERS), "frozen after ten minutes");
    }
}

#[test]
fn a_ceiling_knows_of_the_family_behind_it() {
    let mut all = World::new(100, &[]);
    all.limited(USERS, 120);
    let with = |all: &mut World, family| {
        let mut c = all.call(1, family, 0);
        c.ceiling = number(1);
        c.gates = vec![GateId::Ceiling(caller(1))];
        all.arrives(c)
    };
    let a = with(&mut all, QUEUES);
    all.leaves(a);
    let b = with(&mut all, USERS);
    let told = all.refused[&b].retry_after;
    all.now += told;
    let c = with(&mut all, USERS);
    assert!(
        all.granted.contains_key(&c),
        "told {told:?}, came then, refused: {:?}",
        all.refused.get(&c).map(|r| r.retry_after)
    );
}

#[test]
fn a_newcomer_does_not_stand_behind_all_because_somebody_was_urgent() {
    let mut all = world(1, 60, false, 6);
    for _ in 0..54 {
        let n = all.comes(3, USERS, 0);
        all.leaves(n);
        all.granted.remove(&n);
    }
    // Thirty of a plain caller stand in line.
    for _ in 0..30 {
        all.comes(2, QUEUES, 100);
    }
    for _ in 0..40 {
        let mut c = all.call(1, USERS, 100);
        c.who.urgency = Urgency::of("u=0").unwrap();
        all.arrives(c);
    }
    all.serve();
    let who = all.call(4, USERS, 100).who;
    let ahead = all.turns.line.ahead(&who, (all.now, all.now + SECOND * 100));
    assert!(ahead <= 3, "{ahead} ahead of a newcomer's only call");
}

/// Two callers, each with one and a half times its share, who never come back: how many of each were
/// served in each ten seconds.
fn two_who_leave(even: bool, seed: u64) -> Vec<[u32; 2]> {
    let mut all = world(1, 60, even, 0);
    let mut random = seed;
    let mut served = vec![[0; 2]; 60];
    let mut whose = BTreeMap::new();
    for tenth in 0..6_000 {
        all.now += SECOND / 10;
        for n in [0, 1] {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // 45 a minute.
            if random >> 33 < (1 << 31) / 1_000 * 75 {
                let mut call = all.call(n + 1, USERS, 0);
                call.who.asks = random;
                call.deadline = all.now + SECOND * 5;
                whose.insert(all.arrives(call), usize::from(n));
            }
        }
        all.serve();
        while let Some((&name, _)) = all.granted.first_key_value() {
            all.leaves(name);
            all.ends(name);
            served[tenth / 100][whose[&name]] += 1;
        }
    }
    served
}

#[test]
fn who_never_comes_back_when_told_has_its_share_all_the_same() {
    for (even, seed) in [(true, 1), (false, 1), (true, 2), (false, 2)] {
        let served = two_who_leave(even, seed);
        for minutes in served[6..].chunks(18) {
            let sum = |n: usize| minutes.iter().map(|each| each[n]).sum::<u32>();
            let (one, other) = (f64::from(sum(0)), f64::from(sum(1)));
            assert!(one > 60.0 && other > 60.0, "{even} {seed}: {one} {other} {served:?}");
            assert!((one / other - 1.0).abs() < 0.35, "{even} {seed}: {one} {other} {served:?}");
        }
    }
}

#[test]
fn nobody_is_held_up_by_a_crowd_that_was_sent_home_and_stays_there() {
    let mut all = world(1, 60, true, 0);
    for asks in 0..400 {
        let mut call = all.call(1, USERS, 0);
        call.who.asks = asks;
        let name = all.arrives(call);
        if all.granted.contains_key(&name) {
            all.leaves(name);
            all.ends(name);
        }
    }
    all.pass(120);
    let names: Vec<u32> = (0..20)
        .map(|asks| {
            let mut call = all.call(2, USERS, 30);
            call.who.asks = asks;
            all.arrives(call)
        })
        .collect();
    let refused = names.iter().filter(|name| all.refused.contains_key(name)).count();
    assert_eq!(refused, 0, "they have 30 seconds for 20 calls, and nobody else is there");
}

#[test]
fn a_caller_is_told_how_long_it_takes_and_not_what_if_all_others_had_endless_calls() {
    let mut all = world(1, 60, true, 0);
    while all.goes(9, USERS) {}
    for n in 10..30 {
        all.comes(n, USERS, 300);
    }
    let told: Vec<u64> = (0..100)
        .map(|asks| {
            let mut call = all.call(1, USERS, 0);
            call.who.asks = asks;
            let name = all.arrives(call);
            all.retry_after(name)
        })
        .collect();
    assert!((118..=140).contains(&told[99]), "120 calls at one a second: {told:?}");
}

#[test]
fn what_waits_for_one_family_leaves_its_caller_the_rest_of_its_ceiling() {
    let mut all = World::new(100, &[]);
    all.limited(IVRS, 20);
    let capped = |all: &mut World, family, patience| {
        let call = Call {
            ceiling: number(5),
            gates: vec![GateId::Ceiling(caller(1))],
            ..all.call(1, family, patience)
        };
        all.arrives(call)
    };
    let waiting = [(); 5].map(|()| capped(&mut all, IVRS, 60));
    assert!(waiting.iter().all(|name| !all.refused.contains_key(name)));
    let other = capped(&mut all, USERS, 0);
    assert!(all.granted.contains_key(&other), "{:?}", all.refused.get(&other));
    all.pass(21);
    let gone = waiting.iter().filter(|name| all.granted.contains_key(name)).count();
    assert_eq!(gone, 1, "after a pause one goes first");
}

#[test]
fn who_waits_for_a_narrow_limit_holds_no_place_of_a_broad_one() {
    let narrow = Limit { requests_per_minute: number(1), concurrent: None };
    let mut all = World::new(100, &[concurrent(2), narrow]);
    let both = |all: &mut World, gates: &[u16]| {
        let gates = gates.iter().map(|n| GateId::Family(*n)).collect();
        let call = Call { gates, ..all.call(1, USERS, 300) };
        all.arrives(call)
    };
    let first = both(&mut all, &[0, 1]);
    all.leaves(first);
    all.ends(first);
    both(&mut all, &[0, 1]);
    both(&mut all, &[0, 1]);
    assert_eq!(all.turns.len(), 2);
    let name = both(&mut all, &[0]);
    assert!(all.granted.contains_key(&name));
}

#[test]
fn a_callers_bound_holds_for_all_lines_together() {
    let mut all = World::new(100, &[]);
    for family in [USERS, IVRS, QUEUES] {
        all.turns.lanes().passed(Lane::default(), all.now);
        all.limited(family, 100);
    }
    let waits = |all: &mut World, family| {
        let call = Call { most: Some(2), ..all.call(1, family, 300) };
        all.arrives(call)
    };
    let names = [USERS, IVRS, QUEUES].map(|family| waits(&mut all, family));
    assert_eq!(all.turns.len(), 2);
    assert!(all.refused[&names[2]].full);
}

#[test]
fn who_has_the_most_in_any_line_gives_way() {
    let mut all = World::new(2, &[]);
    all.limited(IVRS, 50);
    for _ in 0..10 {
        all.comes(1, IVRS, 300);
    }
    assert!(all.goes(2, USERS));
    let name = all.comes(2, USERS, 300);
    assert_eq!((all.refused.len(), all.refused.contains_key(&name)), (1, false));
    assert_eq!(all.turns.len(), 10);
}

/// Callers who always have so many calls in line, each to be inside for so many tenths of a second.
struct Crowd {
    callers: Vec<(u8, Vec<GateId>, Option<u32>)>,
    each: usize,
    inside: u32,
}

/// How many calls of each of them were served in so many seconds, and how many were refused.
fn crowded(all: &mut World, crowd: &Crowd, seconds: u32, patience: u32) -> (Vec<u32>, Vec<u32>) {
    let mut whose: BTreeMap<u32, usize> = BTreeMap::new();
    let mut out: Vec<(Instant, u32)> = Vec::new();
    let mut served = vec![0; crowd.callers.len()];
    let mut refused = vec![0; crowd.callers.len()];
    for tenth in 0..seconds * 10 {
        all.now += SECOND / 10;
        while let Some(at) = out.iter().position(|(ends, _)| *ends <= all.now) {
            all.ends(out.remove(at).1);
        }
        for (n, (caller, gates, ceiling)) in crowd.callers.iter().enumerate() {
            while whose.values().filter(|whose| **whose == n).count() < crowd.each {
                let mut call = all.call(*caller, u64::from(*caller), patience);
                call.who.asks = u64::from(tenth) << 8 | u64::from(all.named);
                call.gates = gates.clone();
                call.ceiling = ceiling.and_then(number);
                whose.insert(all.arrives(call), n);
            }
        }
        all.serve();
        for name in all.granted.keys().copied().collect::<Vec<_>>() {
            if let Some(n) = whose.remove(&name) {
                served[n] += 1;
                all.leaves(name);
                out.push((all.now + SECOND / 10 * crowd.inside, name));
            }
        }
        while let Some((name, _)) = all.refused.pop_first() {
            if let Some(n) = whose.remove(&name) {
                refused[n] += 1;
            }
        }
    }
    (served, refused)
}

fn gated(limit: u32, even: bool, families: &[Limit]) -> World {
    let mut all = World::new(limit, families);
    let allowance = Allowance { limit: number(limit), window: WINDOW, even, reserve: 0 };
    let rules = Rules { max_queue: 1_000, families: families.to_vec(), ceilings: true };
    all.turns = Turns::new(rules, Lanes::new(1, allowance, all.now), all.now);
    all
}

#[test]
fn who_needs_two_places_that_are_always_wanted_has_both_in_the_end() {
    let mut all = gated(10_000, false, &[concurrent(1), concurrent(1)]);
    let one = |n| vec![GateId::Family(n)];
    let both = vec![GateId::Family(0), GateId::Family(1)];
    let callers = vec![(1, one(0), None), (2, one(1), None), (3, both, None)];
    let crowd = Crowd { callers, each: 3, inside: 1 };
    let (served, refused) = crowded(&mut all, &crowd, 60, 20);
    assert!(served[2] >= 60 && refused[2] == 0, "served {served:?}, refused {refused:?}");
}

#[test]
fn who_needs_two_rates_that_are_used_up_by_others_has_both_in_the_end() {
    let rate = Limit { requests_per_minute: number(10), concurrent: None };
    let mut all = gated(10_000, false, &[rate, rate]);
    let one = |n| vec![GateId::Family(n)];
    let both = vec![GateId::Family(0), GateId::Family(1)];
    let callers = vec![(1, one(0), None), (2, one(1), None), (3, both, None)];
    let crowd = Crowd { callers, each: 4, inside: 1 };
    let (served, _) = crowded(&mut all, &crowd, 1_200, 600);
    assert!(served[2] >= 60, "20 windows, a share of 5 in each: {served:?}");
}

#[test]
fn a_crowded_family_has_its_share_of_a_window_that_comes_at_once() {
    for even in [false, true] {
        let mut all = gated(80, even, &[concurrent(5)]);
        let callers = vec![(1, vec![GateId::Family(0)], None), (2, Vec::new(), None)];
        let crowd = Crowd { callers, each: 100, inside: 1 };
        let (served, _) = crowded(&mut all, &crowd, 600, 600);
        let share = f64::from(served[0]) / f64::from(served[0] + served[1]);
        assert!(share > 0.4, "even: {even}, {served:?}");
    }
}

#[test]
fn a_ceiling_makes_nobody_stronger() {
    let mut all = gated(60, false, &[]);
    let mut callers: Vec<_> = (2..=6).map(|n| (n, Vec::new(), None)).collect();
    callers.push((1, vec![GateId::Ceiling(caller(1))], Some(50)));
    let crowd = Crowd { callers, each: 80, inside: 1 };
    let (mut served, _) = crowded(&mut all, &crowd, 600, 1_200);
    // Who comes first has the first window.
    served[0] -= 60;
    let (most, least) = (served.iter().max().unwrap(), served.iter().min().unwrap());
    assert!(most - least <= 5, "nine windows of ten each: {served:?}");
}

#[test]
fn downloads_that_began_before_a_pause_do_not_keep_a_family_closed() {
    let mut all = World::new(100, &[]);
    all.limited(IVRS, 1);
    all.pass(2);
    let downloads = [(); 3].map(|()| {
        let name = all.comes(1, IVRS, 5);
        all.leaves(name);
        all.turns.passed((&[GateId::Learned(IVRS)], Lane::default()), all.now, all.now);
        name
    });
    all.pass(1);
    assert_eq!(all.limited(IVRS, 1), Limited::Family(None));
    all.pass(2);
    let probe = all.comes(1, IVRS, 5);
    assert!(all.granted.contains_key(&probe), "{downloads:?} are no probes");
    let second = all.comes(1, IVRS, 5);
    assert!(!all.granted.contains_key(&second));
}

#[test]
fn the_wait_for_a_crowd_is_told_from_how_long_it_has_been_one() {
    let mut all = World::new(100, &[concurrent(1)]);
    let call = Call { gates: of(0), ..all.call(1, IVRS, 0) };
    let inside = all.arrives(call);
    all.leaves(inside);
    all.pass(8);
    let call = Call { gates: of(0), ..all.call(2, IVRS, 1) };
    let told = all.arrives(call);
    assert_eq!(all.retry_after(told), 8, "nobody has ended in eight seconds");
}

#[test]
fn who_was_told_by_one_line_is_known_in_another() {
    let rate = Limit { requests_per_minute: number(2), concurrent: None };
    let mut all = World::new(4, &[rate]);
    let comes = |all: &mut World, asks, patience| {
        let mut call = all.call(1, IVRS, patience);
        call.who.asks = asks;
        call.gates = of(0);
        all.arrives(call)
    };
    for asks in [10, 11] {
        let name = comes(&mut all, asks, 0);
        all.leaves(name);
        all.ends(name);
    }
    let told = comes(&mut all, 1, 1);
    let told = all.refused[&told].retry_after;
    // The token is used up meanwhile: that is where they wait now.
    all.now += told / 2;
    while all.goes(2, USERS) {}
    let newer = [comes(&mut all, 20, 300), comes(&mut all, 21, 300)];
    all.now += told / 2 + SECOND;
    let back = comes(&mut all, 1, 300);
    for _ in 0..200 {
        all.pass(1);
        if all.granted.contains_key(&back) {
            break;
        }
        for name in newer {
            if all.granted.contains_key(&name) && !all.sent.contains_key(&name) {
                all.leaves(name);
            }
        }
    }
    assert!(all.granted.contains_key(&back));
    assert!(!newer.iter().all(|name| all.sent.contains_key(name)), "it goes before one at least");
}

#[test]
fn a_promise_that_is_broken_for_lack_of_room_is_counted_and_its_call_remains_known() {
    let mut all = World::new(1, &[]);
    assert!(all.goes(2, USERS));
    let comes = |all: &mut World, asks, patience| {
        let mut call = all.call(1, USERS, patience);
        call.who.asks = asks;
        call.most = Some(1);
        all.arrives(call)
    };
    let told = comes(&mut all, 1, 5);
    let told = all.refused[&told].retry_after;
    all.now += told;
    while all.goes(2, USERS) {}
    comes(&mut all, 2, 300);
    let full = comes(&mut all, 1, 300);
    assert!(all.refused[&full].full);
    assert_eq!(all.turns.promises(), Count { made: 3, claimed: 1, broken: 1 });
}
