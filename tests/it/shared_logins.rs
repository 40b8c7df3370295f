//! Callers log in at one replica and call at all: behind a load balancer nobody knows which one answers.
//! What is revoked at one is over at all, and a store that is away costs no call.

use genesys_proxy::simulator::{Client, Options};
use http::Method;

use crate::support::{
    Answer, Gateway, NO_LIMIT, Replicas, Sdk, World,
    load::sha256,
    patience::until,
    redis::Redis,
    relay::{Cable, Relay},
    unlimited,
    world::upstream,
};

const ORGANISATION: &str = "/api/v2/organizations/me";
const ME: &str = "/api/v2/tokens/me";
const ID: &str = "an-id-that-is-told-nobody";
const SECRET: &str = "a-secret-that-is-told-nobody";
const KNOWN: [(&str, &str); 2] = [("GENESYS_CLIENT_ID", ID), ("GENESYS_CLIENT_SECRET", SECRET)];
const ANOTHER: [(&str, &str); 2] =
    [("GENESYS_CLIENT_ID", "another-id"), ("GENESYS_CLIENT_SECRET", "another-secret")];
const KEY: &str = "bIlLiNg-5f2e90c1d7a83b46";
const ENDED: &str = "a token of a caller's was ended at another replica";

fn caller(name: &str, key: &str) -> String {
    format!("[[caller]]\nname = \"{name}\"\nkey_sha256 = \"{}\"\n", sha256(key.as_bytes()))
}

fn terms(callers: &str) -> String {
    format!("{NO_LIMIT}\n[access]\nmode = \"key\"\nlogin_idle = \"1m\"\n{callers}")
}

async fn replicas(count: usize) -> Replicas {
    let clients = vec![Client::new(ID, SECRET), Client::new("another-id", "another-secret")];
    let mut all = Replicas::none(Options { clients, ..unlimited() }, Redis::start()).await;
    for _ in 0..count {
        all.start(&caller("billing", KEY));
    }
    all
}

impl Replicas {
    /// One more, which has these callers.
    fn start(&mut self, callers: &str) {
        self.joins(&terms(callers), &KNOWN);
    }

    /// One more, behind a cable.
    async fn start_cabled(&mut self) -> Relay {
        let (relay, url) = self.cable().await;
        self.joins_at(&url, &terms(&caller("billing", KEY)), &KNOWN);
        relay
    }

    async fn login(&self, number: usize) -> String {
        self.login_with(number, KEY).await
    }

    async fn login_with(&self, number: usize, key: &str) -> String {
        let login = self.request(number, Method::POST, "/oauth/token");
        let login = login.basic_auth("billing", Some(key));
        let form = login.form(&[("grant_type", "client_credentials")]);
        let answer = Answer::of(form.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    async fn asked(&self, method: Method, number: usize, path: &str, token: &str) -> Answer {
        let request = self.request(number, method, path).bearer_auth(token);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn call(&self, number: usize, token: &str) -> u16 {
        self.asked(Method::GET, number, ORGANISATION, token).await.status
    }

    async fn revoke(&self, number: usize, token: &str) {
        assert_eq!(self.asked(Method::DELETE, number, ME, token).await.status, 204);
    }

    /// The only token that the store knows of, and when it was used as far as it was told.
    fn last_used(&self, used: &str) -> (String, i64) {
        let mut all: Vec<(String, i64)> =
            self.store.ask(&["ZRANGE", used, "0", "-1", "WITHSCORES"]);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    /// A key of the store with this in its name, as soon as there is one.
    async fn key(&self, part: &str) -> String {
        let names = || self.store.ask::<Vec<String>>(&["KEYS", &format!("*{part}*")]);
        until(part, async || !names().is_empty()).await;
        names().remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_logs_in_at_one_and_calls_at_all() {
    let mut replicas = replicas(2).await;
    // It has its callers in another order.
    replicas.start(&(caller("reports", "another key") + &caller("billing", KEY)));
    let token = replicas.login(0).await;
    for _ in 0..2 {
        for number in 0..3 {
            assert_eq!(replicas.call(number, &token).await, 200, "{number}");
            let me = replicas.asked(Method::GET, number, ME, &token).await;
            assert_eq!(me.json()["OAuthClient"]["name"], "billing", "{number}");
        }
    }
    replicas.gateways[2].wait_for_log("caller=billing ");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_logs_in_once_and_calls_at_two() {
    let redis = Redis::start();
    let toml = format!(
        "{NO_LIMIT}\n[store]\nurl = \"{}\"\n[access]\nmode = \"key\"\n{}",
        redis.url(),
        caller("billing", KEY)
    );
    let world = World::with(unlimited(), &toml).await;
    let other = Gateway::start(&format!("{}\n{toml}", upstream(world.genesys.addr())));
    let variables = [
        ("CALLER_NAME", "billing".to_owned()),
        ("CALLER_KEY", KEY.to_owned()),
        ("LOGIN_PATH", String::new()),
        ("OTHER_BASE_URL", other.url("")),
    ];
    Sdk::Python.runs(("login", "one login is good at two gateways"), &world, &variables).await;
    for gateway in [&world.gateway, &other] {
        gateway.wait_for_logs(" caller=billing GET /api/v2/organizations/me 200", 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_secret_is_changed_whoever_has_both_takes_tokens_of_either() {
    let mut replicas = replicas(1).await;
    let billing = caller("billing", KEY);
    let next = "[oauth]\nnext_client_secret = { env = \"GENESYS_NEXT_CLIENT_SECRET\" }\n";
    for (first, next_one) in [(SECRET, "a-secret-of-later"), ("a-secret-of-before", SECRET)] {
        let env = [
            ("GENESYS_CLIENT_ID", ID),
            ("GENESYS_CLIENT_SECRET", first),
            ("GENESYS_NEXT_CLIENT_SECRET", next_one),
        ];
        replicas.joins(&terms(&format!("{next}{billing}")), &env);
    }
    let token = replicas.login(0).await;
    for number in [1, 2] {
        assert_eq!(replicas.call(number, &token).await, 200, "{number}");
    }
    replicas.revoke(1, &token).await;
    replicas.gateways[2].logged(ENDED).await;
    assert_eq!(replicas.call(2, &token).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_at_one_is_over_at_all() {
    let mut replicas = replicas(3).await;
    let (token, other) = (replicas.login(0).await, replicas.login(0).await);
    assert_eq!(replicas.call(1, &token).await, 200);
    // At one that has never seen it.
    replicas.revoke(2, &token).await;
    for number in [0, 1] {
        replicas.gateways[number].logged(ENDED).await;
    }
    // One that comes later knows it from the store.
    replicas.start(&caller("billing", KEY));
    for number in 0..4 {
        assert_eq!(replicas.call(number, &token).await, 401, "{number}");
        assert_eq!(replicas.asked(Method::GET, number, ME, &token).await.status, 401, "{number}");
        assert_eq!(replicas.call(number, &other).await, 200, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_reload_changes_ends_its_tokens_at_all() {
    let replicas = replicas(2).await;
    let (seen, unseen) = (replicas.login(0).await, replicas.login(0).await);
    assert_eq!((replicas.call(1, &seen).await, replicas.call(0, &unseen).await), (200, 200));
    let (from, to) = (sha256(KEY.as_bytes()), sha256(b"AnOtHeR-5f2e90c1d7a83b46"));
    let said = replicas.gateways[1].edit(&from, &to).await;
    assert!(said.contains("changed=\"caller\""), "{said}");
    for token in [&seen, &unseen] {
        assert_eq!(replicas.call(1, token).await, 401);
    }
    // The other has the former key yet, and is told of what was over by then.
    replicas.gateways[0].wait_for_log(ENDED);
    assert_eq!((replicas.call(0, &seen).await, replicas.call(0, &unseen).await), (401, 200));
    replicas.gateways[0].edit(&from, &to).await;
    assert_eq!(replicas.call(0, &unseen).await, 401);
    let token = replicas.login_with(0, "AnOtHeR-5f2e90c1d7a83b46").await;
    assert_eq!((replicas.call(0, &token).await, replicas.call(1, &token).await), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_cut_off_learns_of_it_when_it_is_back() {
    let mut replicas = replicas(1).await;
    let relay = replicas.start_cabled().await;
    let token = replicas.login(0).await;
    assert_eq!(replicas.call(1, &token).await, 200);
    relay.is(Cable::Hangs);
    replicas.revoke(0, &token).await;
    assert_eq!(replicas.call(0, &token).await, 401);
    assert_eq!(replicas.call(1, &token).await, 200, "nobody could tell it");
    replicas.key("logins:revoked").await;
    relay.is(Cable::Whole);
    replicas.gateways[1].logged(ENDED).await;
    assert_eq!(replicas.call(1, &token).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_cut_off_tells_of_it_when_it_is_back() {
    let mut replicas = replicas(1).await;
    let relay = replicas.start_cabled().await;
    let token = replicas.login(0).await;
    assert_eq!(replicas.call(1, &token).await, 200);
    relay.is(Cable::Resets);
    replicas.revoke(1, &token).await;
    assert_eq!(replicas.call(1, &token).await, 401);
    assert_eq!(replicas.call(0, &token).await, 200, "nobody could tell it");
    relay.is(Cable::Whole);
    replicas.gateways[0].logged(ENDED).await;
    assert_eq!(replicas.call(0, &token).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_ends_no_token_but_those_that_were_revoked() {
    let mut replicas = replicas(2).await;
    let (token, revoked) = (replicas.login(0).await, replicas.login(0).await);
    replicas.revoke(0, &revoked).await;
    replicas.key("logins:revoked").await;
    replicas.gateways.clear();
    replicas.start(&caller("billing", KEY));
    assert_eq!(replicas.call(0, &token).await, 200);
    assert_eq!(replicas.call(0, &revoked).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_idle_when_no_replica_has_seen_it_for_too_long() {
    let mut replicas = replicas(1).await;
    let token = replicas.login(0).await;
    let used = replicas.key("logins:used").await;
    let (member, now) = replicas.last_used(&used);
    for (number, ago, status) in [(1, 3_600_000, 401), (2, 30_000, 200)] {
        replicas.start(&caller("billing", KEY));
        let score = (now - ago).to_string();
        replicas.store.ask::<i64>(&["ZADD", &used, &score, &member]);
        assert_eq!(replicas.call(number, &token).await, status, "{ago}");
        // Neither is asked about again at each call.
        let asked = replicas.store.calls("zscore");
        for _ in 0..20 {
            assert_eq!(replicas.call(number, &token).await, status, "{ago}");
        }
        assert!(replicas.store.calls("zscore") < asked + 20, "{ago}");
    }
    assert_eq!(replicas.call(0, &token).await, 200, "it knows better");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_used_at_one_replica_only_is_idle_at_none() {
    let mut replicas = replicas(2).await;
    let token = replicas.login(0).await;
    assert_eq!(replicas.call(1, &token).await, 200);
    let used = replicas.key("logins:used").await;
    // Nobody else uses it, and as far as the store was told, nobody has for an hour. Twice: it is told
    // again and again.
    for _ in 0..2 {
        let ago = replicas.last_used(&used).1 - 3_600_000;
        let member = replicas.last_used(&used).0;
        replicas.store.ask::<()>(&["ZADD", &used, &ago.to_string(), &member]);
        let told = async || {
            assert_eq!(replicas.call(1, &token).await, 200);
            replicas.last_used(&used).1 != ago
        };
        until("a use that is told", told).await;
    }
    // One that has never seen it, and the one that has issued it.
    replicas.start(&caller("billing", KEY));
    for number in [2, 0] {
        assert_eq!(replicas.call(number, &token).await, 200, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_flushed_or_gone_ends_no_token() {
    let mut replicas = replicas(2).await;
    let token = replicas.login(0).await;
    replicas.key("logins:used").await;
    replicas.store.flush();
    assert_eq!(replicas.call(0, &token).await, 200);
    assert_eq!(replicas.call(1, &token).await, 200);
    let unseen = replicas.login(0).await;
    replicas.store.kill();
    for number in [0, 1] {
        assert_eq!(replicas.call(number, &unseen).await, 200, "{number}");
        assert_eq!(replicas.call(number, &token).await, 200, "{number}");
    }
    let late = replicas.login(1).await;
    assert_eq!(replicas.call(0, &late).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_elses_token_is_taken() {
    let mut replicas = replicas(1).await;
    replicas.joins(&terms(&caller("billing", KEY)), &ANOTHER);
    replicas.start(&caller("reports", "another key"));
    replicas.start(&caller("billing", "a new key"));
    let token = replicas.login(0).await;
    for (number, why) in [(1, "another client"), (2, "no such caller"), (3, "another key")] {
        assert_eq!(replicas.call(number, &token).await, 401, "{why}");
    }
    assert_eq!(replicas.call(0, &replicas.login(1).await).await, 401, "another client's");
    let (head, tail) = token.split_at(50);
    let other = if tail.starts_with('A') { 'B' } else { 'A' };
    let altered = format!("{head}{other}{}", &tail[1..]);
    let forged = format!("gpl_{}", "A".repeat(token.len() - 4));
    for wrong in [altered, forged, token[..47].to_owned()] {
        assert_eq!(replicas.call(0, &wrong).await, 401, "{wrong}");
    }
    assert_eq!(replicas.call(0, &token).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_holds_no_token_and_no_name_and_nothing_for_ever() {
    let replicas = replicas(2).await;
    let (token, revoked) = (replicas.login(0).await, replicas.login(1).await);
    assert_eq!(replicas.call(1, &token).await, 200);
    replicas.revoke(0, &revoked).await;
    replicas.key("logins:revoked").await;
    replicas.key("logins:used").await;
    let digests = [sha256(token.as_bytes()), sha256(revoked.as_bytes())];
    let all = replicas.store.keys_and_values();
    for (name, bytes) in &all {
        let texts = [&token[4..], &revoked[4..], &digests[0], &digests[1], "billing", KEY, SECRET];
        for text in texts {
            for place in [name, bytes] {
                let found = place.windows(text.len()).any(|part| part == text.as_bytes());
                assert!(!found, "{} has {text}", String::from_utf8_lossy(name));
            }
        }
    }
    assert_eq!(replicas.store.without_an_end(), [""; 0]);
}
