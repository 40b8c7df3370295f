//! The one who serves the lines.
//! It never sends a turn under the lock: whoever has left gives theirs back through it.

use std::{sync::Arc, time::Instant as StdInstant};

use tokio::time::{Instant, sleep_until};

use super::{Admission, TurnedAway, Waiter};
use crate::decide::turns::Outcome;

impl Admission {
    /// The one who hands out turns when they come free: no thundering herd, no lost wake-up.
    pub(super) async fn pace(self: &Arc<Self>) {
        let mut outcomes = Vec::new();
        loop {
            let next = self.hand_out(Instant::now().into_std(), &mut outcomes);
            match next {
                None => self.wake.notified().await,
                Some(next) => tokio::select! {
                    () = sleep_until(Instant::from_std(next)) => {}
                    () = self.wake.notified() => {}
                },
            }
        }
    }

    /// Serves the lines as far as the limits allow; when to look again.
    fn hand_out(
        self: &Arc<Self>,
        now: StdInstant,
        outcomes: &mut Vec<Outcome<Waiter>>,
    ) -> Option<StdInstant> {
        let next = self.state().hand_out(now, outcomes);
        // Sent outside the lock: a receiver that has left drops the permit, which refunds it.
        for (turn, outcome) in outcomes.drain(..) {
            let outcome = outcome.map(|grant| self.permit(grant)).map_err(TurnedAway::from);
            drop(turn.send(outcome));
        }
        next
    }
}
