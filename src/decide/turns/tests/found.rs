//! Ways in which a limit was passed, a caller starved, or a call forgotten, once.

use super::*;
use crate::decide::{freshness::Generation, quota::Quota};

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
    let refusal = Refusal {
        principal: caller(1),
        spot: grant.spot,
        gates: &grant.gates,
        family: USERS,
        until,
    };
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
        all.turns.lanes().seen(Spot { lane: Lane::new(lane), generation: Generation::default() });
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
        all.turns.lanes().seen(spot(lane));
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
        all.turns.lanes().seen(spot(lane));
    }
    let until = all.now + SECOND * 50;
    let mut got = Vec::new();
    for lane in [0, 1, 0] {
        // three calls of one family that were in flight together
        let refusal =
            Refusal { principal: caller(1), spot: spot(lane), gates: &[], family: USERS, until };
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
        all.turns.lanes().seen(spot(lane));
    }
    let until = all.now + SECOND * 50;
    for (lane, family) in [(0, USERS), (1, IVRS)] {
        let refusal = Refusal { principal: caller(1), spot: spot(lane), gates: &[], family, until };
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
    let ahead = all.turns.line.ahead(&who, all.now);
    assert!(ahead <= 3, "{ahead} ahead of a newcomer's only call");
}
