//! Replicas on paused time, with a store in memory and an issuer that counts.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    decide::{freshness::Verdict, lanes::Lane},
    store::memory::{Memory, Shelf},
    token::{Keeping, Tokens, error::Kind},
};

/// Mints take 100 ms.
#[derive(Debug, Default)]
struct Login {
    mints: AtomicUsize,
    down: Mutex<bool>,
}

#[derive(Debug)]
struct Client(Arc<Login>, Scope, &'static [u8]);

impl Issuer for Client {
    async fn mint(&self) -> Result<Minted, MintError> {
        sleep(Duration::from_millis(100)).await;
        if *self.0.down.lock().unwrap() {
            return Err(MintError::new(Kind::Status(500), ""));
        }
        let number = self.0.mints.fetch_add(1, Ordering::SeqCst);
        let authorization = HeaderValue::try_from(format!("Bearer token-{number}")).unwrap();
        Ok(Minted::opaque(authorization, Duration::from_secs(3600)))
    }

    fn client(&self) -> &'static str {
        "a-client"
    }
}

impl Check for Client {
    async fn check(&self, _: &HeaderValue) -> Alive {
        Alive::Active
    }
}

impl Sharer for Client {
    fn scope(&self) -> &Scope {
        &self.1
    }

    async fn token_seals(&self) -> Vec<Key> {
        vec![Key::derive(self.2, &self.1, "token")]
    }

    async fn admit(&self, minted: Minted) -> Result<Minted, MintError> {
        Ok(minted)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(10)
    }
}

struct World {
    login: Arc<Login>,
    shelf: Arc<Mutex<Shelf>>,
    began: Instant,
}

struct Replica {
    tokens: Arc<Tokens>,
    stop: CancellationToken,
}

impl World {
    fn new() -> Self {
        Self { login: Arc::default(), shelf: Arc::default(), began: Instant::now() }
    }

    fn replica(&self) -> Replica {
        self.replica_with(b"a secret")
    }

    fn replica_with(&self, secret: &'static [u8]) -> Replica {
        let scope = Scope::new("login", "api", "a-client");
        let client = Arc::new(Client(Arc::clone(&self.login), scope, secret));
        let shared = Arc::new(Shared::new(client, Memory::new(&self.shelf, self.began), 0));
        let stop = CancellationToken::new();
        let margin = Duration::from_secs(300);
        let keeping = Keeping::new(margin, &TaskTracker::new(), &Handle::current(), stop.clone());
        let lane = Lane::default();
        let tokens = Tokens::spawn(Arc::clone(&shared), (), lane, &Arc::default(), &keeping);
        let followed = Arc::clone(&tokens);
        keeping.spawn(async move { shared.follow(&followed).await });
        Replica { tokens, stop }
    }

    fn mints(&self) -> usize {
        self.login.mints.load(Ordering::SeqCst)
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap()
    }
}

impl Replica {
    async fn fingerprint(&self) -> String {
        let within = Instant::now() + Duration::from_secs(12);
        self.tokens.get(within).await.unwrap().fingerprint.clone()
    }

    fn now(&self) -> Option<String> {
        self.tokens.current(Instant::now()).map(|token| token.fingerprint.clone())
    }

    fn rejected(&self) -> Verdict {
        let token = self.tokens.current(Instant::now()).unwrap();
        token.worked(Instant::now());
        self.tokens.rejected(&token, 7)
    }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn ten_replicas_mint_once_at_the_start_and_once_an_age() {
    let world = World::new();
    let replicas: Vec<_> = (0..10).map(|_| world.replica()).collect();
    let first = replicas[0].fingerprint().await;
    for replica in &replicas {
        assert_eq!(replica.fingerprint().await, first);
        assert!(replica.tokens.current(Instant::now()).unwrap().share.serial() > 0);
    }
    assert_eq!(world.mints(), 1);
    for age in 2..=5 {
        seconds(3600 - 250).await;
        assert_eq!(world.mints(), age);
        assert_eq!(replicas[9].now(), replicas[0].now());
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_one_gives_up_is_let_go_by_all_at_once_and_replaced_once() {
    let world = World::new();
    let replicas: Vec<_> = (0..3).map(|_| world.replica()).collect();
    for replica in &replicas {
        replica.fingerprint().await;
    }
    let old = replicas[0].now();
    assert_eq!(replicas[0].rejected(), Verdict::Renew);
    // Less than a mint takes.
    sleep(Duration::from_millis(50)).await;
    assert!(replicas.iter().all(|replica| replica.now().is_none()));
    let new = replicas[0].fingerprint().await;
    assert_ne!(Some(&new), old.as_ref());
    for replica in &replicas {
        assert_eq!(replica.fingerprint().await, new);
    }
    assert_eq!(world.mints(), 2);
    // No renewal of theirs was spent on it: all of them are left.
    for _ in 0..4 {
        assert_eq!(replicas[1].rejected(), Verdict::Renew);
        replicas[1].fingerprint().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_given_up_while_no_other_can_be_had_is_looked_at_and_used_again_by_all() {
    let world = World::new();
    let (one, other) = (world.replica(), world.replica());
    let first = one.fingerprint().await;
    other.fingerprint().await;
    *world.login.down.lock().unwrap() = true;
    assert_eq!(one.rejected(), Verdict::Renew);
    seconds(5).await;
    assert_eq!((one.now().as_ref(), other.now().as_ref()), (Some(&first), Some(&first)));
    // And who comes now takes it over.
    let third = world.replica();
    assert_eq!(third.fingerprint().await, first);
}

#[tokio::test(start_paused = true)]
async fn in_the_place_of_tokens_made_while_the_store_was_away_all_have_a_new_one_when_it_is_back() {
    let world = World::new();
    world.shelf().down = true;
    let (one, other) = (world.replica(), world.replica());
    assert_ne!(one.fingerprint().await, other.fingerprint().await);
    assert_eq!(one.tokens.current(Instant::now()).unwrap().share, Share::Private);
    world.shelf().set_down(false);
    seconds(5).await;
    assert_eq!(one.now(), other.now());
    for replica in [&one, &other] {
        assert!(replica.tokens.current(Instant::now()).unwrap().share.serial() > 0);
    }
    assert_eq!(world.mints(), 3, "calls under the others were counted that not all know of");
}

#[tokio::test(start_paused = true)]
async fn a_store_without_room_costs_few_tokens_and_then_all_have_one() {
    let world = World::new();
    world.shelf().down = true;
    let (one, other) = (world.replica(), world.replica());
    assert_ne!(one.fingerprint().await, other.fingerprint().await);
    world.shelf().full = true;
    world.shelf().set_down(false);
    seconds(600).await;
    assert!((3..=14).contains(&world.mints()), "{}", world.mints());
    world.shelf().full = false;
    seconds(310).await;
    assert_eq!(one.now(), other.now());
}

#[tokio::test(start_paused = true)]
async fn what_the_store_forgets_is_put_back_and_is_no_other_token_to_anybody() {
    let world = World::new();
    let (one, other) = (world.replica(), world.replica());
    one.fingerprint().await;
    other.fingerprint().await;
    let generation = || other.tokens.current(Instant::now()).unwrap().generation;
    let before = generation();
    world.shelf().flush();
    seconds(8).await;
    let third = world.replica();
    assert_eq!(Some(third.fingerprint().await), one.now());
    assert_eq!((world.mints(), generation()), (1, before));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_dies_is_replaced_within_seconds() {
    let world = World::new();
    let dead = world.replica();
    sleep(Duration::from_millis(50)).await;
    dead.stop.cancel();
    let began = Instant::now();
    world.replica().fingerprint().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(world.mints(), 1);
}

#[tokio::test(start_paused = true)]
async fn replicas_with_different_secrets_neither_share_nor_fight() {
    let world = World::new();
    let (one, other) = (world.replica(), world.replica_with(b"another secret"));
    assert_ne!(one.fingerprint().await, other.fingerprint().await);
    seconds(600).await;
    assert_eq!(world.mints(), 2);
}

#[tokio::test(start_paused = true)]
async fn messages_of_strangers_and_of_the_past_do_nothing() {
    let world = World::new();
    let (one, other) = (world.replica(), world.replica());
    one.fingerprint().await;
    other.fingerprint().await;
    let (store, scope) =
        (Memory::new(&world.shelf, world.began), Scope::new("login", "api", "a-client"));
    let key = Key::derive(b"a secret", &scope, "token");
    let seat = Seat { place: Place::new(&scope, 0, key.id()), key };
    let serial = store.read(&seat.place).await.unwrap().serial;
    let theirs = Key::derive(b"another secret", &scope, "token");
    let stranger = Seat { place: seat.place.clone(), key: theirs };
    let forged = Message::GivenUp(serial).write(&stranger);
    let note = record::note(&stranger, serial);
    for _ in 0..100 {
        store.give_up(&seat.place, serial, &note, &forged).await.unwrap();
    }
    seconds(10).await;
    assert_eq!(world.mints(), 1);
    // A true one, again and again.
    assert_eq!(one.rejected(), Verdict::Renew);
    one.fingerprint().await;
    other.fingerprint().await;
    let old = Message::GivenUp(serial).write(&seat);
    for _ in 0..100 {
        store.give_up(&seat.place, serial, &record::note(&seat, serial), &old).await.unwrap();
        store.give_up(&seat.place, u64::MAX, b"", &old).await.unwrap();
    }
    seconds(10).await;
    assert_eq!(world.mints(), 2);
}
