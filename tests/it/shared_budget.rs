//! Replicas with one store have one budget: together they never send more than one of them might, and
//! nearly as much.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    Answer, Gateway, Hungry, Replicas, assert_all, at_once,
    callers::{caller, key, most_in, nearly, rate_limit, sent},
    gateway::ADMIN,
    patience::until,
    redis::{Data, Redis},
    relay::Cable,
    unlimited,
};

const ECHO: &str = "/api/v2/echo";
/// Of those who stay, and of the one that goes.
const STAYS: &str = "/api/v2/echo/stays";
const GOES: &str = "/api/v2/echo/goes";
const WINDOW: Duration = Duration::from_secs(3);
const LIMIT: u32 = 60;

/// Something done to the store.
type Step<'a> = &'a dyn Fn();

fn rates(more: &str) -> String {
    rate_limit(LIMIT, WINDOW.as_secs(), &format!("max_wait = \"60s\"\n{more}"))
}

async fn replicas(count: usize, more: &str) -> Replicas {
    let mut replicas = Replicas::none(unlimited(), Redis::start()).await;
    for _ in 0..count {
        replicas.joins(&rates(more), &[ADMIN]);
    }
    replicas.meet().await;
    replicas
}

/// So many calls under way, from the first replicas in turn.
fn calls(replicas: &Replicas, count: usize, of: usize) -> JoinSet<Answer> {
    sent((0..count).map(|n| replicas.get(n % of, ECHO)))
}

/// As many callers at each as want more than it may have; the last of them, which goes, has its part by now.
async fn hungry(replicas: &Replicas) -> Vec<Hungry> {
    let at = |(n, gateway)| Hungry::at(gateway, if n == 2 { GOES } else { STAYS }, 8);
    let hungry = replicas.gateways.iter().enumerate().map(at).collect();
    let goes = &replicas.gateways[2];
    until("a part", async || goes.gauge("budget_share").await >= LIMIT / 4).await;
    hungry
}

/// The others, who want it, send as much as only those can who have the part of the one that went.
async fn use_its_part(replicas: &Replicas, hungry: Vec<Hungry>) {
    for gateway in &replicas.gateways {
        gateway.knows_of(2).await;
    }
    let before = replicas.arrivals(STAYS).len();
    let most = || most_in(WINDOW, &replicas.arrivals(STAYS)[before..]);
    until("a window without it that is full", async || most() > LIMIT as usize * 5 / 6).await;
    for hungry in hungry {
        hungry.end().await;
    }
    never_over(replicas);
}

/// All have logged it by now.
fn all_logged(gateways: &[Gateway], text: &str) {
    for gateway in gateways {
        gateway.wait_for_logs(text, 1);
    }
}

/// In no window more than the limit.
fn never_over(replicas: &Replicas) {
    replicas.never_over(ECHO, LIMIT, WINDOW);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_replicas_send_together_what_one_might_and_nearly_as_much() {
    let replicas = replicas(5, "").await;
    assert_all(&at_once(replicas.gets(60, ECHO)).await, 200);
    never_over(&replicas);
    // What is lost on the way is the simulations' to say; here, that no window was wasted.
    let calls = replicas.arrivals(ECHO);
    let took = calls[299].at_ms - calls[0].at_ms;
    let windows = u64::try_from(WINDOW.as_millis()).unwrap() * 4;
    println!("300 calls took {took} ms of {windows}");
    assert!(took < windows * 3 / 2, "300 calls took {took} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_replica_has_what_the_idle_ones_do_not_need() {
    let replicas = replicas(3, "").await;
    let calls = (0..LIMIT).map(|_| replicas.get(0, ECHO).header("prefer", "wait=2"));
    assert_all(&at_once(calls).await, 200);
    // All of them in the first window, or some would have been refused.
    never_over(&replicas);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_goes_leaves_its_part_to_the_others() {
    let mut replicas = replicas(3, "").await;
    let mut hungry = hungry(&replicas).await;
    let mut goes = replicas.gateways.pop().unwrap();
    let its_own = hungry.pop().unwrap();
    its_own.have_enough();
    goes.signal("TERM");
    its_own.end().await;
    assert!(goes.wait().success());
    use_its_part(&replicas, hungry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_is_missed_and_the_others_go_on() {
    let mut replicas = replicas(3, "").await;
    let mut hungry = hungry(&replicas).await;
    drop(replicas.gateways.pop());
    // Nobody promised anything to its own callers.
    drop(hungry.pop());
    use_its_part(&replicas, hungry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_calls_go_on_and_with_it_again_the_budget_is_one() {
    let mut replicas = replicas(3, "").await;
    let before = calls(&replicas, 180, 3);
    // Each has its part by then.
    replicas.until(|seen| seen.requests >= u64::from(2 * LIMIT)).await;
    replicas.store.kill();
    all_logged(&replicas.gateways, "the store cannot be used");
    assert_all(&before.join_all().await, 200);
    never_over(&replicas);
    replicas.store.restart(Data::Lost);
    all_logged(&replicas.gateways, "the store is back");
    // A new one meets all of them there.
    replicas.joins(&rates(""), &[ADMIN]);
    replicas.meet().await;
    assert_all(&at_once(replicas.gets(30, ECHO)).await, 200);
    never_over(&replicas);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cut_off_goes_on_with_its_part_and_comes_back() {
    let mut replicas = replicas(2, "").await;
    let (relay, url) = replicas.cable().await;
    replicas.joins_at(&url, &rates(""), &[ADMIN]);
    replicas.meet().await;
    let calls = calls(&replicas, 180, 3);
    relay.is(Cable::Hangs);
    replicas.gateways[2].wait_for_logs("the store cannot be used", 1);
    relay.is(Cable::Whole);
    replicas.gateways[2].wait_for_logs("the store is back", 1);
    assert_all(&calls.join_all().await, 200);
    never_over(&replicas);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_emptied_paused_read_only_or_full_costs_no_call_and_no_window() {
    let replicas = replicas(3, "").await;
    let redis = &replicas.store;
    let troubles: [(Step<'_>, Step<'_>); 4] = [
        (&|| redis.flush(), &|| ()),
        (&|| redis.pause(), &|| redis.resume()),
        (&|| redis.read_only(), &|| redis.writable()),
        (&|| redis.fill(), &|| redis.make_room()),
    ];
    for (strikes, ends) in troubles {
        let calls = calls(&replicas, 90, 3);
        strikes();
        assert_all(&calls.join_all().await, 200);
        ends();
    }
    never_over(&replicas);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_familys_limit_and_a_callers_ceiling_are_those_of_all_replicas() {
    let terms = format!(
        "families = [{{ match = \"GET /api/v2/echo/few/**\", requests_per_minute = 10 }}]\n\
         [access]\nmode = \"key\"\n{}{}",
        caller("capped", "requests_per_minute = 6"),
        caller("free", ""),
    );
    let replicas = replicas(3, &terms).await;
    let call = |n: usize, name: &str, path: &str| {
        replicas.get(n % 3, &format!("{ECHO}/{path}/{n}")).header("x-api-key", key(name))
    };
    let few = (0..30).map(|n| call(n, "free", "few"));
    let capped = (0..18).map(|n| call(n, "capped", "capped"));
    assert_all(&at_once(few.chain(capped)).await, 200);
    let most = |path: &str| most_in(nearly(WINDOW), &replicas.arrivals(&format!("{ECHO}/{path}")));
    let (few, capped) = (most("few"), most("capped"));
    assert!(few <= 10 && capped <= 6, "{few} of the family, {capped} of the caller");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_of_a_family_are_counted_over_all_replicas() {
    let terms = "families = [{ match = \"GET /api/v2/echo/slow/**\", concurrent = 6 }]";
    let replicas = replicas(3, terms).await;
    replicas.faults(json!({"api": [{"hold": true}]}));
    let calls = sent((0..24).map(|n| replicas.get(n % 3, &format!("{ECHO}/slow/{n}"))));
    replicas.until(|seen| seen.held == 6).await;
    replicas.faults(json!({"clear": true}));
    assert_all(&calls.join_all().await, 200);
    assert_eq!(replicas.genesys.counters().most_in_flight, 6);
}
