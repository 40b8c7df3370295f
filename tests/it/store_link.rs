//! The way to the store: it is found, lost and found again, and calls go on all the same.

use std::sync::Arc;

use genesys_proxy::{
    config,
    store::{Health, Heard, Link, Script},
    telemetry::metrics::Metrics,
};
use tokio::{runtime::Handle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::support::{
    gateway::PATIENCE,
    redis::{Data, Redis},
};

/// A link of a test's own, which ends with it.
struct Linked {
    link: Arc<Link>,
    stop: CancellationToken,
}

impl Linked {
    fn to(url: &str) -> Self {
        let config = config::Store::of_url(url).unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let handle = Handle::current();
        let link = Link::spawn(&config, None, Metrics::default(), &tasks, &handle, &stop).unwrap();
        Self { link, stop }
    }

    async fn until(&self, wanted: impl Fn(&Health) -> bool) -> Health {
        let mut health = self.link.health();
        let found = timeout(PATIENCE, health.wait_for(|health| wanted(health))).await;
        found.unwrap_or_else(|_| panic!("{:?}", self.link.health().borrow())).unwrap().clone()
    }

    async fn up(&self) {
        self.until(|health| *health == Health::Up).await;
    }

    async fn down(&self) -> String {
        match self.until(|health| matches!(health, Health::Down(_))).await {
            Health::Down(why) => why,
            Health::Up | Health::Connecting => unreachable!("it was waited for"),
        }
    }

    async fn add(&self) -> Result<i64, String> {
        let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
        self.link.run(&script, &["gp1:{t}:n"], &[b"1"]).await.map_err(|down| down.why)
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn the_first_command_waits_for_the_first_connection() {
    let redis = Redis::start();
    let linked = Linked::to(&redis.url());
    assert_eq!(linked.link.connection(), 0);
    assert_eq!(linked.add().await, Ok(1));
    assert_eq!(linked.link.connection(), 1);
}

#[tokio::test]
async fn a_store_that_comes_back_is_used_again_without_being_asked() {
    let mut redis = Redis::start();
    let linked = Linked::to(&redis.url());
    linked.up().await;
    redis.kill();
    assert!(linked.down().await.contains(&redis.address()));
    linked.add().await.unwrap_err();
    redis.restart(Data::Lost);
    linked.up().await;
    assert_eq!(linked.add().await, Ok(1));
    assert_eq!(linked.link.connection(), 2);
}

#[tokio::test]
async fn messages_come_and_a_gap_says_when_they_may_not_have() {
    let mut redis = Redis::start();
    let linked = Linked::to(&redis.url());
    let mut heard = linked.link.listen("gp1:{t}:news");
    let mut next = async || timeout(PATIENCE, Heard::next(&mut heard)).await.unwrap();
    assert_eq!(next().await, Heard::Gap);
    let say = Script::new("return redis.call('PUBLISH', ARGV[1], ARGV[2])");
    let told = linked.link.run::<i64>(&say, &["gp1:{t}:n"], &[b"gp1:{t}:news", b"hello"]);
    assert_eq!(told.await.unwrap(), 1);
    assert_eq!(next().await, Heard::Said("hello".into()));
    redis.restart(Data::Lost);
    assert_eq!(next().await, Heard::Gap);
}
