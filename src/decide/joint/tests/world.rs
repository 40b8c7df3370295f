//! Replicas with budgets of their own, callers that never have enough, and a store with a network
//! before it: all that happens, happens at a time, in an order that the seed decides.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::decide::{
    budget::{Allowance, Budget},
    callers::Principal,
    joint::{
        LEASE,
        ledger::{Age, Ask, Ledger, Opening, Told},
        part::Part,
        rhythm::Rhythm,
        tally::Tally,
        wish::{self, Wish},
    },
    t0,
};

/// How long upstream takes for a call.
const ANSWER: Duration = Duration::from_millis(50);
/// How long a replica waits for the store.
const PATIENCE: Duration = Duration::from_millis(500);
/// What the network takes, at most.
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

/// What befalls the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody reaches it.
    Down,
    /// Answers are lost, some of them.
    Lost,
    /// It loses everything.
    Flushed,
    /// Another takes its place that had not heard of the latest writes.
    FailedOver,
    /// What is asked arrives when nobody waits for it any longer.
    Late,
    /// Both.
    LostAndLate,
}

struct Replica {
    name: String,
    budget: Budget,
    part: Part,
    rhythm: Rhythm,
    tally: Tally,
    waiting: BTreeMap<u64, usize>,
    turns: BTreeMap<u64, f64>,
    call: u64,
    asking: Option<u64>,
    connection: u64,
    alive: bool,
    cut_until: Duration,
    stirred: bool,
    /// When it looks next; one look is enough.
    wakes: Option<Duration>,
}

#[derive(Clone)]
enum Event {
    Wake(usize),
    Arrives(usize, Ask, Duration, u64),
    Answered(usize, u64, Duration, Option<(Told, u64, bool)>),
    GivesUp(usize, u64),
    Returns(usize, u64),
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
    dice: u64,
    events: BTreeMap<(Duration, u64), Event>,
    order: u64,
    replicas: Vec<Replica>,
    store: Store,
    /// As it was, lately.
    past: VecDeque<(Duration, Store)>,
    fault: Option<Fault>,
    connection: u64,
    seen: u64,
    /// When, from whom, of which caller.
    arrived: Vec<(Duration, usize, u64)>,
    stated: u64,
}

impl World {
    pub fn new(seed: u64, limit: u64, window: Duration) -> Self {
        let store = Store { age: Age::default(), ledger: Ledger::new(limit, window) };
        Self {
            begin: t0(),
            now: Duration::from_secs(1_000),
            limit,
            window,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            events: BTreeMap::new(),
            order: 0,
            replicas: Vec::new(),
            store,
            past: VecDeque::new(),
            fault: None,
            connection: 1,
            seen: 0,
            arrived: Vec::new(),
            stated: 0,
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
        let allowance = Allowance {
            limit: u32::try_from(self.limit).ok().and_then(std::num::NonZeroU32::new),
            window: self.window,
            even: false,
            reserve: 0,
        };
        let mut budget = Budget::new(allowance, self.begin);
        let part = Part::new(&name, self.limit, self.window);
        budget.share(part.cap());
        self.replicas.push(Replica {
            name,
            budget,
            part,
            rhythm: Rhythm::default(),
            tally: Tally::new(self.window, self.instant()),
            waiting: BTreeMap::new(),
            turns: BTreeMap::new(),
            call: 0,
            asking: None,
            connection: 0,
            alive: true,
            cut_until: Duration::ZERO,
            stirred: false,
            wakes: None,
        });
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
        let report = replica.budget.report(now);
        let ask = Ask {
            call: replica.call,
            claim: 0,
            want: 0,
            inside: 0,
            sent: report.sent,
            wishes: Vec::new(),
            leaves: true,
        };
        if !self.away(number) {
            let (asked, seen) = (self.now, self.seen);
            self.schedule(Duration::ZERO, Event::Arrives(number, ask, asked, seen));
        }
    }

    /// As on SIGKILL.
    pub fn dies(&mut self, number: usize) {
        self.replicas[number].alive = false;
    }

    pub fn cut_off(&mut self, number: usize, lasting: Duration) {
        self.replicas[number].cut_until = self.now + lasting;
        self.replicas[number].connection = u64::MAX;
    }

    pub fn strikes(&mut self, fault: Fault, lasting: Duration) {
        self.fault = Some(fault);
        match fault {
            Fault::Flushed => {
                // What those sent who are gone, nobody tells again.
                let now = self.instant();
                let gone = self.replicas.iter_mut().filter(|replica| !replica.alive);
                let gone: u64 = gone.map(|replica| replica.budget.taken_at(now)).sum();
                self.stated = self.stated.max(gone);
                self.store =
                    Store { age: Age::default(), ledger: Ledger::new(self.limit, self.window) };
            }
            Fault::FailedOver => {
                let lag = self.millis(400);
                let then = self.now.saturating_sub(lag);
                let old = self.past.iter().rev().find(|(at, _)| *at <= then);
                if let Some((_, store)) = old.cloned() {
                    self.store = store;
                }
            }
            Fault::Down | Fault::Lost | Fault::Late | Fault::LostAndLate => {}
        }
        if matches!(fault, Fault::Down | Fault::FailedOver) {
            self.connection += 1;
        }
        self.schedule(lasting, Event::Mended);
    }

    /// All sorts of trouble, one after another.
    pub fn troubled(&mut self, lasting: Duration) {
        let end = self.now + lasting;
        while self.now < end {
            let pause = Duration::from_secs(5 + self.dice(40));
            self.run(pause);
            let living: Vec<usize> =
                (0..self.replicas.len()).filter(|n| self.replicas[*n].alive).collect();
            let one = living[usize::try_from(self.dice(living.len() as u64)).unwrap()];
            let short = Duration::from_secs(1 + self.dice(20));
            let cut = self.replicas.iter().any(|replica| replica.cut_until > self.now);
            match self.dice(10) {
                // What the store loses while somebody is cut off, nobody tells it again: two faults at
                // once, which the documentation names.
                2 | 3 | 5 if cut => {}
                0 => self.strikes(Fault::Down, short),
                1 => self.strikes(Fault::Lost, short),
                2 => self.strikes(Fault::Flushed, Duration::from_secs(1)),
                3 => self.strikes(Fault::FailedOver, Duration::from_secs(1)),
                4 => self.strikes(Fault::Late, short),
                5 => {
                    let long = Duration::from_secs(1 + self.dice(100));
                    if long > self.window {
                        self.stated = self.stated.max(self.limit / 2);
                    }
                    self.cut_off(one, long);
                }
                6 if living.len() > 2 => self.leaves(one),
                7 if living.len() > 2 => self.dies(one),
                // Without the store it would have a token, and a limit, of its own.
                _ if living.len() < 6 && self.fault.is_none() => {
                    let callers = Callers::crowd(self.dice(5), 20 + living.len() * 10);
                    self.joins(&[callers]);
                }
                _ => {}
            }
        }
    }

    /// What the documentation says of a replica that is cut off for longer than its part is kept.
    pub fn stated(&self) -> u64 {
        self.stated
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
            Event::Arrives(number, ask, asked, seen) => self.arrives(number, &ask, asked, seen),
            Event::Answered(number, call, asked, told) => {
                if self.replicas[number].asking == Some(call) {
                    self.replicas[number].asking = None;
                    self.told(number, asked, told);
                    self.wake(number);
                }
            }
            Event::GivesUp(number, call) => {
                if self.replicas[number].asking == Some(call) {
                    self.replicas[number].asking = None;
                    self.told(number, Duration::ZERO, None);
                    self.wake(number);
                }
            }
            Event::Mended => self.fault = None,
        }
    }

    fn arrives(&mut self, number: usize, ask: &Ask, asked: Duration, seen: u64) {
        let now = self.now;
        if self.past.back().is_none_or(|(at, _)| now - *at > Duration::from_millis(50)) {
            self.past.push_back((now, self.store.clone()));
            self.past.retain(|(at, _)| now - *at < Duration::from_secs(2));
        }
        let name = self.replicas[number].name.clone();
        let fresh = self.arrived.is_empty();
        let moment = self.store.age.open(Opening { seen, fresh, lease: LEASE }, now);
        let told = self.store.ledger.sync(&name, ask, moment);
        let Some(told) = told.filter(|_| !ask.leaves) else { return };
        let version = self.store.age.version;
        if matches!(self.fault, Some(Fault::Lost | Fault::LostAndLate)) && self.dice(2) == 0 {
            return;
        }
        let back = self.millis(FAR);
        self.schedule(
            back,
            Event::Answered(number, ask.call, asked, Some((told, version, moment.whole))),
        );
    }

    fn told(&mut self, number: usize, asked: Duration, told: Option<(Told, u64, bool)>) {
        let (now, asked) = (self.instant(), self.at(asked));
        let alive = self.replicas.iter().filter(|replica| replica.alive).count();
        let replica = &mut self.replicas[number];
        let before = (replica.part.cap().now, replica.part.replicas());
        let mut look = false;
        match told {
            Some((told, version, whole)) => {
                self.seen = self.seen.max(version);
                let others = told.others.into_iter().filter(|(_, other)| other.lives);
                let others = others.filter_map(|(n, o)| Some((n, wish::read(&o.wishes)?)));
                replica.part.whole(whole);
                replica.part.told(asked, told.cap, others.collect());
                look = replica.part.is_short();
            }
            None => replica.part.unheard(now, alive),
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

    fn wake(&mut self, number: usize) {
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
        let (asked, seen) = (self.now, self.seen);
        if !away {
            let late = matches!(self.fault, Some(Fault::Late | Fault::LostAndLate));
            let mut after = self.millis(FAR);
            if late && self.dice(3) == 0 {
                after += Duration::from_millis(300 + self.dice(3_000));
            }
            self.schedule(after, Event::Arrives(number, ask, asked, seen));
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

    /// In no window more than the limit and `extra`.
    pub fn never_over(&mut self, extra: u64) {
        self.arrived.sort_unstable();
        let most = usize::try_from(self.limit + extra).unwrap();
        for pair in self.arrived.windows(most + 1) {
            let (first, last) = (pair[0].0, pair[most].0);
            assert!(
                last - first >= self.window,
                "{} calls and more in {:?}, at {:?}",
                most + 1,
                last - first,
                first - Duration::from_secs(1_000),
            );
        }
    }

    /// Of what may be sent, since then: a window next to the time that as many calls took as it allows.
    pub fn used_since(&mut self, since: Duration) -> f64 {
        let since = Duration::from_secs(1_000) + since;
        self.arrived.sort_unstable();
        let sent: Vec<Duration> =
            self.arrived.iter().map(|(at, ..)| *at).filter(|at| *at >= since).collect();
        let limit = usize::try_from(self.limit).unwrap();
        let took: Vec<f64> =
            sent.windows(limit + 1).map(|pair| (pair[limit] - pair[0]).as_secs_f64()).collect();
        assert!(!took.is_empty(), "no more than a window was sent");
        self.window.as_secs_f64() * took.len() as f64 / took.iter().sum::<f64>()
    }

    pub fn sent(&self, number: usize) -> usize {
        self.arrived.iter().filter(|(_, from, _)| *from == number).count()
    }

    /// In the last two minutes before then.
    pub fn sent_since(&self, number: usize, since: Duration) -> usize {
        let from = Duration::from_secs(1_000) + since;
        let to = from + 2 * self.window;
        let inside = |at: Duration| at >= from && at < to;
        self.arrived.iter().filter(|(at, by, _)| *by == number && inside(*at)).count()
    }

    /// Jain's index of what each caller had.
    pub fn jain_since(&self, since: Duration) -> f64 {
        let from = Duration::from_secs(1_000) + since;
        let mut calls: BTreeMap<u64, f64> = BTreeMap::new();
        for (_, _, caller) in self.arrived.iter().filter(|(at, ..)| *at >= from) {
            *calls.entry(*caller).or_default() += 1.0;
        }
        let sum: f64 = calls.values().sum();
        let squares: f64 = calls.values().map(|calls| calls * calls).sum();
        sum * sum / (calls.len() as f64 * squares)
    }
}

impl Replica {
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
