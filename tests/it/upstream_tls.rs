//! TLS towards upstream: trusted before the first byte, HTTP/1.1 or HTTP/2 as agreed, through an
//! outbound proxy when there is one.

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, NO_LIMIT, assert_all, at_once,
    front::{Authority, ConnectProxy, Front},
    load::{bytes, sha256},
    unlimited, world,
};

const ECHO: &str = "/api/v2/echo";

fn gateway(upstream: &str, ca: &Authority) -> Gateway {
    Gateway::start(&format!("[upstream]\nca_file = \"{}\"\n{upstream}\n{NO_LIMIT}", ca.path()))
}

async fn echo(gateway: &Gateway) -> Answer {
    let body = bytes(1, 100_000);
    let sent = world::client().post(gateway.url(ECHO)).body(body.clone()).send().await.unwrap();
    let answer = Answer::of(sent).await;
    if answer.status == 200 {
        assert_eq!(answer.json()["bodySha256"], sha256(&body));
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_http_is_what_alpn_agrees_on_and_the_configuration_allows() {
    let both = &["h2", "http/1.1"][..];
    for (offered, configured, version) in [
        (both, "auto", "HTTP/2.0"),
        (&["http/1.1"], "auto", "HTTP/1.1"),
        (&[], "auto", "HTTP/1.1"),
        (both, "never", "HTTP/1.1"),
        (both, "always", "HTTP/2.0"),
        (&[], "always", "HTTP/2.0"),
    ] {
        let (genesys, _stop) = world::simulator(unlimited()).await;
        let ca = Authority::new();
        let front = Front::new(genesys.addr(), &ca, "localhost", offered).await;
        let port = front.address.port();
        let gateway = gateway(
            &format!("api_url = \"https://localhost:{port}\"\nhttp2 = \"{configured}\""),
            &ca,
        );
        let answer = echo(&gateway).await;
        assert_eq!(answer.status, 200, "{offered:?} {configured}: {}", answer.body);
        assert_eq!(answer.json()["version"], version, "{offered:?} {configured}");
        let fields: Vec<(String, String)> =
            serde_json::from_value(answer.json()["headers"].clone()).unwrap();
        let host = fields.iter().find(|(name, _)| name == "host");
        if version == "HTTP/1.1" {
            assert_eq!(host.unwrap().1, format!("localhost:{port}"));
        }
        // Renewed and replayed over this kind of connection too.
        genesys.revoke();
        assert_eq!(echo(&gateway).await.status, 200);
        assert_eq!(genesys.counters().mints, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_one_http_2_connection_a_worker() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let ca = Authority::new();
    let front = Front::new(genesys.addr(), &ca, "localhost", &["h2", "http/1.1"]).await;
    let port = front.address.port();
    let gateway = gateway(&format!("api_url = \"https://localhost:{port}\""), &ca);
    let client = world::client();
    let callers = (0..80).map(|n| client.request(Method::GET, gateway.url(&format!("{ECHO}/{n}"))));
    assert_all(&at_once(callers).await, 200);
    // One of them is the token endpoint's.
    let workers = std::thread::available_parallelism().unwrap().get();
    assert!(front.handshakes() <= workers + 1, "{:?}", front.alpn());
    // A WebSocket needs HTTP/1.1 and gets a connection of its own.
    let head = "GET /api/v2/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
                Upgrade: websocket\r\n\r\n";
    let mut tunnel = crate::support::Socket::saying(gateway.address, head).await;
    assert!(tunnel.head().await[0].contains(" 101 "));
    tunnel.write("through TLS").await;
    assert_eq!(tunnel.take(11).await, b"through TLS");
    assert_eq!(front.alpn().last().unwrap(), "http/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_workers_resume_the_session_that_one_of_them_began() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let ca = Authority::new();
    let front = Front::new(genesys.addr(), &ca, "localhost", &["h2", "http/1.1"]).await;
    let gateway = gateway(
        &format!(
            "api_url = \"https://localhost:{}\"\nlogin_url = \"http://{}\"\n\
             warm_connections = 0",
            front.address.port(),
            genesys.addr()
        ),
        &ca,
    );
    // Each dials, and the kernel spreads them over the workers.
    let head = "GET /api/v2/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
                Upgrade: websocket\r\n\r\n";
    for _ in 0..16 {
        let mut tunnel = crate::support::Socket::saying(gateway.address, head).await;
        assert!(tunnel.head().await[0].contains(" 101 "));
    }
    assert_eq!((front.handshakes(), front.resumed()), (16, 15));
    // Another ALPN, the same session.
    assert_eq!(echo(&gateway).await.json()["version"], "HTTP/2.0");
    assert_eq!((front.handshakes(), front.resumed()), (17, 16));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_gets_no_byte_of_http() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let (ours, theirs) = (Authority::new(), Authority::new());
    let stranger = Front::new(genesys.addr(), &theirs, "localhost", &["h2", "http/1.1"]).await;
    let misnamed = Front::new(genesys.addr(), &ours, "elsewhere.example", &["h2"]).await;
    for front in [stranger, misnamed] {
        let before = genesys.counters().connections;
        // The token endpoint is fine, so that the call gets as far as the connection.
        let gateway = gateway(
            &format!(
                "api_url = \"https://localhost:{}\"\nlogin_url = \"http://{}\"",
                front.address.port(),
                genesys.addr()
            ),
            &ours,
        );
        let answer = echo(&gateway).await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.json()["code"], "proxy.upstream.tls");
        assert!(answer.header("proxy-status").contains("tls_protocol_error"), "{answer:?}");
        assert!(!answer.body.contains("certificate"), "the chain of causes is for the log");
        gateway.wait_for_log("no connection to Genesys Cloud");
        assert_eq!((front.handshakes(), genesys.counters().requests), (0, 0));
        assert!(front.connections() >= 1);
        assert_eq!(genesys.counters().connections - before, 1, "the login alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_host_that_is_not_trusted_never_sees_the_secret() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let (ours, theirs) = (Authority::new(), Authority::new());
    let front = Front::new(genesys.addr(), &theirs, "localhost", &["h2", "http/1.1"]).await;
    let gateway =
        gateway(&format!("api_url = \"https://localhost:{}\"", front.address.port()), &ours);
    gateway.wait_for_log("no new token");
    assert_eq!((front.handshakes(), genesys.counters().mint_attempts), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_proxy_is_asked_for_a_tunnel_and_sees_nothing_else() {
    // "user:p@ss:word"
    const BASIC: &str = "Basic dXNlcjpwQHNzOndvcmQ=";
    for (credentials, wanted) in [("", None), ("user:p%40ss%3Aword@", Some(BASIC))] {
        let (genesys, _stop) = world::simulator(unlimited()).await;
        let ca = Authority::new();
        let front = Front::new(genesys.addr(), &ca, "api.far.example", &["h2", "http/1.1"]).await;
        let proxy = ConnectProxy::new(front.address, wanted).await;
        let gateway = gateway(
            &format!(
                "api_url = \"https://api.far.example\"\nlogin_url = \"https://api.far.example\"\n\
                 apps_url = \"https://api.far.example\"\n\
                 proxy = \"http://{credentials}{}\"",
                proxy.address
            ),
            &ca,
        );
        let answer = echo(&gateway).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let heads = proxy.heads();
        assert!(heads.len() >= 2, "the login and the call");
        for head in heads {
            assert_eq!(head[0], "CONNECT api.far.example:443 HTTP/1.1");
            let text = head.join("\n").to_ascii_lowercase();
            assert!(!text.contains("bearer") && !text.contains("\nauthorization"), "{text}");
            assert_eq!(text.contains("proxy-authorization"), wanted.is_some(), "{text}");
        }
        assert!(!gateway.log().contains("p@ss"), "no password in a log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_a_clear_failure() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let ca = Authority::new();
    let proxy = ConnectProxy::new(genesys.addr(), Some("Basic nobody-knows")).await;
    let gateway = gateway(
        &format!(
            "api_url = \"https://api.far.example\"\nlogin_url = \"http://{}\"\n\
             apps_url = \"https://api.far.example\"\nproxy = \"http://{}\"",
            genesys.addr(),
            proxy.address
        ),
        &ca,
    );
    let answer = echo(&gateway).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (502, json!("proxy.upstream.unreachable"))
    );
    gateway.wait_for_log("no connection to Genesys Cloud");
    let body: Value = answer.json();
    assert!(!body.to_string().contains("407"), "{body}");
}
