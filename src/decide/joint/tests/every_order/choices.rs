//! What may happen next in a state.
//! It never makes it happen, but for what goes wrong.

use std::time::Instant;

use super::world::{Asking, Mode, Replica, State};
use crate::decide::t0;

/// What may still happen that need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    /// Callers begin, or stop, to want all.
    pub(super) wishes: u8,
    /// A question, or an answer, is lost.
    pub(super) lost: u8,
    /// A question comes when nobody waits for its answer.
    pub(super) late: u8,
    pub(super) kills: u8,
    /// SIGTERM.
    pub(super) terms: u8,
    pub(super) joins: u8,
    /// One is cut off from the store.
    pub(super) cuts: u8,
    /// One stands still.
    pub(super) stops: u8,
    /// Nobody reaches the store.
    pub(super) aways: u8,
    pub(super) flushes: u8,
    /// Another store takes over that has an older state.
    pub(super) fail_overs: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Tick,
    Wish(usize),
    Ask(usize),
    Arrive(usize),
    Hear(usize),
    GiveUp(usize),
    Lose(usize),
    Take(usize),
    Leave(usize),
    Send(usize),
    Kill(usize),
    Term(usize),
    Join(usize),
    Cut(usize),
    Mend(usize),
    Stop(usize),
    Wake(usize),
    GoAway,
    ComeBack,
    Flush,
    Copy,
    FailOver,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) begin: Instant,
    pub(super) limit: u8,
    pub(super) replicas: usize,
    /// Replicas that there can be at a time.
    pub(super) slots: usize,
    /// Callers of the others want nothing at first.
    pub(super) wants: usize,
    pub(super) ticks: u8,
    /// Questions of a replica in a tick.
    pub(super) asks: u8,
    /// A call takes a place first, and leaves later.
    pub(super) places: bool,
    pub(super) faults: Faults,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct All {
    pub(super) state: State,
    pub(super) left: Faults,
}

pub(super) fn spend(faults: &mut u8) {
    *faults = faults.checked_sub(1).expect("some are left");
}

pub(super) const NONE: Faults = Faults {
    wishes: 0,
    lost: 0,
    late: 0,
    kills: 0,
    terms: 0,
    joins: 0,
    cuts: 0,
    stops: 0,
    aways: 0,
    flushes: 0,
    fail_overs: 0,
};

impl World {
    pub(super) fn new(ticks: u8, faults: Faults) -> Self {
        Self {
            begin: t0(),
            limit: 2,
            replicas: 2,
            slots: 2,
            wants: 1,
            ticks,
            asks: 1,
            places: false,
            faults,
        }
    }

    /// Each that runs was heard, or tried to be.
    pub(super) fn may_tick(&self, state: &State) -> bool {
        let waits = |replica: &Replica| {
            replica.mode == Mode::Runs
                && (replica.asks == 0 || replica.asking.is_some() || replica.inside > 0)
        };
        state.now < self.ticks && !state.replicas.iter().any(waits)
    }

    pub(super) fn actions_of(&self, number: usize, all: &All, actions: &mut Vec<Action>) {
        let All { state, left } = all;
        let replica = &state.replicas[number];
        let mut may = |when: bool, action| actions.extend(when.then_some(action));
        match replica.mode {
            Mode::Gone => return may(left.joins > 0 && !state.away, Action::Join(number)),
            Mode::Stopped => return may(true, Action::Wake(number)),
            Mode::Runs => {}
        }
        let room = replica.wants && state.room(number) > 0;
        may(room && !self.places, Action::Send(number));
        may(room && self.places, Action::Take(number));
        may(replica.inside > 0, Action::Leave(number));
        if let Some(Asking { at, .. }) = &replica.asking {
            // It stood still for longer than it waits.
            may(left.late > 0 || *at < state.now, Action::GiveUp(number));
            may(left.lost > 0, Action::Lose(number));
        } else {
            // At first all are to hear of one another.
            let asks = replica.asks < self.asks + u8::from(state.now == 0);
            // It is told with the next question.
            may(left.wishes > 0 && asks, Action::Wish(number));
            may(asks, Action::Ask(number));
            may(left.terms > 0 && replica.inside == 0, Action::Term(number));
        }
        may(left.kills > 0, Action::Kill(number));
        may(left.cuts > 0 && !replica.cut, Action::Cut(number));
        may(replica.cut, Action::Mend(number));
        may(left.stops > 0 && replica.inside == 0, Action::Stop(number));
    }

    pub(super) fn fault(state: &mut State, left: &mut Faults, action: Action) {
        match action {
            Action::Wish(number) => {
                spend(&mut left.wishes);
                state.replicas[number].wants ^= true;
            }
            Action::Kill(number) => {
                spend(&mut left.kills);
                state.falls_silent(number);
                state.replicas[number].mode = Mode::Gone;
            }
            Action::Term(number) => {
                spend(&mut left.terms);
                state.falls_silent(number);
                state.goes(number);
            }
            Action::Join(number) => {
                spend(&mut left.joins);
                state.joins(number);
            }
            Action::Cut(number) => {
                spend(&mut left.cuts);
                state.falls_silent(number);
                let replica = &mut state.replicas[number];
                (replica.cut, replica.silent) = (true, true);
            }
            Action::Mend(number) => state.replicas[number].cut = false,
            Action::Stop(number) => {
                spend(&mut left.stops);
                state.falls_silent(number);
                state.replicas[number].mode = Mode::Stopped;
            }
            Action::Wake(number) => state.replicas[number].mode = Mode::Runs,
            Action::GoAway => {
                spend(&mut left.aways);
                state.away = true;
            }
            Action::ComeBack => state.comes_back(),
            Action::Flush => {
                spend(&mut left.flushes);
                state.flushed();
            }
            Action::Copy => {
                spend(&mut left.fail_overs);
                state.copied();
            }
            Action::FailOver => state.fails_over(),
            Action::Tick
            | Action::Ask(_)
            | Action::Arrive(_)
            | Action::Hear(_)
            | Action::GiveUp(_)
            | Action::Lose(_)
            | Action::Take(_)
            | Action::Leave(_)
            | Action::Send(_) => {}
        }
    }
}
