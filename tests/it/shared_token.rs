//! Replicas with one store share one token: one of them asks for it, all sign with it, and whatever
//! becomes of the store or of one of them, calls go on.

use std::time::Duration;

use genesys_proxy::simulator::{Client, Counters, Handle, Options};
use http::Method;
use reqwest::RequestBuilder;
use serde_json::json;
use tokio_util::sync::DropGuard;

use crate::support::{
    Gateway, NO_LIMIT, Traffic, assert_all, at_once,
    gateway::PATIENCE,
    patience::until,
    redis::{Data, Redis},
    scene::run_knowing,
    unlimited,
    world::{client, simulator, upstream},
};

const ME: &str = "/api/v2/organizations/me";
const ID: &str = "an-id-that-is-told-nobody";
const SECRET: &str = "a-secret-that-is-told-nobody";
const ADOPTED: &str = "token adopted from another replica";

/// Gateways with one client and one store.
struct Replicas {
    gateways: Vec<Gateway>,
    genesys: Handle,
    redis: Redis,
    client: reqwest::Client,
    toml: String,
    _stop: DropGuard,
}

impl Replicas {
    /// None yet.
    async fn before(options: Options) -> Self {
        let clients = vec![Client::new(ID, SECRET), Client::new("another-id", "another-secret")];
        let (genesys, stop) = simulator(Options { clients, ..options }).await;
        let redis = Redis::start();
        let toml =
            format!("{}\n{NO_LIMIT}\n[store]\nurl = \"{}\"", upstream(genesys.addr()), redis.url());
        Self { gateways: Vec::new(), genesys, redis, client: client(), toml, _stop: stop }
    }

    /// So many, each with a token.
    async fn of(count: usize) -> Self {
        let mut replicas = Self::before(unlimited()).await;
        replicas.start(count);
        for number in 0..count {
            replicas.serves(number).await;
        }
        replicas
    }

    fn start(&mut self, count: usize) {
        for _ in 0..count {
            self.gateways.push(self.gateway(ID, SECRET));
        }
    }

    fn gateway(&self, id: &str, secret: &str) -> Gateway {
        let env = [("GENESYS_CLIENT_ID", id), ("GENESYS_CLIENT_SECRET", secret)];
        Gateway::start_with(&self.toml, &env)
    }

    fn call(&self, number: usize) -> RequestBuilder {
        self.client.request(Method::GET, self.gateways[number].url(ME))
    }

    async fn serves(&self, number: usize) {
        assert_all(&at_once([self.call(number)]).await, 200);
    }

    /// So many calls to each, all at once.
    fn calls(&self, each: usize) -> impl Iterator<Item = RequestBuilder> {
        let all = (0..self.gateways.len()).cycle().take(each * self.gateways.len());
        all.map(|number| self.call(number))
    }

    fn faults(&self, patch: serde_json::Value) {
        self.genesys.faults(serde_json::from_value(patch).unwrap());
    }

    async fn until(&self, reached: impl Fn(&Counters) -> bool) {
        let came = tokio::time::timeout(PATIENCE, self.genesys.until(reached)).await.is_ok();
        assert!(came, "it never came: {:?}\n{}", self.genesys.counters(), self.logs());
    }

    fn logs(&self) -> String {
        self.gateways.iter().map(|gateway| gateway.log() + "\n---\n").collect()
    }

    fn keys(&self, part: &str) -> Vec<String> {
        let all = self.redis.keys_and_values().into_iter();
        let names = all.map(|(name, _)| String::from_utf8(name).unwrap());
        names.filter(|name| name.contains(part)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_replicas_with_a_hundred_callers_each_cost_one_mint() {
    let mut replicas = Replicas::before(unlimited()).await;
    replicas.faults(json!({"token": "hold"}));
    replicas.start(5);
    let (answers, ()) = tokio::join!(at_once(replicas.calls(100)), async {
        replicas.until(|seen| seen.held == 1).await;
        for gateway in &replicas.gateways {
            gateway.until_open(100).await;
        }
        replicas.faults(json!({"clear": true}));
    });
    assert_all(&answers, 200);
    let seen = replicas.genesys.counters();
    assert_eq!((seen.mints, seen.mint_attempts, seen.requests), (1, 1, 500), "{}", replicas.logs());
    assert_eq!(seen.unauthorized, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_401s_over_all_of_them_costs_one_more() {
    let replicas = Replicas::of(5).await;
    replicas.genesys.revoke();
    assert_all(&at_once(replicas.calls(100)).await, 200);
    let seen = replicas.genesys.counters();
    assert_eq!((seen.mints, seen.mint_attempts), (2, 2), "{}", replicas.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_that_one_replica_sees_spares_the_others_theirs() {
    let replicas = Replicas::of(3).await;
    replicas.genesys.revoke();
    replicas.serves(0).await;
    for gateway in &replicas.gateways[1..] {
        // The first one is that of the start.
        gateway.wait_for_logs("fingerprint", 2);
    }
    assert_all(&at_once(replicas.calls(10)).await, 200);
    let seen = replicas.genesys.counters();
    assert_eq!((seen.unauthorized, seen.mints), (1, 2), "{}", replicas.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_in_mid_mint_is_replaced_and_no_call_fails() {
    let mut replicas = Replicas::before(unlimited()).await;
    replicas.faults(json!({"token": "hold"}));
    replicas.start(1);
    replicas.until(|seen| seen.held == 1).await;
    replicas.start(2);
    let calls: Vec<_> = replicas.calls(20).filter(|call| to_another(call, &replicas)).collect();
    let (answers, ()) = tokio::join!(at_once(calls), async {
        for gateway in &replicas.gateways[1..] {
            gateway.until_open(20).await;
        }
        replicas.gateways[0].signal("KILL");
        replicas.until(|seen| seen.held == 0).await;
        replicas.until(|seen| seen.held == 1).await;
        replicas.faults(json!({"clear": true}));
    });
    assert_all(&answers, 200);
    let seen = replicas.genesys.counters();
    assert_eq!((seen.mints, seen.most_held), (1, 1), "{}", replicas.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_in_mid_refresh_is_replaced_while_the_token_lives_on() {
    let life = Duration::from_secs(14);
    let mut replicas = Replicas::before(Options { token_life: life, ..unlimited() }).await;
    replicas.start(1);
    replicas.serves(0).await;
    replicas.faults(json!({"token": "hold"}));
    replicas.until(|seen| seen.held == 1).await;
    replicas.start(2);
    let others = &replicas.gateways[1..];
    let traffic: Vec<_> = others.iter().map(|gateway| Traffic::of(gateway.url(ME))).collect();
    for gateway in others {
        gateway.wait_for_log(ADOPTED);
    }
    replicas.gateways[0].signal("KILL");
    replicas.until(|seen| seen.held == 0).await;
    replicas.until(|seen| seen.held == 1).await;
    replicas.faults(json!({"clear": true}));
    replicas.until(|seen| seen.mints == 2).await;
    for gateway in others {
        gateway.wait_for_logs("fingerprint", 2);
    }
    for traffic in traffic {
        traffic.end().await;
    }
    let seen = replicas.genesys.counters();
    assert_eq!((seen.mints, seen.unauthorized), (2, 0), "{}", replicas.logs());
}

fn to_another(call: &RequestBuilder, replicas: &Replicas) -> bool {
    let url = call.try_clone().unwrap().build().unwrap().url().to_string();
    url != replicas.gateways[0].url(ME)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_costs_no_mint_while_the_token_lives() {
    let mut replicas = Replicas::of(2).await;
    replicas.gateways.clear();
    replicas.start(2);
    assert_all(&at_once(replicas.calls(10)).await, 200);
    assert_eq!(replicas.genesys.counters().mints, 1, "{}", replicas.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_once_for_all_as_they_age() {
    let life = Duration::from_secs(6);
    let mut replicas = Replicas::before(Options { token_life: life, ..unlimited() }).await;
    replicas.start(3);
    let traffic: Vec<_> =
        replicas.gateways.iter().map(|gateway| Traffic::of(gateway.url(ME))).collect();
    replicas.until(|seen| seen.mints == 4).await;
    for traffic in traffic {
        traffic.end().await;
    }
    let seen = replicas.genesys.counters();
    assert_eq!((seen.mint_attempts, seen.unauthorized), (4, 0), "{}", replicas.logs());
    assert!(replicas.genesys.tokens_seen().len() >= 3, "each but the newest was signed with");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_several_tokens_is_shared() {
    let mut replicas = Replicas::before(unlimited()).await;
    replicas.toml += "\n[oauth]\ntokens = 2";
    replicas.start(1);
    replicas.gateways[0].wait_for_logs("token minted", 2);
    replicas.start(2);
    for gateway in &replicas.gateways[1..] {
        gateway.wait_for_logs(ADOPTED, 2);
    }
    assert_all(&at_once(replicas.calls(10)).await, 200);
    assert_eq!(replicas.genesys.counters().mints, 2, "{}", replicas.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_somebody_puts_into_the_store_a_replica_gets_a_token() {
    let large = "x".repeat(40_000);
    let far = u64::MAX.to_string();
    let cases: [&[&str]; 7] = [
        &["HSET", "TOKEN", "sealed", "garbage"],
        &["HSET", "TOKEN", "sealed", &large],
        &["HSET", "TOKEN", "serial", "12"],
        &["HSET", "TOKEN", "serial", &far, "expires", &far, "fence", &far],
        &["HSET", "TOKEN", "serial", "nan", "expires", "-inf", "fence", "0x1p4000"],
        &["SET", "TOKEN", "a string"],
        &["DEL", "TOKEN"],
    ];
    let mut replicas = Replicas::of(1).await;
    let token = replicas.keys(":token:").remove(0);
    let lock = token.replace(":token:", ":lock:");
    for (number, case) in cases.iter().enumerate() {
        replicas.gateways.clear();
        let words: Vec<_> =
            case.iter().map(|word| if *word == "TOKEN" { token.as_str() } else { word }).collect();
        replicas.redis.ask::<redis::Value>(&words);
        // A lock that nobody holds, and that would never end.
        replicas.redis.ask::<redis::Value>(&["HSET", &lock, "by", "nobody", "beat", &far]);
        replicas.start(1);
        replicas.serves(0).await;
        let mints = replicas.genesys.counters().mints;
        assert_eq!(mints, 2 + u64::try_from(number).unwrap(), "{case:?}\n{}", replicas.logs());
        // And what it has put there is as good as ever.
        replicas.start(1);
        replicas.serves(1).await;
        assert_eq!(replicas.genesys.counters().mints, mints, "{case:?}\n{}", replicas.logs());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_with_one_store_have_nothing_in_common() {
    let mut replicas = Replicas::of(1).await;
    let another = replicas.gateway("another-id", "another-secret");
    replicas.gateways.push(another);
    replicas.serves(1).await;
    assert_eq!(replicas.genesys.counters().mints, 2);
    assert_eq!(replicas.keys(":token:").len(), 2);
    let mut scopes: Vec<_> = replicas
        .keys(":token:")
        .iter()
        .map(|key| key.split(['{', '}']).nth(1).unwrap().to_owned())
        .collect();
    scopes.dedup();
    assert_eq!(scopes.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_the_store_can_be_read_and_nothing_stays_there() {
    let replicas = Replicas::of(2).await;
    let told = run_knowing(
        &[("GENESYS_CLIENT_ID", ID), ("GENESYS_CLIENT_SECRET", SECRET)],
        &["token", "--reveal"],
        &replicas.toml,
    );
    let value = told.stdout.lines().find_map(|line| line.strip_prefix("value")).unwrap().trim();
    assert_eq!(replicas.genesys.counters().mints, 1, "the shared one is shown: {}", told.stdout);
    let all = replicas.redis.keys_and_values();
    assert!(all.len() >= 2, "{all:?}");
    for (name, bytes) in &all {
        for text in [value, SECRET, ID, "organizations", "127.0.0.1"] {
            for place in [name, bytes] {
                let found = place.windows(text.len()).any(|part| part == text.as_bytes());
                assert!(!found, "{} has {text}", String::from_utf8_lossy(name));
            }
        }
    }
    assert_eq!(replicas.redis.without_an_end(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_flushed_stops_or_starts_anew_costs_no_call() {
    let mut replicas = Replicas::of(2).await;
    let traffic: Vec<_> =
        replicas.gateways.iter().map(|gateway| Traffic::of(gateway.url(ME))).collect();
    replicas.redis.flush();
    // It comes back from those who have it.
    let shared = "token shared with other replicas";
    let is_back = async || !replicas.keys(":token:").is_empty() && replicas.logs().contains(shared);
    until("the token in the store again", is_back).await;
    replicas.start(1);
    replicas.serves(2).await;
    assert_eq!(replicas.genesys.counters().mints, 1, "{}", replicas.logs());
    replicas.redis.pause();
    replicas.start(1);
    replicas.serves(3).await;
    assert_eq!(replicas.genesys.counters().mints, 2, "it asked alone\n{}", replicas.logs());
    replicas.redis.resume();
    // And meets the others when it can.
    replicas.gateways[3].wait_for_log(ADOPTED);
    replicas.redis.restart(Data::Lost);
    replicas.serves(3).await;
    for traffic in traffic {
        traffic.end().await;
    }
    assert_eq!(replicas.genesys.counters().unauthorized, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_that_answers_each_has_a_token_of_its_own() {
    let mut replicas = Replicas::before(unlimited()).await;
    replicas.redis.kill();
    replicas.start(2);
    assert_all(&at_once(replicas.calls(10)).await, 200);
    assert_eq!(replicas.genesys.counters().mints, 2, "{}", replicas.logs());
    replicas.redis.restart(Data::Lost);
    // One that neither has used is everybody's then.
    until("one that is adopted", async || replicas.logs().contains(ADOPTED)).await;
    replicas.start(1);
    replicas.serves(2).await;
    assert_eq!(replicas.genesys.counters().mints, 3, "{}", replicas.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_the_last_does_not_revoke_what_others_sign_with() {
    let mut replicas = Replicas::before(unlimited()).await;
    replicas.toml += "\n[oauth]\nrevoke_on_exit = true";
    replicas.start(2);
    replicas.serves(0).await;
    replicas.serves(1).await;
    let mut first = replicas.gateways.remove(0);
    first.signal("TERM");
    assert!(first.wait().success());
    replicas.serves(0).await;
    let seen = replicas.genesys.counters();
    assert_eq!((seen.mints, seen.unauthorized), (1, 0), "{}", first.log());
    let mut last = replicas.gateways.remove(0);
    last.signal("TERM");
    assert!(last.wait().success());
    last.wait_for_log("token revoked");
    // Nobody takes over what was revoked.
    replicas.start(1);
    replicas.serves(0).await;
    let seen = replicas.genesys.counters();
    assert_eq!((seen.mints, seen.unauthorized), (2, 0), "{}", replicas.logs());
}
