//! What a replica and the store say to one another: as partner does it.
//! It never loses anything by itself.

use std::time::Duration;

use super::world::{Answer, Asking, GUESSED, Message, Mode, Replica, State, TICK, WINDOW, name};
use crate::decide::joint::{
    LEASE,
    ledger::{Ask, Opening},
    wish,
};

impl State {
    /// Calls that left: so many leave the window after so long.
    fn report(&self, number: usize) -> Vec<(Duration, u64)> {
        let sent = (1..=u32::from(WINDOW)).rev().zip(self.replicas[number].sent);
        let sent = sent.filter(|(_, calls)| *calls > 0);
        sent.map(|(ticks, calls)| (TICK * ticks, u64::from(calls))).collect()
    }

    pub(super) fn asks(&mut self, number: usize) {
        let (now, mine) = (self.instant(), self.wishes(number));
        let (reaches, fresh) = (self.reaches(number), self.now == 0);
        let replica = &mut self.replicas[number];
        if std::mem::take(&mut replica.reconnects) {
            replica.part.reconnected(now);
        }
        let told = wish::told(&mine);
        let claim = replica.part.ask(now, mine);
        replica.asks += 1;
        // It grows, and is the same whatever was before this tick.
        replica.call = (u64::from(self.now) * 16).max(replica.call) + 1;
        if !reaches {
            return self.unheard(number);
        }
        replica.asking = Some(Asking { call: replica.call, at: self.now, answer: None });
        let (call, inside) = (replica.call, u64::from(replica.inside));
        let sent = self.report(number);
        let ask = Ask {
            call,
            claim: claim.has,
            want: claim.wants,
            inside,
            sent,
            wishes: told,
            leaves: false,
        };
        self.says(number, ask, fresh);
    }

    fn says(&mut self, from: usize, ask: Ask, fresh: bool) {
        let Replica { lives, seen, .. } = self.replicas[from];
        self.messages.push(Message { from, lives, ask, seen, fresh: fresh && seen == 0 });
    }

    /// Its last word.
    pub(super) fn goes(&mut self, number: usize) {
        let sent = self.report(number);
        let call = self.replicas[number].call + 1;
        let ask =
            Ask { call, claim: 0, want: 0, inside: 0, sent, wishes: Vec::new(), leaves: true };
        if self.reaches(number) {
            self.says(number, ask, false);
        }
        self.replicas[number].mode = Mode::Gone;
    }

    pub(super) fn arrives(&mut self, message: usize) {
        let Message { from, lives, ask, seen, fresh } = self.messages.remove(message);
        let clock = self.clock();
        let moment = self.store.age.open(Opening { seen, fresh, lease: LEASE }, clock);
        let told = self.store.ledger.sync(&name(from, lives), &ask, moment);
        let version = if self.exact { self.store.age.version } else { 1 };
        self.store.age.version = version;
        let now = self.now;
        let replica = &mut self.replicas[from];
        if replica.lives != lives || replica.call > ask.call {
            return;
        }
        (replica.told, replica.untold) = (now, false);
        let Some(asking) = replica.asking.as_mut().filter(|asking| asking.call == ask.call) else {
            return;
        };
        let told = told.expect("nobody else speaks in its name");
        let others = told.others.into_iter().filter(|(_, other)| other.lives);
        let others = others.map(|(name, other)| (name, wish::read(&other.wishes).expect("wishes")));
        let others = others.collect();
        asking.answer = Some(Answer { cap: told.cap, others, version, whole: moment.whole });
    }

    pub(super) fn hears(&mut self, number: usize) {
        let Some(Asking { at, answer: Some(answer), .. }) = self.replicas[number].asking.take()
        else {
            return;
        };
        let asked = self.at(at);
        let numbers = 0..self.replicas.len();
        let knows = numbers.map(|n| answer.others.contains_key(&self.name(n))).collect();
        let replica = &mut self.replicas[number];
        replica.seen = answer.version;
        replica.silent = replica.cut;
        replica.knows = knows;
        replica.part.whole(answer.whole);
        replica.part.told(asked, answer.cap, answer.others);
        // What it brings back is on top until the others have told theirs.
        let waits = |r: &Replica| r.untold && r.mode == Mode::Runs && !r.cut;
        let waits = self.replicas.iter().any(waits);
        self.replicas[number].excused &= waits;
    }

    /// The answer is not waited for any longer; what was asked may come late.
    pub(super) fn gives_up(&mut self, number: usize) {
        self.replicas[number].asking = None;
        self.unheard(number);
    }

    fn unheard(&mut self, number: usize) {
        let now = self.instant();
        self.replicas[number].part.unheard(now, GUESSED);
        // It never heard how much it may, and takes some after a lease.
        if self.replicas[number].seen == 0 && self.cap(number) > 0 {
            self.excuse(number);
        }
    }

    /// What it asked, or the answer, is lost.
    pub(super) fn loses(&mut self, number: usize) {
        let call = self.replicas[number].asking.as_ref().map(|asking| asking.call);
        self.messages.retain(|message| message.from != number || Some(message.ask.call) != call);
        self.gives_up(number);
    }
}
