//! Retries of 502, 503, 504 and of connection failures: paid for, waited for, and sent in turn.
//! It never holds a permit or a connection while it waits: a call that sleeps is no load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant as StdInstant, SystemTime},
};

use tokio::time::{Instant, sleep_until};

use super::{
    Call,
    rest::{Rest, keep},
};
use crate::{
    config::Retry,
    decide::{
        queue::Ticket,
        retry::{self, Facts, Next, Outcome, Reason},
        retry_budget::{self, Share},
    },
    gateway::{Gateway, admit::Permit, forward::Broken},
    telemetry::{access_log::Record, traces::Wait},
    upstream::{answer::Answered, connect::ConnectError, pool::Pool},
};

/// The budget of retries, one for each upstream and all workers.
#[derive(Debug)]
pub struct Retries {
    api: Budget,
    apps: Budget,
}

impl Retries {
    /// Nothing was sent yet.
    pub fn new(config: Retry) -> Self {
        let share = Share::of(config.budget);
        Self { api: Budget::new(share), apps: Budget::new(share) }
    }

    /// Retries that are paid for: of calls to the API, and of uploads.
    pub fn left(&self) -> [u64; 2] {
        [&self.api, &self.apps].map(|one| retry_budget::left(one.balance.load(Ordering::Relaxed)))
    }
}

/// A balance that all workers add to without a lock.
#[derive(Debug)]
pub(super) struct Budget {
    balance: AtomicU64,
    per_call: u64,
}

impl Budget {
    fn new(share: Share) -> Self {
        Self { balance: AtomicU64::new(share.floor()), per_call: share.per_call() }
    }

    /// A call is tried for the first time.
    pub(super) fn earn(&self) {
        self.balance.fetch_add(self.per_call, Ordering::Relaxed);
    }

    fn take(&self, reason: Reason) -> Option<Funds<'_>> {
        let order = Ordering::Relaxed;
        self.balance.fetch_update(order, order, retry_budget::take).ok()?;
        Some(Funds { budget: self, reason, spent: false })
    }
}

/// A retry out of the budget; given back unless it is used.
#[derive(Debug)]
pub(super) struct Funds<'a> {
    budget: &'a Budget,
    reason: Reason,
    spent: bool,
}

impl Drop for Funds<'_> {
    fn drop(&mut self) {
        if !self.spent {
            self.budget.balance.fetch_add(retry_budget::refund(), Ordering::Relaxed);
        }
    }
}

impl Gateway {
    /// Where calls of this path go, and what pays for their retries.
    pub(super) fn upstream(&self, path: &str) -> (&Arc<Pool>, &Budget) {
        let retries = &self.shared.retries;
        if path.starts_with("/uploads/") {
            (&self.apps, &retries.apps)
        } else {
            (&self.api, &retries.api)
        }
    }

    /// What the rule needs to know of a call.
    pub(super) fn facts(&self, call: &Call, tried: &Tried) -> Facts {
        // Looked for where it counts only: most calls are answered, and a look costs.
        let answered = matches!(tried, Ok(answer) if !answer.parts.status.is_server_error());
        let twice = retry::idempotent(&call.head.method) || (!answered && call.head.keyed());
        Facts {
            idempotent: twice && !call.head.upgrade,
            replayable: call.body.replayable(),
            deadline: call.deadline.into_std(),
            attempts: self.shared.config.retry.attempts,
            dice: fastrand::f64(),
        }
    }

    /// A retry with what pays for it. Without, or when its turn would come too late anyway, the
    /// caller gets what there is.
    pub(super) fn fund<'a>(
        &self,
        next: Next,
        budget: &'a Budget,
        call: &Call,
        permit: &Permit,
    ) -> (Next, Option<Funds<'a>>) {
        let Next::Retry { reason, .. } = next else { return (next, None) };
        let asking = call.asking(call.deadline);
        let turn_at = self.shared.admission.turn_after(Instant::now(), &asking, permit);
        if turn_at > call.deadline {
            return (Next::Answer, None);
        }
        let funds = budget.take(reason);
        if funds.is_none() {
            self.shared.metrics.retry_refused(reason);
            return (Next::Answer, None);
        }
        (next, funds)
    }

    /// Lets go of the connection, waits, and takes a turn. Part of the request: a caller that leaves
    /// ends it.
    pub(super) async fn retry(
        &self,
        call: &Call,
        permit: Permit,
        tried: Tried,
        at: StdInstant,
        funds: Option<Funds<'_>>,
        record: &mut Record,
    ) -> Result<Permit, Box<Last>> {
        call.body.stop();
        let tried = match tried {
            Ok(answer) => match keep(answer).await {
                Rest::Whole(answer) => Ok(answer),
                Rest::Cut => Err(Broken::Cut { reused: false }),
                // What cannot be held back is handed on now: it may be all that there will be.
                Rest::Coming(answer) => {
                    return Err(Box::new(Last { tried: Ok(answer), permit: Some(permit) }));
                }
            },
            broken @ Err(_) => broken,
        };
        let ticket = permit.ticket;
        drop(permit);
        if let Some(Funds { reason, .. }) = &funds {
            tracing::debug!(reason = reason.word(), "waiting to send a call again");
        }
        let now = Instant::now();
        sleep_until(Instant::from_std(at)).await;
        record.waited(Wait::Backoff, now);
        let permit = self.turn_again(call, ticket, tried, record).await?;
        if let Some(mut funds) = funds {
            funds.spent = true;
            self.shared.metrics.retried(funds.reason);
        }
        Ok(permit)
    }

    /// A turn for a call that upstream may have carried out. Without one its caller gets what came of
    /// the last try: our own 429 would say that nothing was done.
    pub(super) async fn turn_again(
        &self,
        call: &Call,
        ticket: Ticket,
        tried: Tried,
        record: &mut Record,
    ) -> Result<Permit, Box<Last>> {
        let turn = self.readmit(call, ticket, record).await;
        turn.map_err(|_| Box::new(Last { tried, permit: None }))
    }
}

/// What the caller gets when there is no other try.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) tried: Tried,
    /// While the answer is on its way.
    pub(super) permit: Option<Permit>,
}

/// How a try ended.
pub(super) type Tried = Result<Box<Answered>, Broken>;

/// The same, as the rule sees it.
pub(super) fn outcome(tried: &Tried) -> Outcome {
    match tried {
        Ok(answer) => Outcome::Answered {
            status: answer.parts.status.as_u16(),
            retry_after: answer
                .told
                .retry_after
                .as_ref()
                .and_then(|value| retry::retry_after(value.as_bytes(), SystemTime::now())),
        },
        Err(Broken::NoConnection(
            ConnectError::Timeout | ConnectError::Unreachable(_) | ConnectError::Http(_),
        )) => Outcome::Unreachable,
        Err(Broken::Unsent) => Outcome::Unsent,
        Err(Broken::Cut { reused }) => Outcome::Broken { reused: *reused },
        Err(Broken::Timeout) => Outcome::Silent,
        Err(Broken::NoConnection(ConnectError::Tls(_)) | Broken::BadAnswer | Broken::Caller) => {
            Outcome::Hopeless
        }
    }
}
