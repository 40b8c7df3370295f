//! What a state is: all replicas, the store, and what is under way between them.
//! It never chooses what comes next: the model does.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::decide::joint::{
    LEASE,
    ledger::{Age, Ask, Ledger},
    part::Part,
    wish::Wish,
};

/// All that happens, happens at a multiple of it.
pub(super) const TICK: Duration = LEASE;
/// A window, in ticks.
pub(super) const WINDOW: u8 = 2;
/// Ticks after its last word in which nobody has what a replica had.
pub(super) const KEPT: u8 = 1 + 2 * WINDOW;
/// As a partner believes that never heard how many there are.
pub(super) const GUESSED: usize = 4;

/// Calls that are in the window: this tick's first.
pub(super) type Calls = [u8; WINDOW as usize];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    Runs,
    /// It stands still.
    Stopped,
    Gone,
}

/// What the store said, on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub(super) cap: u64,
    pub(super) others: BTreeMap<String, Vec<Wish>>,
    pub(super) version: u64,
    pub(super) whole: bool,
}

/// A question that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asking {
    pub(super) call: u64,
    pub(super) at: u8,
    pub(super) answer: Option<Answer>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Replica {
    /// One that starts again is another one.
    pub(super) lives: u8,
    pub(super) mode: Mode,
    /// The store is out of its reach.
    pub(super) cut: bool,
    /// Its next connection is another one.
    pub(super) reconnects: bool,
    pub(super) part: Part,
    /// Its callers want all there is, or nothing.
    pub(super) wants: bool,
    pub(super) sent: Calls,
    /// Places taken whose calls have not left.
    pub(super) inside: u8,
    /// Questions in this tick.
    pub(super) asks: u8,
    pub(super) call: u64,
    pub(super) asking: Option<Asking>,
    /// The newest version that it heard of.
    pub(super) seen: u64,
    /// When its last word came to the store.
    pub(super) told: u8,
    /// It was cut off, and heard nothing since.
    pub(super) silent: bool,
    /// Those it knows of, by number.
    pub(super) knows: Vec<bool>,
    /// The store has lost that, and was not told again.
    pub(super) untold: bool,
    /// What it sends comes on top, as is documented.
    pub(super) excused: bool,
    /// Calls in the window that do not.
    pub(super) counted: Calls,
}

/// A question under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Message {
    pub(super) from: usize,
    pub(super) lives: u8,
    pub(super) ask: Ask,
    pub(super) seen: u64,
    pub(super) fresh: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) age: Age,
    pub(super) ledger: Ledger,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) begin: Instant,
    pub(super) now: u8,
    pub(super) limit: u8,
    pub(super) replicas: Vec<Replica>,
    pub(super) messages: Vec<Message>,
    pub(super) store: Store,
    /// Nobody reaches it.
    pub(super) away: bool,
    /// As it was when a copy was made.
    pub(super) copy: Option<Store>,
    /// Versions are compared: something was lost, or will be.
    pub(super) exact: bool,
    /// Calls of replicas whose place another one took.
    pub(super) rest: Calls,
    /// What was moved in writes that were lost, until then.
    pub(super) moved: (u8, u8),
}

pub(super) fn sum(calls: Calls) -> u8 {
    calls.iter().sum()
}

pub(super) fn name(number: usize, lives: u8) -> String {
    format!("{number}.{lives}")
}

impl Replica {
    pub(super) fn is_answered(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| asking.answer.is_some())
    }
}

impl State {
    pub(super) fn new(begin: Instant, limit: u8, replicas: usize, slots: usize) -> Self {
        let window = TICK * u32::from(WINDOW);
        let store = Store { age: Age::default(), ledger: Ledger::new(u64::from(limit), window) };
        let mut state = Self {
            begin,
            now: 0,
            limit,
            replicas: Vec::new(),
            messages: Vec::new(),
            store,
            away: false,
            copy: None,
            exact: false,
            rest: Calls::default(),
            moved: (0, 0),
        };
        for number in 0..slots {
            let mode = if number < replicas { Mode::Runs } else { Mode::Gone };
            let replica = Replica { mode, ..state.fresh(number, 0) };
            state.replicas.push(replica);
        }
        state
    }

    fn fresh(&self, number: usize, lives: u8) -> Replica {
        let window = TICK * u32::from(WINDOW);
        Replica {
            lives,
            mode: Mode::Runs,
            cut: false,
            reconnects: false,
            part: Part::new(&name(number, lives), u64::from(self.limit), window),
            wants: true,
            sent: Calls::default(),
            inside: 0,
            asks: 0,
            call: 0,
            asking: None,
            seen: 0,
            told: self.now,
            silent: false,
            knows: Vec::new(),
            untold: false,
            excused: false,
            counted: Calls::default(),
        }
    }

    pub(super) fn at(&self, tick: u8) -> Instant {
        self.begin + TICK * u32::from(tick)
    }

    pub(super) fn instant(&self) -> Instant {
        self.at(self.now)
    }

    /// The store's clock.
    pub(super) fn clock(&self) -> Duration {
        Duration::from_secs(1_000) + TICK * u32::from(self.now)
    }

    pub(super) fn wishes(&self, number: usize) -> Vec<Wish> {
        let wish = Wish { caller: number as u64, weight: 1, calls: u64::from(self.limit) };
        if self.replicas[number].wants { vec![wish] } else { Vec::new() }
    }

    pub(super) fn name(&self, number: usize) -> String {
        name(number, self.replicas[number].lives)
    }

    /// What each wants that runs.
    pub(super) fn wanted(&self) -> BTreeMap<String, (usize, Vec<Wish>)> {
        let runs = (0..self.replicas.len()).filter(|n| self.replicas[*n].mode == Mode::Runs);
        runs.map(|number| (self.name(number), (number, self.wishes(number)))).collect()
    }

    /// What it may have in a window, now.
    pub(super) fn cap(&self, number: usize) -> u8 {
        let cap = self.replicas[number].part.cap().at(self.instant());
        u8::try_from(cap).expect("few")
    }

    /// So many calls may leave now.
    pub(super) fn room(&self, number: usize) -> u8 {
        let replica = &self.replicas[number];
        self.cap(number).saturating_sub(sum(replica.sent) + replica.inside)
    }

    pub(super) fn reaches(&self, number: usize) -> bool {
        !self.away && !self.replicas[number].cut
    }

    pub(super) fn tick(&mut self) {
        self.now += 1;
        let passes = |calls: &mut Calls| {
            calls.rotate_right(1);
            calls[0] = 0;
        };
        passes(&mut self.rest);
        for replica in &mut self.replicas {
            replica.asks = 0;
            passes(&mut replica.sent);
            passes(&mut replica.counted);
        }
        if self.now >= self.moved.1 {
            self.moved = (0, 0);
        }
        for number in 0..self.replicas.len() {
            let replica = &self.replicas[number];
            if replica.mode != Mode::Gone && replica.silent && self.has_lapsed(number) {
                self.excuse(number);
            }
        }
    }

    /// Others may use what was its own.
    pub(super) fn has_lapsed(&self, number: usize) -> bool {
        self.now >= self.replicas[number].told + KEPT
    }

    /// Each knows of all others.
    pub(super) fn all_know(&self) -> bool {
        let lives = |number: &usize| self.replicas[*number].mode != Mode::Gone;
        let all: Vec<usize> = (0..self.replicas.len()).filter(lives).collect();
        let knows = |one: usize, other: usize| self.replicas[one].knows.get(other) == Some(&true);
        all.iter().all(|one| all.iter().all(|other| one == other || knows(*one, *other)))
    }

    pub(super) fn takes(&mut self, number: usize) {
        self.replicas[number].inside += 1;
    }

    pub(super) fn leaves(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        replica.inside -= 1;
        replica.sent[0] += 1;
        if !replica.excused {
            replica.counted[0] += 1;
        }
    }

    pub(super) fn joins(&mut self, number: usize) {
        let before = &self.replicas[number];
        for (rest, calls) in self.rest.iter_mut().zip(before.counted) {
            *rest += calls;
        }
        self.replicas[number] = self.fresh(number, before.lives + 1);
        for other in &mut self.replicas {
            other.knows.get_mut(number).into_iter().for_each(|knows| *knows = false);
        }
    }
}
