//! The keeper on paused time, with an issuer that follows a script.

use std::sync::atomic::AtomicUsize;

use super::{issuer::Kind, *};

/// Answers in order; the last one for ever. Every mint takes 100 ms.
struct Script {
    answers: Vec<Result<u64, Trouble>>,
    mints: Arc<AtomicUsize>,
}

impl Issuer for Script {
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
    let tokens = Tokens::spawn(script, margin, &TaskTracker::new(), &Handle::current(), stop);
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
