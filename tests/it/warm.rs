//! Connections that are ready before there is a call for them.

use tokio::time::Instant;

use crate::support::{
    Answer, Gateway, NO_LIMIT,
    front::{Authority, Front},
    gateway::PATIENCE,
    unlimited, world,
};

/// Before a front, with the login elsewhere, so that every connection is a call's.
fn gateway(front: &Front, login: std::net::SocketAddr, ca: &Authority, more: &str) -> Gateway {
    Gateway::start(&format!(
        "[upstream]\napi_url = \"https://localhost:{}\"\nlogin_url = \"http://{login}\"\n\
         ca_file = \"{}\"\n{more}\n{NO_LIMIT}",
        front.address.port(),
        ca.path()
    ))
}

async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

fn workers() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_worker_has_shaken_hands_before_the_first_call_and_calls_need_no_other() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let ca = Authority::new();
    let front = Front::new(genesys.addr(), &ca, "localhost", &["h2", "http/1.1"]).await;
    let gateway = gateway(&front, genesys.addr(), &ca, "");
    until("no handshake ahead", || front.handshakes() == workers()).await;
    for _ in 0..20 {
        let answer = world::client().get(gateway.url("/api/v2/echo")).send().await.unwrap();
        assert_eq!(Answer::of(answer).await.status, 200);
    }
    assert_eq!(front.handshakes(), workers());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_warm_connections_nothing_is_opened_before_a_call() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let ca = Authority::new();
    let front = Front::new(genesys.addr(), &ca, "localhost", &["h2"]).await;
    let gateway = gateway(&front, genesys.addr(), &ca, "warm_connections = 0");
    let answer = world::client().get(gateway.url("/api/v2/echo")).send().await.unwrap();
    assert_eq!(Answer::of(answer).await.status, 200);
    assert_eq!(front.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_be_reached_is_one_line_for_all_workers_and_all_tries() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let (ca, stranger) = (Authority::new(), Authority::new());
    let front = Front::new(genesys.addr(), &stranger, "localhost", &["h2"]).await;
    let gateway = gateway(&front, genesys.addr(), &ca, "");
    until("it is tried again", || front.connections() >= 3 * workers()).await;
    let log = gateway.log_at_end();
    assert_eq!(log.matches("no connection to upstream can be opened ahead").count(), 1, "{log}");
}
