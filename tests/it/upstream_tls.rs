//! Upstream over TLS: HTTP/1.1 and HTTP/2 by ALPN, trust by `ca_file`, the way out by CONNECT.

use std::sync::atomic::Ordering;

use crate::support::{
    Gateway,
    load::{assert_all, at_once},
    tls::{ConnectProxy, TlsFront},
    world::{NO_LIMIT, client, simulator, unlimited},
};

const BOTH: &[&str] = &["h2", "http/1.1"];

/// Calls `path` through a gateway whose upstream is `front`, with more of `[upstream]`.
async fn call(front: &TlsFront, more: &str) -> (Gateway, reqwest::Response) {
    let gateway = Gateway::start(&format!("{}\n{more}\n{NO_LIMIT}", front.upstream()));
    let answer = client().get(gateway.url("/api/v2/organizations/me")).send().await.unwrap();
    (gateway, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn alpn_decides_and_configuration_may_overrule_it() {
    let (genesys, _stop) = simulator(unlimited()).await;
    for (offered, http2, chosen) in [
        (BOTH, "auto", "h2"),
        (&["http/1.1"][..], "auto", "http/1.1"),
        (BOTH, "never", "http/1.1"),
        (BOTH, "always", "h2"),
    ] {
        let front = TlsFront::start(genesys.addr(), "localhost", offered).await;
        let (_gateway, answer) = call(&front, &format!("http2 = \"{http2}\"")).await;
        assert_eq!(answer.status(), 200, "{offered:?} {http2}");
        let protocols = front.protocols.lock().unwrap();
        // The first connection is the token's.
        assert_eq!(protocols.last().unwrap(), chosen, "{offered:?} {http2}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_few_http2_connections() {
    let (genesys, _stop) = simulator(unlimited()).await;
    let front = TlsFront::start(genesys.addr(), "localhost", BOTH).await;
    let gateway = Gateway::start(&format!("{}\n{NO_LIMIT}", front.upstream()));
    let client = client();
    let calls = (0..300).map(|_| client.get(gateway.url("/api/v2/users?pageSize=1")));
    assert_all(&at_once(calls).await, 200);
    let workers = std::thread::available_parallelism().unwrap().get();
    // A hundred streams each, a connection more where a worker got more than its share, the token's.
    let handshakes = front.handshakes.load(Ordering::SeqCst);
    assert!(handshakes <= 1 + workers + 3, "{handshakes} handshakes");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_by_prior_knowledge_works_over_plain_text_on_loopback() {
    let (genesys, _stop) = simulator(unlimited()).await;
    let upstream = crate::support::world::upstream(genesys.addr());
    let gateway = Gateway::start(&format!("{upstream}\nhttp2 = \"always\"\n{NO_LIMIT}"));
    let client = client();
    let body = vec![b'x'; 300_000];
    let answer = client.post(gateway.url("/api/v2/echo")).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(genesys.snapshot().records.last().unwrap().version, "HTTP/2.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_or_a_wrong_name_gets_no_byte_of_http() {
    let (genesys, _stop) = simulator(unlimited()).await;
    let trusted = TlsFront::start(genesys.addr(), "localhost", BOTH).await;
    let unknown = TlsFront::start(genesys.addr(), "localhost", BOTH).await;
    let misnamed = TlsFront::start(genesys.addr(), "other.example", BOTH).await;
    for (front, ca_file) in
        [(&unknown, trusted.ca_file.clone()), (&misnamed, misnamed.ca_file.clone())]
    {
        // The token comes from a server that is trusted, the API does not.
        let gateway = Gateway::start(&format!(
            "[upstream]\napi_url = \"https://localhost:{}\"\nlogin_url = \"http://{}\"\n\
             ca_file = \"{}\"\n{NO_LIMIT}",
            front.address.port(),
            genesys.addr(),
            ca_file.display(),
        ));
        let answer = client().get(gateway.url("/api/v2/users")).send().await.unwrap();
        assert_eq!(answer.status(), 502);
        let error: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(error["code"], "proxy.upstream.tls");
        assert_eq!(front.handshakes.load(Ordering::SeqCst), 0);
    }
    assert_eq!(genesys.counters().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_proxy_is_asked_for_every_connection_and_given_its_credentials() {
    let (genesys, _stop) = simulator(unlimited()).await;
    let front = TlsFront::start(genesys.addr(), "localhost", BOTH).await;
    for (userinfo, authorization) in [("", ""), ("me:s%3Acret@", "Basic bWU6czpjcmV0")] {
        let proxy = ConnectProxy::start().await;
        let (gateway, answer) =
            call(&front, &format!("proxy = \"http://{userinfo}{}\"", proxy.address)).await;
        assert_eq!(answer.status(), 200);
        let asked = proxy.asked.lock().unwrap().clone();
        let target = format!("CONNECT localhost:{} HTTP/1.1", front.address.port());
        // The token's and the call's.
        assert_eq!(asked, vec![(target, authorization.to_owned()); 2]);
        assert!(!gateway.log().contains("s:cret") && !gateway.log().contains("bWU6"));
    }
}
