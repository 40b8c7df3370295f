//! What must be so in every state.
//! It never changes the state that it looks at.

use super::world::{GUESSED, KEPT, Mode, State, WINDOW, sum};
use crate::decide::joint::shares;

/// More ticks than anything takes that nothing disturbs: a part rests until nothing of it can be in
/// the window, and what was lost is waited for.
const TICKS: u8 = KEPT + WINDOW + 4;

impl State {
    /// What is in the window, and what could leave now besides.
    fn most(&self) -> u8 {
        let could = (0..self.replicas.len()).map(|number| {
            let replica = &self.replicas[number];
            match replica.mode {
                Mode::Gone => 0,
                Mode::Runs | Mode::Stopped if replica.excused => 0,
                Mode::Runs | Mode::Stopped => self.room(number) + replica.inside,
            }
        });
        let counted: u8 = self.replicas.iter().map(|replica| sum(replica.counted)).sum();
        could.sum::<u8>() + counted + sum(self.rest)
    }

    pub(super) fn is_within(&self) -> bool {
        self.most() <= self.limit + self.moved.0
    }

    /// Who was cut off for longer than its part was kept has an even part at most; who was never told
    /// how many there are, one of as many as are guessed.
    pub(super) fn is_even_alone(&self) -> bool {
        let lives = (0..self.replicas.len()).filter(|n| self.replicas[*n].mode != Mode::Gone);
        lives.into_iter().all(|number| {
            let replica = &self.replicas[number];
            let parts = match replica.seen {
                0 => GUESSED,
                _ if replica.silent && self.has_lapsed(number) => replica.part.replicas(),
                _ => 1,
            };
            usize::from(self.cap(number)) <= (usize::from(self.limit) / parts).max(1)
        })
    }

    /// Every cap is what it should be, and all of the limit is somebody's.
    fn is_settled(&self) -> bool {
        let wanted = self.wanted();
        let wishes: Vec<_> = wanted.values().map(|(_, wishes)| wishes.as_slice()).collect();
        let caps = shares::caps(u64::from(self.limit), &wishes);
        wanted.values().zip(caps).all(|((number, _), cap)| u64::from(self.cap(*number)) == cap)
    }

    /// With no more faults all ends well.
    pub(super) fn settles(&self) -> bool {
        let mut state = self.clone();
        if state.away {
            state.comes_back();
        }
        while !state.messages.is_empty() {
            state.arrives(0);
        }
        for number in 0..state.replicas.len() {
            let replica = &mut state.replicas[number];
            replica.cut = false;
            for _ in 0..std::mem::take(&mut replica.inside) {
                replica.sent[0] += 1;
            }
            if replica.mode == Mode::Stopped {
                replica.mode = Mode::Runs;
            }
            match replica.asking.as_ref().map(|asking| asking.answer.is_some()) {
                Some(true) => state.hears(number),
                Some(false) => state.gives_up(number),
                None => {}
            }
        }
        for _ in 0..TICKS {
            for _ in 0..2 {
                state.round();
            }
            if state.is_settled() {
                return true;
            }
            state.tick();
        }
        false
    }

    fn round(&mut self) {
        for number in 0..self.replicas.len() {
            if self.replicas[number].mode == Mode::Runs {
                self.asks(number);
                self.arrives(0);
                self.hears(number);
            }
        }
    }
}
