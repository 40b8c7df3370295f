//! The pool over memory, on paused time: an hour takes a moment.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::*;
use crate::upstream::tls;

/// As the workers do.
const TICK: Duration = Duration::from_millis(500);
const HOUR: u32 = 7200;
/// Milliseconds, nearly `upstream.connect_timeout`.
const SLOW: usize = 4_500;

/// Dials memory.
#[derive(Debug)]
struct Memory {
    protocol: Protocol,
    upstream: Arc<Upstream>,
    accepted: mpsc::UnboundedSender<DuplexStream>,
}

/// Who is dialled.
#[derive(Debug, Default)]
struct Upstream {
    down: AtomicBool,
    /// How long a dial takes, in milliseconds.
    slow: AtomicUsize,
    dials: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Upstream {
    fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }
}

impl Dial for Memory {
    type Stream = DuplexStream;

    async fn dial(
        &self,
        _: &Origin,
        http1: bool,
    ) -> Result<(DuplexStream, Protocol), ConnectError> {
        let Upstream { down, slow, dials, at_once, most_at_once } = &*self.upstream;
        dials.fetch_add(1, Ordering::Relaxed);
        most_at_once.fetch_max(at_once.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let slow = slow.load(Ordering::Relaxed).try_into().unwrap();
        sleep(Duration::from_millis(slow)).await;
        at_once.fetch_sub(1, Ordering::Relaxed);
        if down.load(Ordering::Relaxed) {
            return Err(ConnectError::Unreachable("down".to_owned()));
        }
        let (near, far) = duplex(64 << 10);
        self.accepted.send(far).unwrap();
        Ok((near, if http1 { Protocol::Http1 } else { self.protocol }))
    }
}

type Accepted = mpsc::UnboundedReceiver<DuplexStream>;

/// A pool that does not know yet what upstream speaks, and the other ends of its connections.
fn pool(protocol: Protocol, warm: usize) -> (Arc<Pool<Memory>>, Arc<Upstream>, Accepted) {
    let origin = Origin { scheme: Scheme::Https, host: "localhost".to_owned(), port: 1 };
    let upstream = Arc::new(Upstream::default());
    let (accepted, accept) = mpsc::unbounded_channel();
    let memory = Memory { protocol, upstream: Arc::clone(&upstream), accepted };
    let pool = Pool::new(origin, memory, Http2::Auto, Warm::new(warm), TaskTracker::new()).unwrap();
    (pool, upstream, accept)
}

/// So many sweeps.
async fn ticks(pool: &Arc<Pool<Memory>>, count: u32) {
    for _ in 0..count {
        pool.sweep();
        sleep(TICK).await;
    }
}

fn reused(lease: &Lease<Memory>) -> bool {
    match lease {
        Lease::Http1 { ticket, .. } => ticket.reused,
        Lease::Http2 { stream, .. } => stream.reused,
    }
}

fn kept(pool: &Pool<Memory>) -> usize {
    let state = pool.state();
    state.parked.len() + state.shared.len()
}

/// Gives back what was leased, as after an answer.
fn finish(lease: Lease<Memory>) {
    match lease {
        Lease::Http1 { connection, ticket } => ticket.park(connection),
        Lease::Http2 { stream, .. } => drop(stream),
    }
}

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

#[tokio::test(start_paused = true)]
async fn a_connection_is_ready_before_the_first_request() {
    for protocol in BOTH {
        let (pool, upstream, _accept) = pool(protocol, 1);
        ticks(&pool, 4).await;
        assert_eq!(upstream.dials(), 1, "{protocol:?}");
        let lease = pool.lease(None).await.unwrap();
        assert_eq!(upstream.dials(), 1, "{protocol:?}");
        assert!(reused(&lease), "upstream may have closed it meanwhile");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_quiet_hour_a_connection_is_ready_that_upstream_has_not_closed_yet() {
    for protocol in BOTH {
        let (pool, upstream, _accept) = pool(protocol, 1);
        upstream.slow.store(SLOW, Ordering::Relaxed);
        ticks(&pool, 10).await;
        for _ in 0..HOUR {
            ticks(&pool, 1).await;
            assert!((1..=2).contains(&kept(&pool)), "{protocol:?}: {pool:?}");
        }
        let dials = upstream.dials();
        assert!((3600 / 50..=3600 / 39).contains(&dials), "{protocol:?}: {dials}");
        let now = Instant::now();
        let idle = |since: Instant| assert!(now - since < Duration::from_secs(51));
        pool.state().parked.iter().for_each(|parked| idle(parked.since));
        pool.state().shared.iter().for_each(|shared| idle(shared.idle_since));
        pool.lease(None).await.unwrap();
        assert_eq!(upstream.dials(), dials, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_is_there_before_a_connection_ends_of_age() {
    for protocol in BOTH {
        let (pool, upstream, _accept) = pool(protocol, 1);
        upstream.slow.store(SLOW, Ordering::Relaxed);
        ticks(&pool, 10).await;
        for _ in 0..HOUR {
            let begin = Instant::now();
            let lease = pool.lease(None).await.unwrap();
            assert!(begin.elapsed().is_zero(), "{protocol:?}: the request waited for a dial");
            finish(lease);
            ticks(&pool, 1).await;
        }
        let dials = upstream.dials();
        // Two of HTTP/1.1 take turns: while one is in use, another is kept ready.
        assert!((6..=100).contains(&dials), "{protocol:?}: {dials}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_warm_connections_nobody_is_dialled_unasked() {
    let (pool, upstream, _accept) = pool(Protocol::Http1, 0);
    ticks(&pool, HOUR).await;
    assert_eq!(upstream.dials(), 0);
}

#[tokio::test(start_paused = true)]
async fn as_many_are_ready_as_were_asked_for_and_of_http2_one() {
    for (protocol, ready) in [(Protocol::Http1, 5), (Protocol::Http2, 1)] {
        let (pool, upstream, _accept) = pool(protocol, 5);
        upstream.slow.store(10, Ordering::Relaxed);
        ticks(&pool, 3).await;
        assert_eq!((kept(&pool), upstream.dials()), (ready, ready), "{protocol:?}");
        assert_eq!(upstream.most_at_once.load(Ordering::Relaxed), ready.min(4), "one first");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_the_first_connection_is_dialled_waits_for_it() {
    for protocol in BOTH {
        let (pool, upstream, _accept) = pool(protocol, 1);
        upstream.slow.store(100, Ordering::Relaxed);
        let begin = Instant::now();
        pool.sweep();
        sleep(Duration::from_millis(60)).await;
        let lease = pool.lease(None).await.unwrap();
        assert_eq!(begin.elapsed().as_millis(), 100, "{protocol:?}");
        assert_eq!(upstream.dials(), 1, "{protocol:?}");
        assert!(!reused(&lease), "nothing can have happened to it");
    }
}

#[tokio::test(start_paused = true)]
async fn while_upstream_is_down_it_is_tried_ever_more_rarely_and_found_again() {
    for protocol in BOTH {
        let (pool, upstream, _accept) = pool(protocol, 3);
        upstream.down.store(true, Ordering::Relaxed);
        ticks(&pool, HOUR).await;
        let dials = upstream.dials();
        assert!((100..500).contains(&dials), "{protocol:?}: {dials}");
        assert!(pool.lease(None).await.is_err(), "requests try for themselves");
        assert_eq!(upstream.dials(), dials + 1, "{protocol:?}");
        upstream.down.store(false, Ordering::Relaxed);
        ticks(&pool, 62).await;
        assert!(kept(&pool) > 0, "{protocol:?}");
        ticks(&pool, 20).await;
        assert!(kept(&pool) >= if protocol == Protocol::Http1 { 3 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_at_once_is_not_dialled_in_a_loop() {
    for protocol in BOTH {
        let (pool, upstream, mut accept) = pool(protocol, 1);
        let peers = TaskTracker::new();
        peers.spawn(async move { while accept.recv().await.is_some() {} });
        ticks(&pool, HOUR).await;
        let dials = upstream.dials();
        assert!((100..500).contains(&dials), "{protocol:?}: {dials}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_reused_and_not_kept_until_upstream_closes_it() {
    for protocol in BOTH {
        let (pool, upstream, _accept) = pool(protocol, 0);
        finish(pool.lease(None).await.unwrap());
        ticks(&pool, 98).await;
        let lease = pool.lease(None).await.unwrap();
        assert!(reused(&lease), "{protocol:?}");
        finish(lease);
        ticks(&pool, 102).await;
        assert_eq!((kept(&pool), upstream.dials()), (0, 1), "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_steady_use_ends_all_the_same_so_that_dns_is_followed() {
    for protocol in BOTH {
        let (pool, upstream, _accept) = pool(protocol, 0);
        let begin = Instant::now();
        while upstream.dials() < 2 && begin.elapsed() < MAX_AGE * 2 {
            let lease = pool.lease(None).await.unwrap();
            ticks(&pool, 1).await;
            finish(lease);
        }
        let lasted = begin.elapsed().as_secs();
        assert!((480..=602).contains(&lasted), "{protocol:?}: {lasted} s");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_began_together_do_not_end_together() {
    let now = Instant::now();
    let ends: Vec<_> = (0..100)
        .map(|worker| (Life::new(now, f64::from(worker) / 100.0).ends - now).as_secs())
        .collect();
    assert!(ends.iter().all(|end| (480..=600).contains(end)), "{ends:?}");
    for second in 480..600 {
        let together = ends.iter().filter(|end| (second..second + 10).contains(*end)).count();
        assert!(together <= 10, "{together} end within 10 s");
    }
    // The dice are cast for each.
    let (pool, _, _accept) = pool(Protocol::Http1, 50);
    ticks(&pool, 3).await;
    let mut ends: Vec<_> = pool.state().parked.iter().map(|parked| parked.life.ends).collect();
    ends.sort_unstable();
    ends.dedup();
    assert!(ends.len() > 40, "{}", ends.len());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_upstream_closed_is_not_handed_out() {
    for protocol in BOTH {
        let (pool, upstream, mut accept) = pool(protocol, 0);
        finish(pool.lease(None).await.unwrap());
        drop(accept.recv().await.unwrap());
        tokio::task::yield_now().await;
        sleep(Duration::from_millis(1)).await;
        let lease = pool.lease(None).await.unwrap();
        assert_eq!(upstream.dials(), 2, "{protocol:?}");
        assert!(!reused(&lease));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_only_a_connection_will_do_to_which_nothing_can_have_happened() {
    for (protocol, dials) in [(Protocol::Http1, 3), (Protocol::Http2, 2)] {
        let (pool, upstream, _accept) = pool(protocol, 0);
        finish(pool.lease(None).await.unwrap());
        sleep(Duration::from_millis(1)).await;
        let failed = Instant::now();
        upstream.slow.store(1, Ordering::Relaxed);
        let lease = pool.lease(Some(failed)).await.unwrap();
        assert!(!reused(&lease), "{protocol:?}");
        assert_eq!(upstream.dials(), 2, "{protocol:?}");
        finish(lease);
        // HTTP/2 says what it did not process; of HTTP/1.1 the new one was idle meanwhile.
        pool.lease(Some(failed)).await.unwrap();
        assert_eq!(upstream.dials(), dials, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_over_http2_dials_one_connection_at_a_time_and_no_more_than_it_needs() {
    let (pool, upstream, _accept) = pool(Protocol::Http2, 0);
    upstream.slow.store(100, Ordering::Relaxed);
    let callers = TaskTracker::new();
    let callers: Vec<_> = (0..250)
        .map(|_| {
            let pool = Arc::clone(&pool);
            callers.spawn(async move { pool.lease(None).await.unwrap() })
        })
        .collect();
    let mut leases = Vec::new();
    for caller in callers {
        leases.push(caller.await.unwrap());
    }
    assert_eq!(upstream.dials(), 3);
    assert_eq!(upstream.most_at_once.load(Ordering::Relaxed), 1);
    let full = pool.state().shared.iter().filter(|shared| !shared.has_room()).count();
    assert_eq!(full, 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_dial_takes_the_room_that_comes_free_before() {
    let (pool, upstream, _accept) = pool(Protocol::Http2, 0);
    let mut leases = Vec::new();
    for _ in 0..shared::MAX_STREAMS {
        leases.push(pool.lease(None).await.unwrap());
    }
    upstream.slow.store(3_600_000, Ordering::Relaxed);
    let begin = Instant::now();
    let ends = async {
        sleep(Duration::from_millis(10)).await;
        leases.truncate(leases.len() - 2);
    };
    let (one, two, ()) = tokio::join!(pool.lease(None), pool.lease(None), ends);
    assert!(reused(&one.unwrap()) && reused(&two.unwrap()));
    assert_eq!(begin.elapsed().as_millis(), 10);
    assert_eq!(upstream.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_waited_for_a_dial_that_failed_shares_its_outcome() {
    let (pool, upstream, _accept) = pool(Protocol::Http2, 0);
    upstream.down.store(true, Ordering::Relaxed);
    upstream.slow.store(5_000, Ordering::Relaxed);
    let begin = Instant::now();
    let callers = TaskTracker::new();
    let callers: Vec<_> = (0..200)
        .map(|_| {
            let pool = Arc::clone(&pool);
            let patience = Duration::from_secs(20);
            callers.spawn(async move { timeout(patience, pool.lease(None)).await.map(drop) })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().expect("told, not left waiting");
    }
    // One after the other they would take 1000 s.
    assert_eq!((begin.elapsed().as_secs(), upstream.dials()), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_end_the_dial_that_others_wait_for() {
    let (pool, upstream, _accept) = pool(Protocol::Http2, 0);
    upstream.slow.store(1_000, Ordering::Relaxed);
    let first = timeout(Duration::from_millis(500), pool.lease(None));
    let (first, second) = tokio::join!(first, pool.lease(None));
    assert!(first.is_err() && second.is_ok());
    assert_eq!(upstream.dials(), 1);
}

/// Sends a request over `lease`, and gives the lease's count with the answer.
async fn ask(lease: Lease<Memory>, path: &str) -> (Response<Incoming>, StreamCount) {
    let Lease::Http2 { mut sender, stream } = lease else { panic!("{lease:?}") };
    let request = Request::get(format!("https://localhost{path}")).body(Attempt::empty()).unwrap();
    (sender.try_send_request(request).await.unwrap(), stream)
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_allows_few_streams_gets_no_more_and_the_next_request_another_connection() {
    let (pool, upstream, mut accept) = pool(Protocol::Http2, 0);
    let peers = TaskTracker::new();
    let serving = peers.clone();
    peers.spawn(async move {
        while let Some(far) = accept.recv().await {
            serving.spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(3);
                let mut connection = builder.handshake::<_, Bytes>(far).await.unwrap();
                // Never answered.
                let mut requests = Vec::new();
                while let Some(request) = connection.accept().await {
                    requests.push(request);
                }
            });
        }
    });
    let first = pool.lease(None).await.unwrap();
    ticks(&pool, 2).await;
    let mut leases = vec![first];
    for _ in 0..5 {
        leases.push(pool.lease(None).await.unwrap());
        ticks(&pool, 2).await;
    }
    assert_eq!(upstream.dials(), 2, "six requests, three on each");
}

/// HTTP/2 on every connection: a `/large` answer has 16 MiB, any other a word.
fn serve(mut accept: Accepted) -> TaskTracker {
    let peers = TaskTracker::new();
    let serving = peers.clone();
    let large = Bytes::from(vec![7; 16 << 20]);
    peers.spawn(async move {
        while let Some(far) = accept.recv().await {
            let large = large.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let body = match request.uri().path() {
                    "/large" => large.clone(),
                    _ => Bytes::from_static(b"small"),
                };
                async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
            });
            serving.spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(far), answer),
            );
        }
    });
    peers
}

#[tokio::test(start_paused = true)]
async fn callers_that_stopped_reading_large_answers_do_not_stall_the_others() {
    let (pool, upstream, accept) = pool(Protocol::Http2, 0);
    let _peers = serve(accept);
    let mut stalled = Vec::new();
    for _ in 1..shared::MAX_STREAMS {
        stalled.push(ask(pool.lease(None).await.unwrap(), "/large").await);
    }
    // Upstream sends what it may.
    sleep(Duration::from_millis(100)).await;
    for _ in 0..3 {
        let (answer, _stream) = ask(pool.lease(None).await.unwrap(), "/small").await;
        let small = timeout(Duration::from_secs(1), answer.into_body().collect()).await;
        assert_eq!(small.expect("no window is left").unwrap().to_bytes(), "small");
    }
    assert_eq!(upstream.dials(), 1);
    let (answer, _stream) = stalled.swap_remove(0);
    let whole = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(whole.len() == 16 << 20 && whole.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_at_the_timeout_for_all_who_wait() {
    // A listener that accepts nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let origin = Origin { scheme: Scheme::Https, host: "localhost".to_owned(), port };
    let tls = tls::client_config("upstream.ca_file", None).unwrap();
    let patience = Duration::from_millis(200);
    let connector = Connector::new(&tls, Http2::Auto, None, patience);
    let pool =
        Pool::new(origin, connector, Http2::Auto, Warm::default(), TaskTracker::new()).unwrap();
    let callers = TaskTracker::new();
    let waiting: Vec<_> = (0..200)
        .map(|_| {
            let pool = Arc::clone(&pool);
            callers.spawn(async move {
                timeout(patience * 50, async { pool.lease(None).await.map(drop) }).await
            })
        })
        .collect();
    for caller in waiting {
        let told = caller.await.unwrap().expect("told, not left waiting");
        assert_eq!(told, Err(ConnectError::Timeout));
    }
}
