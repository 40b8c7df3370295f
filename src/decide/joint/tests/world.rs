//! Replicas with budgets of their own, callers that never have enough, and a store with a network
//! before it: all that happens, happens at a time, in an order that the seed decides.

mod measures;
mod replica;
mod trouble;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::decide::{
    callers::Principal,
    joint::{
        LEASE,
        ledger::{Age, Ask, Ledger, Opening, Told},
    },
    t0,
};
use replica::Replica;
use trouble::Excess;
pub use trouble::Fault;

/// How long upstream takes for a call.
const ANSWER: Duration = Duration::from_millis(50);
/// How long a replica waits for the store.
const PATIENCE: Duration = Duration::from_millis(500);
/// What the network takes, in milliseconds, at most.
const FAR: u64 = 4;

/// Calls of one caller at one replica, each followed by the next.
#[derive(Debug, Clone, Copy)]
pub struct Callers {
    caller: u64,
    at_once: usize,
}

impl Callers {
    pub fn crowd(caller: u64, at_once: usize) -> Self {
        Self { caller, at_once }
    }
}

/// What a replica asks.
struct Question {
    ask: Ask,
    asked: Duration,
    seen: u64,
}

/// What the store says to it.
struct Answer {
    call: u64,
    asked: Duration,
    told: Told,
    version: u64,
    whole: bool,
}

enum Event {
    Wake(usize),
    Arrives(usize, Box<Question>),
    Answered(usize, Box<Answer>),
    GivesUp(usize, u64),
    Returns(usize, u64),
    /// Another store takes over, which has this.
    FailsOver(Box<Store>, Duration),
    Mended,
}

#[derive(Clone)]
struct Store {
    age: Age,
    ledger: Ledger,
}

pub struct World {
    begin: Instant,
    now: Duration,
    limit: u64,
    window: Duration,
    seed: u64,
    dice: u64,
    events: BTreeMap<(Duration, u64), Event>,
    order: u64,
    replicas: Vec<Replica>,
    store: Store,
    fault: Option<Fault>,
    connection: u64,
    /// When, from whom, of which caller.
    arrived: Vec<(Duration, usize, u64)>,
    excess: Vec<Excess>,
    /// When, what, to whom, in which fault.
    troubles: Vec<(Duration, u64, usize, Option<Fault>)>,
}

impl World {
    pub fn new(seed: u64, limit: u64, window: Duration) -> Self {
        let store = Store { age: Age::default(), ledger: Ledger::new(limit, window) };
        Self {
            begin: t0(),
            now: Duration::from_secs(1_000),
            limit,
            window,
            seed,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            events: BTreeMap::new(),
            order: 0,
            replicas: Vec::new(),
            store,
            fault: None,
            connection: 1,
            arrived: Vec::new(),
            excess: Vec::new(),
            troubles: Vec::new(),
        }
    }

    fn dice(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below.max(1)
    }

    fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.dice(below))
    }

    fn at(&self, now: Duration) -> Instant {
        self.begin + now
    }

    fn instant(&self) -> Instant {
        self.at(self.now)
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.order += 1;
        self.events.insert((self.now + after, self.order), event);
    }

    fn wakes(&mut self, number: usize, after: Duration) {
        let at = self.now + after;
        if self.replicas[number].wakes.is_none_or(|known| at < known || known <= self.now) {
            self.replicas[number].wakes = Some(at);
            self.schedule(after, Event::Wake(number));
        }
    }

    pub fn joins(&mut self, callers: &[Callers]) -> usize {
        let number = self.replicas.len();
        let name = format!("{:04x}-{number}", self.dice(1 << 16));
        let replica = Replica::new(name, self.limit, self.window, self.begin, self.instant());
        self.replicas.push(replica);
        for callers in callers {
            self.calls(number, *callers);
        }
        self.wakes(number, Duration::ZERO);
        number
    }

    pub fn calls(&mut self, number: usize, callers: Callers) {
        for _ in 0..callers.at_once {
            let after = self.millis(500);
            self.schedule(after, Event::Returns(number, callers.caller));
        }
    }

    /// As on SIGTERM.
    pub fn leaves(&mut self, number: usize) {
        let now = self.instant();
        let replica = &mut self.replicas[number];
        replica.alive = false;
        replica.call += 1;
        let (seen, sent) = (replica.seen, replica.budget.report(now).sent);
        let ask = Ask {
            call: replica.call,
            claim: 0,
            want: 0,
            inside: 0,
            sent,
            wishes: Vec::new(),
            leaves: true,
        };
        if !self.away(number) {
            let question = Question { ask, asked: self.now, seen };
            self.schedule(Duration::ZERO, Event::Arrives(number, Box::new(question)));
        }
        self.ends(number);
    }

    /// As on SIGKILL.
    pub fn dies(&mut self, number: usize) {
        self.replicas[number].alive = false;
        self.ends(number);
    }

    pub fn run(&mut self, lasting: Duration) {
        let end = self.now + lasting;
        while let Some((&(at, order), _)) = self.events.first_key_value() {
            if at > end {
                break;
            }
            let Some(event) = self.events.remove(&(at, order)) else { break };
            self.now = self.now.max(at);
            self.happens(event);
        }
        self.now = end;
    }

    /// How long it runs.
    pub fn lasted(&self) -> Duration {
        self.now - Duration::from_secs(1_000)
    }

    fn away(&self, number: usize) -> bool {
        matches!(self.fault, Some(Fault::Down | Fault::FailedOver))
            || self.replicas[number].cut_until > self.now
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Wake(number) => {
                // Another look came before it.
                if self.replicas[number].wakes == Some(self.now) {
                    self.replicas[number].wakes = None;
                    self.wake(number);
                }
            }
            Event::Returns(number, caller) if self.replicas[number].alive => {
                let now = self.instant();
                let replica = &mut self.replicas[number];
                *replica.waiting.entry(caller).or_default() += 1;
                let named = Principal::Named(u16::try_from(caller).unwrap());
                replica.tally.add(named, 1, now);
                self.wake(number);
            }
            Event::Returns(..) => {}
            Event::Arrives(number, question) => self.arrives(number, &question),
            Event::Answered(number, answer) => {
                if self.replicas[number].asking == Some(answer.call) {
                    self.replicas[number].asking = None;
                    self.told(number, Some(*answer));
                    self.wake(number);
                }
            }
            Event::GivesUp(number, call) => {
                if self.replicas[number].asking == Some(call) {
                    self.replicas[number].asking = None;
                    self.told(number, None);
                    self.wake(number);
                }
            }
            Event::FailsOver(store, lasting) => self.fails_over(*store, lasting),
            Event::Mended => self.fault = None,
        }
    }

    fn arrives(&mut self, number: usize, question: &Question) {
        let (now, Question { ask, asked, seen }) = (self.now, question);
        let name = self.replicas[number].name.clone();
        let opening = Opening { seen: *seen, fresh: self.arrived.is_empty(), lease: LEASE };
        let moment = self.store.age.open(opening, now);
        let told = self.store.ledger.sync(&name, ask, moment);
        let Some(told) = told.filter(|_| !ask.leaves) else { return };
        let version = self.store.age.version;
        if matches!(self.fault, Some(Fault::Lost | Fault::LostAndLate)) && self.dice(2) == 0 {
            return;
        }
        let (back, whole) = (self.millis(FAR), moment.whole);
        let answer = Answer { call: ask.call, asked: *asked, told, version, whole };
        self.schedule(back, Event::Answered(number, Box::new(answer)));
    }
}
