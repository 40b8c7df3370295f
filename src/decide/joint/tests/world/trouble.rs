//! What goes wrong, and how much more may be sent for that.
//! It never allows more than the documentation says.

use std::time::Duration;

use super::{Callers, Event, Store, World};
use crate::decide::joint::{
    LEASE,
    ledger::{Age, Ledger},
};

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

/// So many calls more may come in a window that has a moment of this time in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Excess {
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) calls: u64,
    /// Until this one is answered that it has asked since then.
    until: Option<(usize, Duration)>,
}

/// What was lost is told again, and heard by all.
const TOLD: Duration = LEASE;

impl World {
    pub fn cut_off(&mut self, number: usize, lasting: Duration) {
        let away = self.away(number);
        let replica = &mut self.replicas[number];
        replica.cut_until = self.now + lasting;
        replica.connection = u64::MAX;
        // A part is kept for so long; then an even one comes on top, until it is back.
        let kept = 2 * self.window;
        let calls = self.limit / replica.part.replicas() as u64;
        // Without the store its last word was some time ago.
        let from = if away { self.now } else { self.now + kept };
        self.excuses(number, from, calls);
    }

    /// This one sends more, from then on until it is back.
    fn excuses(&mut self, number: usize, from: Duration, calls: u64) {
        let until = Some((number, self.now));
        self.excess.push(Excess { from, to: Duration::MAX / 2, calls, until });
    }

    /// One is gone. What it sent without the store, nobody knows.
    pub(super) fn ends(&mut self, number: usize) {
        let (now, away) = (self.instant(), self.away(number));
        let calls = self.replicas[number].budget.taken_at(now);
        if away {
            self.excess.push(Excess { from: self.now, to: self.now, calls, until: None });
        }
        self.is_back(number, Duration::MAX);
    }

    /// It is answered what it asked then, or gone: what it sends more ends when all know.
    pub(super) fn is_back(&mut self, number: usize, asked: Duration) {
        let now = self.now;
        // What one sent that is gone is in the window when its part is others'.
        let gone = !self.replicas[number].alive;
        self.excess.retain_mut(|excess| {
            let ends = excess.until.is_some_and(|(one, since)| one == number && since < asked);
            if ends {
                (excess.to, excess.until) = (now.max(excess.from) + TOLD, None);
            }
            !ends || gone || excess.from < now
        });
    }

    pub fn strikes(&mut self, fault: Fault, lasting: Duration) {
        match fault {
            Fault::Flushed => {
                // What those sent who are gone, nobody tells again.
                let now = self.instant();
                let gone = self.replicas.iter_mut().filter(|replica| !replica.alive);
                let gone: u64 = gone.map(|replica| replica.budget.taken_at(now)).sum();
                let (from, to) = (self.now, self.now);
                self.excess.push(Excess { from, to, calls: gone, until: None });
                self.forgets_those_cut_off();
                let ledger = Ledger::new(self.limit, self.window);
                self.store = Store { age: Age::default(), ledger };
            }
            Fault::FailedOver => {
                let lag = self.millis(400);
                let copy = Box::new(self.store.clone());
                return self.schedule(lag, Event::FailsOver(copy, lasting));
            }
            Fault::Down => self.connection += 1,
            Fault::Lost | Fault::Late | Fault::LostAndLate => {}
        }
        self.fault = Some(fault);
        self.schedule(lasting, Event::Mended);
    }

    pub(super) fn fails_over(&mut self, store: Store, lasting: Duration) {
        self.forgets_those_cut_off();
        self.fault = Some(Fault::FailedOver);
        self.store = store;
        self.connection += 1;
        self.schedule(lasting, Event::Mended);
    }

    /// What they have they cannot tell again, until they are back; and then the others are to go down.
    fn forgets_those_cut_off(&mut self) {
        let now = self.instant();
        for number in 0..self.replicas.len() {
            let replica = &mut self.replicas[number];
            if replica.alive && replica.cut_until > self.now {
                let even = self.limit / replica.part.replicas() as u64;
                let calls = replica.part.cap().now.max(replica.budget.taken_at(now)).max(even);
                self.excuses(number, self.now, calls);
            }
        }
    }

    /// All sorts of trouble, one after another.
    pub fn troubled(&mut self, lasting: Duration) {
        let end = self.now + lasting;
        while self.now < end {
            let pause = Duration::from_secs(5 + self.dice(40));
            self.run(pause);
            self.trouble();
        }
        // And then none.
        self.fault = None;
        for replica in &mut self.replicas {
            replica.cut_until = replica.cut_until.min(self.now);
        }
    }

    fn trouble(&mut self) {
        let living: Vec<usize> =
            (0..self.replicas.len()).filter(|n| self.replicas[*n].alive).collect();
        let one = living[usize::try_from(self.dice(living.len() as u64)).unwrap()];
        let short = Duration::from_secs(1 + self.dice(20));
        let long = Duration::from_secs(1 + self.dice(240));
        let cut = self.replicas.iter().any(|replica| replica.cut_until > self.now);
        let what = self.dice(12);
        self.troubles.push((self.now - Duration::from_secs(1_000), what, one, self.fault));
        match what {
            6 if living.len() > 2 => self.leaves(one),
            7 if living.len() > 2 => self.dies(one),
            8.. if living.len() < 6 => self.another(living.len()),
            5 if !cut => self.cut_off(one, long),
            _ if self.fault.is_some() => {}
            0 => self.strikes(Fault::Down, long),
            1 => self.strikes(Fault::Lost, short),
            2 => self.strikes(Fault::Flushed, Duration::from_secs(1)),
            3 => self.strikes(Fault::FailedOver, Duration::from_secs(1)),
            4 => self.strikes(Fault::Late, short),
            _ => {}
        }
    }

    fn another(&mut self, living: usize) {
        let callers = Callers::crowd(self.dice(5), 20 + living * 10);
        let number = self.joins(&[callers]);
        if self.fault.is_some() {
            // It takes a part of as many as it guesses, until the others have heard of it.
            let calls = self.limit / 4;
            self.excuses(number, self.now, calls);
            self.replicas[number].stirred = true;
        }
    }
}
