//! Commands and messages through a link to real servers, whatever these do meanwhile.

use std::{sync::Arc, time::Duration};

use genesys_proxy::{
    config,
    store::{Health, Heard, Link, Script},
    telemetry::metrics::Metrics,
};
use tokio::{
    runtime::Handle,
    sync::broadcast,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::support::{
    gateway::PATIENCE,
    redis::{Data, Redis},
    redis_sets::{Cluster, Sentinels},
    relay::{Cable, Relay},
};

/// A link of a test's own, which ends with it.
struct Linked {
    link: Arc<Link>,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Linked {
    fn to(url: &str) -> Self {
        Self::patiently(url, config::Store::of_url(url).unwrap().timeout)
    }

    /// With this long for a command.
    fn patiently(url: &str, timeout: Duration) -> Self {
        let config = config::Store { timeout, ..config::Store::of_url(url).unwrap() };
        let password = config.password.clone().map(|source| {
            let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
            let kind = config::SecretKind::Word;
            genesys_proxy::secret::Secret::spawn(
                source,
                kind,
                None,
                &tasks,
                &Handle::current(),
                stop,
            )
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (handle, metrics) = (Handle::current(), Metrics::default());
        let link = Link::spawn(&config, password, metrics.clone(), &tasks, &handle, &stop).unwrap();
        Self { link, metrics, stop }
    }

    async fn until(&self, wanted: impl Fn(&Health) -> bool) -> Health {
        let mut health = self.link.health();
        let found = timeout(PATIENCE, health.wait_for(|health| wanted(health))).await;
        found.unwrap_or_else(|_| panic!("{:?}", self.link.health().borrow())).unwrap().clone()
    }

    async fn up(&self) {
        self.until(|health| *health == Health::Up).await;
    }

    /// Up by this connection, or a later one.
    async fn up_by(&self, number: u64) {
        let link = &self.link;
        self.until(|health| *health == Health::Up && link.connection() >= number).await;
    }

    async fn down(&self) -> String {
        match self.until(|health| matches!(health, Health::Down(_))).await {
            Health::Down(why) => why,
            Health::Up | Health::Connecting => unreachable!("it was waited for"),
        }
    }

    /// Adds one to a number under the tag `t`.
    async fn add(&self) -> Result<i64, String> {
        self.add_to("gp1:{t}:n").await
    }

    async fn add_to(&self, key: &str) -> Result<i64, String> {
        let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
        self.link.run(&script, &[key], &[b"1"]).await.map_err(|down| down.why)
    }

    /// How many have heard it.
    async fn say(&self, text: &[u8]) -> i64 {
        let script = Script::new("return redis.call('PUBLISH', ARGV[1], ARGV[2])");
        self.link.run(&script, &["gp1:{t}:n"], &[CHANNEL.as_bytes(), text]).await.unwrap()
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const CHANNEL: &str = "gp1:{t}:news";

async fn next(heard: &mut broadcast::Receiver<Heard>) -> Heard {
    timeout(PATIENCE, Heard::next(heard)).await.unwrap()
}

#[tokio::test]
async fn the_first_command_waits_for_the_first_connection() {
    let redis = Redis::start();
    let linked = Linked::to(&redis.url());
    assert_eq!(linked.link.connection(), 0);
    assert_eq!(linked.add().await, Ok(1));
    assert_eq!(linked.link.connection(), 1);
    let page = linked.metrics.render();
    assert!(page.contains("genesys_proxy_store_commands_total{outcome=\"ok\"} 1\n"), "{page}");
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
    assert_eq!(linked.link.connection(), 2, "what was read before may be gone");
    let page = linked.metrics.render();
    assert!(page.contains("genesys_proxy_store_commands_total{outcome=\"error\"} 1\n"), "{page}");
}

#[tokio::test]
async fn one_command_finds_a_store_that_hangs_and_the_next_ones_do_not_wait_for_it() {
    let redis = Redis::start();
    let relay = Relay::to(redis.port).await;
    let patience = Duration::from_secs(2);
    let linked = Linked::patiently(&format!("redis://{}", relay.address), patience);
    linked.add().await.unwrap();
    relay.is(Cable::Hangs);
    let begun = Instant::now();
    let why = linked.add().await.unwrap_err();
    assert!(why.ends_with("no answer within 2s"), "{why}");
    assert!(begun.elapsed() >= patience);
    let begun = Instant::now();
    for _ in 0..100 {
        linked.add().await.unwrap_err();
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    relay.is(Cable::Whole);
    linked.up().await;
    assert_eq!(linked.add().await, Ok(2), "none of them was made");
    let page = linked.metrics.render();
    assert!(page.contains("genesys_proxy_store_commands_total{outcome=\"timeout\"} 1\n"), "{page}");
}

#[tokio::test]
async fn who_refuses_writes_is_down_until_it_takes_them() {
    let redis = Redis::start();
    let linked = Linked::to(&redis.url());
    linked.add().await.unwrap();
    redis.fill();
    let why = linked.add().await.unwrap_err();
    assert!(why.ends_with("its memory is full (maxmemory)"), "{why}");
    assert_eq!(linked.down().await, why);
    redis.make_room();
    linked.up().await;
    assert_eq!(linked.add().await, Ok(2));
    assert_eq!(linked.link.connection(), 1, "the connection was good");
    redis.read_only();
    let why = linked.add().await.unwrap_err();
    assert!(why.ends_with("it takes no writes: it is a replica"), "{why}");
    redis.writable();
    linked.up().await;
    assert_eq!(linked.add().await, Ok(3));
    assert!(linked.link.connection() > 1, "another server may be the master by now");
}

#[tokio::test]
async fn a_store_that_forgot_its_scripts_learns_them_again() {
    let redis = Redis::start();
    let linked = Linked::to(&redis.url());
    linked.add().await.unwrap();
    redis.ask::<()>(&["SCRIPT", "FLUSH"]);
    redis.flush();
    assert_eq!(linked.add().await, Ok(1));
    assert_eq!(linked.add().await, Ok(2));
}

#[tokio::test]
async fn a_script_that_fails_is_told_of_and_costs_neither_the_connection_nor_other_scripts() {
    let redis = Redis::start();
    let linked = Linked::to(&redis.url());
    linked.up().await;
    let wrong = Script::new("return redis.call('NO', 'SUCH')");
    let why = linked.link.run::<()>(&wrong, &["gp1:{t}:n"], &[]).await.unwrap_err().why;
    assert!(why.contains("a script failed"), "{why}");
    assert_eq!(linked.add().await, Ok(1));
    assert_eq!(*linked.link.health().borrow(), Health::Down(why));
    let nonsense = Script::new("return 'x'");
    let why = linked.link.run::<u64>(&nonsense, &["gp1:{t}:n"], &[]).await.unwrap_err().why;
    assert!(why.contains("what nobody understands"), "{why}");
    assert_eq!(linked.add().await, Ok(2));
    assert_eq!(*linked.link.health().borrow(), Health::Down(why));
    assert_eq!(linked.link.connection(), 1);
}

#[tokio::test]
async fn what_an_acl_forbids_stays_told_until_it_is_allowed() {
    let user = "gateway on >S3cret ~gp1:* &gp1:* +@all -incrby";
    let acl = [&["--user"][..], &user.split(' ').collect::<Vec<_>>()].concat();
    let redis = Redis::start_with(&acl);
    let linked = Linked::to(&redis.url_as("gateway:S3cret@"));
    linked.up().await;
    let why = linked.add().await.unwrap_err();
    assert!(why.contains("its ACL does not let the user do this"), "{why}");
    // The keeper asks in between, and what it asks for is allowed.
    let asked = redis.calls("evalsha");
    while redis.calls("evalsha") < asked + 2 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(&*linked.link.health().borrow(), Health::Down(_)));
    redis.ask::<()>(&["ACL", "SETUSER", "gateway", "+incrby"]);
    assert_eq!(linked.add().await, Ok(1));
    linked.up().await;
}

#[tokio::test]
async fn messages_come_and_a_gap_says_when_they_may_not_have() {
    let mut redis = Redis::start();
    let linked = Linked::to(&redis.url());
    let mut heard = linked.link.listen(CHANNEL);
    assert_eq!(next(&mut heard).await, Heard::Gap);
    assert_eq!(linked.say(b"hello").await, 1);
    assert_eq!(next(&mut heard).await, Heard::Said("hello".into()));
    // Another one, when the connection is there already.
    let mut later = linked.link.listen("gp1:{t}:weather");
    assert_eq!(next(&mut later).await, Heard::Gap);
    redis.restart(Data::Lost);
    assert_eq!(next(&mut heard).await, Heard::Gap);
    assert_eq!(next(&mut later).await, Heard::Gap);
    linked.up_by(2).await;
    assert_eq!(linked.say(b"again").await, 1);
    assert_eq!(next(&mut heard).await, Heard::Said("again".into()));
}

#[tokio::test]
async fn a_connection_for_messages_that_died_in_silence_is_noticed() {
    let redis = Redis::start();
    let relay = Relay::to(redis.port).await;
    let linked = Linked::to(&format!("redis://{}", relay.address));
    let mut heard = linked.link.listen(CHANNEL);
    assert_eq!(next(&mut heard).await, Heard::Gap);
    linked.up().await;
    let begun = Instant::now();
    relay.is(Cable::Forgets);
    assert_eq!(next(&mut heard).await, Heard::Gap);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    linked.up_by(2).await;
    // The server counts the old connection, too.
    linked.say(b"hello").await;
    assert_eq!(next(&mut heard).await, Heard::Said("hello".into()));
}

#[tokio::test]
async fn a_long_message_is_dropped_and_a_slow_listener_is_told_of_a_gap() {
    let redis = Redis::start();
    let linked = Linked::to(&redis.url());
    let mut heard = linked.link.listen(CHANNEL);
    assert_eq!(next(&mut heard).await, Heard::Gap);
    linked.say(&[b'x'; 4097]).await;
    linked.say(&[b'x'; 4096]).await;
    assert_eq!(next(&mut heard).await, Heard::Said(vec![b'x'; 4096].into()));
    let (mut slow, last) = (heard, b"the last");
    for _ in 0..300 {
        linked.say(b"news").await;
    }
    linked.say(last).await;
    assert_eq!(next(&mut slow).await, Heard::Gap);
    while next(&mut slow).await != Heard::Said(last.to_vec().into()) {}
}

#[tokio::test]
async fn sentinels_name_the_new_master_and_messages_come_from_there() {
    let mut sentinels = Sentinels::start();
    let linked = Linked::to(&sentinels.url());
    let mut heard = linked.link.listen(CHANNEL);
    assert_eq!(next(&mut heard).await, Heard::Gap);
    linked.add().await.unwrap();
    sentinels.servers[0].kill();
    linked.down().await;
    assert_eq!(next(&mut heard).await, Heard::Gap);
    linked.up().await;
    assert!(linked.add().await.is_ok());
    let on_it: Option<String> = sentinels.servers[1].ask(&["GET", "gp1:{t}:n"]);
    assert!(on_it.is_some());
}

#[tokio::test]
async fn a_cluster_has_each_key_where_it_belongs_and_passes_messages_on_to_all() {
    let mut cluster = Cluster::start();
    let linked = Linked::to(&cluster.url());
    let mut heard = linked.link.listen(CHANNEL);
    assert_eq!(next(&mut heard).await, Heard::Gap);
    let keys: Vec<String> = (0..20).map(|number| format!("gp1:{{{number}}}:n")).collect();
    for key in &keys {
        assert_eq!(linked.add_to(key).await, Ok(1), "{key}");
    }
    // The keys, less what the link itself asks with.
    let kept = cluster.nodes.iter().map(|node| {
        let keys = node.keys_and_values();
        keys.iter().filter(|(key, _)| key.ends_with(b":n")).count()
    });
    let kept: Vec<usize> = kept.collect();
    assert!(kept.iter().sum::<usize>() == 20 && kept.iter().all(|count| *count > 0), "{kept:?}");
    for node in &cluster.nodes {
        node.ask::<()>(&["PUBLISH", CHANNEL, &node.port.to_string()]);
        assert_eq!(next(&mut heard).await, Heard::Said(node.port.to_string().into()));
    }
    let there = &keys[0];
    let node = cluster.node_of(there);
    cluster.nodes[node].kill();
    linked.add_to(there).await.unwrap_err();
    linked.down().await;
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_and_the_link_itself_leaves_nothing_for_ever() {
    let mut redis = Redis::start();
    let linked = Linked::to(&redis.url());
    linked.add().await.unwrap();
    redis.restart(Data::Kept);
    linked.up_by(2).await;
    assert_eq!(linked.add().await, Ok(2));
    assert_eq!(redis.without_an_end(), ["gp1:{t}:n"], "the test's own");
}

#[tokio::test]
async fn a_user_that_may_not_listen_is_told_of_and_can_do_the_rest() {
    let user = "gateway on >S3cret ~gp1:* resetchannels +@all";
    let acl = [&["--user"][..], &user.split(' ').collect::<Vec<_>>()].concat();
    let redis = Redis::start_with(&acl);
    let linked = Linked::to(&redis.url_as("gateway:S3cret@"));
    let mut heard = linked.link.listen(CHANNEL);
    assert_eq!(linked.add().await, Ok(1));
    redis.ask::<()>(&["ACL", "SETUSER", "gateway", "&gp1:*"]);
    assert_eq!(next(&mut heard).await, Heard::Gap);
    assert_eq!(linked.link.connection(), 1);
}
