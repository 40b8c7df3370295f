//! How long each connection has been in its phase, told by one coarse ticker a worker.
//! It never sets a timer per request or reads the clock on the hot path.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use http::StatusCode;

use crate::{config::Access, decide::framing::Phase, gateway::Caller, upstream::deadline::TICK};

/// One connection's place in its conversation. Written by its own worker only, so plain relaxed
/// stores do.
#[derive(Debug)]
pub struct Clock {
    ticker: Arc<Ticker>,
    phase: AtomicU32,
    since: AtomicU32,
    /// Requests whose answers have not ended.
    active: AtomicUsize,
    stalled_since: AtomicU32,
    expired: AtomicBool,
}

/// A worker's coarse time: ticks since its start; and what it wants of all its connections.
#[derive(Debug, Default)]
pub struct Ticker {
    now: AtomicU32,
    connections: Mutex<Vec<Weak<Connection>>>,
    drain: AtomicU8,
    /// Connections that hold hyper's state and its buffers.
    warm: AtomicUsize,
}

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Drain {
    /// Who waits for an answer is told that it is the last one.
    Begun = 1,
    /// So leave those that have said nothing yet, or nothing more.
    All = 2,
    /// What is still open ends.
    Cut = 3,
}

/// What a connection is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    Stay,
    /// End after the answers under way.
    Leave,
    /// End at once.
    End,
}

/// What the sweeper can do about a connection.
#[derive(Debug)]
pub struct Connection {
    /// Its clock.
    pub clock: Clock,
    /// What its requests need of it.
    pub caller: Arc<Caller>,
    /// Requests that hyper handed to the gateway.
    pub begun: AtomicU64,
    /// Those of them whose answer hyper has, or its head.
    answered: AtomicU64,
    /// The request that the last bytes belong to, or that the next ones will; from 1.
    pub request: AtomicU64,
    /// It was answered 101: what follows is not HTTP.
    pub switched: AtomicBool,
    /// Everything that hyper has to write is written.
    pub flushed: AtomicBool,
    /// What its HTTP/2 answers cost while hyper has them.
    pub unsent: AtomicUsize,
    /// It has been idle for a tick.
    cold: AtomicBool,
}

/// The longest a connection may stay in a phase.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    keep_alive: u32,
    head: u32,
    stall: u32,
}

/// So many connections of a worker keep their buffers between requests; the next to become idle
/// are parked at once, not after a tick: a burst of connections must not hold what a crowd would.
const WARM: usize = 512;

impl Patience {
    /// From `[access]`; `stall` is for callers that do not read their answer.
    pub fn new(access: &Access, stall: Duration) -> Self {
        let ticks = |duration: Duration| {
            u32::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
        };
        Self {
            keep_alive: ticks(access.keep_alive),
            head: ticks(access.header_timeout),
            stall: ticks(stall),
        }
    }
}

const IDLE: u32 = 0;
const HEAD: u32 = 1;
const BUSY: u32 = 2;
/// Not stalled.
const FLOWING: u32 = u32::MAX;

impl Ticker {
    /// A connection that the sweeper will look after.
    pub fn connection(self: &Arc<Self>, caller: Arc<Caller>) -> Arc<Connection> {
        let clock = Clock {
            ticker: Arc::clone(self),
            // A connection that says nothing is held to the header timeout, not to keep-alive.
            phase: AtomicU32::new(HEAD),
            since: AtomicU32::new(self.now.load(Ordering::Relaxed)),
            active: AtomicUsize::new(0),
            stalled_since: AtomicU32::new(FLOWING),
            expired: AtomicBool::new(false),
        };
        let connection = Arc::new(Connection {
            clock,
            caller,
            begun: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            request: AtomicU64::new(1),
            switched: AtomicBool::new(false),
            flushed: AtomicBool::new(true),
            unsent: AtomicUsize::new(0),
            cold: AtomicBool::new(false),
        });
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&connection));
        connection
    }

    /// One tick: ends what has waited too long, has parked what is idle, forgets what is gone.
    pub fn tick(&self, patience: Patience) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|weak| {
            let Some(connection) = weak.upgrade() else { return false };
            let Connection { clock, cold, .. } = &*connection;
            if clock.overdue(now, patience) {
                clock.expired.store(true, Ordering::Relaxed);
                connection.caller.interim.wake();
            } else if clock.idle_since().is_some_and(|since| since < now)
                && !cold.swap(true, Ordering::Relaxed)
            {
                connection.caller.interim.wake();
            }
            true
        });
    }

    /// Tells every connection, now and to come.
    pub fn drain(&self, drain: Drain) {
        self.drain.fetch_max(drain as u8, Ordering::Relaxed);
        for connection in &*self.connections.lock().unwrap_or_else(PoisonError::into_inner) {
            if let Some(connection) = connection.upgrade() {
                connection.caller.interim.wake();
            }
        }
    }
}

/// A connection that holds hyper's state, while it does.
#[derive(Debug)]
pub struct Warm<'a>(&'a Ticker);

impl Drop for Warm<'_> {
    fn drop(&mut self) {
        self.0.warm.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Counts it among the warm ones.
    pub fn warm(&self) -> Warm<'_> {
        let ticker = &self.clock.ticker;
        ticker.warm.fetch_add(1, Ordering::Relaxed);
        self.cold.store(false, Ordering::Relaxed);
        Warm(ticker)
    }

    /// Its buffers are wanted elsewhere or were not used for a while, and nothing is under way:
    /// every request that came was handed to the gateway, answered, and its answer written.
    pub fn may_park(&self) -> bool {
        let crowd = self.clock.ticker.warm.load(Ordering::Relaxed) > WARM;
        (crowd || self.cold.load(Ordering::Relaxed))
            && self.clock.idle_since().is_some()
            && self.begun()
            && self.begun.load(Ordering::Relaxed) + 1 == self.request.load(Ordering::Relaxed)
            && self.flushed.load(Ordering::Relaxed)
            && self.clock.stalled_since.load(Ordering::Relaxed) == FLOWING
            && !self.switched.load(Ordering::Relaxed)
    }

    /// After which request it is quiet, if it is.
    pub fn quiet_since(&self) -> Option<u64> {
        (!self.clock.active()).then(|| self.begun.load(Ordering::Relaxed))
    }

    /// The task to wake when there is something new to do.
    pub fn watch(&self, cx: &Context<'_>) {
        self.caller.interim.watch(cx.waker());
    }

    /// The same of HTTP/1, where nobody can be told of an end but by an answer: between two requests a
    /// caller is waited for a while, whose next one may be on its way (RFC 9112 section 9.6).
    pub fn order_http1(&self) -> Order {
        match self.order() {
            Order::Leave if self.is_draining(Drain::All) || self.unanswered() => Order::Leave,
            Order::Leave | Order::Stay => Order::Stay,
            Order::End => Order::End,
        }
    }

    /// What it is to do, by its clock and by the drain.
    pub fn order(&self) -> Order {
        if self.clock.expired.load(Ordering::Relaxed) || self.is_draining(Drain::Cut) {
            Order::End
        } else if self.is_draining(Drain::All) || self.is_draining(Drain::Begun) && self.begun() {
            Order::Leave
        } else {
            Order::Stay
        }
    }

    fn is_draining(&self, drain: Drain) -> bool {
        self.clock.ticker.drain.load(Ordering::Relaxed) >= drain as u8
    }

    /// A request waits for the head of its answer.
    fn unanswered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) != self.begun.load(Ordering::Relaxed)
    }

    /// A request began.
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.cold.store(false, Ordering::Relaxed);
        self.clock.begin();
    }

    /// hyper is about to get a final answer.
    pub fn answer(&self, status: StatusCode) {
        self.answered.store(self.begun.load(Ordering::Relaxed), Ordering::Relaxed);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.switched.store(true, Ordering::Relaxed);
        }
        // Behind what is still unwritten hyper will put this answer's head at once: an interim
        // answer would come after it, into the body.
        if !self.flushed.load(Ordering::Relaxed) {
            drop(self.caller.interim.take());
        }
    }

    /// It has carried a request, ended or not.
    fn begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }
}

impl Clock {
    /// The framing machine moved on.
    pub fn phase(&self, phase: Phase) {
        let phase = match phase {
            Phase::Idle => IDLE,
            Phase::Head => HEAD,
            // Bodies have a timer of their own; HTTP/2 and tunnels are judged by their requests.
            Phase::Body | Phase::Opaque => BUSY,
        };
        if self.phase.load(Ordering::Relaxed) != phase {
            self.phase.store(phase, Ordering::Relaxed);
            self.touch();
        }
    }

    /// A request began.
    pub fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// Its answer ended.
    pub fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        self.touch();
    }

    /// The caller does not take what we write, or takes it again.
    pub fn stalled(&self, stalled: bool) {
        let since = if stalled { self.ticker.now.load(Ordering::Relaxed) } else { FLOWING };
        if (self.stalled_since.load(Ordering::Relaxed) == FLOWING) == stalled {
            self.stalled_since.store(since, Ordering::Relaxed);
        }
    }

    /// Between two requests, since that tick.
    fn idle_since(&self) -> Option<u32> {
        (!self.active() && self.phase.load(Ordering::Relaxed) == IDLE)
            .then(|| self.since.load(Ordering::Relaxed))
    }

    /// A request or its answer is under way.
    pub fn active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    fn touch(&self) {
        self.since.store(self.ticker.now.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn overdue(&self, now: u32, patience: Patience) -> bool {
        let stalled = self.stalled_since.load(Ordering::Relaxed);
        if stalled != FLOWING && now.saturating_sub(stalled) > patience.stall {
            return true;
        }
        if self.active() {
            return false;
        }
        let limit = if self.phase.load(Ordering::Relaxed) == HEAD {
            patience.head
        } else {
            patience.keep_alive
        };
        now.saturating_sub(self.since.load(Ordering::Relaxed)) > limit
    }
}

#[cfg(test)]
mod tests;
