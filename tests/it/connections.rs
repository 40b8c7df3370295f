//! Connections are bounded: in all, of one address, and by what the system has to give; and nobody
//! who has too many is more than their own trouble (threats T20, T34).

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use crate::support::{
    Gateway,
    bridge::Bridge,
    edge::Files,
    front::Authority,
    gateway::{ADMIN, PATIENCE},
    raw::{Caller, Line, Peer, Stage, grants, ok},
};

fn echo(line: &mut Line) {
    while line.request().is_some() {
        line.send(&ok("{}"));
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// From any address of this machine.
fn from(address: &str, gateway: SocketAddr) -> Caller {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let local: SocketAddr = format!("{address}:0").parse().unwrap();
    socket.bind(&local.into()).unwrap();
    socket.connect(&gateway.into()).unwrap();
    Caller::over(socket.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_too_many_connections_is_sent_away_and_no_other_is() {
    let (peer, login) = (Peer::start(echo), Peer::start(grants));
    let toml = format!(
        "upstream.api_url = \"{}\"\noauth.token_url = \"{}/oauth/token\"\n\
         access.max_connections_per_address = 3\naccess.header_timeout = \"60s\"\n",
        peer.url(),
        login.url()
    );
    let gateway = Gateway::start_with(&toml, &[ADMIN]);
    let mut three: Vec<Caller> = (0..3).map(|_| from("127.0.0.2", gateway.address)).collect();
    assert!(three.iter_mut().all(|caller| caller.status_of(GET) == 200));
    for _ in 0..20 {
        assert!(from("127.0.0.2", gateway.address).rest().is_empty());
    }
    assert_eq!(from("127.0.0.3", gateway.address).status_of(GET), 200);
    assert!(three.iter_mut().all(|caller| caller.status_of(GET) == 200));
    let line = gateway.wait_for_log("access.max_connections_per_address");
    assert!(line.contains("address=127.0.0.2 "), "{line}");
    let page = gateway.admin("/metrics").await;
    let counted = "genesys_proxy_connections_refused_total{reason=\"address\"} 20\n";
    assert!(page.contains(counted), "{page}");
    three.pop();
    gateway.until_open(2).await;
    while from("127.0.0.2", gateway.address).status_of(GET) != 200 {}
    let log = gateway.log_at_end();
    assert_eq!(log.matches("access.max_connections_per_address").count(), 1, "{log}");
}

#[test]
fn what_strangers_break_fills_no_log() {
    let stage = Stage::with("telemetry.log = \"info\"\n", echo);
    for _ in 0..200 {
        assert_eq!(stage.call("GET / HTTP/1.1\nHost: localhost\r\n\r\n").status, 400);
    }
    let log = stage.gateway().log();
    let lines = log.matches("bad.framing").count();
    // One in five seconds.
    assert!((1..20).contains(&lines), "{lines} lines");
}

#[test]
fn without_descriptors_the_gateway_waits_quietly_and_then_serves_again() {
    let (peer, login) = (Peer::start(echo), Peer::start(grants));
    let toml = format!(
        "upstream.api_url = \"{}\"\noauth.token_url = \"{}/oauth/token\"\n",
        peer.url(),
        login.url()
    );
    let gateway = Gateway::start_poor(&toml, 100);
    gateway.wait_for_log("too few open files");
    let mut first = Caller::connect(gateway.address);
    assert_eq!(first.status_of(GET), 200);
    let crowd: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(gateway.address).unwrap()).collect();
    gateway.wait_for_log("cannot accept");
    // Who is connected is served, over the connection to upstream that there is.
    assert_eq!(first.status_of(GET), 200);
    // The next line tells how often it was tried in between: twenty times a second and listener.
    let lines = gateway.wait_for_logs("cannot accept", 2);
    let left_out = lines[1].split("left_out=").nth(1).unwrap();
    let left_out: usize = left_out.split_whitespace().next().unwrap().parse().unwrap();
    let listeners = std::thread::available_parallelism().unwrap().get();
    assert!(left_out <= listeners * 20 * 20, "{left_out} tries: it spins");
    drop(crowd);
    assert_eq!(Caller::connect(gateway.address).status_of(GET), 200);
}

/// So many callers that have said something and now say nothing; each costs `bound` bytes at
/// most.
fn idle(stage: &Stage, address: SocketAddr, count: usize, bound: u64) {
    rlimit::increase_nofile_limit(8 * count as u64).unwrap();
    assert_eq!(Caller::connect(address).status_of(GET), 200);
    let before = stage.gateway().resident();
    let mut idle: Vec<Caller> = (0..count).map(|_| Caller::connect(address)).collect();
    assert!(idle.iter_mut().all(|caller| caller.status_of(GET) == 200));
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert_eq!(Caller::connect(address).status_of(GET), 200);
        let each = stage.gateway().resident().saturating_sub(before) / count as u64;
        if each <= bound {
            // They are connected all the while.
            let last = &mut idle[count - 1].stream;
            last.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            assert!(last.read(&mut [0]).is_err());
            return;
        }
        assert!(Instant::now() < deadline, "{each} bytes each");
    }
}

const QUIET: &str = "telemetry.log = \"info\"\ntelemetry.access_log = false\n";

#[test]
fn two_thousand_idle_callers_cost_what_is_documented_and_nobody_waits_for_them() {
    let stage = Stage::with(QUIET, echo);
    // Some 4 KiB, and what the allocator keeps of the buffers of those that were last.
    idle(&stage, stage.gateway().address, 2000, 12 * 1024);
}

#[test]
fn idle_callers_over_tls_cost_what_is_documented() {
    let ca = Authority::new();
    let files = Files::of(&ca);
    let tls = files.toml();
    let stage = Stage::with(&format!("{QUIET}{tls}"), echo);
    let bridge = Bridge::to(stage.gateway().address, &ca);
    idle(&stage, bridge.address, 1000, 32 * 1024);
}
