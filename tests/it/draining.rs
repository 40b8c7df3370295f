//! SIGTERM: what has begun ends well, nothing new begins, and nothing waits for ever.

use genesys_proxy::simulator::Options;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    World,
    load::{assert_all, at_once, fed},
    world::{NO_LIMIT, unlimited},
};

async fn holding(calls: &str) -> World {
    let faults = json!({ "api": [{ "match": calls, "hold": true }] });
    World::beginning(unlimited(), NO_LIMIT, faults).await
}

fn release(world: &World) {
    world.genesys.faults(serde_json::from_value(json!({ "clear": true })).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_end_and_new_connections_are_refused() {
    let mut world = holding("GET /api/v2/users*").await;
    let requests: Vec<_> =
        (0..20).map(|_| world.client.get(world.gateway.url("/api/v2/users"))).collect();
    let (answers, ()) = tokio::join!(at_once(requests), async {
        world.until(|counters| counters.held == 20).await;
        world.gateway.signal("TERM");
        world.gateway.wait_for_log("draining");
        while TcpStream::connect(world.gateway.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        release(&world);
    });
    assert_all(&answers, 200);
    assert_eq!(world.gateway.wait().code(), Some(0));
    assert!(world.gateway.log().contains("drained clean=true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_and_a_download_end_byte_for_byte() {
    let mut world = World::new().await;
    let mut download = world.get("/api/v2/recordings/1/media?bytes=30000000").await;
    let first = download.chunk().await.unwrap().unwrap();
    let (mut sender, body) = fed();
    let upload = world.client.post(world.gateway.url("/api/v2/echo")).body(body).send();
    let feeding = async {
        sender.send_data("half ".into()).await.unwrap();
        world.until(|counters| counters.in_flight == 2).await;
        world.gateway.signal("TERM");
        world.gateway.wait_for_log("draining");
        sender.send_data("and half".into()).await.unwrap();
        drop(sender);
    };
    let (upload, ()) = tokio::join!(upload, feeding);
    let echo: serde_json::Value =
        serde_json::from_str(&upload.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(echo["bodyBytes"], 13, "{echo}");
    let mut bytes = first.len();
    while let Some(chunk) = download.chunk().await.unwrap() {
        bytes += chunk.len();
    }
    assert_eq!(bytes, 30_000_000);
    assert_eq!(world.gateway.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_in_line_is_still_served() {
    let options = Options { requests_per_minute: 0, ..Options::default() };
    let line = "[rate_limit]\nrequests_per_minute = 2\nwindow = \"2s\"";
    let mut world = World::with(options, line).await;
    let requests: Vec<_> =
        (0..5).map(|_| world.client.get(world.gateway.url("/api/v2/organizations/me"))).collect();
    let (answers, ()) = tokio::join!(at_once(requests), async {
        world.until(|counters| counters.requests == 2).await;
        world.gateway.signal("TERM");
    });
    assert_all(&answers, 200);
    assert_eq!(world.gateway.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_cut_at_shutdown_timeout() {
    let faults = json!({ "api": [{ "match": "GET /api/v2/users*", "hold": true }] });
    let mut world = World::beginning(unlimited(), NO_LIMIT, faults).await;
    // A top-level key cannot follow a section, so it comes by the environment.
    world.gateway = crate::support::Gateway::start_with(
        &format!("{}\n{NO_LIMIT}", crate::support::world::upstream(world.genesys.addr())),
        &[("GENESYS_PROXY__SHUTDOWN_TIMEOUT", "1s")],
    );
    let request = world.client.get(world.gateway.url("/api/v2/users")).send();
    let (answer, ()) = tokio::join!(request, async {
        world.until(|counters| counters.held == 1).await;
        world.gateway.signal("TERM");
    });
    assert!(answer.is_err(), "cut, and visibly so");
    assert_eq!(world.gateway.wait().code(), Some(0));
    assert!(world.gateway.log().contains("drained clean=false"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_waited_for() {
    let mut world = World::new().await;
    let stream = TcpStream::connect(world.gateway.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::task::JoinSet::from_iter([connection.with_upgrades()]);
    let request = http::Request::get("/api/v2/upgrade")
        .header("host", "localhost")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Empty::<bytes::Bytes>::new().boxed())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 101);
    let mut tunnel = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    world.gateway.signal("TERM");
    world.gateway.wait_for_log("draining");
    let mut echoed = [0; 5];
    tunnel.write_all(b"hello").await.unwrap();
    tunnel.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello");
    drop(tunnel);
    drop(connection);
    assert_eq!(world.gateway.wait().code(), Some(0));
    assert!(world.gateway.log().contains("drained clean=true"));
}
