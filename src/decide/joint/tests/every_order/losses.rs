//! What the store loses, and what may come on top of the limit for that.
//! It never excuses more than the documentation does.

use super::world::{Asking, Calls, Mode, State, Store, WINDOW, sum};
use crate::decide::joint::{
    LEASE,
    ledger::{Age, Ask, Opening},
};

impl State {
    /// What it has sent, and sends until it is told what it may, comes on top.
    pub(super) fn excuse(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        replica.excused = true;
        replica.counted = Calls::default();
    }

    pub(super) fn comes_back(&mut self) {
        self.away = false;
        // A lease is several heartbeats: who is heard, is heard in what is left of it.
        for replica in &mut self.replicas {
            (replica.reconnects, replica.asks) = (true, 0);
        }
    }

    /// It stops, or is cut off: what only it could tell is not told.
    pub(super) fn falls_silent(&mut self, number: usize) {
        if self.replicas[number].untold {
            self.excuse(number);
        }
    }

    fn lost(&mut self) {
        self.exact = true;
        self.rest = Calls::default();
        for number in 0..self.replicas.len() {
            let replica = &mut self.replicas[number];
            (replica.untold, replica.asks) = (true, 0);
            if replica.mode != Mode::Runs || replica.cut {
                self.excuse(number);
            }
        }
    }

    pub(super) fn flushed(&mut self) {
        let ledger = State::new(self.begin, self.limit, 0, 0).store.ledger;
        self.store = Store { age: Age::default(), ledger };
        self.lost();
    }

    pub(super) fn copied(&mut self) {
        self.copy = Some(self.store.clone());
        self.exact = true;
    }

    pub(super) fn fails_over(&mut self) {
        let Some(copy) = self.copy.take() else { return };
        self.store = copy;
        let moved = self.moves();
        self.moved = (moved, self.now + WINDOW);
        self.lost();
        // What was asked over the old connections is not answered.
        self.messages.clear();
        for number in 0..self.replicas.len() {
            let waits = |asking: &Asking| asking.answer.is_none();
            if self.replicas[number].asking.as_ref().is_some_and(waits) {
                self.gives_up(number);
            }
        }
        self.comes_back();
    }

    /// So much do those have who run that the store does not know of.
    fn moves(&self) -> u8 {
        let ask = Ask {
            call: u64::MAX,
            claim: 0,
            want: 0,
            inside: 0,
            sent: Vec::new(),
            wishes: Vec::new(),
            leaves: false,
        };
        let mut store = self.store.clone();
        let moment = store.age.open(Opening { seen: 0, fresh: false, lease: LEASE }, self.clock());
        let known = store.ledger.sync("probe", &ask, moment).expect("it is new").others;
        let runs = (0..self.replicas.len()).filter(|n| self.replicas[*n].mode == Mode::Runs);
        let more = runs.map(|number| {
            let replica = &self.replicas[number];
            let has = self.cap(number).max(sum(replica.sent) + replica.inside);
            let holds = known.get(&self.name(number)).map_or(0, |other| other.holds);
            has.saturating_sub(u8::try_from(holds).expect("few"))
        });
        more.sum()
    }
}
