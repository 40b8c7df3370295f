//! A request's turn: at once when the budget has room, else in line, else a 429 with the truth.
//! It never loses a place: whoever leaves, at whatever moment, gives back what it held.

mod desk;
mod toll;

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant as StdInstant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::RateLimit,
    decide::{
        failure::Failure,
        freshness::Generation,
        lanes::{Lane, Lanes, Spot},
        queue::{Full, Queue, Ticket},
    },
    token::Tokens,
};

pub use desk::Desk;
pub use toll::Toll;

/// The right to send one request. Dropped unspent, it goes to the next in line; spent, it is kept
/// until the last byte of the answer: a slow download is still load.
#[derive(Debug)]
pub struct Permit {
    from: Place,
    /// Where its request stands when it has to come back.
    pub ticket: Ticket,
    /// How long its turn took to come.
    pub waited: Duration,
    spot: Spot,
    spent: bool,
}

/// Where a permit's place in the budget comes from.
#[derive(Debug)]
enum Place {
    Budget(Arc<Admission>),
    Slice(Arc<Desk>),
}

impl Place {
    fn admission(&self) -> &Arc<Admission> {
        match self {
            Self::Budget(admission) => admission,
            Self::Slice(desk) => desk.admission(),
        }
    }

    fn in_flight(&self) -> &AtomicUsize {
        match self {
            Self::Budget(admission) => &admission.in_flight,
            Self::Slice(desk) => desk.in_flight(),
        }
    }
}

impl Permit {
    fn new(from: Place, ticket: Ticket, spot: Spot) -> Self {
        from.in_flight().fetch_add(1, Ordering::Relaxed);
        Self { from, ticket, waited: Duration::ZERO, spot, spent: false }
    }

    /// The request leaves now: the place in the budget is used up, and counted from now.
    pub fn spend(&mut self, now: Instant) {
        if !self.spent {
            self.spent = true;
            match &self.from {
                Place::Budget(admission) => admission.left(self.spot, now),
                Place::Slice(desk) => desk.left(self.spot, now),
            }
        }
    }

    /// The request may have arrived, and goes out once more: a call like any other.
    pub fn again(&self) {
        self.from.admission().again(self.spot.lane);
    }

    /// The token it will be signed with. One granted under an older token counts for this one.
    pub fn bind(&mut self, generation: Generation) {
        if self.spot.generation != generation {
            self.spot.generation = generation;
            self.from.admission().seen(self.spot);
            if self.spent {
                self.again();
            }
        }
    }

    /// Whose budget it counts against.
    pub fn spot(&self) -> Spot {
        self.spot
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.from.in_flight().fetch_sub(1, Ordering::Relaxed);
        if !self.spent {
            match &self.from {
                Place::Budget(admission) => admission.give_back(self.spot.lane),
                Place::Slice(desk) => desk.give_back(self.spot.lane),
            }
        }
    }
}

type Waiter = oneshot::Sender<Result<Permit, Failure>>;

enum Stood {
    Granted(Permit),
    InLine(Ticket, oneshot::Receiver<Result<Permit, Failure>>),
}

#[derive(Debug)]
struct State {
    lanes: Lanes,
    queue: Queue<Waiter>,
}

/// The tokens' budgets and the line before them, shared by all workers.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
    /// Something changed that the pacer must look at.
    wake: Notify,
    /// Permits that are no desk's.
    in_flight: AtomicUsize,
    desks: Mutex<Vec<Weak<Desk>>>,
    /// Somebody stands in line, or all wait for a pause to end: nobody may go past them.
    line: AtomicBool,
    /// The allowance is large enough to be cut: some desk may hold places.
    sliced: AtomicBool,
    /// There is a limit of our own; without one nothing needs counting.
    limited: bool,
}

/// The state, locked. When it is let go, what is read without the lock is true again.
struct Locked<'a> {
    state: MutexGuard<'a, State>,
    line: &'a AtomicBool,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let line = !self.state.queue.is_empty() || self.state.lanes.paused();
        // Read first: a store would bounce the cache line between workers on every look.
        if self.line.load(Ordering::Relaxed) != line {
            self.line.store(line, Ordering::Relaxed);
        }
    }
}

impl Admission {
    /// Starts the pacer, which ends when `stop` is cancelled. `tokens` is how many there are.
    pub fn spawn(
        limit: RateLimit,
        tokens: usize,
        tasks: &TaskTracker,
        runtime: &Handle,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let now = Instant::now().into_std();
        let admission = Arc::new(Self {
            state: Mutex::new(State {
                lanes: Lanes::new(tokens, limit.requests_per_minute, limit.window, now),
                queue: Queue::new(limit.max_queue),
            }),
            wake: Notify::new(),
            in_flight: AtomicUsize::new(0),
            desks: Mutex::default(),
            line: AtomicBool::new(false),
            sliced: AtomicBool::new(false),
            limited: limit.requests_per_minute.is_some(),
        });
        let pacer = Arc::clone(&admission);
        tasks.spawn_on(
            async move {
                stop.run_until_cancelled(pacer.pace()).await;
            },
            runtime,
        );
        admission
    }

    /// A turn before `deadline`, asked for `now`. `ticket` is the place of a request that comes
    /// back.
    pub async fn admit(
        self: &Arc<Self>,
        now: Instant,
        deadline: Instant,
        ticket: Option<Ticket>,
    ) -> Result<Permit, Failure> {
        if self.sliced.load(Ordering::Relaxed) && self.scarce(now) {
            // What lies unused at some desk must not make anybody wait.
            self.recall();
        }
        let (ticket, turn) = match self.stand(now.into_std(), deadline, ticket)? {
            Stood::Granted(permit) => return Ok(permit),
            Stood::InLine(ticket, turn) => (ticket, turn),
        };
        self.wake.notify_one();
        let _place = InLine { admission: self, ticket };
        // The pacer answers everybody by their deadline; it is gone only after a drain.
        let mut permit = turn.await.unwrap_or(Err(Failure::Draining))?;
        permit.waited = now.elapsed();
        Ok(permit)
    }

    fn scarce(&self, now: Instant) -> bool {
        self.turn_at(now) > now
    }

    /// Whoever comes in the middle of it waits until all is back.
    fn recall(&self) {
        for desk in self.desks().iter().filter_map(Weak::upgrade) {
            desk.settle();
        }
    }

    /// The part under the lock, which no wait may be.
    fn stand(
        self: &Arc<Self>,
        now: StdInstant,
        deadline: Instant,
        ticket: Option<Ticket>,
    ) -> Result<Stood, Failure> {
        let mut state = self.state();
        let ticket = ticket.unwrap_or_else(|| state.queue.ticket());
        let ahead = state.queue.ahead(ticket);
        if ahead == 0
            && let Ok(spot) = state.lanes.take(now)
        {
            return Ok(Stood::Granted(self.permit(ticket, spot)));
        }
        let turn_at = state.lanes.available_at(now, ahead);
        let retry_after = turn_at.saturating_duration_since(now);
        if turn_at > deadline.into_std() {
            return Err(Failure::RateLimited { retry_after });
        }
        let (sender, turn) = oneshot::channel();
        match state.queue.join(ticket, deadline.into_std(), sender) {
            Ok(()) => Ok(Stood::InLine(ticket, turn)),
            Err(Full) => Err(Failure::QueueFull { retry_after }),
        }
    }

    /// Upstream said 429: nothing leaves under that token before `until`, and who cannot wait so
    /// long is told so now.
    pub fn pause(&self, spot: Spot, until: StdInstant) {
        if !self.state().lanes.pause(spot, until) {
            return;
        }
        tracing::info!(
            token = spot.lane.number(),
            pause = %humantime::format_duration(Duration::from_secs(
                until.saturating_duration_since(Instant::now().into_std()).as_secs() + 1
            )),
            "Genesys Cloud answered 429: calls wait"
        );
        self.wake.notify_one();
    }

    /// This token signs from now on. Upstream counts a new one from nothing, so nobody waits for
    /// the old one's window any longer.
    pub fn seen(&self, spot: Spot) {
        if self.state().lanes.seen(spot) {
            self.wake.notify_one();
        }
    }

    /// There is no such token any longer: calls go under another one, if there is one.
    pub fn lost(&self, spot: Spot) {
        self.state().lanes.lost(spot);
    }

    /// When whoever stands first could leave.
    pub fn turn_at(&self, now: Instant) -> Instant {
        Instant::from_std(self.state().lanes.available_at(now.into_std(), 0))
    }

    /// Follows a token for as long as it is polled: a line moves although nobody new comes.
    pub async fn follow(&self, lane: Lane, tokens: &Tokens) {
        tokens.follow(|generation| self.seen(Spot { lane, generation })).await;
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.state().queue.len()
    }

    /// Requests admitted whose answer has not ended.
    pub fn in_flight(&self) -> usize {
        let desks = self.desks();
        let of = |desk: Arc<Desk>| desk.in_flight().load(Ordering::Relaxed);
        let at_desks: usize = desks.iter().filter_map(Weak::upgrade).map(of).sum();
        self.in_flight.load(Ordering::Relaxed) + at_desks
    }

    fn permit(self: &Arc<Self>, ticket: Ticket, spot: Spot) -> Permit {
        Permit::new(Place::Budget(Arc::clone(self)), ticket, spot)
    }

    /// A call leaves, signed with this token.
    fn left(&self, spot: Spot, now: Instant) {
        if self.limited {
            self.state().lanes.leave(1, spot, now.into_std());
        }
    }

    /// A call leaves once more.
    fn again(&self, lane: Lane) {
        self.state().lanes.charge(lane, Instant::now().into_std());
    }

    fn give_back(&self, lane: Lane) {
        if self.limited {
            self.state().lanes.give_back(1, lane);
            self.wake.notify_one();
        }
    }

    fn state(&self) -> Locked<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { state, line: &self.line }
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Weak<Desk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one who hands out turns when they come free: no thundering herd, no lost wake-up.
    async fn pace(self: &Arc<Self>) {
        loop {
            match self.hand_out(Instant::now().into_std()) {
                None => self.wake.notified().await,
                Some(next) => tokio::select! {
                    () = sleep_until(Instant::from_std(next)) => {}
                    () = self.wake.notified() => {}
                },
            }
        }
    }

    /// Serves the line as far as the budget allows; when to look again.
    fn hand_out(self: &Arc<Self>, now: StdInstant) -> Option<StdInstant> {
        loop {
            // Sent outside the lock: a receiver that has left drops the permit, which refunds it.
            let (turn, outcome) = {
                let mut state = self.state();
                let free_at = state.lanes.available_at(now, 0);
                // Whoever's patience ends before the next turn is told at once, not at the end.
                if let Some(turn) = state.queue.impatient(free_at) {
                    let retry_after = free_at.saturating_duration_since(now);
                    (turn, Err(Failure::RateLimited { retry_after }))
                } else if state.queue.is_empty() {
                    return None;
                } else if free_at > now {
                    return Some(free_at);
                } else {
                    let ticket = state.queue.head()?;
                    let spot = match state.lanes.take(now) {
                        Ok(spot) => spot,
                        Err(again) => return Some(again),
                    };
                    let Some(turn) = state.queue.leave(ticket) else {
                        state.lanes.give_back(1, spot.lane);
                        continue;
                    };
                    (turn, Ok(self.permit(ticket, spot)))
                }
            };
            drop(turn.send(outcome));
        }
    }
}

/// A place in line, given up when its request goes away.
struct InLine<'a> {
    admission: &'a Admission,
    ticket: Ticket,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        // The sender is dropped outside the lock.
        let left = self.admission.state().queue.leave(self.ticket);
        drop(left);
    }
}

#[cfg(test)]
mod tests;
