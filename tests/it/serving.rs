//! The main job: a plain request goes out signed and comes back.

use crate::support::World;

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
