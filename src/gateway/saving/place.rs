//! A place in line for a call that several want, and the call on its way from there.
//! It never sends the call when it has left in another turn, and never ends without a word.

use std::{future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Saving,
    flights::{Flight, Landed, Outcome, Tally, take_out},
    kept::{Begun, Entry},
    whole::Whole,
};
use crate::decide::{
    course,
    failure::Failure,
    saving::{keepable, replaces},
};

/// A place in line for the call, with the task that stands there. Dropped, it is given up; if the
/// call had left, whoever waits is told that nothing comes.
#[derive(Debug)]
pub struct Place {
    saving: Arc<Saving>,
    flight: Arc<Flight>,
    at: course::Place,
}

impl Place {
    pub(super) fn new(saving: Arc<Saving>, flight: Arc<Flight>, at: course::Place) -> Self {
        Self { saving, flight, at }
    }

    /// What it stands for.
    pub fn saving(&self) -> &Arc<Saving> {
        &self.saving
    }

    /// Resolves when there is nothing to stand for any longer: another turn came first, or nobody
    /// waits.
    pub fn over(&self) -> impl Future<Output = ()> + use<> {
        let (mut state, place) = (self.flight.state.subscribe(), self.at);
        let abandoned = self.flight.abandoned.clone();
        async move {
            let other = state.wait_for(|state| state.landed.is_some() || state.course.over(place));
            abandoned.run_until_cancelled(other).await;
        }
    }

    /// The call has left in this turn.
    pub fn left(&self) -> bool {
        let state = self.flight.state.borrow();
        state.course.sent() && !state.course.over(self.at)
    }

    /// Its turn has come, and the call leaves. Never returns if it has left in another one.
    pub async fn leaves(&self) {
        // Read first: whatever is written from here on, the answer may not know of.
        let begun = Begun { at: Instant::now(), writes: self.saving.writes.so_far() };
        let mut leaves = false;
        self.flight.state.send_if_modified(|state| {
            let before = state.course.sent();
            leaves = state.course.leaves(self.at);
            let now = leaves && !before;
            if now {
                state.begun = begun;
            }
            now
        });
        if !leaves {
            pending::<()>().await;
        }
    }

    /// It must go once more, and stands in line for its `turn`.
    pub fn returns(&self, turn: Instant) {
        self.flight.course(|course| (course.returns(self.at, turn.into_std()), true));
    }

    /// It is given up: the others go on without it.
    pub fn quits(&self) {
        self.flight.course(|course| ((), course.quits(self.at)));
    }

    /// There is an answer for everybody, kept for `life` if it may be.
    pub fn land(
        &self,
        whole: Whole,
        body: Bytes,
        life: Option<Duration>,
        (tally, patience): (Tally, Instant),
    ) {
        let (status, whole) = (whole.parts.status, Arc::new(whole));
        let identity = &self.flight.identity;
        let begun = self.flight.state.borrow().begun;
        let stored = life.filter(|_| keepable(status, &whole.parts.headers));
        let mut flying = self.saving.flights.lock();
        match stored {
            Some(life) => {
                let entry = Entry { whole: Arc::clone(&whole), begun, life };
                self.saving.kept.put(identity.clone(), entry);
            }
            None if replaces(status) => self.saving.kept.forget(identity, begun),
            None => {}
        }
        take_out(&mut flying, &self.flight);
        drop(flying);
        let outcome = Outcome::Whole { whole, body, stored: stored.is_some() };
        self.tell(Landed { outcome, tally, patience });
    }

    /// There is none.
    pub fn end(&self, outcome: Outcome, (tally, patience): (Tally, Instant)) {
        take_out(&mut self.saving.flights.lock(), &self.flight);
        self.tell(Landed { outcome, tally, patience });
    }

    fn tell(&self, landed: Landed) {
        self.flight.state.send_if_modified(|state| {
            let first = state.landed.is_none();
            state.landed.get_or_insert(landed);
            first
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ended = self.flight.state.borrow().landed.is_some();
        if self.left() && !ended {
            // The task has ended without an outcome: it panicked, or its worker is over.
            let broken = Outcome::Failed(Failure::UpstreamBroken);
            self.end(broken, (Tally::default(), Instant::now()));
        } else if !ended {
            self.quits();
        }
    }
}
