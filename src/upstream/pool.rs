//! A worker's connections to one origin: HTTP/2 shared, HTTP/1.1 last in, first out, and some kept
//! ready before there is a request for them.
//! It never hands a connection to two HTTP/1.1 requests, and never waits for one to become free.

mod dial;
mod shared;
mod warm;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderValue, uri::Authority};
use hyper::client::conn::http2;
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::TaskTracker;

use self::shared::Shared;
pub use self::{dial::Dial, shared::StreamCount, warm::Warm};
use super::{
    connect::{ConnectError, Connector, Protocol},
    http1::Connection,
    replay::Attempt,
};
use crate::config::{Http2, Origin, Scheme};

/// Load balancers in front of upstream close idle connections after 60 s, HTTP/2's PING or not; we
/// must be first.
const MAX_IDLE: Duration = Duration::from_secs(50);
/// A connection's life at most, so that a change of DNS is followed (trap 20).
const MAX_AGE: Duration = Duration::from_secs(600);
/// How much shorter a life may be: those that began together must not end together.
const AGE_SPREAD: f64 = 0.2;
/// A connection so near its end is replaced while it still serves.
const AHEAD: Duration = Duration::from_secs(10);
/// An idle connection keeps its buffers this long.
const QUIET: Duration = Duration::from_secs(1);
/// Idle HTTP/1.1 connections kept by one worker.
const MAX_PARKED: usize = 512;

/// The pool; one an origin and worker.
#[derive(Debug)]
pub struct Pool<C: Dial = Connector> {
    origin: Origin,
    /// `Host` for HTTP/1.1.
    pub host: HeaderValue,
    /// `:authority` for HTTP/2.
    pub authority: Authority,
    connector: C,
    warm: Warm,
    state: Mutex<State<C::Stream>>,
    /// A dial in the background ended, or a full connection has room again.
    changed: Arc<Notify>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct State<S> {
    /// As of the last sweep: exact enough for ages, and free.
    now: Instant,
    speaks: Option<Protocol>,
    parked: Vec<Parked<S>>,
    shared: Vec<Shared>,
    /// Dials in the background. While it is unknown whether one connection will serve many, and
    /// with HTTP/2, requests wait for one instead of dialling themselves.
    dialling: usize,
    /// The last of them that failed.
    failed: Option<(Instant, ConnectError)>,
    tries: warm::Tries,
}

/// When a connection began, and when it ends at the latest.
#[derive(Debug, Clone, Copy)]
struct Life {
    born: Instant,
    ends: Instant,
}

#[derive(Debug)]
struct Parked<S> {
    connection: Box<Connection<S>>,
    life: Life,
    since: Instant,
    /// It has just been dialled for somebody who waits.
    fresh: bool,
    /// It carried a request.
    served: bool,
}

/// The right to send one request.
#[derive(Debug)]
pub enum Lease<C: Dial = Connector> {
    /// A whole connection.
    Http1 {
        /// Where the request goes.
        connection: Box<Connection<C::Stream>>,
        /// Goes back to its pool with this.
        ticket: Ticket<C>,
    },
    /// A stream of a shared connection.
    Http2 {
        /// Where the request goes.
        sender: http2::SendRequest<Attempt>,
        /// Counted until dropped.
        stream: StreamCount,
    },
}

/// What a connection needs to be parked again.
#[derive(Debug)]
pub struct Ticket<C: Dial = Connector> {
    pool: Arc<Pool<C>>,
    life: Life,
    /// It was idle or carried requests before, so upstream may have closed it since.
    pub reused: bool,
}

impl Life {
    /// `dice` in `0.0..1.0`.
    fn new(born: Instant, dice: f64) -> Self {
        Self { born, ends: born + MAX_AGE.mul_f64(1.0 - AGE_SPREAD * dice) }
    }
}

impl<C: Dial> Ticket<C> {
    /// The answer was read to its end and framed beyond doubt: the next request may use it.
    pub fn park(self, connection: Box<Connection<C::Stream>>) {
        let mut state = self.pool.state();
        let since = state.now;
        if since < self.life.ends && state.parked.len() < MAX_PARKED {
            let (life, fresh, served) = (self.life, false, true);
            state.parked.push(Parked { connection, life, since, fresh, served });
        }
    }

    /// Where what outlives a request runs.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.pool.tasks
    }
}

impl<C: Dial> Pool<C> {
    /// An empty pool. What is not part of a request runs as `tasks` of the worker's runtime.
    pub fn new(
        origin: Origin,
        connector: C,
        http2: Http2,
        warm: Warm,
        tasks: TaskTracker,
    ) -> Result<Arc<Self>, http::Error> {
        let authority = origin.authority();
        // Without ALPN there is nothing to find out.
        let speaks = match (origin.scheme, http2) {
            (_, Http2::Always) => Some(Protocol::Http2),
            (Scheme::Http, _) | (_, Http2::Never) => Some(Protocol::Http1),
            (Scheme::Https, Http2::Auto) => None,
        };
        Ok(Arc::new(Self {
            host: HeaderValue::try_from(&authority)?,
            authority: Authority::try_from(authority)?,
            origin,
            connector,
            warm,
            state: Mutex::new(State {
                now: Instant::now(),
                speaks,
                parked: Vec::new(),
                shared: Vec::new(),
                dialling: 0,
                failed: None,
                tries: warm::Tries::default(),
            }),
            changed: Arc::default(),
            tasks,
        }))
    }

    /// Plain or TLS, for HTTP/2's `:scheme`.
    pub fn scheme(&self) -> http::uri::Scheme {
        match self.origin.scheme {
            Scheme::Http => http::uri::Scheme::HTTP,
            Scheme::Https => http::uri::Scheme::HTTPS,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<C::Stream>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Dial> Pool<C> {
    /// A connection, from the pool or new; after a failure one that was born since.
    pub async fn lease(
        self: &Arc<Self>,
        failed_at: Option<Instant>,
    ) -> Result<Lease<C>, ConnectError> {
        if let Some(lease) = self.pooled(&mut self.state(), failed_at) {
            return Ok(lease);
        }
        let asked = Instant::now();
        let mut woken = false;
        loop {
            // Before the look, so that nothing is missed between it and the wait.
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if let Some(lease) = self.pooled(&mut state, failed_at) {
                    if woken {
                        // There may be room for the next one too.
                        self.changed.notify_one();
                    }
                    return Ok(lease);
                }
                // Whoever waited for a dial that failed shares its outcome: one after the other,
                // the last of many would learn it minutes later.
                if let Some((_, error)) = state.failed.as_ref().filter(|(at, _)| *at >= asked) {
                    return Err(error.clone());
                }
                if state.speaks == Some(Protocol::Http1) {
                    break;
                }
                if state.dialling == 0 {
                    self.dial_ahead(&mut state);
                }
            }
            changed.await;
            woken = true;
        }
        self.dial(false).await
    }

    /// An HTTP/1.1 connection of its own, for an upgrade.
    pub async fn lease_for_upgrade(self: &Arc<Self>) -> Result<Lease<C>, ConnectError> {
        self.dial(true).await
    }

    /// Drops what is closed, too old or idle too long, and has a successor dialled before. Called
    /// now and then, not per request.
    pub fn sweep(self: &Arc<Self>) {
        let now = Instant::now();
        let mut state = self.state();
        let State { parked, shared, tries, .. } = &mut *state;
        let (mut ready, mut hung_up) = (0, false);
        let mut keep = |closed: bool, served: bool, life: Life, idle_since: Instant| {
            hung_up |= closed && !served && now - life.born < warm::PROVED;
            let keep = !closed && now - idle_since < MAX_IDLE && now < life.ends;
            if keep && now - life.born >= warm::PROVED {
                tries.proved(life.born);
            }
            keep
        };
        let stays =
            |life: Life, idle_since: Instant| now + AHEAD < life.ends.min(idle_since + MAX_IDLE);
        parked.retain_mut(|parked| {
            parked.fresh = false;
            let open = parked.connection.is_open();
            if now - parked.since >= QUIET {
                parked.connection.rest();
            }
            ready += usize::from(open && stays(parked.life, parked.since));
            keep(!open, parked.served, parked.life, parked.since)
        });
        shared.retain_mut(|shared| {
            shared.look(now);
            let roomy = !shared.is_closed() && shared.has_room();
            ready += usize::from(roomy && stays(shared.life, shared.idle_since));
            keep(shared.is_closed(), shared.served, shared.life, shared.idle_since)
        });
        state.now = now;
        if hung_up {
            state.tries.failed(now, fastrand::f64());
        }
        let one_is_enough = state.speaks != Some(Protocol::Http1);
        let coming = state.dialling;
        let missing = self.warm.missing(ready, coming, one_is_enough, &state.tries, now);
        for _ in 0..missing {
            self.dial_ahead(&mut state);
        }
    }

    /// A connection that can take a request now, and none that may have closed by `failed_at`.
    pub fn at_hand(self: &Arc<Self>, failed_at: Option<Instant>) -> Option<Lease<C>> {
        self.pooled(&mut self.state(), failed_at)
    }

    /// The newest connection that can take a request now. After a failure, of HTTP/1.1 none: each
    /// of them was idle, if only for a moment, and may be closed as the one before was.
    fn pooled(
        self: &Arc<Self>,
        state: &mut State<C::Stream>,
        failed_at: Option<Instant>,
    ) -> Option<Lease<C>> {
        let able = |shared: &&mut Shared| {
            let born_since = failed_at.is_none_or(|failed| shared.life.born > failed);
            born_since && shared.has_room() && !shared.is_closed()
        };
        if let Some(shared) = state.shared.iter_mut().find(able) {
            return Some(shared.lease());
        }
        // A closed one is left for the sweep.
        let able = |parked: &mut Parked<C::Stream>| {
            let another_try = failed_at.is_some() && !parked.fresh;
            !another_try && parked.connection.is_open()
        };
        let at = state.parked.iter_mut().rposition(able)?;
        let Parked { connection, life, fresh, .. } = state.parked.remove(at);
        let ticket = Ticket { pool: Arc::clone(self), life, reused: !fresh };
        Some(Lease::Http1 { connection, ticket })
    }
}
