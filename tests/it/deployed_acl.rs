//! The shipped ACL of Redis: what replicas need, and nothing else.

use std::{fs, sync::Arc, time::Duration};

use genesys_proxy::{
    config::{self, SecretKind},
    decide::{
        joint::ledger::{Ask, Opening},
        local_token::Record,
    },
    secret::Secret,
    store::{
        Health, Heard, Link, ReplicaId, Scope,
        budget::{self, Speaker, Word},
        logins::{self, Logins, Name, Revoked, Used},
        seal::Key,
        token::{self, Lock, News, Published, TokenStore as _},
    },
    telemetry::metrics::Metrics,
};
use redis::{RedisError, Value};
use tokio::{runtime::Handle, sync::broadcast};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::support::{deployed::make_keys, gateway::PATIENCE, redis::Redis};

#[test]
fn the_shipped_user_may_do_nothing_that_replicas_do_not() {
    let dir = tempfile::tempdir().unwrap();
    make_keys(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let redis = Redis::start_with(&["--aclfile", &path("users.acl")]);
    let password = fs::read_to_string(path("redis-password")).unwrap();
    let connect = |user: &str| {
        redis::Client::open(redis.url_as(user)).unwrap().get_connection_with_timeout(PATIENCE)
    };
    assert!(
        connect("").and_then(|mut open| ask(&mut open, "PING")).is_err(),
        "nobody in particular"
    );
    assert!(connect("genesys-proxy:wrong@").is_err());
    let mut open = connect(&format!("genesys-proxy:{}@", password.trim())).unwrap();
    for refused in [
        "GET other",
        "SET other 1",
        "PUBLISH other hello",
        "SUBSCRIBE other",
        "PSUBSCRIBE *",
        "PUBSUB CHANNELS",
        "EVAL return(redis.call('GET','other')) 0",
        "EVAL return(redis.call('FLUSHALL')) 0",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "DBSIZE",
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG GET *",
        "ACL LIST",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "INFO",
        "MONITOR",
        "SAVE",
        "SHUTDOWN",
        "REPLICAOF NO ONE",
        "MIGRATE h 1 gp1:{s}:a 0 1",
        "SCRIPT FLUSH",
        "SCRIPT LOAD return",
        "CLUSTER SLOTS",
        "FUNCTION LIST",
    ] {
        let answer = ask(&mut open, refused);
        let told = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let why = ["NOPERM", "ermission", "an't access", "an't run"];
        assert!(why.iter().any(|why| told.contains(why)), "{refused}: {answer:?}");
    }
}

#[tokio::test]
async fn the_shipped_user_may_do_all_that_replicas_do_and_hears_of_it() {
    let dir = tempfile::tempdir().unwrap();
    make_keys(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let redis = Redis::start_with(&["--aclfile", &path("users.acl")]);
    let password = fs::read_to_string(path("redis-password")).unwrap();
    let replica = Replica::of(&redis.url_as(&format!("genesys-proxy:{}@", password.trim()))).await;
    let mut ears = replica.ears();
    for ear in &mut ears {
        assert_eq!(within(Heard::next(ear)).await, Heard::Gap);
    }
    replica.does_everything().await;
    for ear in &mut ears {
        assert!(matches!(within(Heard::next(ear)).await, Heard::Said(_)));
    }
}

#[tokio::test]
async fn a_user_who_has_no_channels_does_all_the_same_and_others_find_out_by_asking() {
    let user = "gateway on >S3cret resetchannels ~gp1:* +@all -@dangerous";
    let user: Vec<_> = ["--user"].into_iter().chain(user.split(' ')).collect();
    let redis = Redis::start_with(&user);
    let replica = Replica::of(&redis.url_as("gateway:S3cret@")).await;
    replica.does_everything().await;
}

/// What replicas do with the store, all of it.
struct Replica {
    link: Arc<Link>,
    scope: Scope,
    _stop: DropGuard,
}

impl Replica {
    async fn of(url: &str) -> Self {
        let config = config::Store::of_url(url).unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let handle = Handle::current();
        let source = config.password.clone().expect("the URL has one");
        let password = Secret::spawn(source, SecretKind::Word, None, &tasks, &handle, stop.clone());
        let (password, metrics) = (Some(password), Metrics::default());
        let link = Link::spawn(&config, password, metrics, &tasks, &handle, &stop).unwrap();
        let mut health = link.health();
        within(health.wait_for(|health| *health == Health::Up)).await.unwrap();
        let scope = Scope::new("https://login", "https://api", "id");
        Self { link, scope, _stop: stop.drop_guard() }
    }

    fn ears(&self) -> [broadcast::Receiver<Heard>; 3] {
        let logins = Logins::new(Arc::clone(&self.link), &self.scope).channel;
        [budget::channel(&self.scope), token::channel(&self.scope, 0), logins]
            .map(|channel| self.link.listen(&channel))
    }

    async fn does_everything(&self) {
        // Only then the store knows the scripts.
        for _ in 0..2 {
            self.shares_a_budget().await;
            self.shares_a_token().await;
            self.shares_logins().await;
        }
        assert_eq!(*self.link.health().borrow(), Health::Up);
    }

    async fn shares_a_budget(&self) {
        let lease = Duration::from_secs(3);
        let opening = |seen| Opening { seen, fresh: true, lease };
        let window = Duration::from_secs(60);
        let mut version = 0;
        for id in ["0b5e", "5e1f"] {
            let ask = Ask { leaves: false, want: 20, ..Ask::leaving(version + 1) };
            let word = Word { ledger: "one".to_owned(), limit: 30, window, ask };
            let from = Speaker { scope: &self.scope, id, tell: true };
            let answer = budget::sync(&self.link, from, opening(version), &[word]).await.unwrap();
            assert!(answer.version > version && answer.told.len() == 1);
            version = answer.version;
        }
    }

    async fn shares_a_token(&self) {
        let store = token::Redis::new(Arc::clone(&self.link), ReplicaId::random());
        let place = token::Place::new(&self.scope, 0, "key");
        let minute = Duration::from_secs(60);
        let taken = async || match store.take(&place, minute).await.unwrap().0 {
            Lock::Taken(fence) => fence,
            Lock::Held => panic!("nobody else is there"),
        };
        let first = taken().await;
        store.beat(&place, first).await.unwrap();
        store.release(&place, first).await.unwrap();
        let fence = taken().await;
        let news = News { fence, left: minute, sealed: b"a token", message: b"news" };
        assert_eq!(store.publish(&place, news).await, Ok(Published::Yes));
        store.give_up(&place, fence, b"note", b"news").await.unwrap();
        assert_eq!(store.read(&place).await.unwrap().gone, b"note");
        store.vouch(&place, fence).await.unwrap();
        assert_eq!(store.read(&place).await.unwrap().gone, b"");
        assert_eq!(store.alive(&self.scope, minute).await, Ok(0));
        assert_eq!(store.alive(&self.scope, Duration::ZERO).await, Ok(0));
    }

    async fn shares_logins(&self) {
        let logins = Logins::new(Arc::clone(&self.link), &self.scope);
        let place = logins::Place::new(&self.scope, "whose");
        let key = Key::derive(b"a secret", &self.scope, "logins");
        let (left, ago) = (Duration::from_secs(60), Duration::from_secs(1));
        // Another one each time: of what is known nobody is told again.
        let digests = [fastrand::u64(..).to_be_bytes(), fastrand::u64(..).to_be_bytes()];
        let [revoked, used] = digests.map(|digest| move |key: &Key| Name::new(key, &digest));
        let message = b"news".to_vec();
        let told = logins.revoked(&place, &[Revoked { name: revoked(&key), left, message }]).await;
        assert_eq!(told, Ok(()));
        assert_eq!(logins.used(&place, &[Used { name: used(&key), ago, left }]).await, Ok(()));
        let told = logins.look(&place, &[revoked(&key), used(&key)]).await.unwrap();
        assert!(matches!(told.as_slice(), [Record::Revoked, Record::Used(_)]), "{told:?}");
    }
}

async fn within<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, awaited).await.expect("in time")
}

fn ask(open: &mut redis::Connection, line: &str) -> Result<Value, RedisError> {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>()).query(open)
}
