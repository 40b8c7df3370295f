//! The store fails over while replicas are under load: no call fails, the token is still one for all, and so
//! is the budget, before, meanwhile and after.

use std::time::Duration;

use crate::support::{
    Gateway, Hungry, Replicas, assert_all, at_once,
    callers::rate_limit,
    gateway::ADMIN,
    patience::until,
    redis::Redis,
    redis_sets::{Cluster, Sentinels},
    replicas::Store,
    unlimited,
};

const ECHO: &str = "/api/v2/echo";
const LOST: &str = "the store cannot be used";
const BACK: &str = "the store is back";
const LIMIT: u32 = 60;
const WINDOW: Duration = Duration::from_secs(2);
/// Nobody has so much without having taken it from the others.
const MOST: u32 = LIMIT * 2 / 3;

async fn three<S: Store>(store: S) -> Replicas<S> {
    let mut replicas = Replicas::none(unlimited(), store).await;
    for _ in 0..3 {
        one_joins(&mut replicas);
    }
    replicas.meet().await;
    replicas
}

fn one_joins<S: Store>(replicas: &mut Replicas<S>) {
    replicas.joins(&rate_limit(LIMIT, WINDOW.as_secs(), "max_wait = \"60s\""), &[ADMIN]);
}

/// It has most of the limit.
async fn has_most(gateway: &Gateway) {
    until("most of the limit", async || gateway.gauge("budget_share").await >= MOST).await;
}

/// All know of so many, and show it.
async fn all_know<S: Store>(replicas: &Replicas<S>) {
    let count = u32::try_from(replicas.gateways.len()).unwrap();
    for gateway in &replicas.gateways {
        until("as many replicas", async || gateway.gauge("replicas").await == count).await;
    }
}

async fn all_logged<S: Store>(replicas: &Replicas<S>, text: &str) {
    for gateway in &replicas.gateways {
        gateway.logged(text).await;
    }
}

/// Calls go on at all of them, most at the first until the store fails over, and then at the last.
async fn goes_on<S: Store>(replicas: &mut Replicas<S>, fails: impl FnOnce(&mut S)) {
    let [first, middle, last] = &replicas.gateways[..] else { panic!("there are three") };
    let path = |number: usize| format!("{ECHO}/{number}");
    let few = [Hungry::at(middle, &path(1), 1), Hungry::at(last, &path(2), 1)];
    let mut before = Hungry::at(first, &path(0), 12);
    has_most(first).await;
    fails(&mut replicas.store);
    all_logged(replicas, LOST).await;
    let many = Hungry::at(last, &path(2), 12);
    before.until_more(20).await;
    all_logged(replicas, BACK).await;
    before.until_more(20).await;
    before.end().await;
    // Caps grow again, and where they did not before.
    has_most(last).await;
    all_know(replicas).await;
    // Who comes has the token of all, and a part.
    one_joins(replicas);
    all_know(replicas).await;
    assert_all(&at_once([replicas.get(3, ECHO)]).await, 200);
    for hungry in few.into_iter().chain([many]) {
        hungry.end().await;
    }
    replicas.never_over(ECHO, LIMIT, WINDOW);
}

/// Of a new token there is one for all, too.
async fn renews_once<S: Store>(replicas: &Replicas<S>) {
    let seen = replicas.genesys.counters();
    assert_eq!((seen.mints, seen.unauthorized), (1, 0), "{}", replicas.logs());
    replicas.genesys.revoke();
    assert_all(&at_once(replicas.gets(5, ECHO)).await, 200);
    assert_eq!(replicas.genesys.counters().mints, 2, "{}", replicas.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_put_a_copy_in_the_masters_place() {
    let mut replicas = three(Sentinels::start()).await;
    goes_on(&mut replicas, |sentinels| sentinels.servers[0].kill()).await;
    renews_once(&replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_has_not_heard_of_the_newest_parts_and_token_hears_of_them_from_who_has_them() {
    let mut replicas = three(Sentinels::start()).await;
    // From now on nothing of what the master is told.
    replicas.store.servers[1].read_only();
    replicas.genesys.revoke();
    assert_all(&at_once(replicas.gets(1, ECHO)).await, 200);
    goes_on(&mut replicas, |sentinels| {
        let [master, copy] = &mut sentinels.servers;
        assert_ne!(master.keys_and_values(), copy.keys_and_values());
        master.kill();
    })
    .await;
    assert_eq!(replicas.genesys.counters().mints, 2, "{}", replicas.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clusters_copy_takes_the_place_of_the_node_that_has_the_keys() {
    let mut replicas = three(Cluster::start()).await;
    let holder = |cluster: &Cluster| {
        let has = |node: &Redis| node.keys_and_values().iter().any(|(key, _)| is_budget(key));
        cluster.nodes.iter().position(has)
    };
    let number = holder(&replicas.store).unwrap();
    let _copy = replicas.store.copy_of(number);
    goes_on(&mut replicas, |cluster| cluster.nodes[number].kill()).await;
    renews_once(&replicas).await;
}

fn is_budget(key: &[u8]) -> bool {
    String::from_utf8_lossy(key).contains(":budget:")
}
