//! The gateway's turns, driven as `gateway::admit` and `gateway::recover` drive them.
//! It never decides anything itself.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use genesys_proxy::decide::{
    budget::{Allowance, Belongs},
    callers::Principal,
    lanes::{Lanes, Spot},
    queue::{Ticket, Who},
    retry::{self, Facts, History, Next, Outcome},
    turns::{Arrival, Call, Grant, Outcome as Turn, Refusal, Refused, Rules, Turns},
    urgency::Urgency,
};

use super::{Asked, CallId, MAX_QUEUE, MAX_WAIT, Policy, Step};
use crate::upstream::{LIMIT, WINDOW};

/// The default of `rate_limit.max_retry_after`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(180);

/// The turns, and the calls that have one.
#[derive(Debug)]
pub struct Ours {
    turns: Turns<CallId>,
    /// Calls that wait or are on their way.
    open: HashMap<CallId, Open>,
    outcomes: Vec<Turn<CallId>>,
    next: Option<Instant>,
}

/// A request inside the gateway.
#[derive(Debug)]
struct Open {
    asked: Asked,
    deadline: Instant,
    grant: Option<(Grant, Instant)>,
}

impl Ours {
    /// Nobody waits; the token is there.
    pub fn new(even: bool, now: Instant) -> Self {
        let limit = NonZeroU32::new(LIMIT);
        let allowance = Allowance { limit, window: WINDOW, even, reserve: 0 };
        let rules = Rules { max_queue: MAX_QUEUE, families: Vec::new(), ceilings: false };
        let mut turns = Turns::new(rules, Lanes::new(1, allowance, now), now);
        turns.lanes().seen(Spot::default(), Belongs::All);
        Self { turns, open: HashMap::new(), outcomes: Vec::new(), next: None }
    }

    /// As `Admission::stand`, and the pacer's look where it is woken.
    fn stand(
        &mut self,
        now: Instant,
        asked: Asked,
        deadline: Instant,
        ticket: Option<Ticket>,
        steps: &mut Vec<Step>,
    ) {
        let ticket = ticket.unwrap_or_else(|| self.turns.ticket());
        let (principal, weight) = (Principal::Named(asked.caller), NonZeroU32::MIN);
        let who =
            Who { principal, weight, urgency: Urgency::default(), ticket, asks: asked.id as u64 };
        self.open.insert(asked.id, Open { asked, deadline, grant: None });
        if let Some((spot, standing)) = self.turns.quick(now, &who) {
            let grant = Grant { ticket, spot, gates: Vec::new(), standing };
            return self.send(now, asked.id, grant, steps);
        }
        let family = asked.family;
        let call = Call { who, deadline, most: None, ceiling: None, family, gates: Vec::new() };
        match self.turns.arrive(now, call, || asked.id) {
            Arrival::Granted(grant) => self.send(now, asked.id, grant, steps),
            Arrival::Refused(refused) => self.refuse(asked.id, refused, steps),
            Arrival::Waits(evicted) => {
                if let Some((id, refused)) = evicted {
                    self.refuse(id, refused, steps);
                }
                self.wake(now, steps);
            }
        }
    }

    fn send(&mut self, now: Instant, id: CallId, grant: Grant, steps: &mut Vec<Step>) {
        self.turns.left(&grant.gates, grant.spot, now);
        if let Some(open) = self.open.get_mut(&id) {
            open.grant = Some((grant, now));
        }
        steps.push(Step::Send(id));
    }

    fn refuse(&mut self, id: CallId, refused: Refused, steps: &mut Vec<Step>) {
        self.open.remove(&id);
        steps.push(Step::Refuse(id, refused.retry_after));
    }
}

impl Policy for Ours {
    fn arrive(&mut self, now: Instant, asked: Asked, steps: &mut Vec<Step>) {
        self.stand(now, asked, now + MAX_WAIT, None, steps);
    }

    fn refused(&mut self, now: Instant, id: CallId, retry_after: Duration, steps: &mut Vec<Step>) {
        let Some(Open { asked, deadline, grant: Some((grant, sent)) }) = self.open.remove(&id)
        else {
            return;
        };
        let outcome = Outcome::Answered { status: 429, retry_after: Some(retry_after) };
        let facts = Facts { idempotent: true, replayable: true, deadline, attempts: 1, dice: 0.0 };
        let next = retry::next(outcome, facts, History::default(), now, MAX_RETRY_AFTER);
        let until = now + retry_after;
        let refusal =
            Refusal { spot: grant.spot, gates: &grant.gates, family: asked.family, until };
        self.turns.limited(refusal, now);
        self.turns.ended(&grant.gates, sent, now);
        self.wake(now, steps);
        if let Next::Requeue { .. } = next {
            self.stand(now, asked, deadline, Some(grant.ticket), steps);
        } else {
            steps.push(Step::Refuse(id, retry_after));
        }
    }

    fn answered(&mut self, now: Instant, id: CallId, steps: &mut Vec<Step>) {
        let Some(Open { grant: Some((grant, sent)), .. }) = self.open.remove(&id) else { return };
        let woken = self.turns.passed((&grant.gates, grant.spot.lane), sent, now);
        if self.turns.ended(&grant.gates, sent, now) || woken {
            self.wake(now, steps);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.next
    }

    fn wake(&mut self, now: Instant, steps: &mut Vec<Step>) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.next = self.turns.hand_out(now, &mut outcomes);
        for (id, outcome) in outcomes.drain(..) {
            match outcome {
                Ok(grant) => self.send(now, id, grant, steps),
                Err(refused) => self.refuse(id, refused, steps),
            }
        }
        self.outcomes = outcomes;
    }
}
