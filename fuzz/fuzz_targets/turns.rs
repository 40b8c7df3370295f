//! Limits and lines, by any events in any order: no window over any limit, no more inside than may
//! be, nobody forgotten, answered twice or told too late, nothing past a pause, no place lost.
#![no_main]

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use genesys_proxy::decide::{
    budget::Allowance,
    callers::Principal,
    lanes::{Lane, Lanes, Spot},
    queue::{Ticket, Who},
    turns::{
        Arrival, Call, Grant, Limited, Outcome, Refusal, Refused, Rules, Turns,
        gate::{GateId, Limit},
    },
    urgency::Urgency,
};
use libfuzzer_sys::fuzz_target;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(3600);
/// The family of `rate_limit.families`.
const NAMED: u64 = 0;
/// This caller has the ceiling.
const CAPPED: u8 = 0;

fuzz_target!(|input: ([u8; 4], &[u8])| {
    let (settings, events) = input;
    let mut shadow = Shadow::new(settings);
    for &event in events.iter().take(400) {
        shadow.happens(event);
    }
    shadow.ends_well();
});

/// A call, from its arrival to its end.
#[derive(Debug, Clone, Copy)]
struct Came {
    caller: u8,
    family: u64,
    ticket: Ticket,
    deadline: Instant,
}

/// One that left: when, under which token.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Instant,
    lane: Lane,
    came: Came,
}

/// What is promised of one limit, by those whom it holds.
#[derive(Debug, Clone, Copy)]
struct Promised {
    limit: Limit,
    /// The named family's, else the capped caller's.
    family: bool,
}

impl Promised {
    fn holds(self, came: &Came) -> bool {
        if self.family { came.family == NAMED } else { came.caller == CAPPED }
    }
}

struct Shadow {
    turns: Turns<u32>,
    now: Instant,
    next: Option<Instant>,
    named: u32,
    lanes: usize,
    allowance: Allowance,
    promised: [Promised; 2],
    waiting: BTreeMap<u32, Came>,
    granted: Vec<(Came, Grant)>,
    out: Vec<(Came, Grant, Instant)>,
    sent: Vec<Sent>,
    refused: Vec<(Came, Refused)>,
    /// Families that are held up, until when.
    held: Vec<(u64, Instant)>,
}

impl Shadow {
    fn new([limit, family, ceiling, other]: [u8; 4]) -> Self {
        let now = Instant::now();
        let number = |n: u8| NonZeroU32::new(n.into());
        let limit = limit % 6 + 1;
        let allowance = Allowance {
            limit: number(limit),
            window: WINDOW,
            even: other & 1 == 1,
            reserve: u32::from(other >> 1 & 3).min(u32::from(limit) - 1),
        };
        let lanes = usize::from(other >> 3 & 1) + 1;
        let of_family =
            Limit { requests_per_minute: number(family & 3), concurrent: number(family >> 2 & 3) };
        let of_caller = Limit { requests_per_minute: number(ceiling & 3), concurrent: None };
        let rules = Rules {
            max_queue: usize::from(other >> 4) + 1,
            families: vec![of_family],
            ceilings: of_caller.requests_per_minute.is_some(),
        };
        let mut turns = Turns::new(rules, Lanes::new(lanes, allowance, now), now);
        for lane in 0..lanes {
            turns.lanes().seen(Spot { lane: Lane::new(lane), ..Spot::default() });
        }
        let promised = [(of_family, true), (of_caller, false)];
        Self {
            turns,
            now,
            next: None,
            named: 0,
            lanes,
            allowance,
            promised: promised.map(|(limit, family)| Promised { limit, family }),
            waiting: BTreeMap::new(),
            granted: Vec::new(),
            out: Vec::new(),
            sent: Vec::new(),
            refused: Vec::new(),
            held: Vec::new(),
        }
    }

    fn happens(&mut self, event: u8) {
        let which = usize::from(event >> 3);
        match event & 7 {
            0 | 1 => {
                let patience = [0, 1, 3, 8, 20, 60, 2, 5][which >> 2 & 7];
                let urgent = event & 1 == 1 && which & 1 == 1;
                self.comes(
                    (event >> 3 & 1) + (event >> 7),
                    u64::from(event >> 4 & 1),
                    patience,
                    urgent,
                );
            }
            2 => {
                if let Some(&name) = self.waiting.keys().nth(which % self.waiting.len().max(1)) {
                    let came = self.waiting.remove(&name).expect("it is there");
                    assert_eq!(self.turns.leave(came.ticket, self.now).map(|(name, _)| name), Some(name));
                }
            }
            3 => {
                if let Some((came, grant)) = take(&mut self.granted, which) {
                    self.turns.left(&grant.gates, grant.spot, self.now);
                    self.sent.push(Sent { at: self.now, lane: grant.spot.lane, came });
                    self.out.push((came, grant, self.now));
                }
            }
            4 => {
                if let Some((_, grant)) = take(&mut self.granted, which) {
                    self.turns.give_back(&grant.gates, grant.spot.lane, self.now);
                }
            }
            5 => {
                if let Some((_, grant, sent)) = take(&mut self.out, which) {
                    self.turns.passed(&grant.gates, grant.spot.lane, sent);
                    self.turns.ended(&grant.gates, sent, self.now);
                }
            }
            6 if which < 20 => {
                if let Some((came, grant, sent)) = take(&mut self.out, which & 3) {
                    self.limited(came, (&grant, sent), [2, 1, 30, 0, 4][which >> 2]);
                }
            }
            // Comes back as it was told.
            6 => {
                if let Some((came, _)) = take(&mut self.refused, which) {
                    self.comes(came.caller, came.family, 3, false);
                }
            }
            _ => {
                let quarters = [1, 4, 0, 2, 7, 16, 40, 3][which & 7];
                let until = self.now + SECOND / 4 * quarters;
                // As the pacer does, which never sleeps past what it was told.
                while let Some(next) = self.next.filter(|&next| next < until) {
                    self.now = next.max(self.now);
                    self.settle();
                }
                // Exactly there, or by itself.
                self.now = if quarters == 0 { self.next.unwrap_or(self.now) } else { until };
            }
        }
        self.settle();
    }

    fn comes(&mut self, caller: u8, family: u64, patience: u32, urgent: bool) {
        let principal = Principal::at(Ipv4Addr::new(10, 0, 0, caller).into());
        let ceiling = self.promised[1].limit.requests_per_minute.filter(|_| caller == CAPPED);
        let limit = self.promised[0].limit;
        let named = (family == NAMED && limit != Limit::default()).then_some(GateId::Family(0));
        let ticket = self.turns.ticket();
        let deadline = self.now + SECOND * patience;
        let call = Call {
            who: Who {
                principal,
                weight: NonZeroU32::MIN,
                urgency: if urgent { Urgency::of("u=0") } else { None }.unwrap_or_default(),
                ticket,
                asks: family,
            },
            deadline,
            most: None,
            ceiling,
            family,
            gates: ceiling.map(|_| GateId::Ceiling(principal)).into_iter().chain(named).collect(),
        };
        self.named += 1;
        let name = self.named;
        let came = Came { caller, family, ticket, deadline };
        match self.turns.arrive(self.now, call, || name) {
            Arrival::Granted(grant) => self.grant(came, grant),
            Arrival::Refused(refused) => self.refuse(came, refused),
            Arrival::Waits(evicted) => {
                self.waiting.insert(name, came);
                if let Some((out, refused)) = evicted {
                    let out = self.waiting.remove(&out).expect("who is answered waited");
                    self.refuse(out, refused);
                }
            }
        }
    }

    fn grant(&mut self, came: Came, grant: Grant) {
        let held = |&(family, until)| family == came.family && until > self.now;
        assert!(!self.held.iter().any(held), "past a pause");
        self.granted.push((came, grant));
    }

    fn refuse(&mut self, came: Came, refused: Refused) {
        assert!(refused.retry_after >= SECOND && refused.retry_after < LONG, "{refused:?}");
        self.refused.push((came, refused));
    }

    fn limited(&mut self, came: Came, (grant, sent): (&Grant, Instant), seconds: u32) {
        let refusal = Refusal {
            spot: grant.spot,
            gates: &grant.gates,
            family: came.family,
            until: self.now + SECOND * seconds,
        };
        let until = refusal.until;
        match self.turns.limited(refusal, self.now) {
            Limited::Family(_) => {
                self.held.push((came.family, until));
            }
            // A family that was blamed before may be free again.
            Limited::Token(_) | Limited::Nothing => self.held.clear(),
        }
        self.turns.ended(&grant.gates, sent, self.now);
    }

    /// The pacer's part, and what must be true after it.
    fn settle(&mut self) {
        let mut looks = 0;
        self.next = loop {
            let mut outcomes: Vec<Outcome<u32>> = Vec::new();
            let next = self.turns.hand_out(self.now, &mut outcomes);
            for (name, outcome) in outcomes {
                let came = self.waiting.remove(&name).expect("who is answered waited");
                match outcome {
                    Ok(grant) => self.grant(came, grant),
                    Err(refused) => self.refuse(came, refused),
                }
            }
            looks += 1;
            assert!(looks < 10, "the pacer spins");
            if next.is_none_or(|next| next > self.now) {
                break next;
            }
        };
        assert_eq!(self.waiting.len(), self.turns.len(), "who waits is neither lost nor kept");
        if let Some(deadline) = self.waiting.values().map(|came| came.deadline).min() {
            assert!(deadline >= self.now, "told too late");
            assert!(self.next.is_some(), "somebody waits, and nobody looks again");
        }
        self.sent.retain(|sent| self.now.saturating_duration_since(sent.at) < WINDOW);
        for lane in 0..self.lanes {
            let under = self.sent.iter().filter(|sent| sent.lane == Lane::new(lane)).count();
            let limit = self.allowance.limit.map_or(usize::MAX, |limit| limit.get() as usize);
            assert!(under <= limit, "over a token's limit");
        }
        for promised in self.promised {
            let sent = self.sent.iter().filter(|sent| promised.holds(&sent.came)).count();
            let most = promised.limit.requests_per_minute.map_or(usize::MAX, |n| n.get() as usize);
            assert!(sent <= most, "over {promised:?}");
            let granted = self.granted.iter().map(|(came, _)| came);
            let inside = granted.chain(self.out.iter().map(|(came, ..)| came));
            let inside = inside.filter(|came| promised.holds(came)).count();
            let most = promised.limit.concurrent.map_or(usize::MAX, |n| n.get() as usize);
            assert!(inside <= most, "more inside than {promised:?}");
        }
    }

    /// Everybody goes their way: all who wait are answered by their deadline, and all places are
    /// back in the end.
    fn ends_well(mut self) {
        let end = self.now + SECOND * 100;
        loop {
            assert!(self.now < end, "starved");
            if !self.granted.is_empty() {
                self.happens(3);
            } else if !self.out.is_empty() {
                self.happens(5);
            } else if self.waiting.is_empty() {
                break;
            } else {
                self.now = self.next.expect("somebody waits").max(self.now);
                self.settle();
            }
        }
        let limit = self.allowance.limit.map_or(0, NonZeroU32::get) as usize * self.lanes;
        let all = self.promised.map(|promised| {
            let Limit { requests_per_minute, concurrent } = promised.limit;
            let most = [requests_per_minute, concurrent].into_iter().flatten().min();
            most.map_or(limit, |most| limit.min(most.get() as usize))
        });
        let other = 1;
        let named = if self.promised[0].limit == Limit::default() { other } else { NAMED };
        // A caller without a ceiling to the named family, the capped one to another, any to any.
        let groups = [(1, named, all[0]), (CAPPED, other, all[1]), (1, other, limit)];
        for (caller, family, most) in groups {
            self.now += LONG;
            self.settle();
            let places = (0..=limit).filter(|_| {
                let before = self.granted.len();
                self.comes(caller, family, 0, true);
                self.granted.len() > before
            });
            let places = places.count();
            // Paced, they come one by one.
            assert!(places == most || (self.allowance.even && places > 0), "{places} of {most}");
            while !self.granted.is_empty() {
                self.happens(4);
            }
        }
    }
}

/// One of them.
fn take<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    let at = which % from.len().max(1);
    (at < from.len()).then(|| from.remove(at))
}
