//! What a service manager hands over is used, and what it wants to know it is told.
//! No callers are lost between one gateway and the next on the same socket.

use std::{
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::JoinSet;

use crate::support::{
    NO_LIMIT, Socket, Started, Traffic, World,
    gateway::{ADMIN, PATIENCE},
    unlimited, world,
};

const ME: &str = "/api/v2/organizations/me";

fn settings(genesys: SocketAddr, listen: &str, admin: &str) -> String {
    let upstream = world::upstream(genesys);
    format!("listen = [\"{listen}\"]\nadmin = \"{admin}\"\n{upstream}\n{NO_LIMIT}")
}

/// Callers with a connection for each call, which may come at any moment.
fn strangers_to_pools(address: SocketAddr, over: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let over = Arc::clone(over);
        callers.spawn(async move {
            let client = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy();
            let client = client.timeout(PATIENCE).build().unwrap();
            while !over.load(Ordering::Relaxed) {
                let answer = client.get(format!("http://{address}{ME}")).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.bytes().await.unwrap();
            }
        });
    }
    callers
}

#[tokio::test(flavor = "multi_thread")]
async fn under_five_hundred_calls_a_second_gateways_follow_one_another_and_no_call_fails() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let toml = settings(genesys.addr(), &address.to_string(), "");
    let start = || {
        let directory = tempfile::tempdir().unwrap();
        let sockets = vec![OwnedFd::from(socket.try_clone().unwrap())];
        (Started::with(&toml, directory.path(), sockets), directory)
    };
    let (mut gateway, mut _directory) = start();
    gateway.says("listening on");
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = strangers_to_pools(address, &over);
    // Fifty a second each, in connections that are kept.
    let url = format!("http://{address}{ME}");
    let traffic: Vec<_> = (0..10).map(|_| Traffic::of(url.clone())).collect();
    let more = async || {
        let so_far = genesys.counters().requests;
        tokio::time::timeout(PATIENCE, genesys.until(|seen| seen.requests >= so_far + 2500))
            .await
            .expect("calls are answered");
    };
    for _ in 0..4 {
        more().await;
        gateway.terminate();
        gateway.says("drained clean=true");
        assert!(gateway.child.wait().unwrap().success());
        (gateway, _directory) = start();
        gateway.says("listening on");
    }
    more().await;
    over.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let mut served = 0;
    for traffic in traffic {
        served += traffic.end().await;
    }
    assert!(served >= 1000, "{served}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_and_the_admin_listener_are_handed_over_too() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handed over.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = admin.local_addr().unwrap();
    let listen = format!("unix:{}", path.display());
    let toml = settings(genesys.addr(), &listen, &address.to_string());
    let mut gateway = Started::with(&toml, directory.path(), vec![unix.into(), admin.into()]);
    gateway.says("health on");
    let health = format!("http://{address}/healthz");
    assert_eq!(world::client().get(health).send().await.unwrap().status(), 200);
    let client = reqwest::Client::builder().unix_socket(path).build().unwrap();
    let answer = client.get(format!("http://localhost{ME}")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[test]
fn a_socket_that_the_configuration_does_not_know_ends_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let toml = settings(([127, 0, 0, 1], 9).into(), "127.0.0.1:0", "");
    let mut gateway = Started::with(&toml, directory.path(), vec![socket.into()]);
    gateway.says(&format!("a socket was handed over for {address}"));
    assert_eq!(gateway.child.wait().unwrap().code(), Some(78));
    let datagrams = UnixDatagram::unbound().unwrap();
    let mut gateway = Started::with(&toml, directory.path(), vec![datagrams.into()]);
    gateway.says("handed over as number 0 (from 0) is no listening stream");
    assert_eq!(gateway.child.wait().unwrap().code(), Some(78));
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let mut gateway = Started::with(&toml, directory.path(), vec![deaf.into()]);
    gateway.says("it does not listen");
    assert_eq!(gateway.child.wait().unwrap().code(), Some(78));
}

/// What systemd hears of a gateway.
struct Ear(UnixDatagram);

impl Ear {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn hears(&self) -> String {
        let mut said = [0; 4096];
        let length = self.0.recv(&mut said).unwrap();
        String::from_utf8(said[..length].to_vec()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_that_it_is_ready_that_it_lives_that_it_reloads_and_that_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let ear = Ear::at(&path);
    let told = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "8000000")];
    let mut world = World::with_env(unlimited(), NO_LIMIT, &told).await;
    let ready = ear.hears();
    let place = format!("STATUS=listening on http://{}", world.gateway.address);
    assert!(ready.contains("READY=1") && ready.contains(&place), "{ready}");
    for _ in 0..2 {
        assert_eq!(ear.hears().trim(), "WATCHDOG=1");
    }
    world.gateway.signal("HUP");
    let mut said =
        std::iter::repeat_with(|| ear.hears()).filter(|said| said.trim() != "WATCHDOG=1");
    let reloads = said.next().unwrap();
    assert!(reloads.contains("RELOADING=1") && reloads.contains("MONOTONIC_USEC="), "{reloads}");
    assert!(said.next().unwrap().contains("READY=1"));
    world.gateway.signal("TERM");
    let stops = std::iter::repeat_with(|| ear.hears()).find(|said| said.trim() != "WATCHDOG=1");
    assert!(stops.unwrap().contains("STOPPING=1"));
    assert!(world.gateway.wait().success());
    assert!(!world.gateway.log().contains("does not move"), "{}", world.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_is_not_ready_first_and_takes_callers_for_as_long_as_it_was_told_to() {
    let env = [ADMIN, ("GENESYS_PROXY__SHUTDOWN_LINGER", "1h")];
    let mut world = World::with_env(unlimited(), NO_LIMIT, &env).await;
    world.gateway.admin("/readyz").await;
    world.gateway.signal("TERM");
    world.gateway.logged("not ready any longer").await;
    let line = world.gateway.wait_for_log("health on http://");
    let ready = format!("http{}", line.rsplit_once("http").unwrap().1);
    let answer = world::client().get(ready.trim()).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let request = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut newcomer = Socket::saying(world.gateway.address, &request).await;
    assert!(newcomer.line().await.contains(" 200 "));
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success(), "a second signal ends it");
    let mut world = World::with(unlimited(), NO_LIMIT).await;
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success());
    assert!(!world.gateway.log().contains("not ready any longer"), "by default nothing lingers");
}
