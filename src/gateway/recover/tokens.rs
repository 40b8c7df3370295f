//! Under which token the next try goes: the permit's own, its successor, or another one.
//! It never signs with a token that is not the permit's: each counts against its own budget.

use std::sync::Arc;

use tokio::time::Instant;

use super::Call;
use crate::{
    decide::{
        failure::Failure,
        lanes::{Lane, Spot},
    },
    gateway::{Gateway, admit::Permit},
    telemetry::{access_log::Record, traces::Wait},
    token::{
        Token, Unavailable,
        pool::{Came, Want},
    },
};

impl Gateway {
    /// The token of the permit. When there is none, the permit becomes one of another token, if
    /// that has one.
    pub(super) async fn token(
        &self,
        call: &Call,
        permit: &mut Permit,
        now: Instant,
        record: &mut Record,
    ) -> Result<Arc<Token>, Failure> {
        if let Some(token) = self.shared.tokens.of(permit.spot().lane).current(now) {
            return Ok(token);
        }
        Box::pin(self.another_token(call, permit, record)).await
    }

    async fn another_token(
        &self,
        call: &Call,
        permit: &mut Permit,
        record: &mut Record,
    ) -> Result<Arc<Token>, Failure> {
        loop {
            let now = Instant::now();
            let spot = permit.spot();
            self.shared.admission.lost(spot);
            if let Some(token) = self.seen(spot.lane) {
                return Ok(token);
            }
            match self.wait(call, spot.lane, Want::Any, now, record).await? {
                Came::Here(token) => return Ok(token),
                Came::Elsewhere => {
                    let ticket = permit.ticket;
                    *permit = self.readmit(call, ticket, record).await?;
                    let lane = permit.spot().lane;
                    if let Some(token) = self.shared.tokens.of(lane).current(Instant::now()) {
                        return Ok(token);
                    }
                    // Who has a token is told by another thread: let it speak.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// The token of a lane, if there is one; then the budgets know it, too.
    pub(super) fn seen(&self, lane: Lane) -> Option<Arc<Token>> {
        let token = self.shared.tokens.of(lane).current(Instant::now())?;
        self.shared
            .admission
            .seen(Spot { lane, generation: token.generation }, token.share.belongs());
        Some(token)
    }

    /// A token, within the caller's patience; after a late 401 the caller is given it once more.
    async fn wait(
        &self,
        call: &Call,
        lane: Lane,
        want: Want,
        now: Instant,
        record: &mut Record,
    ) -> Result<Came, Failure> {
        let patience = if record.attempts == 0 {
            call.deadline
        } else {
            call.deadline.max(now + self.patience(&call.asker, None))
        };
        let came = self.shared.tokens.get(lane, want, patience).await;
        record.waited(Wait::Token, now);
        came.map_err(|Unavailable { refused, retry_after }| {
            if refused {
                Failure::CredentialsRefused { retry_after }
            } else {
                Failure::TokenUnavailable { retry_after }
            }
        })
    }

    /// A turn for the replay: under the token's successor, or under another token at once.
    pub(super) async fn renew(
        &self,
        call: &Call,
        permit: Permit,
        record: &mut Record,
    ) -> Result<Permit, Failure> {
        let (ticket, lane) = (permit.ticket, permit.spot().lane);
        drop(permit);
        let came = self.wait(call, lane, Want::Successor, Instant::now(), record).await?;
        if let Came::Here(token) = came {
            let spot = Spot { lane, generation: token.generation };
            self.shared.admission.seen(spot, token.share.belongs());
            // Under the very successor: the others may be as dead as the first was.
            if self.shared.tokens.several()
                && let Some(permit) = self.shared.admission.admit_under(spot, ticket)
            {
                return Ok(permit);
            }
        }
        self.readmit(call, ticket, record).await
    }
}
