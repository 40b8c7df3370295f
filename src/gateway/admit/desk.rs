//! One worker's slice of the budget: places in hand, so that workers do not meet at its lock.
//! It never goes past a line or a pause, and never holds a place that somebody misses: slices are
//! given far from the limit only, and recalled when it is reached.
//!
//! What is in hand is taken in the budget, so the total is exact at every moment. Calls that left
//! from it are counted there when it is filled again, or at the worker's next tick: a little later
//! than they left, so they are held a little longer, never shorter.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant as StdInstant,
};

use tokio::time::Instant;

use super::{Admission, Asking, Locked, Permit, Place, Turn};
use crate::decide::{
    callers::Principal,
    lanes::{Lane, Spot},
    queue::Tickets,
    turns::{Grant, Standing},
};

/// Places taken at once: one look at the budget for so many requests. More would only be dead
/// capital.
const SLICE: u32 = 64;

/// A worker's way to the budget.
#[derive(Debug)]
pub struct Desk {
    admission: Arc<Admission>,
    slice: Mutex<Slice>,
    in_flight: AtomicUsize,
}

#[derive(Debug, Default)]
struct Slice {
    /// Whose budget it is a part of.
    spot: Spot,
    places: u32,
    /// Calls that left from it and are not counted in the budget yet.
    left: u32,
    tickets: Tickets,
    /// Whose calls came, when other replicas are to know: of a worker, a few callers.
    came: Vec<(Principal, u32)>,
    /// Its places are others' from then on, unless the store is asked before.
    until: Option<StdInstant>,
    /// As it was when the slice was taken: far from the limit nobody counts single calls.
    standing: Option<Standing>,
}

impl Slice {
    fn comes(&mut self, principal: Principal) {
        match self.came.iter_mut().find(|(known, _)| *known == principal) {
            Some((_, calls)) => *calls += 1,
            None => self.came.push((principal, 1)),
        }
    }

    fn told(&mut self, state: &mut Locked<'_>, now: StdInstant) {
        for (principal, calls) in self.came.drain(..) {
            state.came(principal, calls, now);
        }
    }
}

impl Desk {
    /// With nothing in hand.
    pub fn new(admission: &Arc<Admission>) -> Arc<Self> {
        let desk = Arc::new(Self {
            admission: Arc::clone(admission),
            slice: Mutex::default(),
            in_flight: AtomicUsize::new(0),
        });
        admission.desks().push(Arc::downgrade(&desk));
        desk
    }

    /// A turn, asked for `now`: from the slice while there is nobody to meet.
    pub async fn admit(self: &Arc<Self>, now: Instant, asking: &Asking<'_>) -> Turn {
        match self.take(now, asking.asker.principal) {
            Some(grant) => Ok(Permit::new(Place::Slice(Arc::clone(self)), grant)),
            None => Box::pin(self.admission.admit(now, asking, None)).await,
        }
    }

    /// Counts what has left, and gives back what was not used: the worker's sweeper calls it.
    pub fn settle(&self) {
        self.put_back(&mut self.slice(), Instant::now());
    }

    fn put_back(&self, slice: &mut Slice, now: Instant) {
        if slice.places > 0 || slice.left > 0 {
            let (now, mut state) = (now.into_std(), self.admission.state());
            state.lanes().leave(slice.left, slice.spot, now);
            state.lanes().give_back(slice.places, slice.spot.lane, now);
            (slice.left, slice.places) = (0, 0);
            slice.told(&mut state, now);
            drop(state);
            self.admission.wake.notify_one();
        }
    }

    pub(super) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    pub(super) fn in_flight(&self) -> &AtomicUsize {
        &self.in_flight
    }

    /// A call leaves whose place came from the slice. Returns its number, if there is one.
    pub(super) fn left(&self, spot: Spot, now: Instant) -> u64 {
        let mut slice = self.slice();
        if slice.spot == spot {
            slice.left += 1;
            return 0;
        }
        drop(slice);
        self.admission.left(&[], spot, now)
    }

    /// A call whose place came from the slice will not leave.
    pub(super) fn give_back(&self, lane: Lane) {
        self.admission.give_back(&[], lane);
    }

    fn take(&self, now: Instant, principal: Principal) -> Option<Grant> {
        if self.admission.busy.load(Ordering::Relaxed) {
            return None;
        }
        let mut slice = self.slice();
        if slice.until.is_some_and(|until| until <= now.into_std()) {
            self.put_back(&mut slice, now);
        }
        if slice.places == 0 {
            self.fill(&mut slice, now);
        }
        slice.places = slice.places.checked_sub(1)?;
        if self.admission.joint.get().is_some() {
            slice.comes(principal);
        }
        let ticket = slice.tickets.next()?;
        let (spot, standing) = (slice.spot, slice.standing);
        Some(Grant { ticket, spot, gates: Vec::new(), standing })
    }

    fn fill(&self, slice: &mut Slice, now: Instant) {
        let now = now.into_std();
        let mut state = self.admission.state();
        state.lanes().leave(slice.left, slice.spot, now);
        slice.left = 0;
        slice.told(&mut state, now);
        if !state.is_calm() {
            return;
        }
        if let Some(spot) = state.lanes().take_slice(SLICE, now) {
            self.admission.sliced.store(true, Ordering::Relaxed);
            slice.spot = spot;
            slice.until = state.lanes().until(spot.lane);
            slice.places = SLICE;
            slice.tickets = state.tickets(SLICE);
            slice.standing = state.standing_of_all(now);
        }
    }

    fn slice(&self) -> MutexGuard<'_, Slice> {
        self.slice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
