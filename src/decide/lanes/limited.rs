//! Whose limit a 429 speaks of, when there may be several tokens to try it under.
//! It never holds up the last token for one family's sake.

use std::time::Instant;

use super::{Lane, Lanes, Spot, State};
use crate::decide::{
    blame::{Blame, Doubt, Suspect, longer_than},
    budget::Before,
};

/// Families that go on under another token at once.
const MOST_MOVED: usize = 16;

/// A call was refused under one of several tokens, and goes on under another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    lane: Lane,
    suspect: Suspect,
    until: Instant,
    /// That token's budget before any was.
    before: Before,
}

/// Whose limit a 429 spoke of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// That of the one that is suspected.
    Suspect(Doubt),
    /// The token's, which is held up.
    Token {
        /// This other one was blamed before, wrongly.
        instead_of: Option<Suspect>,
        /// It came below our own count, which is news: others use the rest.
        bent: bool,
    },
}

impl Lanes {
    /// Upstream said 429, perhaps because of this suspect, which is `held` up already or not: what is
    /// to blame. The token's budget is held up when it is.
    /// `None` when the token has been replaced since.
    pub fn limited(
        &mut self,
        spot: Spot,
        (suspect, held): (Suspect, bool),
        (now, until): (Instant, Instant),
    ) -> Option<Whose> {
        let window = self.allowance.window;
        if spot.generation != self.lane(spot.lane).generation {
            return None;
        }
        if held && !self.more.is_empty() {
            return Some(Whose::Suspect(Doubt::Known));
        }
        if self.moves(spot, suspect, now, until) {
            self.lane(spot.lane).budget.pause(until);
            return Some(Whose::Token { instead_of: None, bent: false });
        }
        let state = self.lane(spot.lane);
        if state.budget.paused_until().is_some_and(|paused| now < paused)
            && !longer_than(window, now, until)
        {
            // It was on its way when the token was held up.
            state.budget.refused(false);
            let bent = state.budget.limited(now, until);
            return Some(Whose::Token { instead_of: None, bent });
        }
        state.budget.refused(state.suspicion.is_none());
        Some(match state.suspicion.limited(suspect, window, now, until) {
            Blame::Suspect(doubt) => Whose::Suspect(doubt),
            Blame::Token(other) => {
                let bent = state.budget.limited(now, until);
                Whose::Token { instead_of: Some(other), bent }
            }
        })
    }

    /// There is another token to try it under: it is this one's limit until that one is refused,
    /// too.
    fn moves(&mut self, spot: Spot, suspect: Suspect, now: Instant, until: Instant) -> bool {
        if self.more.is_empty() || longer_than(self.allowance.window, now, until) {
            return false;
        }
        self.moved.retain(|moved| moved.until > now);
        let known = self.moved.iter().position(|moved| moved.suspect == suspect);
        let known = known.map(|known| self.moved.swap_remove(known));
        match known {
            Some(moved) if moved.lane != spot.lane => {
                // Refused under two: the first was not to blame, or not for this.
                let others = self.moved.iter().filter(|other| other.lane == moved.lane);
                let still = others.map(|other| other.until).max();
                let budget = &mut self.lane(moved.lane).budget;
                budget.undo(moved.before);
                if let Some(until) = still {
                    budget.pause(until);
                }
                false
            }
            // The last one must not be held up for a family alone.
            Some(_) | None if !self.another_open(spot.lane, now) => false,
            Some(_) | None => {
                self.moved.truncate(MOST_MOVED - 1);
                let others = self.moved.iter().find(|other| other.lane == spot.lane);
                let before = known.as_ref().or(others).map(|moved| moved.before);
                let before = before.unwrap_or_else(|| self.lane(spot.lane).budget.before());
                self.moved.push(Moved { lane: spot.lane, suspect, until, before });
                true
            }
        }
    }

    /// Some other token is there and not held up.
    fn another_open(&self, lane: Lane, now: Instant) -> bool {
        let open = |state: &State| {
            state.usable && state.budget.paused_until().is_none_or(|until| until <= now)
        };
        self.all().enumerate().any(|(number, state)| Lane(number) != lane && open(state))
    }

    /// A call that left at `sent` was not refused.
    pub fn passed(&mut self, lane: Lane, sent: Instant) {
        self.lane(lane).suspicion.passed(sent);
    }

    /// Some 429 may yet turn out to be a token's: answers are to be looked at.
    pub fn suspicious(&self) -> bool {
        self.all().any(|state| !state.suspicion.is_none())
    }
}
