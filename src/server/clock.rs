//! How long each connection has been in its phase, told by one coarse ticker a worker.
//! It never sets a timer per request or reads the clock on the hot path.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{config::Access, decide::framing::Phase};

/// How often the worker's sweeper looks: deadlines are this much late at most.
pub const TICK: Duration = Duration::from_millis(500);

/// One connection's place in its conversation. Written by its own worker only, so plain relaxed
/// stores do.
#[derive(Debug)]
pub struct Clock {
    ticker: Arc<Ticker>,
    phase: AtomicU32,
    since: AtomicU32,
    /// Requests whose answers have not ended.
    active: AtomicUsize,
    /// A request has come.
    begun: AtomicBool,
    stalled_since: AtomicU32,
    expired: AtomicBool,
}

/// A worker's coarse time: ticks since its start.
#[derive(Debug, Default)]
pub struct Ticker {
    now: AtomicU32,
    connections: Mutex<Vec<Weak<Connection>>>,
}

/// What the sweeper can do about a connection.
#[derive(Debug)]
pub struct Connection {
    /// Its clock.
    pub clock: Clock,
    /// Its interim answers, whose wake-up the sweeper borrows.
    pub interim: Arc<crate::gateway::interim::Interim>,
    /// Requests that hyper handed to the gateway.
    pub begun: AtomicU64,
    /// It was answered 101: what follows is not HTTP.
    pub switched: AtomicBool,
    /// Everything that hyper has to write is written.
    pub flushed: AtomicBool,
}

/// The longest a connection may stay in a phase.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    keep_alive: u32,
    head: u32,
    stall: u32,
}

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
    pub fn connection(
        self: &Arc<Self>,
        interim: Arc<crate::gateway::interim::Interim>,
    ) -> Arc<Connection> {
        let clock = Clock {
            ticker: Arc::clone(self),
            // A connection that says nothing is held to the header timeout, not to keep-alive.
            phase: AtomicU32::new(HEAD),
            since: AtomicU32::new(self.now.load(Ordering::Relaxed)),
            active: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
            stalled_since: AtomicU32::new(FLOWING),
            expired: AtomicBool::new(false),
        };
        let connection = Arc::new(Connection {
            clock,
            interim,
            begun: AtomicU64::new(0),
            switched: AtomicBool::new(false),
            flushed: AtomicBool::new(true),
        });
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&connection));
        connection
    }

    /// One tick: ends what has waited too long, forgets what is gone.
    pub fn tick(&self, patience: Patience) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|weak| {
            let Some(connection) = weak.upgrade() else { return false };
            if connection.clock.overdue(now, patience) {
                connection.clock.expired.store(true, Ordering::Relaxed);
                connection.interim.written.notify_one();
            }
            true
        });
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
        self.begun.store(true, Ordering::Relaxed);
    }

    /// It has carried a request, ended or not.
    pub fn begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
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

    /// The sweeper gave up on it.
    pub fn expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
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
mod tests {
    use super::*;

    fn patience() -> Patience {
        Patience { keep_alive: 150, head: 20, stall: 120 }
    }

    fn ticks_until_expired(prepare: impl Fn(&Clock)) -> Option<u32> {
        let ticker = Arc::new(Ticker::default());
        let connection = ticker.connection(Arc::default());
        prepare(&connection.clock);
        (1..400).find(|_| {
            ticker.tick(patience());
            connection.clock.expired()
        })
    }

    #[test]
    fn a_silent_connection_is_held_to_the_header_timeout_and_an_idle_one_to_keep_alive() {
        assert_eq!(ticks_until_expired(|_| {}), Some(21));
        assert_eq!(ticks_until_expired(|clock| clock.phase(Phase::Head)), Some(21));
        assert_eq!(ticks_until_expired(|clock| clock.phase(Phase::Idle)), Some(151));
    }

    #[test]
    fn a_request_in_flight_keeps_its_connection_and_a_reader_that_stalls_does_not() {
        let busy = |clock: &Clock| {
            clock.phase(Phase::Idle);
            clock.begin();
        };
        assert_eq!(ticks_until_expired(busy), None);
        let stalled = |clock: &Clock| {
            clock.begin();
            clock.stalled(true);
        };
        assert_eq!(ticks_until_expired(stalled), Some(121));
    }

    #[test]
    fn the_sweeper_forgets_connections_that_are_gone() {
        let ticker = Arc::new(Ticker::default());
        drop(ticker.connection(Arc::default()));
        ticker.tick(patience());
        assert!(ticker.connections.lock().unwrap().is_empty());
    }
}
