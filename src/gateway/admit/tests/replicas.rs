//! Replicas on paused time, with books that a test keeps by the rules.

use std::collections::BTreeMap;

use tokio::sync::{Mutex as AsyncMutex, watch};

use super::*;
use crate::{
    decide::{
        joint::ledger::{Age, Ledger, Opening},
        turns::LimitId,
    },
    gateway::admit::joint::Books,
    store::{
        Down,
        budget::{Answer, Word},
    },
    token::Share,
};

const WINDOW: Duration = Duration::from_secs(60);

/// What all replicas of a test see.
#[derive(Default)]
struct Shelf {
    age: Age,
    ledgers: BTreeMap<String, Ledger>,
    away: bool,
}

struct InMemory {
    shelf: Arc<Mutex<Shelf>>,
    name: String,
    begin: Instant,
    looks: watch::Sender<()>,
    called: AsyncMutex<watch::Receiver<()>>,
}

impl Books for InMemory {
    type Keys = ();

    async fn sync(&self, opening: Opening, words: &[Word], tell: bool) -> Result<Answer, Down> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut shared = self.shelf.lock().unwrap();
        if shared.away {
            return Err(Down { why: "away".to_owned() });
        }
        // Its clock is not ours.
        let now = Duration::from_secs(1_000_000) + self.begin.elapsed();
        let moment = shared.age.open(opening, now);
        let version = shared.age.version;
        let mut told = Vec::new();
        for Word { ledger, limit, window, ask } in words {
            let ledger = shared.ledgers.entry(ledger.clone());
            let ledger = ledger.or_insert_with(|| Ledger::new(*limit, *window));
            told.push(ledger.sync(&self.name, ask, moment));
        }
        drop(shared);
        if tell {
            self.looks.send_replace(());
        }
        Ok(Answer { now, version, whole: moment.whole, told })
    }

    fn connection(&self) -> u64 {
        1
    }

    async fn called(&self) {
        self.called.lock().await.changed().await.unwrap();
    }

    fn caller(&self, principal: Principal) -> u64 {
        match principal {
            Principal::Named(n) => n.into(),
            Principal::Address(_) | Principal::User(_) | Principal::Unknown => u64::MAX,
        }
    }

    fn callers_of(&self, replica: &str) -> u64 {
        replica.len() as u64
    }

    fn ledger(&self, id: LimitId) -> String {
        format!("{id:?}")
    }

    fn replica(&self) -> &str {
        &self.name
    }

    fn holds(&self, _: LimitId) -> bool {
        true
    }

    async fn keys(&self) {}

    fn seal(&self, (): &(), _: &str, wishes: &[u8]) -> Vec<u8> {
        wishes.to_vec()
    }

    fn open(&self, (): &(), _: &str, _: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }
}

/// Some replicas, and what they share.
struct Fleet {
    replicas: Vec<Arc<Admission>>,
    shelf: Arc<Mutex<Shelf>>,
}

impl Fleet {
    fn of(count: usize, limit: &RateLimit) -> Self {
        Self::granting(count, limit, &Granted::default())
    }

    fn granting(count: usize, limit: &RateLimit, callers: &Granted) -> Self {
        let (shelf, begin) = (Arc::default(), Instant::now());
        let looks = watch::Sender::new(());
        let replica = |n: usize| {
            let admission = spawn_for(limit.clone(), callers.clone());
            admission.share();
            let name = format!("replica {n}");
            let called = AsyncMutex::new(looks.subscribe());
            let (shelf, looks) = (Arc::clone(&shelf), looks.clone());
            let books = InMemory { shelf, name, begin, looks, called };
            admission.meet(books, &Handle::current(), CancellationToken::new());
            admission.signs(Lane::default(), Share::Published(1), begin);
            admission
        };
        let replicas = (0..count).map(replica).collect();
        Self { replicas, shelf }
    }

    /// All know of all.
    async fn meets(&self) {
        while self.replicas.iter().any(|one| one.replicas() != self.replicas.len()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A caller's calls at one of them, each as soon as it may; when they left.
    fn calls(&self, at: usize, caller: u16, count: usize) -> Vec<tokio::task::JoinHandle<Instant>> {
        let tasks = TaskTracker::new();
        let call = |_| {
            let admission = Arc::clone(&self.replicas[at]);
            tasks.spawn(async move {
                let asker =
                    Asker { principal: Principal::Named(caller), urgency: Urgency::default() };
                let asking = Asking { asker, ..asking(within(100_000)) };
                let mut permit = admission.admit(Instant::now(), &asking, None).await.unwrap();
                permit.spend(Instant::now());
                Instant::now()
            })
        };
        (0..count).map(call).collect()
    }
}

async fn all(calls: Vec<tokio::task::JoinHandle<Instant>>) -> Vec<Instant> {
    let mut left = Vec::new();
    for call in calls {
        left.push(call.await.unwrap());
    }
    left.sort();
    left
}

/// In no window more than so many.
fn never_over(left: &[Instant], most: usize) {
    for pair in left.windows(most + 1) {
        assert!(pair[most] - pair[0] >= WINDOW, "{} in {:?}", most + 1, pair[most] - pair[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn together_they_send_what_one_might() {
    let fleet = Fleet::of(3, &rate_limit(90, 10_000));
    let mut calls = fleet.calls(0, 0, 200);
    calls.extend(fleet.calls(1, 1, 200));
    let left = all(calls).await;
    never_over(&left, 90);
    let took = (left[399] - left[0]).as_secs_f64();
    // Four windows and a part of the fifth.
    assert!(took < 4.0 * 60.0 * 1.02 + 2.0, "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_at_two_replicas_has_as_much_as_one_at_one() {
    let fleet = Fleet::of(2, &rate_limit(120, 10_000));
    let begin = Instant::now();
    let both = [fleet.calls(0, 0, 400), fleet.calls(1, 0, 400)];
    let others = [fleet.calls(0, 1, 400), fleet.calls(1, 2, 400)];
    let until = begin + WINDOW * 6;
    let from = begin + WINDOW * 2;
    let count = |left: &[Instant]| left.iter().filter(|at| **at >= from && **at < until).count();
    let mut had = Vec::new();
    let [one, other] = both;
    had.push(count(&[all(one).await, all(other).await].concat()));
    for calls in others {
        had.push(count(&all(calls).await));
    }
    let (least, most) = (had.iter().min().unwrap(), had.iter().max().unwrap());
    assert!(most - least <= most / 5, "{had:?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_goes_on_with_its_part_and_a_token_of_its_own_has_all() {
    let fleet = Fleet::of(2, &rate_limit(60, 10_000));
    fleet.meets().await;
    fleet.shelf.lock().unwrap().away = true;
    let mut calls = fleet.calls(0, 0, 90);
    calls.extend(fleet.calls(1, 0, 90));
    never_over(&all(calls).await, 60);
    tokio::time::sleep(WINDOW * 2).await;
    let alone = &fleet.replicas[0];
    // A call signs with it before anybody has told the budget.
    let mut first = alone.admit(Instant::now(), &asking(within(0)), None).await.unwrap();
    assert!(first.bind(generation(1), Belongs::Us));
    first.spend(Instant::now());
    alone.seen(next(), Belongs::Us);
    for _ in 1..60 {
        spend(alone, 0).await.unwrap();
    }
    assert!(spend(alone, 0).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_place_under_a_token_of_its_own_is_none_under_everybodys() {
    let fleet = Fleet::of(2, &rate_limit(60, 10_000));
    fleet.meets().await;
    let [one, other] = &fleet.replicas[..] else { panic!("two") };
    one.seen(next(), Belongs::Us);
    // The token is refused: calls have their turn, and no token to go under.
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(one.admit(Instant::now(), &asking(within(0)), None).await.unwrap());
    }
    all(fleet.calls(1, 0, 60)).await;
    let common = generation(2);
    for permit in &mut held {
        assert!(!permit.bind(common, Belongs::All), "the other replica has used up the limit");
    }
    drop(held);
    let mut fresh = one.admit(Instant::now(), &asking(within(90)), None).await.unwrap();
    assert!(fresh.bind(common, Belongs::All));
    assert!(spend(other, 90).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_sends_nothing_before_it_has_asked() {
    let fleet = Fleet::of(2, &rate_limit(60, 10_000));
    fleet.meets().await;
    all(fleet.calls(0, 0, 55)).await;
    let share = || fleet.replicas[0].state().shares(Instant::now().into_std())[0];
    assert!(share() >= 55, "{}", share());
    fleet.shelf.lock().unwrap().away = true;
    fleet.replicas[0].slept(WINDOW * 2);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(share(), 0);
    fleet.shelf.lock().unwrap().away = false;
    fleet.calls(0, 0, 1).remove(0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_to_another_replica_finds_all_of_its_ceiling_there() {
    let terms = Terms { requests_per_minute: NonZeroU32::new(30), ..Terms::default() };
    let fleet = Fleet::granting(2, &rate_limit(300, 10_000), &Granted::new([terms]));
    fleet.meets().await;
    all(fleet.calls(0, 0, 30)).await;
    // Both know of the ceiling, and the first one no longer uses it.
    all(fleet.calls(1, 0, 1)).await;
    tokio::time::sleep(WINDOW + WINDOW / 2).await;
    let left = all(fleet.calls(1, 0, 30)).await;
    assert!(left[29] - left[0] < Duration::from_secs(2), "{:?}", left[29] - left[0]);
}

#[tokio::test(start_paused = true)]
async fn who_was_alone_in_a_store_that_had_lost_all_knows_that_there_are_others() {
    let fleet = Fleet::of(4, &rate_limit(60, 10_000));
    fleet.meets().await;
    {
        let mut shelf = fleet.shelf.lock().unwrap();
        (shelf.age, shelf.ledgers) = (Age::default(), BTreeMap::new());
    }
    while fleet.shelf.lock().unwrap().ledgers.is_empty() {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    fleet.shelf.lock().unwrap().away = true;
    tokio::time::sleep(WINDOW * 3).await;
    for replica in &fleet.replicas {
        assert_eq!(replica.state().shares(Instant::now().into_std()), [15]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_gives_back_all_but_what_it_sent() {
    let fleet = Fleet::of(2, &rate_limit(60, 10_000));
    fleet.meets().await;
    let [stays, goes] = &fleet.replicas[..] else { panic!("two") };
    for _ in 0..10 {
        spend(goes, 1).await.unwrap();
    }
    goes.part().await;
    for _ in 0..50 {
        spend(stays, 1).await.unwrap();
    }
    assert!(spend(stays, 1).await.is_err());
    assert_eq!(stays.replicas(), 1);
}

#[tokio::test(start_paused = true)]
async fn before_it_is_known_what_is_its_own_a_replica_sends_nothing() {
    let admission = spawn(rate_limit(60, 10));
    admission.share();
    let begin = Instant::now();
    assert!(spend(&admission, 5).await.is_err());
    assert!(begin.elapsed() >= Duration::from_secs(5), "it waited");
}

#[tokio::test(start_paused = true)]
async fn a_large_budget_that_workers_cut_is_shared_too() {
    let fleet = Fleet::of(2, &rate_limit(LARGE, 100_000));
    fleet.meets().await;
    let desks: Vec<_> = fleet.replicas.iter().map(Desk::new).collect();
    let mut left = Vec::new();
    for n in 0..3 * LARGE as usize {
        // One of them calls at the beginning, and the other one all the time.
        let desk = &desks[usize::from(n % 2 == 0 && n < 1_000)];
        let mut permit = desk.admit(Instant::now(), &asking(within(1_000))).await.unwrap();
        permit.spend(Instant::now());
        left.push(Instant::now());
    }
    left.sort();
    never_over(&left, LARGE as usize);
    let took = (left[left.len() - 1] - left[0]).as_secs_f64();
    assert!(took < 2.0 * 60.0 * 1.02 + 5.0, "{took}");
}
