//! Everything that can happen, in every order, at a small size: no window over the limit, nobody
//! forgotten, no place lost.

use std::time::Duration;

use super::*;

/// Short, so that windows end within a few steps.
const WINDOW: Duration = Duration::from_secs(4);
const STEPS: usize = 6;
/// No seed has more outcomes than this, or the search is not small.
const LIMIT: u32 = 2;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Of this caller, to this family, waiting so many seconds at most.
    Comes(u8, Family, u32),
    /// The call that was refused last comes back, and waits for nine seconds.
    ComesBack,
    /// Whoever waits longest hangs up.
    HangsUp,
    /// The oldest grant is used.
    Leaves,
    /// The oldest grant is dropped unused, wherever its request was.
    Dropped,
    /// The oldest call that left ends well.
    Ends,
    /// The oldest call that left is answered 429 for two seconds, and does not come back.
    Limited,
    /// A second passes, to the next moment that the lines asked for if that is sooner.
    Time,
}

const EVENTS: [Event; 11] = [
    Event::Comes(1, USERS, 0),
    Event::Comes(1, IVRS, 3),
    Event::Comes(2, USERS, 9),
    Event::Comes(2, IVRS, 30),
    Event::ComesBack,
    Event::HangsUp,
    Event::Leaves,
    Event::Dropped,
    Event::Ends,
    Event::Limited,
    Event::Time,
];

#[derive(Clone)]
struct Shadow {
    world: World,
    /// Those in line, with their tickets and deadlines, oldest first.
    waiting: Vec<(u32, Ticket, Instant)>,
    out: Vec<(u32, Family)>,
    families: BTreeMap<u32, (u8, Family)>,
    sent: Vec<Instant>,
    next: Option<Instant>,
    /// The pacer was told to look.
    woken: bool,
}

impl Shadow {
    fn new() -> Self {
        let allowance = Allowance { limit: number(LIMIT), window: WINDOW, even: false, reserve: 0 };
        Self {
            world: World::with(allowance, &[concurrent(1)]),
            waiting: Vec::new(),
            out: Vec::new(),
            families: BTreeMap::new(),
            sent: Vec::new(),
            next: None,
            woken: false,
        }
    }

    /// Whether it was possible; then it has happened.
    fn happens(&mut self, event: Event) -> bool {
        match event {
            Event::Comes(n, family, patience) => {
                self.comes(n, family, patience);
            }
            Event::ComesBack => {
                let Some((name, _)) = self.world.refused.pop_last() else { return false };
                let (n, family) = self.families[&name];
                self.comes(n, family, 9);
            }
            Event::HangsUp => {
                if self.waiting.is_empty() {
                    return false;
                }
                let (name, ticket, _) = self.waiting.remove(0);
                let (left, held) = self.world.turns.leave(ticket, self.world.now).unwrap();
                assert_eq!(left, name);
                self.woken |= held;
            }
            Event::Leaves => {
                let fresh = |name: &&u32| !self.out.iter().any(|(out, _)| out == *name);
                let Some(&name) = self.world.granted.keys().find(fresh) else { return false };
                self.world.leaves(name);
                self.sent.push(self.world.now);
                self.out.push((name, self.families[&name].1));
            }
            Event::Dropped => {
                let fresh = |name: &&u32| !self.out.iter().any(|(out, _)| out == *name);
                let Some(&name) = self.world.granted.keys().find(fresh) else { return false };
                let grant = self.world.granted.remove(&name).unwrap();
                self.world.turns.give_back(&grant.gates, grant.spot.lane, self.world.now);
                self.woken = true;
            }
            Event::Ends => {
                if self.out.is_empty() {
                    return false;
                }
                let (name, _) = self.out.remove(0);
                self.woken |= self.world.ends(name);
            }
            Event::Limited => {
                if self.out.is_empty() {
                    return false;
                }
                let (name, family) = self.out.remove(0);
                let grant = self.world.granted[&name].clone();
                let refusal = Refusal {
                    spot: grant.spot,
                    gates: &grant.gates,
                    family,
                    until: self.world.now + SECOND * 2,
                };
                self.world.turns.limited(refusal, self.world.now);
                self.woken = true;
                self.world.is_gone(name);
            }
            Event::Time => self.later(self.world.now + SECOND),
        }
        self.settle();
        true
    }

    /// Calls of caller 1 have a ceiling to pass, those of one family another limit.
    fn comes(&mut self, n: u8, family: Family, patience: u32) {
        let ceiling = number(1).filter(|_| n == 1);
        let mut gates: Vec<GateId> =
            ceiling.map(|_| GateId::Ceiling(caller(1))).into_iter().collect();
        if family == IVRS {
            gates.extend(of(0));
        }
        let call = Call { ceiling, gates, ..self.world.call(n, family, patience) };
        let (ticket, deadline) = (call.who.ticket, call.deadline);
        let name = self.world.arrives(call);
        self.families.insert(name, (n, family));
        self.waiting.push((name, ticket, deadline));
        let World { granted, refused, .. } = &self.world;
        self.woken |= !granted.contains_key(&name) && !refused.contains_key(&name);
    }

    fn later(&mut self, moment: Instant) {
        self.world.now = self.next.map_or(moment, |next| next.min(moment)).max(self.world.now);
    }

    /// The pacer's part, and what must be true after it.
    fn settle(&mut self) {
        if self.woken || self.next.is_some_and(|next| next <= self.world.now) {
            self.look();
        } else {
            // Nobody was told to look: there is nothing to see, now or before it will be looked.
            let mut other = self.world.clone();
            let next = other.serve();
            let before = (&self.world.granted, &self.world.refused);
            assert_eq!(before, (&other.granted, &other.refused), "a wake-up is lost");
            let late = next.is_some_and(|next| self.next.is_none_or(|mine| next < mine));
            assert!(!late, "will sleep too long");
        }
        let World { granted, refused, turns, now, .. } = &self.world;
        self.waiting
            .retain(|(name, ..)| !granted.contains_key(name) && !refused.contains_key(name));
        assert_eq!(self.waiting.len(), turns.len(), "who waits is neither lost nor answered twice");
        let whose = turns.waiting.values().map(|(principal, _)| *principal);
        assert!(turns.crowd.is_of(whose), "each caller's calls are counted");
        let soonest = self.waiting.iter().map(|&(.., deadline)| deadline).min();
        if let Some(deadline) = soonest {
            assert!(deadline >= *now, "told too late");
            let next = self.next.expect("somebody waits, so somebody looks again");
            // Whoever could be served before is, whoever cannot is told by then.
            assert!(next <= deadline + SECOND * 4 || turns.len() > 1);
        }
        for &end in &self.sent {
            let window = self.sent.iter().filter(|&&at| at <= end && end - at < WINDOW);
            assert!(window.count() <= LIMIT as usize, "over the limit");
        }
    }

    fn look(&mut self) {
        self.woken = false;
        let mut looks = 0;
        self.next = loop {
            let next = self.world.serve();
            looks += 1;
            assert!(looks < 10, "the pacer spins");
            if next.is_none_or(|next| next > self.world.now) {
                break next;
            }
        };
    }

    /// Everybody goes their way: all who wait are answered by their deadline, and all places are
    /// back in the end.
    fn ends_well(mut self) {
        self.all_end();
        let end = self.world.now + SECOND * 60;
        while !self.waiting.is_empty() {
            assert!(self.world.now < end, "starved");
            let by = self.waiting.iter().map(|&(.., deadline)| deadline).min().unwrap();
            self.later(by + Duration::from_nanos(1));
            self.settle();
            self.all_end();
        }
        let World { turns, now, .. } = &mut self.world;
        *now += SECOND * 120;
        for gate in turns.gates.values_mut() {
            gate.line.expire(*now);
            assert!(gate.is_idle(*now), "a place at a gate is lost: {gate:?}");
        }
        let allowed = (0..=LIMIT).filter(|_| turns.lanes().take(*now, false).is_ok()).count();
        assert_eq!(allowed, LIMIT as usize, "a place in the budget is lost");
    }
}

impl Shadow {
    fn all_end(&mut self) {
        while self.happens(Event::Leaves) || self.happens(Event::Ends) {}
    }
}

fn explore(shadow: &Shadow, steps: usize, path: &mut Vec<Event>, seen: &mut u32) {
    for event in EVENTS {
        let mut next = shadow.clone();
        path.push(event);
        let said = Said(path);
        let possible = next.happens(event);
        drop(said);
        if possible {
            *seen += 1;
            if steps > 1 {
                explore(&next, steps - 1, path, seen);
            } else {
                let _said = Said(path);
                next.ends_well();
            }
        }
        path.pop();
    }
}

/// Tells on the way out of a panic which order it was.
struct Said<'a>(&'a [Event]);

impl Drop for Said<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the order {:?}", self.0);
        }
    }
}

#[test]
fn whatever_happens_in_whatever_order_no_limit_is_passed_and_nothing_is_lost() {
    let (mut path, mut seen) = (Vec::new(), 0);
    explore(&Shadow::new(), STEPS, &mut path, &mut seen);
    assert!(seen > 50_000, "{seen} states are no search");
}
