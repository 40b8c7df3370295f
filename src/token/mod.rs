//! The token that signs every call: minted once for everybody, renewed before it ends.
//! It never lets a caller own a mint: one task of its own fetches, callers only wait.

pub mod answer;
pub mod certificate;
pub mod claims;
pub mod client_auth;
pub mod error;
pub mod expectations;
pub mod issuer;
pub mod keys;
pub mod verify;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::decide::freshness::{Freshness, Generation, Step, Task, Trouble, Verdict};
use issuer::{Issuer, MintError, Minted};

/// A usable token, ready to be put on a request.
#[derive(Debug)]
pub struct Token {
    /// `Bearer …`, marked sensitive.
    pub authorization: HeaderValue,
    /// Which one it is.
    pub generation: Generation,
    expires_at: Instant,
    born: Instant,
    /// Seconds after `born`, at least one, at which it last worked; 0: never.
    worked: AtomicU32,
}

impl Token {
    /// Upstream answered something other than 401 to it.
    pub fn worked(&self, now: Instant) {
        let age = now.saturating_duration_since(self.born).as_secs();
        let age = u32::try_from(age).unwrap_or(u32::MAX).max(1);
        // Read first: a store would bounce the cache line between workers on every answer.
        if self.worked.load(Ordering::Relaxed) != age {
            self.worked.store(age, Ordering::Relaxed);
        }
    }

    /// It worked, and not longer ago than `age`.
    pub fn worked_within(&self, age: Duration) -> bool {
        let at = self.worked.load(Ordering::Relaxed);
        at > 0 && self.born.elapsed() <= Duration::from_secs(at.into()) + age
    }

    fn ever_worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed) > 0
    }
}

/// No usable token within the caller's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable {
    /// The endpoint refuses our credentials, rather than being out of reach.
    pub refused: bool,
    /// When the next mint starts, from now.
    pub retry_after: Duration,
}

/// The token's keeper, shared by all workers.
#[derive(Debug)]
pub struct Tokens {
    current: ArcSwapOption<Token>,
    freshness: Mutex<Freshness>,
    /// Bumped on every success and failure: waiters look again.
    changed: watch::Sender<u64>,
    /// A rejection: the minting task looks again.
    nudge: Notify,
}

impl Tokens {
    /// Starts the one task that mints. It ends when `stop` is cancelled.
    pub fn spawn(
        issuer: impl Issuer,
        refresh_before: Duration,
        tasks: &TaskTracker,
        runtime: &Handle,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let tokens = Arc::new(Self {
            current: ArcSwapOption::empty(),
            freshness: Mutex::new(Freshness::new(refresh_before)),
            changed: watch::Sender::new(0),
            nudge: Notify::new(),
        });
        let keeper = Arc::clone(&tokens);
        tasks.spawn_on(
            async move {
                stop.run_until_cancelled(keeper.keep(issuer)).await;
            },
            runtime,
        );
        tokens
    }

    /// The usable token, if there is one: one atomic load and a comparison.
    pub fn current(&self, now: Instant) -> Option<Arc<Token>> {
        self.current.load_full().filter(|token| now < token.expires_at)
    }

    /// The usable token, waiting for a mint until `deadline` if need be.
    pub async fn get(&self, deadline: Instant) -> Result<Arc<Token>, Unavailable> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let now = Instant::now();
            if let Some(token) = self.current(now) {
                return Ok(token);
            }
            if let Step::Refuse { retry_at, trouble } = self.freshness().step(now.into_std()) {
                let retry_at = Instant::from_std(retry_at);
                if trouble == Trouble::Permanent || retry_at >= deadline {
                    return Err(Unavailable {
                        refused: trouble == Trouble::Permanent,
                        retry_after: retry_at - now,
                    });
                }
            }
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return Err(Unavailable { refused: false, retry_after: Duration::from_secs(1) });
            }
        }
    }

    /// The next token after `known`, whenever it comes.
    pub async fn newer_than(&self, known: Generation) -> Generation {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(token) = self.current.load_full().filter(|t| t.generation > known) {
                return token.generation;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// A request signed with `token` got a 401 from path family `family`.
    pub fn rejected(&self, token: &Token, family: u64) -> Verdict {
        let worked = token.ever_worked();
        let now = Instant::now().into_std();
        let mut freshness = self.freshness();
        let verdict = freshness.rejected(now, token.generation, family, worked);
        if freshness.expires_at().is_none() && self.current.load().is_some() {
            self.current.store(None);
            drop(freshness);
            tracing::info!(
                generation = token.generation.number(),
                "token rejected by Genesys Cloud: renewing it"
            );
            self.nudge.notify_one();
        }
        verdict
    }

    /// A replay signed with the renewed `token` got a 401 too.
    pub fn fruitless(&self, token: &Token, family: u64) {
        let worked = token.ever_worked();
        let now = Instant::now().into_std();
        self.freshness().fruitless(now, token.generation, family, worked);
    }

    /// A replay with a renewed token went through.
    pub fn recovered(&self) {
        self.freshness().recovered();
    }

    /// When the current token ends; `None` when there is none. For `/readyz`.
    pub fn expires_at(&self) -> Option<Instant> {
        self.current(Instant::now()).map(|token| token.expires_at)
    }

    /// The machine never panics while locked, and its state stays sound if something else did.
    fn freshness(&self) -> MutexGuard<'_, Freshness> {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep(&self, issuer: impl Issuer) {
        loop {
            let task = self.freshness().task(Instant::now().into_std());
            match task {
                Task::SleepUntil(at) => tokio::select! {
                    () = sleep_until(Instant::from_std(at)) => {}
                    () = self.nudge.notified() => {}
                },
                Task::Fetch => {
                    // Its life began somewhere on the way: from the request on is safe.
                    let asked = Instant::now();
                    match issuer.mint().await {
                        Ok(minted) if minted.life <= asked.elapsed() => {
                            self.note(&MintError::dead_on_arrival());
                        }
                        Ok(minted) => self.install(minted, asked),
                        Err(error) => self.note(&error),
                    }
                }
            }
        }
    }

    fn install(&self, minted: Minted, born: Instant) {
        // Under the lock, so that a rejection of the predecessor cannot erase the successor.
        let mut freshness = self.freshness();
        let generation = freshness.fetched(born.into_std(), minted.life, fastrand::f64());
        self.current.store(Some(Arc::new(Token {
            authorization: minted.authorization,
            generation,
            expires_at: born + minted.life,
            born,
            worked: AtomicU32::new(0),
        })));
        drop(freshness);
        tracing::info!(
            generation = generation.number(),
            life = %humantime::format_duration(minted.life),
            fingerprint = minted.fingerprint,
            "token minted"
        );
        self.changed.send_modify(|count| *count += 1);
    }

    fn note(&self, error: &MintError) {
        let now = Instant::now().into_std();
        let mut freshness = self.freshness();
        freshness.failed(now, error.trouble(), error.retry_after, fastrand::f64());
        let next = freshness.task(now);
        let valid = matches!(freshness.step(now), Step::Use(_));
        drop(freshness);
        let next_try = match next {
            Task::SleepUntil(at) => at.saturating_duration_since(now),
            Task::Fetch => Duration::ZERO,
        };
        let next_try = humantime::format_duration(Duration::from_millis(
            u64::try_from(next_try.as_millis()).unwrap_or(u64::MAX),
        ));
        if error.trouble() == Trouble::Permanent {
            tracing::error!(
                why = %error, %next_try,
                "Genesys Cloud refuses the client id or secret: check oauth.client_id, \
                 oauth.client_secret and upstream.region"
            );
        } else {
            tracing::warn!(why = %error, %next_try, token_still_valid = valid, "no new token");
        }
        self.changed.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests;
