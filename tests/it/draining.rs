//! SIGTERM takes nothing from anybody: what is under way ends, then the program does.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use crate::support::{
    Answer, NO_LIMIT, Socket, World,
    gateway::PATIENCE,
    load::{bytes, fed, sha256},
    unlimited,
};

const ME: &str = "/api/v2/organizations/me";

/// Told to stop, and seen to take nobody new.
async fn terminate(world: &World) {
    world.gateway.signal("TERM");
    world.gateway.logged("draining").await;
    let begin = Instant::now();
    while TcpStream::connect(world.gateway.address).await.is_ok() {
        assert!(begin.elapsed() < PATIENCE, "it still accepts");
        tokio::task::yield_now().await;
    }
}

/// Of the body behind this head.
fn length(head: &[String]) -> usize {
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
    length.unwrap().parse().unwrap()
}

/// Ends well: nothing was cut.
fn assert_clean(mut world: World) {
    let status = world.gateway.wait();
    assert_eq!(status.code(), Some(0), "{status}");
    world.gateway.wait_for_log("drained clean=true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_and_new_connections_are_refused() {
    let world = World::new().await;
    world.faults(json!({"api": [{"hold": true}]}));
    let caller = world.answer(world.request(Method::POST, "/api/v2/echo").body("kept"));
    let (answer, ()) = tokio::join!(caller, async {
        world.until(|seen| seen.held == 1).await;
        terminate(&world).await;
        world.faults(json!({"clear": true}));
    });
    assert_eq!((answer.status, &answer.json()["bodyBytes"]), (200, &json!(4)));
    assert_clean(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_and_uploads_under_way_come_to_their_end() {
    let world = World::new().await;
    let mut download = world.get("/api/v2/stream?chunks=5&gap_ms=200").await;
    assert_eq!(download.chunk().await.unwrap().unwrap(), "{\"chunk\":0}\n");
    let whole = bytes(1, 400_000);
    let (mut upload, body) = fed();
    let caller = world.answer(world.request(Method::PUT, "/api/v2/echo").body(body));
    let (answer, rest) = tokio::join!(caller, async {
        let mut pieces = whole.chunks(100_000).map(Bytes::copy_from_slice);
        upload.send_data(pieces.next().unwrap()).await.unwrap();
        world.until(|seen| seen.body_bytes >= 100_000).await;
        terminate(&world).await;
        for piece in pieces {
            upload.send_data(piece).await.unwrap();
        }
        drop(upload);
        download.text().await.unwrap()
    });
    assert_eq!(answer.json()["bodySha256"], sha256(&whole));
    assert!(rest.ends_with("{\"chunk\":4}\n"), "{rest}");
    assert_clean(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_in_line_is_served_first() {
    let limit = "[rate_limit]\nrequests_per_minute = 2\nwindow = \"1s\"\nmax_queue = 4";
    let world = World::with(unlimited(), limit).await;
    let mut line = JoinSet::new();
    // Two go at once, four stand in line, and the seventh's refusal tells that they do.
    for _ in 0..7 {
        let request = world.request(Method::GET, ME);
        line.spawn(async move { Answer::of(request.send().await.unwrap()).await.status });
    }
    let mut statuses = Vec::new();
    while !statuses.contains(&429) {
        statuses.push(line.join_next().await.unwrap().unwrap());
    }
    terminate(&world).await;
    statuses.extend(line.join_all().await);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 429]);
    assert_clean(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_token_gets_it() {
    let world = World::beginning(unlimited(), NO_LIMIT, json!({"token": "hold"})).await;
    let caller = world.answer(world.request(Method::GET, ME));
    let (answer, ()) = tokio::join!(caller, async {
        world.gateway.until_open(1).await;
        world.until(|seen| seen.held == 1).await;
        terminate(&world).await;
        world.faults(json!({"clear": true}));
    });
    assert_eq!(answer.status, 200);
    assert_clean(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_had_connected_is_served_although_its_request_comes_later() {
    let world = World::new().await;
    assert_eq!(world.get(ME).await.status(), 200);
    let mut connected = Vec::new();
    for _ in 0..20 {
        connected.push(Socket::to(world.gateway.address).await);
    }
    // Not even accepted, some of them.
    world.gateway.signal("TERM");
    let get = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for socket in &mut connected {
        socket.write(&get).await;
    }
    for socket in &mut connected {
        assert_eq!(socket.line().await, "HTTP/1.1 200 OK");
    }
    assert_clean(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_called_before_is_told_by_an_answer_and_not_by_a_closed_connection() {
    let world = World::new().await;
    let get = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut callers = Vec::new();
    for _ in 0..10 {
        let mut caller = Socket::saying(world.gateway.address, &get).await;
        let head = caller.head().await;
        assert!(!head.iter().any(|line| line == "connection: close"), "{head:?}");
        caller.take(length(&head)).await;
        callers.push(caller);
    }
    terminate(&world).await;
    for caller in &mut callers {
        caller.write(&get).await;
    }
    for caller in &mut callers {
        let head = caller.head().await;
        assert_eq!(head[0], "HTTP/1.1 200 OK");
        assert!(head.iter().any(|line| line == "connection: close"), "{head:?}");
        caller.take(length(&head)).await;
        assert_eq!(caller.rest().await, "");
    }
    assert_clean(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_hold_nothing_up() {
    let world = World::new().await;
    assert_eq!(world.get(ME).await.status(), 200);
    let mut silent = Socket::to(world.gateway.address).await;
    world.gateway.until_open(2).await;
    let begin = Instant::now();
    terminate(&world).await;
    assert_eq!(silent.rest().await, "");
    assert_clean(world);
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_counts_as_under_way() {
    let world = World::new().await;
    let head = "GET /api/v2/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
                Upgrade: websocket\r\n\r\n";
    let mut tunnel = Socket::saying(world.gateway.address, head).await;
    assert!(tunnel.head().await[0].contains(" 101 "));
    terminate(&world).await;
    tunnel.write("still here").await;
    assert_eq!(tunnel.take(10).await, b"still here");
    tunnel.finish().await;
    assert_eq!(tunnel.rest().await, "");
    assert_clean(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_cut_when_the_time_is_over() {
    let (genesys, _stop) = crate::support::world::simulator(unlimited()).await;
    let upstream = crate::support::world::upstream(genesys.addr());
    let mut gateway = crate::support::Gateway::start(&format!(
        "shutdown_timeout = \"1s\"\n{upstream}\n{NO_LIMIT}"
    ));
    let get = "GET /api/v2/stream?chunks=2&gap_ms=3600000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut caller = Socket::saying(gateway.address, get).await;
    assert!(caller.head().await[0].contains(" 200 "));
    let head = "GET /api/v2/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
                Upgrade: websocket\r\n\r\n";
    let mut tunnel = Socket::saying(gateway.address, head).await;
    assert!(tunnel.head().await[0].contains(" 101 "));
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = gateway.url("/api/v2/stream?chunks=2&gap_ms=3600000");
    let multiplexed = client.get(url).send().await.unwrap();
    gateway.signal("TERM");
    assert!(!caller.rest().await.ends_with("0\r\n\r\n"), "cut, and seen to be");
    drop(multiplexed.bytes().await.unwrap_err());
    assert_eq!(tunnel.rest().await, "");
    assert_eq!(gateway.wait().code(), Some(0));
    gateway.wait_for_log("shutdown_timeout is over");
    // Both downloads have their lines.
    gateway.wait_for_logs("end=cut", 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_now() {
    let mut world = World::new().await;
    let mut endless = world.get("/api/v2/stream?chunks=2&gap_ms=3600000").await;
    endless.chunk().await.unwrap();
    world.gateway.signal("TERM");
    world.gateway.logged("draining").await;
    world.gateway.signal("INT");
    assert_eq!(world.gateway.wait().code(), Some(0));
    assert!(endless.chunk().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_keeps_its_place_among_the_connections() {
    let limit = format!("{NO_LIMIT}\n[access]\nmax_connections = 1");
    let world = World::with(unlimited(), &limit).await;
    let head = "GET /api/v2/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
                Upgrade: websocket\r\n\r\n";
    let mut tunnel = Socket::saying(world.gateway.address, head).await;
    assert!(tunnel.head().await[0].contains(" 101 "));
    let get = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut next = Socket::saying(world.gateway.address, &get).await;
    let early = tokio::time::timeout(Duration::from_millis(500), next.line()).await;
    assert!(early.is_err(), "{early:?}");
    tunnel.finish().await;
    assert_eq!(tunnel.rest().await, "");
    assert!(next.line().await.contains(" 200 "));
}

/// Trap 5: a permit released with the answer's head would call a slow download no load at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_counts_as_in_flight_until_its_last_byte() {
    let mut world = World::with(unlimited(), NO_LIMIT).await;
    let mut download = world.get("/api/v2/recordings/1/media?bytes=30000000").await;
    assert!(download.chunk().await.unwrap().is_some());
    world.gateway.signal("TERM");
    let line = world.gateway.wait_for_log("requests that have begun end first");
    assert!(line.contains("in_flight=1 "), "{line}");
    while download.chunk().await.unwrap().is_some() {}
    assert_eq!(world.gateway.wait().code(), Some(0));
}
