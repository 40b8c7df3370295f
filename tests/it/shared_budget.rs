//! Replicas with one store have one budget: together they never send more than one of them might, and
//! nearly as much.

use std::time::Duration;

use genesys_proxy::simulator::{Handle, Record};
use http::Method;
use serde_json::json;
use tokio_util::sync::DropGuard;

use crate::support::{
    Answer, Gateway, assert_all, at_once,
    callers::{caller, key, most_in, sent},
    gateway::{ADMIN, PATIENCE},
    redis::{Data, Redis},
    relay::{Cable, Relay},
    unlimited,
    world::{client, simulator, upstream},
};

const ECHO: &str = "/api/v2/echo";
const WINDOW: Duration = Duration::from_secs(3);
/// A busy machine takes longer with one call than with another: by less than this is shorter.
const NEARLY: Duration = Duration::from_millis(2_700);
const LIMIT: u32 = 60;

/// Something done to the store.
type Step<'a> = &'a dyn Fn();

/// Gateways before one Genesys Cloud, with one store.
struct Replicas {
    gateways: Vec<Gateway>,
    genesys: Handle,
    redis: Redis,
    client: reqwest::Client,
    _stop: DropGuard,
}

fn rates(more: &str) -> String {
    format!(
        "[rate_limit]\nrequests_per_minute = {LIMIT}\nwindow = \"{}s\"\nmax_wait = \"60s\"\n{more}",
        WINDOW.as_secs(),
    )
}

impl Replicas {
    async fn of(count: usize, more: &str) -> Self {
        let (genesys, stop) = simulator(unlimited()).await;
        let redis = Redis::start();
        let mut replicas =
            Self { gateways: Vec::new(), genesys, redis, client: client(), _stop: stop };
        for _ in 0..count {
            replicas.joins(&replicas.redis.url(), more);
        }
        replicas
    }

    /// One more, that finds the store there.
    fn joins(&mut self, store: &str, more: &str) {
        let address = self.genesys.addr();
        let toml = format!("{}\n[store]\nurl = \"{store}\"\n{}", upstream(address), rates(more));
        self.gateways.push(Gateway::start_with(&toml, &[ADMIN]));
    }

    fn call(&self, number: usize, path: &str) -> reqwest::RequestBuilder {
        self.client.request(Method::GET, self.gateways[number].url(path))
    }

    fn call_as(&self, number: usize, name: &str, path: &str) -> reqwest::RequestBuilder {
        self.call(number, path).header("x-api-key", key(name))
    }

    /// So many calls at each, all at once.
    async fn all_call(&self, each: usize, path: &str) -> Vec<Answer> {
        let all = (0..self.gateways.len()).cycle().take(each * self.gateways.len());
        at_once(all.map(|number| self.call(number, path))).await
    }

    /// All of them know of so many.
    fn meet(&self) {
        for gateway in &self.gateways {
            let known = format!("replicas={}", self.gateways.len());
            gateway.wait_for_logs(&known, 1);
        }
    }

    /// In no window more than the limit.
    fn never_over(&self) {
        let most = most_in(NEARLY, &self.arrivals());
        assert!(most <= LIMIT as usize, "{most} calls in a window");
    }

    /// So many calls are through.
    async fn until(&self, calls: u64) {
        let through = self.genesys.until(|seen| seen.requests >= calls);
        tokio::time::timeout(PATIENCE, through).await.expect("calls go on");
    }

    fn arrivals(&self) -> Vec<Record> {
        let calls = self.genesys.snapshot().records.into_iter();
        let mut calls: Vec<Record> = calls.filter(|call| call.target.starts_with(ECHO)).collect();
        calls.sort_by_key(|call| call.at_ms);
        calls
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_replicas_send_together_what_one_might_and_nearly_as_much() {
    let replicas = Replicas::of(5, "").await;
    replicas.meet();
    assert_all(&replicas.all_call(60, ECHO).await, 200);
    replicas.never_over();
    // What is lost on the way is the simulations' to say; here, that no window was wasted.
    let calls = replicas.arrivals();
    let took = calls[299].at_ms - calls[0].at_ms;
    let windows = u64::try_from(WINDOW.as_millis()).unwrap() * 4;
    println!("300 calls took {took} ms of {windows}");
    assert!(took < windows * 3 / 2, "300 calls took {took} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_replica_has_what_the_idle_ones_do_not_need() {
    let replicas = Replicas::of(3, "").await;
    replicas.meet();
    let calls = (0..LIMIT).map(|_| replicas.call(0, ECHO).header("prefer", "wait=2"));
    assert_all(&at_once(calls).await, 200);
    // All of them in the first window, or some would have been refused.
    replicas.never_over();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_goes_leaves_its_part_to_the_others() {
    let mut replicas = Replicas::of(3, "").await;
    replicas.meet();
    let calls = sent((0..150).map(|n| replicas.call(n % 2, ECHO)));
    let gone = replicas.gateways.pop().unwrap();
    gone.signal("TERM");
    for gateway in &replicas.gateways {
        gateway.wait_for_logs("replicas=2", 1);
    }
    assert_all(&calls.join_all().await, 200);
    replicas.never_over();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_is_missed_and_the_others_go_on() {
    let mut replicas = Replicas::of(3, "").await;
    replicas.meet();
    let calls = sent((0..150).map(|n| replicas.call(n % 2, ECHO)));
    drop(replicas.gateways.pop());
    for gateway in &replicas.gateways {
        gateway.wait_for_logs("replicas=2", 1);
    }
    assert_all(&calls.join_all().await, 200);
    replicas.never_over();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_calls_go_on_and_with_it_again_the_budget_is_one() {
    let mut replicas = Replicas::of(3, "").await;
    replicas.meet();
    let before = sent((0..180).map(|n| replicas.call(n % 3, ECHO)));
    // Each has its part by then.
    replicas.until(u64::from(2 * LIMIT)).await;
    replicas.redis.kill();
    for gateway in &replicas.gateways {
        gateway.wait_for_logs("the store cannot be used", 1);
    }
    assert_all(&before.join_all().await, 200);
    replicas.never_over();
    replicas.redis.restart(Data::Lost);
    for gateway in &replicas.gateways {
        gateway.wait_for_logs("the store is back", 1);
    }
    // A new one meets all of them there.
    replicas.joins(&replicas.redis.url(), "");
    for gateway in &replicas.gateways {
        gateway.wait_for_logs("replicas=4", 1);
    }
    assert_all(&replicas.all_call(30, ECHO).await, 200);
    replicas.never_over();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cut_off_goes_on_with_its_part_and_comes_back() {
    let mut replicas = Replicas::of(2, "").await;
    let relay = Relay::to(replicas.redis.port).await;
    replicas.joins(&format!("redis://{}", relay.address), "");
    replicas.meet();
    let calls = sent((0..180).map(|n| replicas.call(n % 3, ECHO)));
    relay.is(Cable::Hangs);
    replicas.gateways[2].wait_for_logs("the store cannot be used", 1);
    relay.is(Cable::Whole);
    replicas.gateways[2].wait_for_logs("the store is back", 1);
    assert_all(&calls.join_all().await, 200);
    replicas.never_over();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_emptied_paused_read_only_or_full_costs_no_call_and_no_window() {
    let replicas = Replicas::of(3, "").await;
    replicas.meet();
    let redis = &replicas.redis;
    let troubles: [(Step<'_>, Step<'_>); 4] = [
        (&|| redis.flush(), &|| ()),
        (&|| redis.pause(), &|| redis.resume()),
        (&|| redis.read_only(), &|| redis.writable()),
        (&|| redis.fill(), &|| redis.make_room()),
    ];
    for (strikes, ends) in troubles {
        let calls = sent((0..90).map(|n| replicas.call(n % 3, ECHO)));
        strikes();
        assert_all(&calls.join_all().await, 200);
        ends();
    }
    replicas.never_over();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_familys_limit_and_a_callers_ceiling_are_those_of_all_replicas() {
    let terms = format!(
        "families = [{{ match = \"GET /api/v2/echo/few/**\", requests_per_minute = 10 }}]\n\
         [access]\nmode = \"key\"\n{}{}",
        caller("capped", "requests_per_minute = 6"),
        caller("free", ""),
    );
    let replicas = Replicas::of(3, &terms).await;
    replicas.meet();
    let few = (0..30).map(|n| replicas.call_as(n % 3, "free", &format!("{ECHO}/few/{n}")));
    let capped = (0..18).map(|n| replicas.call_as(n % 3, "capped", &format!("{ECHO}/capped/{n}")));
    assert_all(&at_once(few.chain(capped)).await, 200);
    let of = |path: &str| -> Vec<Record> {
        let calls = replicas.arrivals().into_iter();
        calls.filter(|call| call.target.starts_with(&format!("{ECHO}/{path}"))).collect()
    };
    let (few, capped) = (most_in(NEARLY, &of("few")), most_in(NEARLY, &of("capped")));
    assert!(few <= 10 && capped <= 6, "{few} of the family, {capped} of the caller");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_of_a_family_are_counted_over_all_replicas() {
    let terms = "families = [{ match = \"GET /api/v2/echo/slow/**\", concurrent = 6 }]";
    let replicas = Replicas::of(3, terms).await;
    replicas.meet();
    let faults = |patch| replicas.genesys.faults(serde_json::from_value(patch).unwrap());
    faults(json!({"api": [{"hold": true}]}));
    let calls = sent((0..24).map(|n| replicas.call(n % 3, &format!("{ECHO}/slow/{n}"))));
    let full = replicas.genesys.until(|seen| seen.held == 6);
    tokio::time::timeout(PATIENCE, full).await.expect("as many as may be");
    faults(json!({"clear": true}));
    assert_all(&calls.join_all().await, 200);
    assert_eq!(replicas.genesys.counters().most_in_flight, 6);
}
