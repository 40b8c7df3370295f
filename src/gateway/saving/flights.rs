//! Calls on their way for several callers: who waits for which, and what becomes of them.
//! It never lets one go on that nobody waits for, and never gives anybody an answer that was asked
//! for before a write ended that the caller may know of.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Saved, Saving, Wish,
    kept::{Begun, Entry},
    whole::Whole,
};
use crate::{
    decide::{
        failure::Failure,
        saving::{Ask, Identity, Origin, keepable, replaces},
        turns::Standing,
    },
    telemetry::access_log::Record,
};

/// All of them.
#[derive(Debug, Default)]
pub struct Flights(Mutex<HashMap<Identity, Arc<Flight>>>);

/// One of them.
#[derive(Debug)]
struct Flight {
    identity: Identity,
    begun: Begun,
    state: watch::Sender<State>,
    /// Callers who wait; changed under the lock only.
    waiting: AtomicUsize,
    /// Nobody waits any longer.
    abandoned: CancellationToken,
    /// Nobody's: its first caller has left.
    orphan: AtomicBool,
}

/// How far it is.
#[derive(Debug, Clone)]
enum State {
    InLine,
    Sent,
    Landed(Landed),
}

/// How it ended, and what it cost.
#[derive(Debug, Clone)]
pub struct Landed {
    /// What there is for everybody.
    pub outcome: Outcome,
    /// For the line of whoever's call it was.
    pub tally: Tally,
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
    fn lock(&self) -> MutexGuard<'_, HashMap<Identity, Arc<Flight>>> {
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
            && self.writes.none_since(flight.begun.writes, &wish.marks)
        {
            return Found::Flying(Waiter::new(self, flight, false));
        }
        // One may have landed since: it is put in before it is taken out of here.
        if let Some(saved) = self.kept(wish, now) {
            return Found::Kept(saved);
        }
        if self.room.full() {
            return Found::Full;
        }
        let flight = Arc::new(Flight {
            identity: wish.identity.clone(),
            begun: Begun { at: now, writes: self.writes.so_far() },
            state: watch::Sender::new(State::InLine),
            waiting: AtomicUsize::new(0),
            abandoned: CancellationToken::new(),
            orphan: AtomicBool::new(false),
        });
        flying.insert(wish.identity.clone(), Arc::clone(&flight));
        Found::Nobody(Waiter::new(self, &flight, true))
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

/// A caller who waits for a call, until it leaves.
#[derive(Debug)]
pub struct Waiter {
    saving: Arc<Saving>,
    flight: Arc<Flight>,
    first: bool,
}

impl Waiter {
    /// Under the lock.
    fn new(saving: &Arc<Saving>, flight: &Arc<Flight>, first: bool) -> Self {
        flight.waiting.fetch_add(1, Ordering::Relaxed);
        Self { saving: Arc::clone(saving), flight: Arc::clone(flight), first }
    }

    /// What it waits in.
    pub fn saving(&self) -> &Saving {
        &self.saving
    }

    /// For the task that sends the call.
    pub fn ticket(&self) -> Ticket {
        let (saving, flight) = (Arc::clone(&self.saving), Arc::clone(&self.flight));
        Ticket { saving, flight, landed: false }
    }

    /// The call waits for its turn still.
    pub fn in_line(&self) -> bool {
        matches!(*self.flight.state.borrow(), State::InLine)
    }

    /// Until it does not.
    pub async fn sent(&self) {
        let mut state = self.flight.state.subscribe();
        // The sender lives in the flight, so it is never gone.
        let _ = state.wait_for(|state| !matches!(state, State::InLine)).await;
    }

    /// How it ended.
    pub async fn landed(&self) -> Landed {
        let mut state = self.flight.state.subscribe();
        match state.wait_for(|state| matches!(state, State::Landed(_))).await.as_deref() {
            Ok(State::Landed(landed)) => landed.clone(),
            Ok(State::InLine | State::Sent) | Err(_) => Landed::broken(),
        }
    }

    /// Whose call it was: its first caller's, or once that has left anybody's, but one.
    pub fn claim(&self) -> bool {
        self.first || self.flight.orphan.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let over = matches!(*self.flight.state.borrow(), State::Landed(_));
        if self.first && !over {
            self.flight.orphan.store(true, Ordering::Relaxed);
        }
        let mut flying = self.saving.flights.lock();
        if self.flight.waiting.fetch_sub(1, Ordering::Relaxed) == 1 && !over {
            take_out(&mut flying, &self.flight);
            self.flight.abandoned.cancel();
        }
    }
}

/// Another call may have taken its place, for a caller who wanted a fresh answer.
fn take_out(flying: &mut HashMap<Identity, Arc<Flight>>, flight: &Arc<Flight>) {
    if let Slot::Occupied(slot) = flying.entry(flight.identity.clone())
        && Arc::ptr_eq(slot.get(), flight)
    {
        slot.remove();
    }
}

impl Landed {
    /// The task has ended without an outcome: it panicked, or its worker is over.
    fn broken() -> Self {
        Self { outcome: Outcome::Failed(Failure::UpstreamBroken), tally: Tally::default() }
    }
}

/// The task's side. Dropped, whoever waits is told that nothing comes.
#[derive(Debug)]
pub struct Ticket {
    saving: Arc<Saving>,
    flight: Arc<Flight>,
    landed: bool,
}

impl Ticket {
    /// What it flies for.
    pub fn saving(&self) -> &Arc<Saving> {
        &self.saving
    }

    /// Resolves when nobody waits any longer.
    pub fn abandoned(&self) -> CancellationToken {
        self.flight.abandoned.clone()
    }

    /// Its turn has come.
    pub fn sent(&self) {
        self.flight.state.send_replace(State::Sent);
    }

    /// There is an answer for everybody, kept for `life` if it may be.
    pub fn land(mut self, whole: Whole, body: Bytes, life: Option<Duration>, tally: Tally) {
        let (status, whole) = (whole.parts.status, Arc::new(whole));
        let Flight { identity, begun, .. } = &*self.flight;
        let stored = life.filter(|_| keepable(status, &whole.parts.headers));
        let mut flying = self.saving.flights.lock();
        match stored {
            Some(life) => {
                let entry = Entry { whole: Arc::clone(&whole), begun: *begun, life };
                self.saving.kept.put(identity.clone(), entry);
            }
            None if replaces(status) => self.saving.kept.forget(identity, *begun),
            None => {}
        }
        take_out(&mut flying, &self.flight);
        drop(flying);
        let outcome = Outcome::Whole { whole, body, stored: stored.is_some() };
        self.tell(Landed { outcome, tally });
    }

    /// There is none.
    pub fn end(mut self, outcome: Outcome, tally: Tally) {
        take_out(&mut self.saving.flights.lock(), &self.flight);
        self.tell(Landed { outcome, tally });
    }

    fn tell(&mut self, landed: Landed) {
        self.landed = true;
        self.flight.state.send_replace(State::Landed(landed));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.landed {
            take_out(&mut self.saving.flights.lock(), &self.flight);
            self.tell(Landed::broken());
        }
    }
}
