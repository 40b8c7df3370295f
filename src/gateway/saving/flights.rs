//! Calls on their way for several callers: who waits for which, and what becomes of them.
//! It never lets one go on that nobody waits for, and never gives anybody an answer that was asked
//! for before a write ended that the caller may know of.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Saved, Saving, Wish,
    kept::{Begun, Entry},
    place::Place,
    whole::Whole,
};
use crate::{
    decide::{
        course::{self, Course, Next, Share, Terms},
        failure::Failure,
        saving::{Ask, Identity, Origin},
        turns::Standing,
    },
    telemetry::access_log::Record,
};

/// All of them.
#[derive(Debug, Default)]
pub struct Flights(Mutex<HashMap<Identity, Arc<Flight>>>);

/// One of them.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) identity: Identity,
    pub(super) state: watch::Sender<State>,
    /// Callers who wait; changed under the lock only.
    waiting: AtomicUsize,
    /// Nobody waits any longer.
    pub(super) abandoned: CancellationToken,
}

/// How far it is.
#[derive(Debug)]
pub(super) struct State {
    pub(super) course: Course,
    /// When it left; before, when it was wanted first.
    pub(super) begun: Begun,
    pub(super) landed: Option<Landed>,
}

/// How it ended, and what it cost.
#[derive(Debug, Clone)]
pub struct Landed {
    /// What there is for everybody.
    pub outcome: Outcome,
    /// For the line of whoever's call it was.
    pub tally: Tally,
    /// Until when it would have waited for another turn.
    pub patience: Instant,
}

/// What there is for everybody.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// An answer.
    Whole {
        /// Its head.
        whole: Arc<Whole>,
        /// Its body, with its place in the room.
        body: Bytes,
        /// It is kept now.
        stored: bool,
    },
    /// None, for the same reason.
    Failed(Failure),
    /// Nothing: the answer is for one caller only.
    Alone,
}

/// What a call cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    attempts: u32,
    replayed: bool,
    queue: Duration,
    token: Duration,
    upstream: Duration,
    standing: Option<Standing>,
}

impl Tally {
    /// As a record has it.
    pub fn of(record: &Record) -> Self {
        let Record { attempts, replayed, queue, token, upstream, standing, .. } = *record;
        Self { attempts, replayed, queue, token, upstream, standing }
    }

    /// What a call cost that went out for somebody else: what is left is not the same for both.
    pub fn of_another(self) -> Self {
        Self { standing: None, ..self }
    }

    /// Into the record of whoever's call it was.
    pub fn write(self, record: &mut Record) {
        let Self { attempts, replayed, queue, token, upstream, standing } = self;
        record.attempts += attempts;
        record.replayed |= replayed;
        record.queue += queue;
        record.token += token;
        record.upstream = upstream;
        record.standing = standing;
    }
}

/// What there is for a wish.
pub enum Found {
    /// A kept answer.
    Kept(Box<Saved>),
    /// A call on its way.
    Flying(Waiter),
    /// Neither: now there is a call to be sent.
    Nobody(Waiter),
    /// Neither, and no room for one more answer.
    Full,
}

impl Flights {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Identity, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Saving {
    /// What there is for this wish.
    pub fn look(self: &Arc<Self>, wish: &Wish, now: Instant) -> Found {
        if let Some(saved) = self.kept(wish, now) {
            return Found::Kept(saved);
        }
        let mut flying = self.flights.lock();
        if let (Ask::Any { .. }, Some(flight)) = (wish.ask, flying.get(&wish.identity))
            && flight.answers(|writes| self.writes.none_since(writes, &wish.marks))
        {
            return Found::Flying(Waiter::new(self, flight, None));
        }
        // One may have landed since: it is put in before it is taken out of here.
        if let Some(saved) = self.kept(wish, now) {
            return Found::Kept(saved);
        }
        if self.room.full() {
            return Found::Full;
        }
        let begun = Begun { at: now, writes: self.writes.so_far() };
        let course = Course::new(now.into_std());
        let flight = Arc::new(Flight {
            identity: wish.identity.clone(),
            state: watch::Sender::new(State { course, begun, landed: None }),
            waiting: AtomicUsize::new(0),
            abandoned: CancellationToken::new(),
        });
        flying.insert(wish.identity.clone(), Arc::clone(&flight));
        Found::Nobody(Waiter::new(self, &flight, Some(Course::FIRST)))
    }

    fn kept(&self, wish: &Wish, now: Instant) -> Option<Box<Saved>> {
        let (Ask::Any { max_age }, Some(_)) = (wish.ask, wish.life) else { return None };
        let good = |entry: &Entry| {
            entry.origin(now).is_some() && self.writes.none_since(entry.begun.writes, &wish.marks)
        };
        let entry = self.kept.get(&wish.identity, good)?;
        let origin = entry.origin(now)?;
        let Origin::Kept { age, .. } = origin else { return None };
        let young = max_age.is_none_or(|most| age <= most);
        let whole = Arc::clone(&entry.whole);
        young.then(|| Box::new(Saved { body: whole.body.clone(), whole, origin }))
    }
}

impl Flight {
    /// Its answer will do for one who comes now: it has not left, or there were no writes since.
    fn answers(&self, none_since: impl FnOnce(u64) -> bool) -> bool {
        let state = self.state.borrow();
        !state.course.sent() || none_since(state.begun.writes)
    }

    /// Changes its course. Everybody is told who waits, if that is said.
    pub(super) fn course<R>(&self, change: impl FnOnce(&mut Course) -> (R, bool)) -> R {
        let mut result = None;
        self.state.send_if_modified(|state| {
            let (value, tell) = change(&mut state.course);
            result = Some(value);
            tell
        });
        result.expect("it was called, once")
    }
}

/// A caller who waits for a call, until it leaves.
#[derive(Debug)]
pub struct Waiter {
    saving: Arc<Saving>,
    flight: Arc<Flight>,
    /// Its latest place in line, if it ever had one.
    place: Option<course::Place>,
}

impl Waiter {
    /// Under the lock.
    fn new(saving: &Arc<Saving>, flight: &Arc<Flight>, place: Option<course::Place>) -> Self {
        flight.waiting.fetch_add(1, Ordering::Relaxed);
        Self { saving: Arc::clone(saving), flight: Arc::clone(flight), place }
    }

    /// The call is its own: nobody else had begun it.
    pub fn began(&self) -> bool {
        self.place == Some(Course::FIRST)
    }

    /// Its place, for the task that stands in line. `turn` is when that will come.
    pub fn first(&self, turn: Instant, deadline: Instant) -> Place {
        let (turn, deadline) = (turn.into_std(), deadline.into_std());
        self.flight.course(|course| ((), course.expect(Course::FIRST, turn, deadline)));
        self.at(Course::FIRST)
    }

    /// What it does now that has no place: it waits until then, or takes one.
    pub fn next(&mut self, now: Instant, terms: Terms) -> Result<Option<Instant>, Place> {
        match self.flight.course(|course| (course.next(now.into_std(), terms), false)) {
            Next::Sent => Ok(None),
            Next::Wait(until) => Ok(Some(Instant::from_std(until))),
            Next::Stand(place) => {
                self.place = Some(place);
                Err(self.at(place))
            }
        }
    }

    fn at(&self, at: course::Place) -> Place {
        Place::new(Arc::clone(&self.saving), Arc::clone(&self.flight), at)
    }

    /// Changes of what there is to wait for, from now on.
    pub fn news(&self) -> News {
        News(self.flight.state.subscribe())
    }

    /// It is on its way.
    pub fn sent(&self) -> bool {
        self.flight.state.borrow().course.sent()
    }

    /// It is on its way, or will be in time for one who waits until `deadline`.
    pub fn hopes(&self, now: Instant, deadline: Instant) -> bool {
        let state = self.flight.state.borrow();
        let soon = || state.course.soon(now.into_std(), deadline.into_std()).is_some();
        state.landed.is_some() || state.course.sent() || soon()
    }

    /// How it ended, if it has.
    pub fn landed(&self) -> Option<Landed> {
        self.flight.state.borrow().landed.clone()
    }

    /// Whose call it was.
    pub fn claim(&self) -> Share {
        self.flight.course(|course| (course.claim(self.place), false))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let over = self.flight.state.borrow().landed.is_some();
        if let Some(place) = self.place
            && !over
        {
            self.flight.course(|course| (course.left(place), false));
        }
        let mut flying = self.saving.flights.lock();
        if self.flight.waiting.fetch_sub(1, Ordering::Relaxed) == 1 && !over {
            take_out(&mut flying, &self.flight);
            self.flight.abandoned.cancel();
        }
    }
}

/// What there is to wait for has changed.
#[derive(Debug)]
pub struct News(watch::Receiver<State>);

impl News {
    /// Once more.
    pub async fn next(&mut self) {
        // The sender lives in the flight, so it is never gone.
        drop(self.0.changed().await);
    }
}

/// Another call may have taken its place, for a caller who wanted a fresh answer.
pub(super) fn take_out(flying: &mut HashMap<Identity, Arc<Flight>>, flight: &Arc<Flight>) {
    if let Slot::Occupied(slot) = flying.entry(flight.identity.clone())
        && Arc::ptr_eq(slot.get(), flight)
    {
        slot.remove();
    }
}
