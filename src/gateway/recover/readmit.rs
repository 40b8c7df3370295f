//! Another turn for a call that must go once more, and what those know who want its answer, too.
//! It never sends a call that has left in another turn.

use tokio::time::Instant;

use super::Call;
use crate::{
    decide::{failure::Failure, queue::Ticket},
    gateway::{Gateway, admit::Permit},
    telemetry::{access_log::Record, traces::Wait},
};

impl Call {
    /// It has all that it needs.
    pub(super) async fn leaves(&self) {
        if let Some(shared) = &self.shared {
            Box::pin(shared.leaves()).await;
        }
    }
}

impl Gateway {
    /// A turn for a call that comes back: first of its caller's.
    pub(super) async fn readmit(
        &self,
        call: &Call,
        ticket: Ticket,
        record: &mut Record,
    ) -> Result<Permit, Failure> {
        let now = Instant::now();
        let deadline = call.deadline.max(now);
        let asking = call.asking(deadline);
        if let Some(shared) = &call.shared {
            shared.returns(self.shared.admission.turn_of(now, &asking, ticket));
        }
        let permit = self.shared.admission.admit(now, &asking, Some(ticket)).await;
        record.waited(Wait::Queue, now);
        permit.map_err(|away| {
            record.standing = away.standing;
            away.failure
        })
    }
}
