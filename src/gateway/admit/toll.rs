//! Calls of the gateway's own: they count like any other.
//! They never stand in line: a full budget is asked once more, and then the call is left out.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{Admission, Permit};
use crate::{
    decide::{
        freshness::Generation,
        lanes::{Lane, Spot},
        queue::Ticket,
        turns::Grant,
    },
    token,
};

/// A token that is paused for longer is checked another time.
const LONGEST: Duration = Duration::from_secs(10);

impl Admission {
    /// A place under this very token for a call of the gateway's own, if there is one now.
    pub fn visit_now(&self, spot: Spot, now: Instant) -> bool {
        let mut state = self.state();
        let taken = state.lanes().take_under(spot.lane, now.into_std()).is_ok();
        if taken && self.limited {
            state.lanes().leave(1, spot, now.into_std());
        }
        taken
    }

    /// A turn under this very token, if it has a place: for a replay, which stands first anyway.
    pub fn admit_under(self: &Arc<Self>, spot: Spot, ticket: Ticket) -> Option<Permit> {
        let mut state = self.state();
        // Gates are passed in order, by all.
        let taken = !state.is_gated()
            && state.lanes().take_under(spot.lane, Instant::now().into_std()).is_ok();
        drop(state);
        taken.then(|| self.permit(Grant { ticket, spot, gates: Vec::new(), standing: None }))
    }

    /// The same for one that can wait: a full budget is asked once more when it says so.
    pub async fn visit(&self, spot: Spot) -> bool {
        let now = Instant::now();
        if self.visit_now(spot, now) {
            return true;
        }
        let (_, free_at) = self.state().lanes().usage(spot.lane, now.into_std());
        let free_at = Instant::from_std(free_at);
        if free_at > now + LONGEST {
            return false;
        }
        sleep_until(free_at).await;
        self.visit_now(spot, Instant::now())
    }
}

/// Checks of a token at Genesys are calls, and count.
#[derive(Debug)]
pub struct Toll {
    /// Where they count.
    pub admission: Arc<Admission>,
    /// As whose.
    pub lane: Lane,
}

impl token::Toll for Toll {
    async fn pay(&self, generation: Generation) -> bool {
        self.admission.visit(Spot { lane: self.lane, generation }).await
    }
}
