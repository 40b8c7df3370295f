//! A worker's connections to one origin: HTTP/2 shared, HTTP/1.1 last in, first out.
//! It never hands a connection to two HTTP/1.1 requests, and never waits for one to become free.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, uri::Authority};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::task::TaskTracker;

use super::{
    connect::{ConnectError, Connector, Protocol},
    half_heard::HalfHeard,
    replay::Attempt,
};
use crate::config::{Http2, Origin, Scheme};

/// Load balancers in front of upstream close idle connections after 60 s; we must be first.
const MAX_IDLE: Duration = Duration::from_secs(50);
/// A connection's life, so that a change of DNS is followed (trap 20).
const MAX_AGE: Duration = Duration::from_secs(600);
/// Idle HTTP/1.1 connections kept by one worker.
const MAX_PARKED: usize = 512;
/// Requests in flight on one HTTP/2 connection before a second one is opened.
const MAX_STREAMS: usize = 100;

/// The pool; one an origin and worker.
#[derive(Debug)]
pub struct Pool {
    origin: Origin,
    /// `Host` for HTTP/1.1.
    pub host: HeaderValue,
    /// `:authority` for HTTP/2.
    pub authority: Authority,
    connector: Connector,
    state: Mutex<State>,
    /// While it is unknown whether one connection will serve many, only one is dialled.
    dialling: Arc<Semaphore>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    speaks: Option<Protocol>,
    parked: Vec<Parked>,
    shared: Vec<Shared>,
    /// The last dial that failed while others waited for it.
    failed: Option<(Instant, ConnectError)>,
}

#[derive(Debug)]
struct Parked {
    sender: http1::SendRequest<Attempt>,
    born: Instant,
    since: Instant,
}

#[derive(Debug, Clone)]
struct Shared {
    sender: http2::SendRequest<Attempt>,
    born: Instant,
    streams: Arc<AtomicUsize>,
}

/// The right to send one request.
#[derive(Debug)]
pub enum Lease {
    /// A whole connection.
    Http1 {
        /// Where the request goes.
        sender: http1::SendRequest<Attempt>,
        /// Goes back to its pool with this.
        ticket: Ticket,
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
pub struct Ticket {
    pool: Arc<Pool>,
    born: Instant,
    /// It carried requests before, so upstream may have closed it while idle.
    pub reused: bool,
}

/// One request in flight on a shared connection.
#[derive(Debug)]
pub struct StreamCount {
    streams: Arc<AtomicUsize>,
    /// It carried requests before.
    pub reused: bool,
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ticket {
    /// The answer was read to its end and framed beyond doubt: the next request may use it.
    pub fn park(self, sender: http1::SendRequest<Attempt>) {
        let now = Instant::now();
        if sender.is_closed() || now - self.born > MAX_AGE {
            return;
        }
        let mut state = self.pool.state();
        if state.parked.len() < MAX_PARKED {
            state.parked.push(Parked { sender, born: self.born, since: now });
        }
    }
}

impl Pool {
    /// An empty pool. Connections run as `tasks` of the worker's runtime.
    pub fn new(
        origin: Origin,
        connector: Connector,
        http2: Http2,
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
            state: Mutex::new(State { speaks, ..State::default() }),
            dialling: Arc::new(Semaphore::new(1)),
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

    /// A connection, from the pool or new; after a failure one that was born since.
    pub async fn lease(
        self: &Arc<Self>,
        failed_at: Option<Instant>,
    ) -> Result<Lease, ConnectError> {
        if let Some(lease) = self.pooled(failed_at) {
            return Ok(lease);
        }
        if self.state().speaks == Some(Protocol::Http1) {
            return self.dial(false).await;
        }
        let asked = Instant::now();
        // Held by the task below: whoever leaves does not end the dial that others wait for.
        let Ok(turn) = Arc::clone(&self.dialling).acquire_owned().await else {
            return self.dial(false).await;
        };
        if let Some(lease) = self.pooled(failed_at) {
            return Ok(lease);
        }
        // Whoever waited for a dial that failed shares its outcome: one after the other, the last
        // of many would learn it minutes later.
        if let Some((_, error)) = self.state().failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        if self.state().speaks == Some(Protocol::Http1) {
            drop(turn);
            return self.dial(false).await;
        }
        let pool = Arc::clone(self);
        let dialled = self.tasks.spawn(async move {
            let dialled = pool.dial(false).await;
            let failed = dialled.as_ref().err().map(|error| (Instant::now(), error.clone()));
            pool.state().failed = failed;
            drop(turn);
            dialled
        });
        // A task is lost only with its runtime.
        dialled.await.unwrap_or_else(|error| Err(ConnectError::Unreachable(error.to_string())))
    }

    /// An HTTP/1.1 connection of its own, for an upgrade.
    pub async fn lease_for_upgrade(self: &Arc<Self>) -> Result<Lease, ConnectError> {
        self.dial(true).await
    }

    /// Drops what is closed, too old or idle too long. Called now and then, not per request.
    pub fn sweep(&self) {
        let now = Instant::now();
        let mut state = self.state();
        state.parked.retain(|parked| {
            !parked.sender.is_closed()
                && now - parked.since < MAX_IDLE
                && now - parked.born < MAX_AGE
        });
        state.shared.retain(|shared| !shared.sender.is_closed() && now - shared.born < MAX_AGE);
    }

    /// A connection at hand, born after `failed_at`.
    pub fn pooled(self: &Arc<Self>, failed_at: Option<Instant>) -> Option<Lease> {
        let fresh = |born: Instant| failed_at.is_none_or(|failed| born > failed);
        let mut state = self.state();
        state.shared.retain(|shared| !shared.sender.is_closed());
        let roomy = |shared: &&Shared| {
            fresh(shared.born) && shared.streams.load(Ordering::Relaxed) < MAX_STREAMS
        };
        if let Some(shared) = state.shared.iter().find(roomy) {
            return Some(shared.lease(true));
        }
        // One that is still finishing its last exchange is left for the sweeper, or a later call.
        let mut at = state.parked.len();
        while at > 0 {
            at -= 1;
            let closed_or_ready = state.parked.get(at).map(|parked| {
                let ready = parked.sender.is_ready() && fresh(parked.born);
                (parked.sender.is_closed(), ready)
            });
            match closed_or_ready {
                Some((true, _)) => drop(state.parked.remove(at)),
                Some((false, true)) => {
                    let Parked { sender, born, .. } = state.parked.remove(at);
                    let ticket = Ticket { pool: Arc::clone(self), born, reused: true };
                    return Some(Lease::Http1 { sender, ticket });
                }
                Some((false, false)) | None => {}
            }
        }
        None
    }

    async fn dial(self: &Arc<Self>, http1: bool) -> Result<Lease, ConnectError> {
        let (stream, protocol) = self.connector.connect(&self.origin, http1).await?;
        let (io, born) = (TokioIo::new(HalfHeard::new(stream)), Instant::now());
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) =
                    http1::Builder::new().handshake(io).await.map_err(|e| handshake_failed(&e))?;
                self.tasks.spawn(async move {
                    if let Err(error) = connection.with_upgrades().await {
                        tracing::debug!(%error, "upstream connection ended");
                    }
                });
                if !http1 {
                    self.state().speaks = Some(Protocol::Http1);
                }
                let ticket = Ticket { pool: Arc::clone(self), born, reused: false };
                Ok(Lease::Http1 { sender, ticket })
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(1 << 20)
                    .initial_connection_window_size(16 << 20)
                    .keep_alive_interval(Duration::from_secs(20))
                    .keep_alive_timeout(Duration::from_secs(10))
                    .handshake(io)
                    .await
                    .map_err(|error| handshake_failed(&error))?;
                self.tasks.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "upstream connection ended");
                    }
                });
                let shared = Shared { sender, born, streams: Arc::default() };
                let lease = shared.lease(false);
                let mut state = self.state();
                state.speaks = Some(Protocol::Http2);
                state.shared.push(shared);
                Ok(lease)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn handshake_failed(error: &hyper::Error) -> ConnectError {
    ConnectError::Http(error.to_string())
}

impl Shared {
    fn lease(&self, reused: bool) -> Lease {
        self.streams.fetch_add(1, Ordering::Relaxed);
        let stream = StreamCount { streams: Arc::clone(&self.streams), reused };
        Lease::Http2 { sender: self.sender.clone(), stream }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::tls;

    /// A pool that dials nobody, and an idle connection of its over memory.
    async fn parked() -> (Arc<Pool>, tokio::io::DuplexStream) {
        let origin = Origin { scheme: Scheme::Http, host: "localhost".to_owned(), port: 1 };
        let tls = tls::client_config(None).unwrap();
        let connector = Connector::new(&tls, Http2::Never, None, Duration::from_secs(1));
        let tasks = TaskTracker::new();
        let pool = Pool::new(origin, connector, Http2::Never, tasks.clone()).unwrap();
        let (near, far) = tokio::io::duplex(1024);
        let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        tasks.spawn(connection);
        sender.ready().await.unwrap();
        let ticket = Ticket { pool: Arc::clone(&pool), born: Instant::now(), reused: false };
        ticket.park(sender);
        (pool, far)
    }

    fn idle(pool: &Pool) -> usize {
        pool.sweep();
        pool.state().parked.len()
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_reused_and_not_kept_until_upstream_closes_it() {
        let (pool, _far) = parked().await;
        tokio::time::sleep(Duration::from_secs(49)).await;
        assert_eq!(idle(&pool), 1);
        let Some(Lease::Http1 { ticket, .. }) = pool.pooled(None) else { panic!() };
        assert!(ticket.reused);
        let (pool, _far) = parked().await;
        tokio::time::sleep(Duration::from_secs(51)).await;
        assert_eq!(idle(&pool), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_in_steady_use_ends_all_the_same_so_that_dns_is_followed() {
        let (pool, _far) = parked().await;
        let mut uses = 0;
        while let Some(Lease::Http1 { sender, ticket }) = pool.pooled(None) {
            uses += 1;
            tokio::time::sleep(Duration::from_secs(30)).await;
            ticket.park(sender);
        }
        assert_eq!(uses, MAX_AGE.as_secs() / 30 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_upstream_closed_is_not_handed_out() {
        let (pool, far) = parked().await;
        drop(far);
        tokio::task::yield_now().await;
        assert!(pool.pooled(None).is_none());
    }

    #[tokio::test]
    async fn whoever_waited_for_a_dial_that_failed_shares_its_outcome() {
        // A listener that accepts nothing: handshakes stall until the timeout.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = Origin {
            scheme: Scheme::Https,
            host: "localhost".to_owned(),
            port: silent.local_addr().unwrap().port(),
        };
        let tls = tls::client_config(None).unwrap();
        let timeout = Duration::from_millis(200);
        let connector = Connector::new(&tls, Http2::Auto, None, timeout);
        let pool = Pool::new(origin, connector, Http2::Auto, TaskTracker::new()).unwrap();
        let callers = TaskTracker::new();
        let before = Instant::now();
        let waiting: Vec<_> = (0..200)
            .map(|_| {
                let pool = Arc::clone(&pool);
                callers.spawn(async move { pool.lease(None).await.map(drop) })
            })
            .collect();
        for caller in waiting {
            assert_eq!(caller.await.unwrap(), Err(ConnectError::Timeout));
        }
        // One after the other they would take 40 s.
        assert!(before.elapsed() < timeout * 50);
    }
}
