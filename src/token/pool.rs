//! All tokens: nearly always one.
//! It never chooses among them: the budgets do.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{NoToken, Token, Tokens, Unavailable, error::MintError};
use crate::decide::lanes::Lane;

/// At least one token's keeper.
#[derive(Debug, Clone)]
pub struct Pool {
    first: Arc<Tokens>,
    more: Vec<Arc<Tokens>>,
}

/// A token came: the one that was waited for, or another.
#[derive(Debug)]
pub enum Came {
    /// This one.
    Here(Arc<Token>),
    /// Another one is usable.
    Elsewhere,
}

/// Whether an organisation can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Some token is usable.
    Ready,
    /// None yet: a first try has not ended.
    Beginning,
    /// None: it is being renewed, or cannot be.
    Failing,
}

/// Which token is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Whichever is there.
    Any,
    /// Its own successor, unless its renewal fails: the others' tokens are no fresher than the one
    /// that was just refused.
    Successor,
}

impl Pool {
    /// `more` in the order of their lanes.
    pub fn new(first: Arc<Tokens>, more: Vec<Arc<Tokens>>) -> Self {
        Self { first, more }
    }

    /// The keeper of a lane.
    pub fn of(&self, lane: Lane) -> &Arc<Tokens> {
        lane.number().checked_sub(1).and_then(|index| self.more.get(index)).unwrap_or(&self.first)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Tokens>> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// More than one.
    pub fn several(&self) -> bool {
        !self.more.is_empty()
    }

    /// Some token is usable.
    pub fn ready(&self) -> bool {
        let now = Instant::now();
        self.all().any(|tokens| tokens.current(now).is_some())
    }

    /// How the logins stand.
    pub fn login(&self) -> Login {
        if self.ready() {
            Login::Ready
        } else if self.all().any(|tokens| tokens.beginning()) {
            Login::Beginning
        } else {
            Login::Failing
        }
    }

    /// Waits for the first token: until none is to be hoped for, or until `deadline` and the end of a
    /// try. Then why there is none, once for each client.
    pub async fn first(
        &self,
        hopeless: impl Fn(&MintError) -> bool,
        deadline: Instant,
    ) -> Result<(), Vec<NoToken>> {
        // All tokens tell of their changes by the same channel.
        let mut changed = self.first.changed.subscribe();
        let mut late = false;
        loop {
            changed.borrow_and_update();
            if self.ready() {
                return Ok(());
            }
            let failures: Vec<Option<NoToken>> =
                self.all().map(|tokens| tokens.failure()).collect();
            let known = |failure: &Option<NoToken>| {
                failure.as_ref().is_some_and(|failure| hopeless(&failure.error))
            };
            let mut told: Vec<NoToken> = failures.iter().flatten().cloned().collect();
            if (late && !told.is_empty()) || failures.iter().all(known) {
                told.dedup_by(|later, first| later.client == first.client);
                return Err(told);
            }
            // A try that is under way then has a deadline of its own.
            if late {
                changed.changed().await.unwrap_or_default();
            } else {
                late = timeout_at(deadline, changed.changed()).await.is_err();
            }
        }
    }

    /// Waits until `deadline` for the token of `lane`, or for any other.
    pub async fn get(
        &self,
        lane: Lane,
        want: Want,
        deadline: Instant,
    ) -> Result<Came, Unavailable> {
        if self.more.is_empty() {
            return self.first.get(deadline).await.map(Came::Here);
        }
        // All tokens tell of their changes by the same channel.
        let mut changed = self.first.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let now = Instant::now();
            if let Some(token) = self.of(lane).current(now) {
                return Ok(Came::Here(token));
            }
            let give_way = want == Want::Any || self.of(lane).failing(now);
            if give_way && self.ready() {
                return Ok(Came::Elsewhere);
            }
            // No hope only if there is none for any of them; the soonest is told.
            let refusals = self.all().map(|tokens| tokens.refusal(now, deadline));
            if let Some(all) = refusals.collect::<Option<Vec<_>>>()
                && let Some(soonest) = all.into_iter().min_by_key(|refusal| refusal.retry_after)
            {
                return Err(soonest);
            }
            if timeout_at(deadline, changed.changed()).await.is_err() {
                return Err(Unavailable::LATE);
            }
        }
    }
}
