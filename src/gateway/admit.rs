//! A request's turn: at once when the budget has room, else in line, else a 429 with the truth.
//! It never loses a place: whoever leaves, at whatever moment, gives back what it held.

mod asking;
mod desk;
mod hear;
pub mod joint;
mod pace;
mod paused;
mod permit;
mod retune;
mod seen;
mod toll;

use std::{
    num::NonZeroU32,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant as StdInstant,
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Family, Pacing, RateLimit},
    decide::{
        access,
        budget::{Allowance, Belongs},
        callers::{Granted, Principal, Terms},
        failure::Failure,
        lanes::{Lane, Lanes, Spot},
        path,
        queue::{Ticket, Who},
        turns::{Arrival, Call, Grant, Rules, Turns, gate::GateId},
    },
    token::{Token, Tokens},
};

pub use asking::{Asker, Asking, TurnedAway};
pub use desk::Desk;
use joint::Joint;
use paused::Paused;
pub use permit::Permit;
use permit::Place;
pub use toll::Toll;

type Turn = Result<Permit, TurnedAway>;
type Waiter = oneshot::Sender<Turn>;

enum Stood {
    Granted(Permit),
    InLine(Ticket, oneshot::Receiver<Turn>),
}

/// The tokens' budgets and the lines before them, shared by all workers.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<Turns<Waiter>>,
    /// `rate_limit.families`
    families: Vec<Family>,
    /// What each is granted.
    callers: ArcSwap<Granted>,
    /// Something changed that the pacer must look at.
    wake: Notify,
    /// Permits that are no desk's.
    in_flight: AtomicUsize,
    desks: Mutex<Vec<Weak<Desk>>>,
    /// Somebody waits, is to come back or is held up, or calls have gates to pass: nobody may go
    /// past all that.
    busy: AtomicBool,
    /// Some 429 may yet turn out to be a token's: what passes is to be told.
    suspicious: AtomicBool,
    /// The allowance is large enough to be cut: some desk may hold places.
    sliced: AtomicBool,
    /// There is a limit of our own; without one nothing needs counting.
    limited: bool,
    /// Whose calls are not let through.
    paused: Paused,
    /// Its limits are shared with other replicas.
    joint: OnceLock<Joint>,
}

/// The state, locked. When it is let go, what is read without the lock is true again.
struct Locked<'a> {
    state: MutexGuard<'a, Turns<Waiter>>,
    admission: &'a Admission,
}

impl Deref for Locked<'_> {
    type Target = Turns<Waiter>;

    fn deref(&self) -> &Turns<Waiter> {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Turns<Waiter> {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let busy = !self.state.is_calm();
        let suspicious = busy && self.state.lanes().suspicious();
        for (flag, is) in [(&self.admission.busy, busy), (&self.admission.suspicious, suspicious)] {
            // Read first: a store would bounce the cache line between workers on every look.
            if flag.load(Ordering::Relaxed) != is {
                flag.store(is, Ordering::Relaxed);
            }
        }
    }
}

impl Admission {
    /// Starts the pacer, which ends when `stop` is cancelled. `tokens` is how many there are.
    pub fn spawn(
        limit: RateLimit,
        (tokens, callers): (usize, Granted),
        tasks: &TaskTracker,
        runtime: &Handle,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let now = Instant::now().into_std();
        let allowance = Allowance {
            limit: limit.requests_per_minute,
            window: limit.window,
            even: limit.pacing == Pacing::Even,
            reserve: limit.reserve,
        };
        let rules = Rules {
            max_queue: limit.max_queue,
            families: limit.families.iter().map(|family| family.limit).collect(),
            ceilings: callers.have_ceilings(),
        };
        let turns = Turns::new(rules, Lanes::new(tokens, allowance, now), now);
        let admission = Arc::new(Self {
            busy: AtomicBool::new(!turns.is_calm()),
            state: Mutex::new(turns),
            families: limit.families,
            callers: ArcSwap::from_pointee(callers),
            wake: Notify::new(),
            in_flight: AtomicUsize::new(0),
            desks: Mutex::default(),
            suspicious: AtomicBool::new(false),
            sliced: AtomicBool::new(false),
            limited: limit.requests_per_minute.is_some(),
            paused: Paused::default(),
            joint: OnceLock::new(),
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

    /// A turn before its deadline, asked for `now`. `ticket` is the place of a request that comes
    /// back.
    pub async fn admit(
        self: &Arc<Self>,
        now: Instant,
        asking: &Asking<'_>,
        ticket: Option<Ticket>,
    ) -> Turn {
        if self.sliced.load(Ordering::Relaxed) && self.scarce(now) {
            // What lies unused at some desk must not make anybody wait.
            self.recall();
        }
        let (ticket, turn) = match self.stand(now.into_std(), asking, ticket)? {
            Stood::Granted(permit) => return Ok(permit),
            Stood::InLine(ticket, turn) => (ticket, turn),
        };
        self.wake.notify_one();
        if let Some(joint) = self.joint.get() {
            joint.stir();
        }
        let _place = InLine { admission: self, ticket };
        let drained = TurnedAway { failure: Failure::Draining, standing: None };
        // The pacer answers everybody by their deadline; it is gone only after a drain.
        let mut permit = turn.await.unwrap_or(Err(drained))?;
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
        asking: &Asking<'_>,
        ticket: Option<Ticket>,
    ) -> Result<Stood, TurnedAway> {
        let new = ticket.is_none();
        let who = {
            let mut state = self.state();
            let ticket = ticket.unwrap_or_else(|| state.ticket());
            let Asker { principal, urgency } = asking.asker;
            state.came(principal, 1, now);
            let weight = self.weight(principal);
            let who = Who { principal, weight, urgency, ticket, asks: 0 };
            if let Some((spot, standing)) = state.quick(now, &who) {
                let grant = Grant { ticket, spot, gates: Vec::new(), standing };
                return Ok(Stood::Granted(self.permit(grant)));
            }
            who
        };
        let call = self.call(asking, who.ticket);
        let mut receiver = None;
        let mut state = self.state();
        // Under the lock: who is paused now has been sent out of the lines, and nobody comes after.
        if new && self.paused.is(call.who.principal) {
            return Err(TurnedAway { failure: Failure::CallerPaused, standing: None });
        }
        let arrival = state.arrive(now, call, || {
            let (sender, turn) = oneshot::channel();
            receiver = Some(turn);
            sender
        });
        drop(state);
        match (arrival, receiver) {
            (Arrival::Granted(grant), _) => Ok(Stood::Granted(self.permit(grant))),
            (Arrival::Refused(refused), _) => Err(refused.into()),
            (Arrival::Waits(evicted), receiver) => {
                if let Some((waiter, refused)) = evicted {
                    drop(waiter.send(Err(refused.into())));
                }
                // The other end of a waiter that was not made is closed, as if all had ended.
                Ok(Stood::InLine(who.ticket, receiver.unwrap_or_else(|| oneshot::channel().1)))
            }
        }
    }

    /// What it means to the limits: worked out only when there is somebody to meet.
    fn call(&self, asking: &Asking<'_>, ticket: Ticket) -> Call {
        let Asking { asker: Asker { principal, urgency }, method, target, deadline } = *asking;
        let (terms, path) = (self.terms(principal), target.path());
        let ceiling = terms.requests_per_minute.map(|_| GateId::Ceiling(principal));
        let rules = self.families.iter().map(|family| &family.rule);
        let named = access::speaking(rules, method, path).into_iter().map(GateId::Family);
        let gates = ceiling.into_iter().chain(named);
        let asks = path::call(method, target.as_str());
        Call {
            who: Who { principal, weight: self.weight(principal), urgency, ticket, asks },
            deadline: deadline.into_std(),
            most: terms.max_queue,
            ceiling: terms.requests_per_minute,
            family: path::family(path).key(method),
            gates: gates.collect(),
        }
    }

    fn terms(&self, principal: Principal) -> Terms {
        self.callers.load().terms(principal)
    }

    /// What a caller's turns are worth here.
    fn weight(&self, principal: Principal) -> NonZeroU32 {
        let weight = self.terms(principal).weight;
        self.joint.get().map_or(weight, |joint| joint.weight(principal, weight))
    }

    /// This token signs from now on. Upstream counts a new one from nothing, so nobody waits for
    /// the old one's window any longer.
    /// Whose it is, is told in the same step: no call may leave under it before, and count elsewhere.
    pub fn seen(&self, spot: Spot, belongs: Belongs) {
        if self.state().seen(spot, belongs, Instant::now().into_std()) {
            self.wake.notify_one();
        }
    }

    /// Whether a place that was had under this token is one still.
    fn stands(&self, spot: Spot) -> bool {
        self.state().lanes().stands(spot)
    }

    /// There is no such token any longer: calls go under another one, if there is one.
    pub fn lost(&self, spot: Spot) {
        self.state().lanes().lost(spot);
    }

    /// When whoever stands first could leave.
    pub fn turn_at(&self, now: Instant) -> Instant {
        Instant::from_std(self.state().lanes().available_at(now.into_std(), 0, true))
    }

    /// The next place in the order of arrival, for a call that may ask for a turn later.
    pub fn ticket(&self) -> Ticket {
        self.state().ticket()
    }

    /// When a call would leave that came back now, with its ticket.
    pub fn turn_of(&self, now: Instant, asking: &Asking<'_>, ticket: Ticket) -> Instant {
        let call = self.call(asking, ticket);
        Instant::from_std(self.state().expected(now.into_std(), call))
    }

    /// The same for one that has a permit and lets go of it first.
    pub fn turn_after(&self, now: Instant, asking: &Asking<'_>, permit: &Permit) -> Instant {
        let (call, gates) = (self.call(asking, permit.ticket), permit.gates());
        Instant::from_std(self.state().expected_again(now.into_std(), call, gates))
    }

    /// Follows a token for as long as it is polled: a line moves although nobody new comes.
    pub async fn follow(&self, lane: Lane, tokens: &Tokens) {
        let signs = |token: &Token| {
            self.seen(Spot { lane, generation: token.generation }, token.share.belongs());
            self.signs(lane, token.share, token.born());
        };
        tokens.follow(signs).await;
    }

    fn permit(self: &Arc<Self>, grant: Grant) -> Permit {
        Permit::new(Place::Budget(Arc::clone(self)), grant)
    }

    /// A call leaves, signed with this token. Returns its number.
    fn left(&self, gates: &[GateId], spot: Spot, now: Instant) -> u64 {
        if !self.limited && gates.is_empty() {
            return 0;
        }
        self.state().left(gates, spot, now.into_std())
    }

    /// A call leaves once more.
    fn again(&self, gates: &[GateId], lane: Lane) {
        self.state().again(gates, lane, Instant::now().into_std());
    }

    fn give_back(&self, gates: &[GateId], lane: Lane) {
        if self.limited || !gates.is_empty() {
            self.state().give_back(gates, lane, Instant::now().into_std());
            self.wake.notify_one();
        }
    }

    /// A call that had left is through.
    fn ended(&self, gates: &[GateId], sent: Instant) {
        let now = Instant::now().into_std();
        if !gates.is_empty() && self.state().ended(gates, sent.into_std(), now) {
            self.wake.notify_one();
        }
    }

    fn state(&self) -> Locked<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { state, admission: self }
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Weak<Desk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in line, given up when its request goes away.
struct InLine<'a> {
    admission: &'a Admission,
    ticket: Ticket,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let now = Instant::now().into_std();
        let left = self.admission.state().leave(self.ticket, now);
        if left.as_ref().is_some_and(|(_, held)| *held) {
            self.admission.wake.notify_one();
        }
        // The sender is dropped outside the lock.
        drop(left);
    }
}

#[cfg(test)]
mod tests;
