//! However many callers come first, one token is minted.

use http::Method;
use serde_json::json;

use crate::support::{NO_LIMIT, World, assert_all, at_once, unlimited};

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_callers_at_once_cost_one_mint() {
    // The mint takes until all of them are there.
    let world = World::beginning(unlimited(), NO_LIMIT, json!({"token": "hold"})).await;
    let callers = (0..500).map(|_| world.request(Method::GET, "/api/v2/organizations/me"));
    let (answers, ()) = tokio::join!(at_once(callers), async {
        world.until(|seen| seen.held == 1).await;
        world.gateway.until_open(500).await;
        world.faults(json!({"clear": true}));
    });
    assert_all(&answers, 200);
    let seen = world.genesys.counters();
    assert_eq!((seen.mints, seen.mint_attempts, seen.requests), (1, 1, 500));
    assert_eq!(seen.unauthorized, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_leave_do_not_take_the_mint_with_them() {
    let world = World::beginning(unlimited(), NO_LIMIT, json!({"token": "hold"})).await;
    tokio::select! {
        _ = world.get("/api/v2/organizations/me") => panic!("there is no token yet"),
        () = world.gateway.until_open(1) => {}
    }
    world.until(|seen| seen.held == 1).await;
    world.faults(json!({"clear": true}));
    world.gateway.wait_for_log("token minted");
    assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
    assert_eq!(world.genesys.counters().mint_attempts, 1);
}
