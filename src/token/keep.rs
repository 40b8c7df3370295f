//! The one task that mints: before expiry, after a rejection, after a failure when its time comes.
//! It never gives up, and never asks more often than the last answer allows.

use std::{
    sync::{Arc, MutexGuard, atomic::AtomicU32},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    Token, Tokens, Toll,
    issuer::{Issuer, MintError, Minted, Share},
    verify::{Alive, Check},
};
use crate::{
    decide::freshness::{Freshness, Generation, Step, Task, Trouble},
    telemetry::metrics::MintOutcome,
};

/// A look at a suspect that told nothing is repeated.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl Tokens {
    pub(super) async fn keep<I: Issuer + Check>(&self, issuer: &I, toll: &impl Toll) {
        loop {
            let task = self.freshness().task(Instant::now().into_std());
            match task {
                Task::SleepUntil(at) => {
                    // Given up while no token can be had: whether that was right is asked now.
                    self.clear(issuer, toll).await;
                    let mut until = Instant::from_std(at);
                    if self.suspect.load().is_some() {
                        until = until.min(Instant::now() + LOOK_AGAIN);
                    }
                    tokio::select! {
                        () = sleep_until(until) => {}
                        () = self.nudge.notified() => {}
                    }
                }
                Task::Fetch => {
                    // Its life began somewhere on the way: from the request on is safe.
                    let asked = Instant::now();
                    let before = self.freshness().generation();
                    let minted = issuer.renew(self.held()).await;
                    issuer.show(&self.metrics);
                    match minted {
                        Ok(minted) if minted.life <= minted.born.unwrap_or(asked).elapsed() => {
                            self.failed(MintError::dead_on_arrival(), issuer);
                        }
                        Ok(minted) => self.install(minted, asked, before),
                        Err(error) => self.failed(error, issuer),
                    }
                }
            }
        }
    }

    /// A changed secret is a reason to try again at once.
    pub(super) async fn follow_credentials(&self, issuer: &impl Issuer) {
        loop {
            issuer.changed().await;
            self.freshness().hurry(Instant::now().into_std());
            self.nudge.notify_one();
        }
    }

    /// What was asked for at `asked`, when `before` was the newest.
    fn install(&self, minted: Minted, asked: Instant, before: Generation) {
        // Under the lock, so that a rejection of the predecessor cannot erase the successor.
        let mut freshness = self.freshness();
        if freshness.generation() != before && !self.supersedes(&minted) {
            // Another replica's has come meanwhile, perhaps this very one.
            freshness.kept();
            return;
        }
        self.put(freshness, minted, asked);
    }

    /// Signs with it from now on.
    pub(super) fn put(
        &self,
        mut freshness: MutexGuard<'_, Freshness>,
        minted: Minted,
        asked: Instant,
    ) {
        let (outcome, said) = match minted.share {
            Share::Private | Share::Unheard | Share::Published(_) => {
                (MintOutcome::minted, "token minted")
            }
            Share::Adopted(_) => (MintOutcome::adopted, "token adopted from another replica"),
        };
        self.metrics.minted(&self.of, outcome);
        let born = minted.born.unwrap_or(asked);
        let generation = freshness.fetched(born.into_std(), minted.life, fastrand::f64());
        match minted.share {
            Share::Adopted(_) => freshness.adopted(Instant::now().into_std()),
            Share::Private | Share::Unheard | Share::Published(_) => {}
        }
        self.suspect.store(None);
        self.failure.store(None);
        self.current.store(Some(Arc::new(Token {
            authorization: minted.authorization,
            generation,
            fingerprint: minted.fingerprint.clone(),
            share: minted.share,
            expires_at: born + minted.life,
            born,
            worked: AtomicU32::new(0),
        })));
        drop(freshness);
        tracing::info!(
            token = self.lane.number(),
            generation = generation.number(),
            life = %humantime::format_duration(minted.life),
            fingerprint = minted.fingerprint,
            "{said}"
        );
        self.news.notify_one();
        self.changed.send_modify(|count| *count += 1);
    }

    fn failed(&self, error: MintError, issuer: &impl Issuer) {
        self.metrics.minted(
            &self.of,
            match error.trouble() {
                Trouble::Transient => MintOutcome::transient,
                Trouble::Throttled => MintOutcome::throttled,
                Trouble::Permanent => MintOutcome::permanent,
            },
        );
        let error = Arc::new(error);
        self.failure.store(Some(Arc::clone(&error)));
        self.note(&error, issuer.outdated());
        self.changed.send_modify(|count| *count += 1);
    }

    /// Without a new token, the one given up because of a 401 is looked at: one odd endpoint must
    /// not cost everybody a good token while none can be had.
    async fn clear(&self, check: &impl Check, toll: &impl Toll) {
        let Some(suspect) = self.suspect.load_full() else { return };
        if suspect.expires_at <= Instant::now() {
            self.suspect.store(None);
            return;
        }
        let found = if toll.pay(suspect.generation).await {
            check.look(&suspect.authorization).await
        } else {
            Alive::Unknown("the budget has no place for a look".to_owned())
        };
        let dead = match found {
            Alive::Active => None,
            Alive::Inactive => Some(!self.freshness().distrusts_checks(Instant::now().into_std())),
            Alive::Unknown(_) => Some(false),
        };
        if let Some(dead) = dead {
            if dead {
                self.suspect.store(None);
            }
            self.freshness().not_cleared(dead);
            self.changed.send_modify(|count| *count += 1);
            return;
        }
        let mut freshness = self.freshness();
        let now = Instant::now().into_std();
        if freshness.cleared(&mut self.renewals(), now, suspect.generation) {
            self.suspect.store(None);
            self.current.store(Some(Arc::clone(&suspect)));
            drop(freshness);
            self.news.notify_one();
            self.changed.send_modify(|count| *count += 1);
            tracing::warn!(
                token = self.lane.number(),
                generation = suspect.generation.number(),
                "one endpoint answered 401, and no new token can be had: the token was checked, it \
                 is good, and it stays in use"
            );
        }
    }

    fn note(&self, error: &MintError, outdated: bool) {
        let now = Instant::now().into_std();
        let mut freshness = self.freshness();
        freshness.failed(now, error.trouble(), error.retry_after, fastrand::f64());
        // A change is told of when it happens. This one happened while the mint was on its way, and
        // nobody tells of it again. Other troubles are not about the secret: their pace stays.
        if outdated && error.trouble() == Trouble::Permanent {
            freshness.hurry(now);
        }
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
        let token = self.lane.number();
        if error.trouble() == Trouble::Permanent {
            tracing::error!(
                token, why = %error, %next_try, advice = error.advice,
                "no token: the client or the configuration must change"
            );
        } else {
            tracing::warn!(
                token, why = %error, %next_try, token_still_valid = valid, "no new token"
            );
        }
    }
}
