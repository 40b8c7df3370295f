//! `/api/status` says what an operator on call asks first, and gives nothing away.

use genesys_proxy::{
    admin::status::{Calls, Share, Status, StoreState, TokenState, Waiting},
    simulator::Options,
};
use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, NO_LIMIT, Replicas, World, assert_all, at_once,
    callers::{caller, key, rate_limit, sent},
    gateway::ADMIN,
    openapi::follows,
    patience::until,
    redis::Redis,
    unlimited,
};

const ECHO: &str = "/api/v2/echo";

async fn world(options: Options, toml: &str) -> World {
    World::with_env(options, toml, &[ADMIN]).await
}

/// The only organisation's.
fn of(status: &Status) -> &genesys_proxy::admin::status::Organisation {
    assert_eq!(status.organisations.len(), 1);
    &status.organisations[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_and_the_budget_are_told() {
    let world = world(unlimited(), &rate_limit(10, 60, "")).await;
    assert_all(&at_once((0..3).map(|_| world.request(http::Method::GET, ECHO))).await, 200);
    let status = world.gateway.status().await;
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert!(status.ready && status.reasons.is_empty() && !status.draining, "{status:?}");
    assert_eq!((status.store.as_ref(), status.audit.as_ref()), (None, None));
    let org = of(&status);
    assert_eq!((org.name.as_str(), org.replicas, org.in_flight), ("default", None, 0));
    let budget = &org.budget;
    assert_eq!((budget.limit, budget.allowed, budget.used), (Some(10), Some(10), 3));
    assert_eq!((budget.window_s, budget.paused_until_s), (60, None));
    let [token] = &org.tokens[..] else { panic!("{org:?}") };
    assert_eq!((token.client.as_str(), token.number, token.generation), ("demo", 0, 1));
    assert_eq!((token.state, token.share), (TokenState::Valid, None));
    assert_eq!(token.fingerprint, world.gateway.newest("fingerprint="));
    let (left, life) = (token.expires_in_s.unwrap(), token.life_s.unwrap());
    assert!(life == 86_400 && left <= life && left > life - 3600, "{token:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_named_with_how_many_and_the_most_first() {
    let terms = rate_limit(1, 60, "max_wait = \"10m\"");
    let toml = format!("{terms}\n{}{}", caller("billing", ""), caller("reports", ""));
    let world = world(unlimited(), &toml).await;
    let call = |name: &str| world.request(http::Method::GET, ECHO).header("x-api-key", key(name));
    assert_all(&at_once([call("billing")]).await, 200);
    let waiting = ["reports", "reports", "billing", "nobody-at-all-0a1b"].map(call);
    let _waiting = sent(waiting);
    world.gateway.until_waiting(4).await;
    let status = world.gateway.status().await;
    let queue = &of(&status).queue;
    assert_eq!((queue.waiting, queue.max_queue, queue.others), (4, 1000, 0));
    let names: Vec<_> =
        queue.callers.iter().map(|Waiting { name, waiting }| (name.as_str(), *waiting)).collect();
    assert_eq!(names, [("reports", 2), ("billing", 1), ("127.0.0.1", 1)]);
    // The history looks every five seconds.
    until("a sample", async || {
        let status = world.gateway.status().await;
        let last = of(&status).history.last().copied();
        last.is_some_and(|last| (last.used, last.allowed, last.waiting) == (1, Some(1), 4))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_most_and_what_is_told_with_its_errors() {
    let callers = caller("billing", "") + &caller("reports", "") + &caller("silent", "");
    let world = world(unlimited(), &format!("{NO_LIMIT}\n{callers}")).await;
    let call = |name: &str, path: &str| {
        world.request(http::Method::GET, path).header("x-api-key", key(name))
    };
    assert_all(&at_once([call("reports", ECHO)]).await, 200);
    assert_all(&at_once((0..3).map(|_| call("billing", ECHO))).await, 200);
    let denied = world.request(http::Method::DELETE, "/api/v2/tokens/me");
    assert_eq!(world.answer(denied.header("x-api-key", key("billing"))).await.status, 403);
    assert_eq!(world.answer(world.request(http::Method::GET, ECHO)).await.status, 200);
    let status = world.gateway.status().await;
    let told = |all: &[Calls]| -> Vec<(String, u64, u64, u64)> {
        all.iter().map(|it| (it.name.clone(), it.last_minute, it.calls, it.errors)).collect()
    };
    let line = |name: &str, calls, errors| (name.to_owned(), calls, calls, errors);
    let callers = [line("billing", 4, 1), line("(unnamed)", 1, 0), line("reports", 1, 0)];
    assert_eq!(told(&of(&status).callers), callers);
    assert_eq!(told(&of(&status).families), [line("/api/v2/echo", 5, 0), line("other", 1, 1)]);
    assert!(status.connections > 0, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_upstream_asks_for_is_told_while_it_lasts() {
    let world = world(unlimited(), &format!("{NO_LIMIT}\nmax_wait = \"0s\"")).await;
    world.faults(json!({"api": [{"status": 429, "retry_after": "30"}]}));
    // One family alone may have a limit of its own; a second one says that it is the token's.
    for path in ["/api/v2/echo", "/api/v2/users/me"] {
        let answer = world.answer(world.request(http::Method::GET, path)).await;
        assert_eq!(answer.status, 429, "{answer:?}");
    }
    let status = world.gateway.status().await;
    let paused = of(&status).budget.paused_until_s;
    assert!(paused.is_some_and(|seconds| (1..=31).contains(&seconds)), "{status:?}");
    assert_eq!(status.errors.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_errors_are_told_by_their_family_with_both_ids_and_no_query() {
    let toml = format!("{NO_LIMIT}\n[retry]\nattempts = 1\n{}", caller("billing", ""));
    let world = world(unlimited(), &toml).await;
    world.faults(json!({"api": [{"status": 500, "times": 1}]}));
    let path = "/api/v2/users/0f0f0f0f-1234?name=pLaNtEd-query";
    let request = world.request(http::Method::GET, path).header("x-api-key", key("billing"));
    let failed = world.answer(request).await;
    assert_eq!(failed.status, 500, "{failed:?}");
    let fine = world.answer(world.request(http::Method::GET, ECHO)).await;
    assert_eq!(fine.status, 200);
    let denied = world.request(http::Method::DELETE, "/api/v2/tokens/me?pLaNtEd-query");
    let denied = world.answer(denied).await;
    assert_eq!(denied.status, 403);
    let status = world.gateway.status().await;
    let [last, first] = &status.errors[..] else { panic!("{status:?}") };
    assert_eq!((last.status, last.code.as_deref()), (403, Some("proxy.denied")));
    assert_eq!((last.caller.as_str(), last.correlation_id.as_deref()), ("127.0.0.1", None));
    assert_eq!((first.status, first.code.as_deref()), (500, None));
    assert_eq!((first.caller.as_str(), first.path.as_str()), ("billing", "/api/v2/users/*"));
    let id = |answer: &Answer| answer.header("x-request-id").to_owned();
    assert_eq!((&last.request_id, &first.request_id), (&id(&denied), &id(&failed)));
    let correlation = failed.header("inin-correlation-id");
    assert_eq!(first.correlation_id.as_deref(), Some(correlation));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_it_says_so_as_readyz_does() {
    let faults = json!({"token": "invalid_client"});
    let options = unlimited();
    let (genesys, _stop) = crate::support::world::simulator(options).await;
    genesys.faults(serde_json::from_value(faults).unwrap());
    let upstream = crate::support::world::upstream(genesys.addr());
    let gateway = Gateway::start_with(&upstream, &[ADMIN]);
    gateway.wait_for_log("no token");
    let status = gateway.status().await;
    assert_eq!((status.ready, status.reasons), (false, vec!["no valid token".to_owned()]));
    let token = &status.organisations[0].tokens[0];
    assert_eq!((token.state, token.generation), (TokenState::None, 0));
    assert_eq!((&token.fingerprint, token.expires_in_s, token.life_s), (&None, None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_tell_of_each_other_of_their_part_and_of_who_made_the_token() {
    let mut replicas = Replicas::none(unlimited(), Redis::start()).await;
    for _ in 0..2 {
        replicas.joins(&rate_limit(60, 60, ""), &[ADMIN]);
        replicas.gateways.last().unwrap().wait_for_log("fingerprint=");
    }
    replicas.meet().await;
    let mut shares = Vec::new();
    for gateway in &replicas.gateways {
        // Each had all of it while it was alone.
        until("a part", async || (1..60).contains(&gateway.gauge("budget_share").await)).await;
        let status = gateway.status().await;
        assert_eq!(status.store.as_ref().map(|store| store.state), Some(StoreState::Up));
        let org = of(&status);
        assert_eq!(org.replicas, Some(2));
        assert!(org.budget.limit == Some(60) && org.budget.allowed < Some(60), "{org:?}");
        shares.extend(org.tokens.iter().filter_map(|token| token.share));
    }
    assert_eq!(shares, [Share::Published, Share::Adopted]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_described_and_told_only_to_those_who_name_the_listener_as_itself() {
    let world = world(unlimited(), NO_LIMIT).await;
    let document: Value =
        serde_json::from_str(&world.gateway.admin("/api/openapi.json").await).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for path in ["/healthz", "/readyz", "/metrics", "/api/status", "/api/openapi.json"] {
        assert!(document["paths"][path]["get"].is_object(), "{path}");
        world.gateway.admin(path).await;
    }
    let url = world.gateway.admin_url("/api/status");
    let rebound = world.client.get(&url).header("host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), 421);
    let page =
        world.client.get(&url).header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(page.status(), 403);
    let post = world.client.post(&url).send().await.unwrap();
    assert_eq!(post.status(), 405, "it is for looking at");
    let fresh = world.client.get(&url).send().await.unwrap();
    assert_eq!(fresh.headers()["cache-control"], "no-store");
    assert_eq!(fresh.headers()["content-type"], "application/json");
    follows("Status", &fresh.text().await.unwrap());
}
