//! Try after try until there is something to tell the caller: renew on a 401, wait out a 429, move
//! off a dead connection.
//! It never decides which: `decide::retry` does. It calls `credential` and `forward`, the one step
//! that may call others.
//!
//! What is rare is boxed: a request's future is moved whole, so it holds no room for what nearly
//! never happens.

mod ending;
mod look;
mod readmit;
pub mod reflected;
mod rest;
mod retries;
mod tokens;

use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;

use super::{
    Caller, Gateway,
    admit::{Asker, Asking, Permit},
    credential::Head,
    forward::{Broken, forward},
    interim::Before,
    saving::Place,
};
use crate::{
    decide::{
        failure::Failure,
        freshness::Verdict,
        lanes::Spot,
        path,
        retry::{self, History, Next},
    },
    telemetry::access_log::Record,
    token::Token,
    upstream::{
        answer::Answered,
        connect::ConnectError,
        pool::{Lease, Pool},
        replay::Replay,
    },
};

pub use ending::Recovered;
use ending::{failure, hand_on, settle, told};
use look::{Look, unproved};
use reflected::conceal;
use rest::discard;
pub use retries::Retries;
use retries::{Last, outcome};

/// A request that was admitted: all that its tries need.
#[derive(Debug)]
pub struct Call {
    /// Whose it is.
    pub asker: Asker,
    /// Stripped, unsigned.
    pub head: Box<Head>,
    /// The body and its copy.
    pub body: Replay,
    /// Until when the caller waits for its turn.
    pub deadline: Instant,
    /// Where the caller's 1xx go.
    pub interim: Option<Arc<Caller>>,
    /// Others want its answer, too: while it is in line, they know when it leaves.
    pub shared: Option<Arc<Place>>,
}

impl Call {
    /// A request for another turn.
    fn asking(&self, deadline: Instant) -> Asking<'_> {
        let Head { method, path: target, .. } = &*self.head;
        Asking { asker: self.asker, method, target, deadline }
    }
}

/// Renewals for one request: of its token, and of one more when that could not be renewed.
const MAX_RENEWALS: u32 = 2;

/// A call's latest 401: under which token, and when.
#[derive(Debug, Clone, Copy)]
struct Refused {
    spot: Spot,
    at: Instant,
    times: u32,
}

impl Refused {
    fn after(earlier: Option<Self>, permit: &Permit, at: Instant) -> Self {
        let times = earlier.map_or(0, |earlier| earlier.times);
        Self { spot: permit.spot(), at, times: times + 1 }
    }

    /// Whether this token is the fresh one that the 401 called for. Another client's may be as dead
    /// as the first was, without anybody knowing: it gets its own renewal, once.
    fn is_answered_by(&self, permit: &Permit, token: &Token) -> bool {
        self.fresh(permit, token) || self.times >= MAX_RENEWALS
    }

    /// The successor of the refused token, or one that was asked for since.
    fn fresh(&self, permit: &Permit, token: &Token) -> bool {
        let now = permit.spot();
        let successor = now.lane == self.spot.lane && now.generation > self.spot.generation;
        successor || token.younger_than(self.at)
    }
}

impl Gateway {
    /// Sends the call until it is answered for good.
    pub(super) async fn recover(
        &self,
        call: Call,
        mut permit: Permit,
        record: &mut Record,
    ) -> Result<Recovered, Failure> {
        let (pool, retries) = self.upstream(call.head.path.path());
        let mut history = History::default();
        let mut looks = 0;
        let (mut failed_at, mut refused) = (None, None::<Refused>);
        loop {
            // Its turn has just come, or it has been on its way since.
            let first = record.attempts == 0 && history.retried == 0;
            let fresh = first && looks == 0;
            let now = if fresh { record.started() + record.queue } else { Instant::now() };
            let token = self.token(&call, &mut permit, now, record).await?;
            call.leaves().await;
            if !permit.bind(token.generation, token.share.belongs()) {
                let ticket = permit.ticket;
                drop(permit);
                permit = Box::pin(self.readmit(&call, ticket, record)).await?;
                continue;
            }
            if unproved(&call, &token, looks) {
                looks += 1;
                match Box::pin(self.look(&token, &permit, looks)).await {
                    Look::Dead if self.shared.tokens.several() => {
                        permit = Box::pin(self.renew(&call, permit, record)).await?;
                        continue;
                    }
                    Look::Dead => continue,
                    Look::Alive | Look::Unknown => {}
                }
            }
            if first {
                retries.earn();
            }
            let (tried, ended) =
                self.attempt(&call, pool, &token, &mut permit, failed_at, record).await?;
            let facts = self.facts(&call, &tried);
            history.renewed =
                refused.as_ref().is_some_and(|first| first.is_answered_by(&permit, &token));
            let longest = self.shared.config.rate_limit.max_retry_after;
            let next = retry::next(outcome(&tried), facts, history, ended.into_std(), longest);
            let (next, funds) = self.fund(next, retries, &call, &permit);
            match (next, tried) {
                (Next::Renew, Ok(answer)) => {
                    if self.rejected(&token, &permit, &call.head) == Verdict::PassOn {
                        return Ok(settle(call, answer, permit, token));
                    }
                    call.body.stop();
                    Box::pin(discard(answer)).await;
                    record.replayed = true;
                    refused = Some(Refused::after(refused, &permit, ended));
                    // Another request, under another token: it counts again, first in line.
                    permit = Box::pin(self.renew(&call, permit, record)).await?;
                }
                (Next::Fruitless, Ok(answer)) => {
                    self.fruitless(&call, &permit, &token, refused.as_ref());
                    return Ok(settle(call, answer, permit, token));
                }
                (next @ (Next::Requeue { until } | Next::HandOn { until }), Ok(answer)) => {
                    let call_of = (&call.head.method, call.head.path.path());
                    self.shared.admission.limited(&permit, call_of, until);
                    if matches!(next, Next::HandOn { .. }) && !self.elsewhere(&call, &permit) {
                        return Ok(settle(call, answer, permit, token));
                    }
                    call.body.stop();
                    Box::pin(discard(answer)).await;
                    history.requeued += 1;
                    let ticket = permit.ticket;
                    drop(permit);
                    permit = Box::pin(self.readmit(&call, ticket, record)).await?;
                }
                (Next::Again, tried) => {
                    (history.moved, failed_at) = (history.moved + 1, Some(Instant::now()));
                    // One that may have arrived counts for itself, and so does the next.
                    if matches!(tried, Err(Broken::Cut { .. })) {
                        let ticket = permit.ticket;
                        drop(permit);
                        let turn = Box::pin(self.turn_again(&call, ticket, tried, record));
                        match turn.await {
                            Ok(again) => permit = again,
                            Err(last) => return hand_on(call, *last, token),
                        }
                    }
                }
                (Next::Retry { at, .. }, tried) => {
                    if tried.is_err() {
                        failed_at = Some(ended);
                    }
                    history.retried += 1;
                    history.failing_since.get_or_insert(ended.into_std());
                    let turn = Box::pin(self.retry(&call, permit, tried, at, funds, record));
                    match turn.await {
                        Ok(again) => permit = again,
                        Err(last) => return hand_on(call, *last, token),
                    }
                }
                (Next::Answer | Next::Fail, Ok(answer)) => {
                    let renewed = history.renewed || (looks > 1 && !self.shared.tokens.several());
                    self.learn(&token, &permit, &call, &answer, renewed);
                    return Ok(settle(call, answer, permit, token));
                }
                (_, Err(broken)) => return Err(failure(&broken, &call.body)),
            }
        }
    }

    /// A token was refused that was to be better than the one before.
    fn fruitless(&self, call: &Call, permit: &Permit, token: &Arc<Token>, first: Option<&Refused>) {
        if first.is_some_and(|first| first.fresh(permit, token)) {
            let tokens = self.shared.tokens.of(permit.spot().lane);
            tokens.fruitless(token, family(&call.head));
        } else {
            // Another token that was dead without anybody knowing: no lesson.
            self.rejected(token, permit, &call.head);
        }
    }

    /// What the final answer says about the token.
    fn learn(
        &self,
        token: &Arc<Token>,
        permit: &Permit,
        call: &Call,
        answer: &Answered,
        renewed: bool,
    ) {
        let refused = answer.parts.status == StatusCode::UNAUTHORIZED;
        let tokens = self.shared.tokens.of(permit.spot().lane);
        match (refused, renewed) {
            (false, true) => tokens.recovered(),
            // It could not be replayed; the next caller is spared all the same.
            (true, false) => drop(self.rejected(token, permit, &call.head)),
            (true, true) => tokens.fruitless(token, family(&call.head)),
            (false, false) => {}
        }
    }

    fn rejected(&self, token: &Arc<Token>, permit: &Permit, head: &Head) -> Verdict {
        let spot = permit.spot();
        let verdict = self.shared.tokens.of(spot.lane).rejected(token, family(head));
        if verdict == Verdict::Renew {
            self.shared.admission.lost(spot);
            self.seen(spot.lane);
        }
        verdict
    }

    /// Another token than the one that was just paused has room before the caller leaves.
    fn elsewhere(&self, call: &Call, permit: &Permit) -> bool {
        let turn_at = || {
            let asking = call.asking(call.deadline);
            self.shared.admission.turn_after(Instant::now(), &asking, permit)
        };
        call.body.replayable() && self.shared.tokens.several() && turn_at() <= call.deadline
    }

    /// One connection, one signed request, one answer.
    async fn attempt(
        &self,
        call: &Call,
        pool: &Arc<Pool>,
        token: &Token,
        permit: &mut Permit,
        failed_at: Option<Instant>,
        record: &mut Record,
    ) -> Result<(Result<Box<Answered>, Broken>, Instant), Failure> {
        let trace = record.try_begins(&pool.host);
        let lease = match self.lease(call, pool, failed_at).await {
            Ok(lease) => lease,
            Err(error) => {
                let broken = Err(Broken::NoConnection(error));
                record.try_ended(told(&broken));
                return Ok((broken, Instant::now()));
            }
        };
        let signed = call
            .head
            .sign(&token.authorization, trace.as_ref(), call.body.attempt(), (pool, lease))
            .map_err(|_| Failure::BadRequest("The request target cannot be forwarded"))?;
        let sent = Instant::now();
        permit.spend(sent);
        record.attempts += 1;
        let patience = self.patient(self.shared.config.upstream.response_timeout);
        let interim = call.interim.as_ref().map(|caller| Before { to: &caller.interim, token });
        let mut tried = forward(signed, interim, &call.body, patience).await;
        let ended = Instant::now();
        record.upstream = ended - sent;
        record.try_ended(told(&tried));
        if let Ok(answer) = &mut tried {
            conceal(answer, token);
            self.hear(call, answer, permit);
            if looked_at_the_token(answer.parts.status) {
                token.worked(ended);
            }
        }
        Ok((tried, ended))
    }

    /// What an answer says of limits.
    fn hear(&self, call: &Call, answer: &Answered, permit: &Permit) {
        if answer.parts.status != StatusCode::TOO_MANY_REQUESTS {
            self.shared.admission.passed(permit);
        }
        if let Some(heard) = &answer.told.quota {
            let call_of = (&call.head.method, call.head.path.path());
            self.shared.admission.told(permit, call_of, heard);
        }
    }

    /// A connection: one at hand, nearly always.
    async fn lease(
        &self,
        call: &Call,
        pool: &Arc<Pool>,
        failed_at: Option<Instant>,
    ) -> Result<Lease, ConnectError> {
        let dialled = if call.head.upgrade {
            Box::pin(pool.lease_for_upgrade()).await
        } else if let Some(lease) = pool.at_hand(failed_at) {
            return Ok(lease);
        } else {
            Box::pin(pool.lease(failed_at)).await
        };
        dialled.inspect_err(|error| tracing::warn!(%error, "no connection to Genesys Cloud"))
    }
}

/// A load balancer's own answers (429, 5xx) say nothing about the token.
fn looked_at_the_token(status: StatusCode) -> bool {
    status != StatusCode::UNAUTHORIZED
        && status != StatusCode::TOO_MANY_REQUESTS
        && !status.is_server_error()
}

fn family(head: &Head) -> u64 {
    path::family(head.path.path()).key(&head.method)
}
