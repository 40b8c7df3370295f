//! Several gateways before one Genesys Cloud, which share one store.
//! It never says what they share: each test has promises of its own.

use std::{collections::BTreeMap, time::Duration};

use genesys_proxy::simulator::{Counters, Handle, Options, Record};
use http::Method;
use reqwest::RequestBuilder;
use tokio_util::sync::DropGuard;

use super::{
    Gateway,
    callers::{most_in, nearly},
    gateway::PATIENCE,
    redis::Redis,
    redis_sets::{Cluster, Sentinels},
    relay::Relay,
    world::{client, simulator, upstream},
};

/// What a store's servers are to those who use it.
pub trait Store {
    /// For `store.url`.
    fn url(&self) -> String;
}

impl Store for Redis {
    fn url(&self) -> String {
        self.url()
    }
}

impl Store for Sentinels {
    fn url(&self) -> String {
        self.url()
    }
}

impl Store for Cluster {
    fn url(&self) -> String {
        self.url()
    }
}

/// The gateways, the store and Genesys Cloud; a gateway's number is its place here.
pub struct Replicas<S = Redis> {
    pub gateways: Vec<Gateway>,
    pub genesys: Handle,
    pub store: S,
    pub client: reqwest::Client,
    _stop: DropGuard,
}

impl Replicas {
    /// The url of the store behind a cable of its own.
    pub async fn cable(&self) -> (Relay, String) {
        let relay = Relay::to(self.store.port).await;
        let url = format!("redis://{}", relay.address);
        (relay, url)
    }
}

impl<S: Store> Replicas<S> {
    /// None yet.
    pub async fn none(options: Options, store: S) -> Self {
        let (genesys, stop) = simulator(options).await;
        Self { gateways: Vec::new(), genesys, store, client: client(), _stop: stop }
    }

    /// One more; `toml` comes after the `url` of `[store]`.
    pub fn joins(&mut self, toml: &str, env: &[(&str, &str)]) {
        self.joins_at(&self.store.url(), toml, env);
    }

    /// The same, which finds the store there.
    pub fn joins_at(&mut self, store: &str, toml: &str, env: &[(&str, &str)]) {
        let toml = self.toml(store, toml);
        self.gateways.push(Gateway::start_with(&toml, env));
    }

    /// One more, while no other test's gateway runs: for what a busy machine would spoil.
    pub fn joins_alone(&mut self, toml: &str, env: &[(&str, &str)]) {
        let toml = self.toml(&self.store.url(), toml);
        let first = self.gateways.is_empty();
        let start = if first { Gateway::start_alone } else { Gateway::start_alone_too };
        self.gateways.push(start(&toml, env));
    }

    fn toml(&self, store: &str, more: &str) -> String {
        let upstream = upstream(self.genesys.addr());
        format!("{upstream}\n[store]\nurl = \"{store}\"\n{more}")
    }

    /// A call to one of them, not sent yet.
    pub fn request(&self, number: usize, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.gateways[number].url(path))
    }

    /// A GET from one of them, not sent yet.
    pub fn get(&self, number: usize, path: &str) -> RequestBuilder {
        self.request(number, Method::GET, path)
    }

    /// So many GETs from each, in turn, not sent yet.
    pub fn gets(&self, each: usize, path: &str) -> impl Iterator<Item = RequestBuilder> {
        let all = (0..self.gateways.len()).cycle().take(each * self.gateways.len());
        all.map(move |number| self.get(number, path))
    }

    /// All of them know of so many.
    pub async fn meet(&self) {
        for gateway in &self.gateways {
            gateway.knows_of(self.gateways.len()).await;
        }
    }

    /// Sets faults as `POST /_sim/faults` does.
    pub fn faults(&self, patch: serde_json::Value) {
        self.genesys.faults(serde_json::from_value(patch).unwrap());
    }

    /// Waits until the simulator's counts are as wanted.
    pub async fn until(&self, reached: impl Fn(&Counters) -> bool) {
        let came = tokio::time::timeout(PATIENCE, self.genesys.until(reached)).await.is_ok();
        assert!(came, "it never came: {:?}\n{}", self.genesys.counters(), self.logs());
    }

    /// What the simulator saw of calls to this target, by when they arrived.
    pub fn arrivals(&self, target: &str) -> Vec<Record> {
        let mut records = self.genesys.snapshot().records;
        records.retain(|record| record.target.starts_with(target));
        records.sort_by_key(|record| record.at_ms);
        records
    }

    /// Of these calls no window has more than the limit: of each token, for upstream counts them apart.
    pub fn never_over(&self, target: &str, limit: u32, window: Duration) {
        let mut tokens: BTreeMap<Option<String>, Vec<Record>> = BTreeMap::new();
        for call in self.arrivals(target) {
            tokens.entry(call.token.clone()).or_default().push(call);
        }
        for calls in tokens.values() {
            let most = most_in(nearly(window), calls);
            let slots = || profile(calls, window / 6);
            assert!(most <= limit as usize, "{most} in a window:\n{}\n{}", slots(), self.logs());
        }
    }

    /// Of all of them.
    pub fn logs(&self) -> String {
        self.gateways.iter().map(|gateway| gateway.log() + "\n---\n").collect()
    }
}

/// How many calls there were for each target, a slot after the other.
fn profile(calls: &[Record], slot: Duration) -> String {
    let slot = u64::try_from(slot.as_millis()).unwrap();
    let mut slots: BTreeMap<u64, BTreeMap<&str, usize>> = BTreeMap::new();
    for call in calls {
        *slots.entry(call.at_ms / slot * slot).or_default().entry(&call.target).or_default() += 1;
    }
    let lines = slots.iter().map(|(at, calls)| format!("{at} ms: {calls:?}"));
    lines.collect::<Vec<_>>().join("\n")
}
