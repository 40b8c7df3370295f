//! The main job: a plain request goes out signed and comes back.

use genesys_proxy::simulator::Options;

use crate::support::{
    Gateway, World,
    world::{client, simulator, upstream},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_goes_out_signed_and_comes_back() {
    let world = World::new().await;
    let answer = world.get("/api/v2/organizations/me").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["via"], "1.1 genesys-proxy");
    assert!(answer.headers().contains_key("inin-correlation-id"));
    let body = answer.text().await.unwrap();
    let organisation: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(organisation["name"], "Demo Organisation");
    assert_eq!(world.genesys.counters().mints, 1);
}

/// reqwest reads these by default (trap 12); a proxy is what `upstream.proxy` says and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn proxy_variables_of_the_environment_are_not_followed() {
    let (genesys, _stop) = simulator(Options::default()).await;
    let nowhere = "http://127.0.0.1:1";
    let variables =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let gateway =
        Gateway::start_with(&upstream(genesys.addr()), &variables.map(|name| (name, nowhere)));
    let answer = client().get(gateway.url("/api/v2/organizations/me")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_by_prior_knowledge_works_over_plain_text_on_loopback() {
    let (genesys, _stop) = simulator(Options::default()).await;
    let upstream = upstream(genesys.addr());
    let gateway = Gateway::start(&format!("{upstream}\nhttp2 = \"always\""));
    let body = vec![b'x'; 300_000];
    let answer = client().post(gateway.url("/api/v2/echo")).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(genesys.snapshot().records.last().unwrap().version, "HTTP/2.0");
}
