//! Checks of a living token: on a timer, and at once after a burst of 401s.
//! It never harms traffic: a check that fails, or has no place in the budget, changes nothing.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Token, Tokens,
    verify::{Alive, Check},
};
use crate::{decide::freshness::Generation, telemetry::metrics::CheckOutcome};

/// What a check costs: a place in the token's budget when it is a call like any other.
pub trait Toll: Send + Sync + 'static {
    /// Pays for one; false when that is not possible now.
    fn pay(&self, generation: Generation) -> impl Future<Output = bool> + Send;
}

/// Free of charge: the check goes to another server.
impl Toll for () {
    async fn pay(&self, _: Generation) -> bool {
        true
    }
}

/// Replicas that were started together do not check in step.
const JITTER: f64 = 0.1;

impl Tokens {
    pub(super) async fn oversee(&self, check: &impl Check, toll: &impl Toll, every: Duration) {
        let mut failing = false;
        loop {
            let pause = every.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64());
            tokio::select! {
                () = sleep(pause) => {}
                () = self.doubt.notified() => {}
            }
            let Some(token) = self.current(Instant::now()) else { continue };
            if !toll.pay(token.generation).await {
                self.metrics.verified(&self.of, CheckOutcome::skipped);
                continue;
            }
            // It may have been replaced while the toll was waited for.
            if self.current(Instant::now()).is_none_or(|now| now.generation != token.generation) {
                continue;
            }
            let found = check.check(&token.authorization).await;
            self.judge(&token, &found, &mut failing);
        }
    }

    fn judge(&self, token: &Token, found: &Alive, failing: &mut bool) {
        let outcome = match found {
            Alive::Active => CheckOutcome::active,
            Alive::Inactive => CheckOutcome::inactive,
            Alive::Unknown(_) => CheckOutcome::unknown,
        };
        self.metrics.verified(&self.of, outcome);
        match found {
            Alive::Active => {
                token.worked(Instant::now());
                self.freshness().alive();
            }
            Alive::Inactive => self.dead(token),
            Alive::Unknown(why) if !*failing => tracing::warn!(
                token = self.lane.number(),
                why,
                "the token could not be checked: it stays in use"
            ),
            Alive::Unknown(_) => {}
        }
        // Said once, not at every tick.
        *failing = matches!(found, Alive::Unknown(_));
    }

    /// The anomaly: a token that should live is dead.
    fn dead(&self, token: &Token) {
        let now = Instant::now();
        let mut freshness = self.freshness();
        let replaced = freshness.inactive(&mut self.renewals(), now.into_std(), token.generation);
        if replaced {
            self.give_up(token);
            self.current.store(None);
        }
        drop(freshness);
        if !replaced {
            tracing::debug!(
                token = self.lane.number(),
                "a check calls the token dead: not believed"
            );
            return;
        }
        tracing::warn!(
            anomaly = "token_inactive",
            token = self.lane.number(),
            generation = token.generation.number(),
            fingerprint = token.fingerprint,
            age = %humantime::format_duration(Duration::from_secs((now - token.born).as_secs())),
            "the token is dead although it should live: it was revoked, its client was changed, or \
             it was idle for too long; renewing it"
        );
        self.nudge.notify_one();
    }
}
