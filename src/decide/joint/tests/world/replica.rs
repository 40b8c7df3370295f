//! One replica: who waits there, when it asks, and what follows from the answer.
//! It never knows what the store or another replica knows.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::{ANSWER, Answer, Event, FAR, Fault, PATIENCE, Question, World};
use crate::decide::{
    budget::{Allowance, Budget},
    callers::Principal,
    joint::{
        ledger::Ask,
        part::Part,
        rhythm::Rhythm,
        tally::Tally,
        wish::{self, Wish},
    },
};

/// As many replicas as one believes that never heard of any.
const GUESSED: usize = 4;

pub(super) struct Replica {
    pub(super) name: String,
    pub(super) budget: Budget,
    pub(super) part: Part,
    pub(super) rhythm: Rhythm,
    pub(super) tally: Tally,
    pub(super) waiting: BTreeMap<u64, usize>,
    pub(super) turns: BTreeMap<u64, f64>,
    pub(super) call: u64,
    pub(super) asking: Option<u64>,
    pub(super) connection: u64,
    /// The newest version that it heard of.
    pub(super) seen: u64,
    pub(super) alive: bool,
    pub(super) cut_until: Duration,
    pub(super) stirred: bool,
    /// When it looks next; one look is enough.
    pub(super) wakes: Option<Duration>,
}

impl World {
    pub(super) fn told(&mut self, number: usize, answer: Option<Answer>) {
        let now = self.instant();
        let asked = answer.as_ref().map(|answer| self.at(answer.asked));
        if let Some(answer) = &answer {
            self.is_back(number, answer.asked);
        }
        let replica = &mut self.replicas[number];
        let before = (replica.part.cap().now, replica.part.replicas());
        let mut look = false;
        match answer.zip(asked) {
            Some((Answer { told, version, whole, .. }, asked)) => {
                replica.seen = version;
                let others = told.others.into_iter().filter(|(_, other)| other.lives);
                let others = others.filter_map(|(n, o)| Some((n, wish::read(&o.wishes)?)));
                replica.part.whole(whole);
                replica.part.told(asked, told.cap, others.collect());
                look = replica.part.is_short();
            }
            None => replica.part.unheard(now, GUESSED),
        }
        replica.budget.share(replica.part.cap());
        let changed = before != (replica.part.cap().now, replica.part.replicas());
        replica.rhythm.asked(now, changed);
        if look || changed {
            for other in 0..self.replicas.len() {
                if other != number && !self.away(other) {
                    self.replicas[other].stirred = true;
                    self.wakes(other, Duration::from_millis(1));
                }
            }
        }
    }

    pub(super) fn wake(&mut self, number: usize) {
        if !self.replicas[number].alive {
            return;
        }
        self.serve(number);
        let (now, away) = (self.instant(), self.away(number));
        let replica = &mut self.replicas[number];
        if replica.asking.is_some() {
            return;
        }
        let hungry = replica.waiting.values().sum::<usize>() > 0 && replica.part.is_off();
        let off = replica.stirred || hungry || replica.part.is_off();
        let next = replica.rhythm.next(now, off);
        if next > now {
            let after = next - now;
            return self.wakes(number, after);
        }
        replica.stirred = false;
        if replica.connection != self.connection {
            // Its first one is none that broke.
            if replica.connection > 0 {
                replica.part.reconnected(now);
            }
            replica.connection = self.connection;
        }
        let mine = replica.wishes(now);
        let told = wish::told(&mine);
        let claim = replica.part.ask(now, mine);
        replica.budget.share(replica.part.cap());
        let report = replica.budget.report(now);
        replica.call += 1;
        let ask = Ask {
            call: replica.call,
            claim: claim.has,
            want: claim.wants,
            inside: report.inside,
            sent: report.sent,
            wishes: told,
            leaves: false,
        };
        let call = replica.call;
        replica.asking = Some(call);
        let question = Box::new(Question { ask, asked: self.now, seen: replica.seen });
        if !away {
            let late = matches!(self.fault, Some(Fault::Late | Fault::LostAndLate));
            let mut after = self.millis(FAR);
            if late && self.dice(3) == 0 {
                after += Duration::from_millis(300 + self.dice(3_000));
            }
            self.schedule(after, Event::Arrives(number, question));
        }
        self.schedule(PATIENCE, Event::GivesUp(number, call));
    }

    /// Whoever waits leaves as far as the budget goes: by turns, which are worth what the part says.
    fn serve(&mut self, number: usize) {
        let now = self.instant();
        loop {
            let replica = &mut self.replicas[number];
            let next = replica.waiting.iter().filter(|(_, calls)| **calls > 0).map(|(c, _)| *c);
            let turn = |caller: &u64| replica.turns.get(caller).copied().unwrap_or(0.0);
            let next = next.min_by(|one, other| turn(one).total_cmp(&turn(other)));
            let Some(caller) = next else { return };
            if let Err(at) = replica.budget.take(now, false) {
                let after = at.saturating_duration_since(now).max(Duration::from_millis(1));
                return self.wakes(number, after);
            }
            replica.budget.leave(1, now);
            *replica.waiting.get_mut(&caller).unwrap() -= 1;
            let lowest = replica.turns.values().copied().fold(f64::INFINITY, f64::min);
            let lowest = if lowest.is_finite() { lowest } else { 0.0 };
            let worth = replica.part.worth(caller);
            *replica.turns.entry(caller).or_insert(lowest) += 1.0 / worth.max(0.01);
            let way = self.millis(20);
            self.arrived.push((self.now + way, number, caller));
            self.schedule(ANSWER + way, Event::Returns(number, caller));
        }
    }
}

impl Replica {
    pub(super) fn new(
        name: String,
        limit: u64,
        window: Duration,
        begin: Instant,
        now: Instant,
    ) -> Self {
        let most = u32::try_from(limit).ok().and_then(NonZeroU32::new);
        let allowance = Allowance { limit: most, window, even: false, reserve: 0 };
        let mut budget = Budget::new(allowance, begin);
        let part = Part::new(&name, limit, window);
        budget.share(part.cap());
        Self {
            name,
            budget,
            part,
            rhythm: Rhythm::default(),
            tally: Tally::new(window, now),
            waiting: BTreeMap::new(),
            turns: BTreeMap::new(),
            call: 0,
            asking: None,
            connection: 0,
            seen: 0,
            alive: true,
            cut_until: Duration::ZERO,
            stirred: false,
            wakes: None,
        }
    }

    fn wishes(&mut self, now: Instant) -> Vec<Wish> {
        let mut calls: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (principal, lately) in self.tally.in_a_window(now) {
            let Principal::Named(caller) = principal else { panic!("all have names") };
            calls.entry(caller.into()).or_default().0 = lately;
        }
        for (caller, waiting) in &self.waiting {
            calls.entry(*caller).or_default().1 = *waiting as u64;
        }
        let wishes = calls.into_iter().map(|(caller, (lately, waiting))| Wish {
            caller,
            weight: 1,
            calls: wish::wanted(lately, waiting),
        });
        wishes.collect()
    }
}
