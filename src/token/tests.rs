//! The keeper on paused time, with an issuer that follows a script.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;
use issuer::{Kind, MintError, Minted};
use verify::Alive;

use super::*;

/// Answers in order; the last one for ever. Every mint takes 100 ms.
struct Script {
    answers: Vec<Result<u64, Trouble>>,
    mints: Arc<AtomicUsize>,
}

impl Check for Script {
    async fn check(&self, _: &HeaderValue) -> Alive {
        Alive::Active
    }
}

impl Issuer for Script {
    fn client(&self) -> &'static str {
        "a-client"
    }

    async fn mint(&self) -> Result<Minted, MintError> {
        let n = self.mints.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = self.answers.get(n).or(self.answers.last()).copied().unwrap();
        answer
            .map(|life| {
                let authorization = HeaderValue::try_from(format!("Bearer t{n}")).unwrap();
                Minted::opaque(authorization, Duration::from_secs(life))
            })
            .map_err(|trouble| MintError::new(kind(trouble), ""))
    }
}

fn kind(trouble: Trouble) -> Kind {
    match trouble {
        Trouble::Transient => Kind::Status(500),
        Trouble::Throttled => Kind::Throttled,
        Trouble::Permanent => Kind::WrongSecret,
    }
}

fn keeper(answers: &[Result<u64, Trouble>]) -> (Arc<Tokens>, Arc<AtomicUsize>) {
    let mints = Arc::new(AtomicUsize::new(0));
    let script = Script { answers: answers.to_vec(), mints: Arc::clone(&mints) };
    let margin = Duration::from_secs(300);
    let stop = CancellationToken::new();
    let keeping = Keeping::new(margin, &TaskTracker::new(), &Handle::current(), stop);
    let tokens = Tokens::spawn(Arc::new(script), (), Lane::default(), &Arc::default(), &keeping);
    (tokens, mints)
}

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn five_hundred_callers_at_a_cold_start_cost_one_mint() {
    let (tokens, mints) = keeper(&[Ok(3600)]);
    let callers = TaskTracker::new();
    let got: Vec<_> = (0..500)
        .map(|_| {
            let tokens = Arc::clone(&tokens);
            callers.spawn(async move { tokens.get(within(12)).await.unwrap().generation })
        })
        .collect();
    for caller in got {
        assert_eq!(caller.await.unwrap().number(), 1);
    }
    assert_eq!(mints.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mint_survives_the_caller_that_waited_for_it() {
    let (tokens, mints) = keeper(&[Ok(3600)]);
    let impatient = timeout_at(Instant::now() + Duration::from_millis(10), tokens.get(within(12)));
    assert!(impatient.await.is_err());
    assert!(tokens.get(within(12)).await.is_ok());
    assert_eq!(mints.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn renewal_happens_before_expiry_with_nobody_asking() {
    let (tokens, mints) = keeper(&[Ok(3600)]);
    tokens.get(within(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3500)).await;
    assert_eq!(mints.load(Ordering::SeqCst), 2);
    assert_eq!(tokens.get(within(0)).await.unwrap().generation.number(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_rejections_costs_one_mint_and_stragglers_none() {
    let (tokens, mints) = keeper(&[Ok(3600)]);
    let old = tokens.get(within(1)).await.unwrap();
    old.worked(Instant::now());
    for _ in 0..200 {
        assert_eq!(tokens.rejected(&old, 7), Verdict::Renew);
    }
    let new = tokens.get(within(1)).await.unwrap();
    assert!(new.generation > old.generation);
    assert_eq!(tokens.rejected(&old, 7), Verdict::Renew, "a straggler replays with the new one");
    assert_eq!(tokens.get(within(1)).await.unwrap().generation, new.generation);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(mints.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_not_noticed_while_the_token_lives() {
    let (tokens, _) = keeper(&[Ok(3600), Err(Trouble::Transient)]);
    tokens.get(within(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3590)).await;
    assert!(tokens.get(within(0)).await.is_ok());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(tokens.get(within(0)).await.is_err(), "expired: never used");
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_told_at_once_and_a_flaky_endpoint_is_waited_for() {
    let (tokens, _) = keeper(&[Err(Trouble::Permanent)]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = Instant::now();
    assert!(tokens.get(within(12)).await.unwrap_err().refused);
    assert_eq!(Instant::now(), before);

    let (tokens, mints) = keeper(&[Err(Trouble::Transient), Err(Trouble::Transient), Ok(60)]);
    assert!(tokens.get(within(12)).await.is_ok());
    assert_eq!(mints.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_the_answer_comes_within_the_deadline() {
    let (tokens, mints) = keeper(&[Err(Trouble::Transient)]);
    let deadline = within(12);
    let error = tokens.get(deadline).await.unwrap_err();
    assert!(Instant::now() <= deadline && !error.refused);
    assert!(mints.load(Ordering::SeqCst) <= 10, "backoff, not a storm");
}

/// Mints like `Script`; its checks answer in order, the last one for ever.
struct Checked {
    script: Script,
    answers: Vec<Alive>,
    checks: Arc<AtomicUsize>,
}

impl Check for Checked {
    async fn check(&self, _: &HeaderValue) -> Alive {
        let n = self.checks.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.answers.get(n).or(self.answers.last()).cloned().unwrap()
    }
}

impl Issuer for Checked {
    fn client(&self) -> &'static str {
        "a-client"
    }

    fn mint(&self) -> impl Future<Output = Result<Minted, MintError>> + Send {
        self.script.mint()
    }
}

const EVERY: Duration = Duration::from_secs(60);

struct Overseen {
    tokens: Arc<Tokens>,
    mints: Arc<AtomicUsize>,
    checks: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Overseen {
    /// Mints and checks so far.
    fn seen(&self) -> (usize, usize) {
        (self.mints.load(Ordering::SeqCst), self.checks.load(Ordering::SeqCst))
    }
}

fn overseen(mints: &[Result<u64, Trouble>], checks: &[Alive], toll: impl Toll) -> Overseen {
    let (minted, checked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let issuer = Checked {
        script: Script { answers: mints.to_vec(), mints: Arc::clone(&minted) },
        answers: checks.to_vec(),
        checks: Arc::clone(&checked),
    };
    let stop = CancellationToken::new();
    let keeping = Keeping {
        verify_every: Some(EVERY),
        ..Keeping::new(EVERY, &TaskTracker::new(), &Handle::current(), stop)
    };
    let tokens = Tokens::spawn(Arc::new(issuer), toll, Lane::default(), &Arc::default(), &keeping);
    Overseen { tokens, mints: minted, checks: checked, metrics: keeping.metrics }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_died_without_traffic_is_replaced_within_verify_every() {
    let world = overseen(&[Ok(86_400)], &[Alive::Inactive, Alive::Active], ());
    let old = world.tokens.get(within(1)).await.unwrap();
    // A tenth of jitter, and what check and mint take.
    tokio::time::sleep(EVERY.mul_f64(1.1) + Duration::from_secs(1)).await;
    assert_eq!(world.seen(), (2, 1));
    assert!(world.tokens.get(within(0)).await.unwrap().generation > old.generation);
    tokio::time::sleep(EVERY * 10).await;
    assert_eq!(world.seen().0, 2, "the new one is good");
    let page = world.metrics.render();
    assert!(page.contains("outcome=\"inactive\"} 1\n") && page.contains("outcome=\"active\"} "));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails_changes_nothing() {
    let world = overseen(&[Ok(86_400)], &[Alive::Unknown("down".to_owned())], ());
    tokio::time::sleep(EVERY * 20).await;
    let (mints, checks) = world.seen();
    assert_eq!(mints, 1);
    assert!(checks >= 18, "{checks}");
    assert!(world.tokens.get(within(0)).await.is_ok());
}

/// A budget that is always full.
struct Full;

impl Toll for Full {
    async fn pay(&self, _: Generation) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_the_budget_has_no_place_for_is_left_out() {
    let world = overseen(&[Ok(86_400)], &[Alive::Inactive], Full);
    tokio::time::sleep(EVERY * 5).await;
    assert_eq!(world.seen(), (1, 0));
    assert!(world.metrics.render().contains("outcome=\"skipped\"} "));
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_401s_that_nothing_explains_has_the_token_checked_at_once() {
    let world = overseen(&[Ok(86_400)], &[Alive::Inactive, Alive::Active], ());
    let token = world.tokens.get(within(1)).await.unwrap();
    token.worked(Instant::now());
    // One endpoint says no whatever the token, and has been found out.
    world.tokens.fruitless(&token, 7);
    assert_eq!(world.tokens.rejected(&token, 7), Verdict::PassOn);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.seen(), (1, 0), "two are no burst");
    assert_eq!(world.tokens.rejected(&token, 7), Verdict::PassOn);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.seen(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn one_odd_401_while_no_token_can_be_had_does_not_cost_the_good_one() {
    let world = overseen(&[Ok(86_400), Err(Trouble::Transient)], &[Alive::Active], ());
    let token = world.tokens.get(within(1)).await.unwrap();
    token.worked(Instant::now());
    assert_eq!(world.tokens.rejected(&token, 7), Verdict::Renew);
    let again = world.tokens.get(within(1)).await.unwrap();
    assert_eq!(again.generation, token.generation);
    assert_eq!(world.seen(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_is_not_taken_back_however_long_none_can_be_had() {
    let world = overseen(&[Ok(86_400), Err(Trouble::Transient)], &[Alive::Inactive], ());
    let token = world.tokens.get(within(1)).await.unwrap();
    assert_eq!(world.tokens.rejected(&token, 7), Verdict::Renew);
    assert!(world.tokens.get(within(12)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expired_in_its_sleep_is_not_used() {
    let (tokens, mints) = keeper(&[Ok(3600)]);
    let old = tokens.get(within(1)).await.unwrap();
    tokens.slept(Duration::from_secs(60));
    assert_eq!(tokens.get(within(0)).await.unwrap().generation, old.generation);
    tokens.slept(Duration::from_secs(3600));
    assert!(tokens.current(Instant::now()).is_none());
    assert!(tokens.get(within(1)).await.unwrap().generation > old.generation);
    assert_eq!(mints.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn the_first_token_is_waited_for_as_long_as_it_may_be_hoped_for() {
    let stop = CancellationToken::new();
    let keeping = Keeping::new(EVERY, &TaskTracker::new(), &Handle::current(), stop);
    let start = |number, answers: &[Result<u64, Trouble>]| {
        let script = Script { answers: answers.to_vec(), mints: Arc::default() };
        Tokens::spawn(Arc::new(script), (), Lane::new(number), &Arc::default(), &keeping)
    };
    let hopeless = |error: &MintError| error.kind == Kind::WrongSecret;
    let refused = [Err(Trouble::Permanent)];
    let (flaky, down) = ([Err(Trouble::Transient), Ok(3600)], [Err(Trouble::Transient); 100]);
    let began = Instant::now();
    let both = pool::Pool::new(start(0, &refused), vec![start(1, &refused)]);
    let told = both.first(hopeless, within(12)).await.unwrap_err();
    assert_eq!((told.len(), told[0].error.kind.clone()), (1, Kind::WrongSecret), "of one client");
    assert_eq!(began.elapsed(), Duration::from_millis(100), "the try itself");
    let mixed = pool::Pool::new(start(0, &refused), vec![start(1, &flaky)]);
    assert!(mixed.first(hopeless, within(12)).await.is_ok());
    let began = Instant::now();
    let none = pool::Pool::new(start(0, &down), Vec::new());
    assert_eq!(none.first(hopeless, within(12)).await.unwrap_err().len(), 1);
    assert_eq!(began.elapsed(), Duration::from_secs(12));
    // No time to wait is time for one try.
    let impatient = pool::Pool::new(start(0, &flaky), Vec::new());
    assert_eq!(impatient.first(hopeless, within(0)).await.unwrap_err().len(), 1);
    let at_once = pool::Pool::new(start(0, &[Ok(3600)]), Vec::new());
    assert!(at_once.first(hopeless, within(0)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn of_several_tokens_any_will_do_and_refusal_needs_all_of_them() {
    let stop = CancellationToken::new();
    let keeping = Keeping::new(EVERY, &TaskTracker::new(), &Handle::current(), stop);
    let start = |number, answers: &[Result<u64, Trouble>]| {
        let script = Script { answers: answers.to_vec(), mints: Arc::default() };
        Tokens::spawn(Arc::new(script), (), Lane::new(number), &Arc::default(), &keeping)
    };
    let refused = [Err(Trouble::Permanent)];
    let late = [Err(Trouble::Transient), Ok(3600)];
    let pool = pool::Pool::new(start(0, &refused), vec![start(1, &late)]);
    assert!(!pool.ready());
    let before = Instant::now();
    let came = pool.get(Lane::new(0), pool::Want::Any, within(12)).await;
    assert!(matches!(came, Ok(pool::Came::Elsewhere)), "{came:?}");
    assert!(before.elapsed() < Duration::from_secs(3), "it did not wait for its own");
    assert!(matches!(
        pool.get(Lane::new(1), pool::Want::Any, within(0)).await,
        Ok(pool::Came::Here(_))
    ));

    let pool = pool::Pool::new(start(0, &refused), vec![start(1, &refused)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(pool.get(Lane::new(1), pool::Want::Any, within(12)).await.unwrap_err().refused);
}

#[tokio::test(start_paused = true)]
async fn an_odd_401_between_two_failed_mints_costs_nobody_the_good_token() {
    let world = overseen(&[Ok(3600), Err(Trouble::Permanent)], &[Alive::Active], ());
    let token = world.tokens.get(within(1)).await.unwrap();
    token.worked(Instant::now());
    // The renewal has failed, and the next try is minutes away.
    tokio::time::sleep(Duration::from_secs(3550)).await;
    assert!(world.seen().0 >= 2);
    let mints = world.seen().0;
    let before = Instant::now();
    assert_eq!(world.tokens.rejected(&token, 7), Verdict::Renew);
    let again = world.tokens.get(within(12)).await.unwrap();
    assert_eq!(again.generation, token.generation);
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    assert_eq!(world.seen().0, mints);
    assert_eq!(world.tokens.rejected(&token, 7), Verdict::PassOn, "it is known as odd by now");
}
