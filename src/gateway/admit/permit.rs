//! The right to send one request. Dropped unspent, it goes to the next in line; spent, it is kept
//! until the last byte of the answer: a slow download is still load.
//! It never counts a call twice, and never leaves a place taken.

use std::{
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{Admission, Desk};
use crate::decide::{
    budget::Belongs,
    freshness::Generation,
    lanes::Spot,
    queue::Ticket,
    turns::{Grant, Standing, gate::GateId},
};

/// The right to send one request.
#[derive(Debug)]
pub struct Permit {
    from: Place,
    /// Where its request stands when it has to come back.
    pub ticket: Ticket,
    /// How long its turn took to come.
    pub waited: Duration,
    /// What its caller has left.
    pub standing: Option<Standing>,
    spot: Spot,
    gates: Vec<GateId>,
    /// Its latest try, if there was one.
    left: Option<Left>,
}

/// A call that left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) at: Instant,
    /// Its number among all that ever left under the token; 0 when it is not known.
    pub(super) number: u64,
}

/// Where a permit's place in the budget comes from.
#[derive(Debug)]
pub(super) enum Place {
    Budget(Arc<Admission>),
    Slice(Arc<Desk>),
}

impl Place {
    fn admission(&self) -> &Arc<Admission> {
        match self {
            Self::Budget(admission) => admission,
            Self::Slice(desk) => desk.admission(),
        }
    }

    fn in_flight(&self) -> &AtomicUsize {
        match self {
            Self::Budget(admission) => &admission.in_flight,
            Self::Slice(desk) => desk.in_flight(),
        }
    }
}

impl Permit {
    pub(super) fn new(from: Place, grant: Grant) -> Self {
        from.in_flight().fetch_add(1, Ordering::Relaxed);
        let Grant { ticket, spot, gates, standing } = grant;
        Self { from, ticket, waited: Duration::ZERO, standing, spot, gates, left: None }
    }

    /// The request leaves now: the place in the budget is used up, and counted from now.
    pub fn spend(&mut self, now: Instant) {
        let number = match (self.left, &self.from) {
            // Sent again on another connection: one call.
            (Some(left), _) => left.number,
            (None, Place::Budget(admission)) => admission.left(&self.gates, self.spot, now),
            (None, Place::Slice(desk)) => desk.left(self.spot, now),
        };
        self.left = Some(Left { at: now, number });
    }

    /// The request may have arrived, and goes out once more: a call like any other.
    pub fn again(&self) {
        self.from.admission().again(&self.gates, self.spot.lane);
    }

    /// The token it will be signed with. One granted under an older token counts for this one. False when
    /// it is none for this token: then there must be another.
    #[must_use]
    pub fn bind(&mut self, generation: Generation, belongs: Belongs) -> bool {
        if self.spot.generation == generation {
            return true;
        }
        let granted = self.spot;
        self.spot.generation = generation;
        let admission = self.from.admission();
        admission.seen(self.spot, belongs);
        let stands = admission.stands(granted);
        if stands && self.left.is_some() {
            self.again();
        }
        stands
    }

    /// Whose budget it counts against.
    pub fn spot(&self) -> Spot {
        self.spot
    }

    pub(super) fn gates(&self) -> &[GateId] {
        &self.gates
    }

    pub(super) fn left(&self) -> Option<Left> {
        self.left
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.from.in_flight().fetch_sub(1, Ordering::Relaxed);
        match (self.left, &self.from) {
            (None, Place::Budget(admission)) => admission.give_back(&self.gates, self.spot.lane),
            (None, Place::Slice(desk)) => desk.give_back(self.spot.lane),
            (Some(left), Place::Budget(admission)) => {
                admission.ended(&self.gates, left.at);
            }
            (Some(_), Place::Slice(_)) => {}
        }
    }
}
