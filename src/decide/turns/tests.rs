//! Limits and lines together: what waits for what, and what does not.

mod back;
mod blamed;
mod every_order;
mod found;
mod quotas;
mod room;

use std::{net::Ipv4Addr, num::NonZeroU32, time::Duration};

use super::*;
use crate::decide::{
    budget::Allowance, callers::Principal, queue::promises::Count, t0, urgency::Urgency,
};

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(60);
/// Families.
const USERS: Family = 1;
const IVRS: Family = 2;
const QUEUES: Family = 3;

fn number(n: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(n)
}

fn caller(n: u8) -> Principal {
    Principal::at(Ipv4Addr::new(10, 0, 0, n).into())
}

/// Turns with everything that happened in them.
#[derive(Clone)]
struct World {
    turns: Turns<u32>,
    now: Instant,
    named: u32,
    sent: BTreeMap<u32, Instant>,
    granted: BTreeMap<u32, Grant>,
    refused: BTreeMap<u32, Refused>,
}

impl World {
    fn new(limit: u32, families: &[Limit]) -> Self {
        Self::with(
            Allowance { limit: number(limit), window: WINDOW, even: false, reserve: 0 },
            families,
        )
    }

    fn with(allowance: Allowance, families: &[Limit]) -> Self {
        let now = t0();
        let rules = Rules { max_queue: 10, families: families.to_vec(), ceilings: true };
        let turns = Turns::new(rules, Lanes::new(1, allowance, now), now);
        let (granted, refused, sent) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { turns, now, named: 0, sent, granted, refused }
    }

    fn call(&mut self, n: u8, family: Family, patience: u32) -> Call {
        let ticket = self.turns.ticket();
        Call {
            who: Who {
                principal: caller(n),
                weight: NonZeroU32::MIN,
                urgency: Urgency::default(),
                ticket,
                asks: family,
            },
            deadline: self.now + SECOND * patience,
            most: None,
            ceiling: None,
            family,
            gates: Vec::new(),
        }
    }

    /// A plain call of caller `n`; its name.
    fn comes(&mut self, n: u8, family: Family, patience: u32) -> u32 {
        let call = self.call(n, family, patience);
        self.arrives(call)
    }

    fn arrives(&mut self, call: Call) -> u32 {
        self.named += 1;
        let name = self.named;
        match self.turns.arrive(self.now, call, || name) {
            Arrival::Granted(grant) => drop(self.granted.insert(name, grant)),
            Arrival::Refused(refused) => drop(self.refused.insert(name, refused)),
            Arrival::Waits(evicted) => self.refused.extend(evicted),
        }
        name
    }

    /// Serves the lines; when to look again.
    fn serve(&mut self) -> Option<Instant> {
        let mut out = Vec::new();
        let next = self.turns.hand_out(self.now, &mut out);
        for (name, outcome) in out {
            match outcome {
                Ok(grant) => drop(self.granted.insert(name, grant)),
                Err(refused) => drop(self.refused.insert(name, refused)),
            }
        }
        next
    }

    /// Lets time pass, second by second.
    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now += SECOND;
            self.serve();
        }
    }

    fn leaves(&mut self, name: u32) {
        let grant = self.granted[&name].clone();
        self.turns.left(&grant.gates, grant.spot, self.now);
        self.sent.insert(name, self.now);
    }

    /// It was answered, and all of the answer is through.
    fn ends(&mut self, name: u32) -> bool {
        let (lane, sent) = (self.granted[&name].spot.lane, self.sent[&name]);
        let waited_for = self.turns.passed((&self.granted[&name].gates, lane), sent, self.now);
        self.is_gone(name) || waited_for
    }

    /// It is through, however it was answered.
    fn is_gone(&mut self, name: u32) -> bool {
        let grant = self.granted.remove(&name).unwrap();
        let sent = self.sent.remove(&name).unwrap();
        self.turns.ended(&grant.gates, sent, self.now)
    }

    /// It is granted at once, leaves and ends.
    fn goes(&mut self, n: u8, family: Family) -> bool {
        let name = self.comes(n, family, 0);
        let granted = self.granted.contains_key(&name);
        if granted {
            self.leaves(name);
            self.ends(name);
        }
        granted
    }

    /// Upstream says 429 to a call of this family that leaves now.
    fn limited(&mut self, family: Family, seconds: u32) -> Limited {
        let name = self.comes(9, family, 0);
        self.leaves(name);
        let grant = self.granted.remove(&name).unwrap();
        let until = self.now + SECOND * seconds;
        let (gates, spot) = (&*grant.gates, grant.spot);
        let refusal = Refusal { spot, gates, family, until };
        let limited = self.turns.limited(refusal, self.now);
        self.turns.ended(&grant.gates, self.now, self.now);
        limited
    }

    fn retry_after(&self, name: u32) -> u64 {
        self.refused[&name].retry_after.as_secs()
    }
}

fn concurrent(n: u32) -> Limit {
    Limit { requests_per_minute: None, concurrent: number(n) }
}

fn of(family: u16) -> Vec<GateId> {
    vec![GateId::Family(family)]
}

#[test]
fn a_family_with_as_many_inside_as_may_be_waits_for_one_to_end_and_others_do_not() {
    let mut world = World::new(100, &[concurrent(2)]);
    let names: Vec<u32> = (0..3)
        .map(|_| {
            let call = Call { gates: of(0), ..world.call(1, IVRS, 12) };
            world.arrives(call)
        })
        .collect();
    assert_eq!(world.granted.len(), 2);
    assert!(world.goes(1, USERS), "the same caller's other calls go on");
    world.leaves(names[0]);
    world.pass(3);
    assert_eq!(world.granted.len(), 2, "the last byte is what counts");
    world.ends(names[0]);
    world.serve();
    assert!(world.granted.contains_key(&names[2]));
}

#[test]
fn whoever_waits_for_a_crowded_family_is_told_when_its_patience_ends() {
    let mut world = World::new(100, &[concurrent(1)]);
    let call = Call { gates: of(0), ..world.call(1, IVRS, 12) };
    world.arrives(call);
    let call = Call { gates: of(0), ..world.call(1, IVRS, 5) };
    let name = world.arrives(call);
    assert_eq!(world.serve(), Some(world.now + SECOND * 5));
    world.pass(4);
    assert!(world.refused.is_empty());
    world.pass(1);
    assert!(world.refused.contains_key(&name));
}

#[test]
fn a_familys_rate_is_its_own() {
    let rate = Limit { requests_per_minute: number(2), concurrent: None };
    let mut world = World::new(100, &[rate]);
    for expected in [true, true, false] {
        let call = Call { gates: of(0), ..world.call(1, IVRS, 0) };
        let name = world.arrives(call);
        assert_eq!(world.granted.contains_key(&name), expected);
        if expected {
            world.leaves(name);
        }
    }
    assert!((0..50).all(|_| world.goes(1, USERS)));
    world.pass(62);
    let call = Call { gates: of(0), ..world.call(1, IVRS, 0) };
    let name = world.arrives(call);
    assert!(world.granted.contains_key(&name));
}

#[test]
fn a_429_to_one_family_for_two_minutes_leaves_all_others_untouched() {
    let mut world = World::new(100, &[]);
    assert_eq!(world.limited(IVRS, 120), Limited::Family(None));
    assert!((0..50).all(|_| world.goes(1, USERS)), "the same caller's, too");
    let name = world.comes(1, IVRS, 12);
    assert_eq!(world.retry_after(name), 120);
    assert!(!world.goes(2, IVRS), "whoever asks");
    world.pass(120);
    assert!(world.goes(1, IVRS));
}

#[test]
fn those_who_wait_already_are_sent_to_their_familys_line_when_it_is_found_to_be_limited() {
    let mut world = World::new(3, &[]);
    let refused = world.comes(1, IVRS, 0);
    world.leaves(refused);
    assert!((0..2).all(|_| world.goes(1, USERS)));
    let waiting = [world.comes(1, IVRS, 200), world.comes(1, USERS, 200)];
    let grant = world.granted[&refused].clone();
    let until = world.now + SECOND * 90;
    let refusal = Refusal { spot: grant.spot, gates: &grant.gates, family: IVRS, until };
    assert_eq!(world.turns.limited(refusal, world.now), Limited::Family(None));
    world.pass(61);
    assert!(world.granted.contains_key(&waiting[1]));
    assert!(!world.granted.contains_key(&waiting[0]));
    world.pass(30);
    assert!(world.granted.contains_key(&waiting[0]));
}

#[test]
fn a_second_family_refused_means_the_token_and_the_first_is_free_again_with_it() {
    let mut world = World::new(100, &[]);
    assert!((0..20).all(|_| world.goes(1, USERS)));
    assert_eq!(world.limited(IVRS, 30), Limited::Family(None));
    let first = GateId::Learned(IVRS);
    assert!(world.turns.gates[&first].budget.paused_until().is_some());
    assert_eq!(world.limited(QUEUES, 10), Limited::Token(Some(50)), "one lesson costs half");
    assert_eq!(world.turns.gates[&first].budget.paused_until(), None, "it was not the family's");
    assert!(!world.goes(1, USERS));
    world.pass(61);
    assert!((0..50).all(|_| world.goes(1, IVRS)) && !world.goes(1, IVRS));
}

#[test]
fn whoever_passes_since_then_clears_the_token() {
    let mut world = World::new(100, &[]);
    assert_eq!(world.limited(IVRS, 30), Limited::Family(None));
    world.pass(1);
    world.turns.lanes().passed(Lane::default(), world.now);
    assert_eq!(world.limited(QUEUES, 30), Limited::Family(None));
    assert!(world.goes(1, USERS));
}

#[test]
fn a_family_that_was_limited_long_ago_is_forgotten() {
    let mut world = World::new(100, &[]);
    world.limited(IVRS, 5);
    assert_eq!(world.turns.gates.len(), 1);
    world.pass(60 * 11);
    world.goes(1, USERS);
    assert!(world.turns.gates.is_empty());
}

#[test]
fn a_ceiling_holds_its_caller_and_nobody_else() {
    let mut world = World::new(100, &[]);
    let capped = |world: &mut World| Call {
        ceiling: number(2),
        gates: vec![GateId::Ceiling(caller(1))],
        ..world.call(1, USERS, 0)
    };
    let mut names = Vec::new();
    for _ in 0..3 {
        let call = capped(&mut world);
        names.push(world.arrives(call));
        if world.granted.contains_key(names.last().unwrap()) {
            world.leaves(*names.last().unwrap());
        }
    }
    assert_eq!(world.granted.len(), 2);
    assert!(world.goes(2, USERS));
    let standing = world.granted[&names[0]].standing.unwrap();
    assert_eq!((standing.limit, standing.remaining), (2, 1), "its own share, not the token's");
    assert_eq!(world.retry_after(names[2]), 61);
}

#[test]
fn urgent_calls_have_the_reserve_and_go_past_those_who_wait() {
    for even in [false, true] {
        let allowance = Allowance { limit: number(3), window: WINDOW, even, reserve: 1 };
        let mut world = World::with(allowance, &[]);
        assert_eq!((0..5).filter(|_| world.goes(1, USERS)).count(), if even { 1 } else { 2 });
        let waits = world.comes(1, USERS, 100);
        let mut call = world.call(2, USERS, 12);
        call.who.urgency = Urgency::of("u=1").unwrap();
        let urgent = world.arrives(call);
        world.serve();
        assert!(world.granted.contains_key(&urgent) && !world.granted.contains_key(&waits));
    }
}

#[test]
fn a_refused_caller_that_comes_back_when_told_is_served_before_those_who_came_since() {
    let mut world = World::new(2, &[]);
    assert!((0..2).all(|_| world.goes(1, USERS)));
    let refused = [1, 2, 3].map(|n| world.comes(n, USERS, 12));
    let told = refused.map(|name| world.retry_after(name));
    assert_eq!(told[0], 60);
    assert!(told[2] > 119, "the third has two before it: {told:?}");
    world.pass(50);
    let since = world.comes(4, USERS, 12);
    assert!(world.refused.contains_key(&since), "both places are promised");
    world.pass(10);
    let back = [1, 2].map(|n| world.comes(n, USERS, 12));
    world.pass(1);
    assert!(back.iter().all(|name| world.granted.contains_key(name)));
    assert_eq!(world.turns.promises(), Count { made: 4, claimed: 2, broken: 0 });
}

#[test]
fn when_nobody_comes_back_all_is_calm_again_without_anybody_having_waited() {
    let mut world = World::new(1, &[]);
    world.turns.rules.ceilings = false;
    assert!(world.goes(1, USERS));
    (0..5).for_each(|n| assert!(world.comes(n, USERS, 0) > 0));
    assert!(!world.turns.is_calm());
    world.now += SECOND * 600;
    assert!(world.goes(1, USERS) && world.turns.is_calm());
}

#[test]
fn without_room_a_caller_with_less_of_the_line_takes_the_place_of_one_with_more() {
    let mut world = World::new(1, &[]);
    assert!(world.goes(1, USERS));
    let greedy: Vec<u32> = (0..10).map(|_| world.comes(1, USERS, 3_000)).collect();
    let polite = world.comes(2, USERS, 3_000);
    let out = world.refused[&greedy[9]];
    assert!(out.full && !world.refused.contains_key(&polite));
    assert_eq!(world.turns.len(), 10);
    world.pass(61);
    world.leaves(greedy[0]);
    world.pass(61);
    assert!(world.granted.contains_key(&polite), "second to be served");
}

#[test]
fn whoever_leaves_the_last_line_gives_back_what_it_held_before() {
    let mut world = World::new(1, &[concurrent(1)]);
    assert!(world.goes(1, USERS));
    let call = Call { gates: of(0), ..world.call(1, IVRS, 100) };
    let ticket = call.who.ticket;
    let name = world.arrives(call);
    let other = Call { gates: of(0), ..world.call(2, IVRS, 200) };
    let other = world.arrives(other);
    assert_eq!(world.turns.leave(ticket, world.now).map(|(name, _)| name), Some(name));
    assert_eq!(world.turns.leave(ticket, world.now).map(|(name, _)| name), None);
    world.pass(61);
    assert!(world.granted.contains_key(&other));
}

#[test]
fn a_share_is_told_when_others_wait_and_all_of_it_when_nobody_does() {
    let mut world = World::new(10, &[]);
    let name = world.comes(1, USERS, 0);
    let Standing { limit, remaining, window, .. } = world.granted[&name].standing.unwrap();
    assert_eq!((limit, remaining, window), (10, 9, 60));
    let none = world.turns.standing_of_all(world.now).unwrap();
    assert_eq!(none.reset, 61, "a window from now, as nothing has left yet");
}

#[test]
fn a_quota_smaller_than_the_tokens_is_the_familys() {
    let mut world = World::new(100, &[]);
    let name = world.comes(1, IVRS, 0);
    let spot = world.granted[&name].spot;
    world.leaves(name);
    let quota =
        crate::decide::quota::Quota { limit: Some(10), remaining: 0, reset: Some(SECOND * 30) };
    world.turns.told((spot, IVRS), &quota, 1, world.now);
    assert!(!world.goes(1, IVRS) && world.goes(1, USERS));
    world.pass(30);
    assert!((0..10).all(|_| world.goes(1, IVRS)) && !world.goes(1, IVRS));
}
