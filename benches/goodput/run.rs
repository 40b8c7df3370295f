//! One run: callers, a policy and upstream on simulated time, event by event.
//! It never depends on anything but its seed.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    callers::{Habit, Manner, Mix, exponential},
    measure::{Fate, Tally},
    policy::{Asked, CallId, Kind, MAX_WAIT, Policy, Step},
    upstream::{LIMIT, Upstream, WINDOW, delay, work},
};

/// Before anything is measured.
const WARM_UP: Duration = WINDOW.saturating_mul(2);
/// After it, for calls that came in the measured time and wait.
const TAIL: Duration = WINDOW.saturating_mul(3);
/// The outsider's part of the limit.
const OUTSIDE: f64 = 0.2;
/// Path families that calls go to.
const FAMILIES: u64 = 5;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub kind: Kind,
    pub mix: Mix,
    pub manner: Manner,
    /// Times the allowance.
    pub load: f64,
    pub seed: u64,
    pub measured: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A caller calls.
    Call(usize),
    /// A call comes back after a 429.
    Back(CallId),
    /// A call reaches upstream.
    Reach(CallId),
    /// Its answer reaches us: accepted, or to come back after so many seconds.
    Answer(CallId, Option<Duration>),
    /// The program outside calls.
    Outside,
    /// The policy wants to look.
    Wake(u64),
}

#[derive(Debug)]
struct Call {
    caller: usize,
    family: u64,
    first: Instant,
    /// When it came, this time.
    came: Instant,
    sent: Instant,
    served: Option<Instant>,
    refusals: u32,
    /// When it was told to come back.
    told: Option<Instant>,
}

struct World {
    plan: Plan,
    end: Instant,
    outside: (Instant, Instant),
    /// When callers call, and what for: the same for every policy.
    calling: fastrand::Rng,
    /// How long things take.
    random: fastrand::Rng,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    pushed: u64,
    policy: Box<dyn Policy>,
    /// What was asked for last, and the number of the event that does it.
    wake: (Option<Instant>, u64),
    upstream: Upstream,
    callers: Vec<Habit>,
    calls: Vec<Call>,
    tally: Tally,
}

/// Runs it.
pub fn run(plan: Plan, start: Instant) -> Value {
    let mut calling = fastrand::Rng::with_seed(plan.seed);
    let random = calling.fork();
    let callers = plan.mix.callers(plan.load, &mut calling);
    let from = start + WARM_UP;
    let until = from + plan.measured;
    let mut world = World {
        plan,
        end: until + TAIL,
        outside: (from + plan.measured / 4, from + plan.measured * 3 / 4),
        calling,
        random,
        events: BinaryHeap::new(),
        pushed: 0,
        policy: plan.kind.build(start),
        wake: (None, 0),
        upstream: Upstream::default(),
        tally: Tally::new(callers.len(), (from, until)),
        callers,
        calls: Vec::new(),
    };
    world.begin(start);
    world.run();
    world.result()
}

impl World {
    fn begin(&mut self, start: Instant) {
        for (number, habit) in self.callers.clone().iter().enumerate() {
            let first = habit.first(start, &mut self.calling);
            self.push(first, Event::Call(number));
        }
        if self.plan.mix == Mix::Outsider {
            self.push(self.outside.0, Event::Outside);
        }
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.pushed += 1;
        self.events.push(Reverse((at, self.pushed, event)));
    }

    fn run(&mut self) {
        let mut steps = Vec::new();
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if now > self.end {
                break;
            }
            match event {
                Event::Call(caller) => self.call(now, caller, &mut steps),
                Event::Back(id) => self.back(now, id, &mut steps),
                Event::Reach(id) => self.reach(now, id),
                Event::Answer(id, None) => self.policy.answered(now, id, &mut steps),
                Event::Answer(id, Some(retry_after)) => {
                    self.policy.refused(now, id, retry_after, &mut steps);
                }
                Event::Outside => self.outside_calls(now),
                Event::Wake(number) if number == self.wake.1 => {
                    self.wake.0 = None;
                    self.policy.wake(now, &mut steps);
                }
                Event::Wake(_) => continue,
            }
            for step in steps.drain(..) {
                self.follow(now, step);
            }
            self.set_timer(now);
        }
    }

    fn call(&mut self, now: Instant, caller: usize, steps: &mut Vec<Step>) {
        let Some(habit) = self.callers.get_mut(caller) else { return };
        let (count, next) = habit.call(now, &mut self.calling);
        self.push(next, Event::Call(caller));
        for _ in 0..count {
            let family = self.calling.u64(..FAMILIES);
            self.calls.push(Call {
                caller,
                family,
                first: now,
                came: now,
                sent: now,
                served: None,
                refusals: 0,
                told: None,
            });
            self.ask(now, self.calls.len() - 1, steps);
        }
    }

    fn back(&mut self, now: Instant, id: CallId, steps: &mut Vec<Step>) {
        if let Some(call) = self.calls.get_mut(id) {
            call.came = now;
        }
        self.ask(now, id, steps);
    }

    fn ask(&mut self, now: Instant, id: CallId, steps: &mut Vec<Step>) {
        let Some(&Call { caller, family, .. }) = self.calls.get(id) else { return };
        let caller = u16::try_from(caller).unwrap_or(u16::MAX);
        self.policy.arrive(now, Asked { id, caller, family }, steps);
    }

    fn reach(&mut self, now: Instant, id: CallId) {
        let taken = self.upstream.take(now);
        let Some(call) = self.calls.get_mut(id) else { return };
        self.tally.upstream(now, call.caller, taken.is_ok());
        let mut back = now + delay(&mut self.random);
        if taken.is_ok() {
            back += work(&mut self.random);
            call.served = Some(call.sent);
            if let Some(told) = call.told.take() {
                self.tally
                    .promise(told, call.sent.saturating_duration_since(call.came) <= MAX_WAIT);
            }
        }
        self.push(back, Event::Answer(id, taken.err()));
    }

    fn outside_calls(&mut self, now: Instant) {
        let accepted = self.upstream.take(now).is_ok();
        self.tally.outside(now, accepted);
        let next = now + exponential(WINDOW.div_f64(f64::from(LIMIT) * OUTSIDE), &mut self.calling);
        if next < self.outside.1 {
            self.push(next, Event::Outside);
        }
    }

    fn follow(&mut self, now: Instant, step: Step) {
        match step {
            Step::Send(id) => {
                if let Some(call) = self.calls.get_mut(id) {
                    call.sent = now;
                }
                let reached = now + delay(&mut self.random);
                self.push(reached, Event::Reach(id));
            }
            Step::Refuse(id, retry_after) => self.refuse(now, id, retry_after),
        }
    }

    fn refuse(&mut self, now: Instant, id: CallId, retry_after: Duration) {
        self.tally.refused(now);
        let Some(call) = self.calls.get_mut(id) else { return };
        if let Some(told) = call.told.take() {
            self.tally.promise(told, false);
        }
        call.refusals += 1;
        let told = now + retry_after;
        if self.plan.manner.returns(call.refusals - 1) {
            call.told = Some(told);
            // The 429 takes its time to the caller, and the call to the gateway.
            let late = Duration::from_micros(self.random.u64(100..3_000));
            self.push(told + late, Event::Back(id));
        } else {
            self.tally.unclaimed(told);
        }
    }

    /// Timers count in milliseconds, and are late rather than early.
    fn set_timer(&mut self, now: Instant) {
        let wanted = self.policy.next();
        if wanted == self.wake.0 {
            return;
        }
        self.wake = (wanted, self.wake.1 + 1);
        if let Some(at) = wanted {
            let late = Duration::from_micros(self.random.u64(100..1_100));
            self.push(at.max(now) + late, Event::Wake(self.wake.1));
        }
    }

    fn result(mut self) -> Value {
        for call in &self.calls {
            let &Call { first, served, refusals, caller, .. } = call;
            let watched = self.plan.mix.is_watched(caller);
            self.tally.fate(Fate { first, served, refusals, watched });
        }
        let Plan { kind, mix, manner, load, seed, .. } = self.plan;
        let mut value = self.tally.json();
        if let Some(object) = value.as_object_mut() {
            object.insert("policy".to_owned(), kind.name().into());
            object.insert("mix".to_owned(), mix.name().into());
            object.insert("manner".to_owned(), manner.name().into());
            object.insert("load".to_owned(), load.into());
            object.insert("seed".to_owned(), seed.into());
        }
        value
    }
}
