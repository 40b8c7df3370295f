//! The scripts that keep the shared token, run by a real server.

use std::{sync::Arc, time::Duration};

use genesys_proxy::{
    config,
    decide::local_token::Record,
    store::{
        Link, ReplicaId, Scope,
        logins::{self, AT_ONCE, Logins, Name, Used},
        seal::Key,
        token::{Lock, News, Place, Published, Redis as Store, TokenStore},
    },
    telemetry::metrics::Metrics,
};
use tokio::runtime::Handle;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::support::redis::Redis;

const LEASE: Duration = Duration::from_secs(20);

/// Two replicas at one place.
struct Two {
    redis: Redis,
    link: Arc<Link>,
    one: Store,
    other: Store,
    place: Place,
    _stop: DropGuard,
}

impl Two {
    fn new() -> Self {
        let redis = Redis::start();
        let config = config::Store::of_url(&redis.url()).unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let handle = Handle::current();
        let link = Link::spawn(&config, None, Metrics::default(), &tasks, &handle, &stop).unwrap();
        let place = Place::new(&Scope::new("login", "api", "id"), 0, "key");
        let store = || Store::new(Arc::clone(&link), ReplicaId::random());
        let (one, other) = (store(), store());
        Self { redis, link, one, other, place, _stop: stop.drop_guard() }
    }

    async fn takes(&self, who: &Store) -> u64 {
        match who.take(&self.place, LEASE).await.unwrap() {
            (Lock::Taken(fence), _) => fence,
            (Lock::Held, found) => panic!("held: {found:?}"),
        }
    }

    async fn publishes(&self, who: &Store, fence: u64) -> bool {
        let left = Duration::from_secs(60);
        let news = News { fence, left, sealed: b"a token", message: b"news" };
        who.publish(&self.place, news).await.unwrap() == Published::Yes
    }

    /// As if the holder had been silent since the year 1970.
    fn silence(&self) {
        let lock = self.place.token.replace(":token:", ":lock:");
        self.redis.ask::<i64>(&["HSET", &lock, "beat", "0"]);
    }
}

#[tokio::test]
async fn a_lock_is_one_replicas_until_it_lets_go_or_is_silent() {
    let two = Two::new();
    let first = two.takes(&two.one).await;
    assert_eq!(two.other.take(&two.place, LEASE).await.unwrap().0, Lock::Held);
    two.other.release(&two.place, first).await.unwrap();
    assert_eq!(two.other.take(&two.place, LEASE).await.unwrap().0, Lock::Held, "not its own");
    two.one.release(&two.place, first).await.unwrap();
    let second = two.takes(&two.other).await;
    assert!(second > first);
    two.silence();
    two.other.beat(&two.place, second).await.unwrap();
    assert_eq!(two.one.take(&two.place, LEASE).await.unwrap().0, Lock::Held, "it lives");
    two.silence();
    assert!(two.takes(&two.one).await > second);
    assert_eq!(two.redis.without_an_end(), [""; 0]);
}

#[tokio::test]
async fn a_slower_fence_never_overwrites_a_newer_one() {
    let two = Two::new();
    let slow = two.takes(&two.one).await;
    two.silence();
    let fast = two.takes(&two.other).await;
    assert!(!two.publishes(&two.one, slow).await, "although there is none yet");
    assert!(two.publishes(&two.other, fast).await);
    assert!(!two.publishes(&two.one, slow).await);
    let found = two.one.read(&two.place).await.unwrap();
    assert_eq!((found.serial, found.sealed.as_slice()), (fast, b"a token".as_slice()));
    assert!(found.left > Duration::from_secs(50) && found.left <= Duration::from_secs(60));
    // Publishing has let go of the lock.
    assert!(two.takes(&two.one).await > fast);
}

#[tokio::test]
async fn what_is_given_up_is_marked_until_it_is_vouched_for_or_replaced() {
    let two = Two::new();
    let first = two.takes(&two.one).await;
    assert!(two.publishes(&two.one, first).await);
    let gone = async || two.other.read(&two.place).await.unwrap().gone;
    two.one.give_up(&two.place, first, b"note", b"news").await.unwrap();
    assert_eq!(gone().await, b"note");
    two.one.vouch(&two.place, first).await.unwrap();
    assert_eq!(gone().await, b"");
    two.one.give_up(&two.place, first, b"note", b"news").await.unwrap();
    let second = two.takes(&two.other).await;
    assert!(two.publishes(&two.other, second).await);
    two.one.give_up(&two.place, first, b"note", b"news").await.unwrap();
    assert_eq!(gone().await, b"");
}

#[tokio::test]
async fn who_lives_is_counted_and_who_leaves_is_not() {
    let two = Two::new();
    let scope = Scope::new("login", "api", "id");
    let life = Duration::from_secs(20);
    assert_eq!(two.one.alive(&scope, life).await, Ok(0));
    assert_eq!(two.other.alive(&scope, life).await, Ok(1));
    assert_eq!(two.one.alive(&scope, Duration::ZERO).await, Ok(1));
    assert_eq!(two.other.alive(&scope, life).await, Ok(0));
    assert_eq!(two.redis.without_an_end(), [""; 0]);
    assert_eq!(two.other.alive(&scope, Duration::ZERO).await, Ok(0));
}

#[tokio::test]
async fn a_full_store_gives_no_lock_for_a_token_that_it_has_no_room_for() {
    let two = Two::new();
    two.redis.fill();
    assert!(two.one.take(&two.place, LEASE).await.is_err());
    two.redis.make_room();
    assert!(two.takes(&two.other).await > 0, "and nothing was left behind");
}

#[tokio::test]
async fn of_a_callers_tokens_so_many_are_known_and_those_that_were_used_last() {
    let two = Two::new();
    let scope = Scope::new("login", "api", "id");
    let logins = Logins::new(Arc::clone(&two.link), &scope);
    let (place, key) = (logins::Place::new(&scope, "whose"), Key::derive(b"x", &scope, "login"));
    let name = |n: u64| Name::new(&key, &n.to_be_bytes());
    let left = Duration::from_secs(3600);
    for n in 0..6 {
        let tokens = n * AT_ONCE as u64..(n + 1) * AT_ONCE as u64;
        let ago = Duration::from_secs(3600 - tokens.start);
        let used: Vec<_> = tokens.map(|n| Used { name: name(n), ago, left }).collect();
        logins.used(&place, &used).await.unwrap();
    }
    let told = logins.look(&place, &[name(0), name(1_199)]).await.unwrap();
    assert!(matches!(told.as_slice(), [Record::Nothing, Record::Used(_)]), "{told:?}");
    assert_eq!(two.redis.ask::<u64>(&["ZCARD", &scope.name("logins:used:whose")]), 1_000);
}
