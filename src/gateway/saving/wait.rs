//! A caller who waits for an answer that others want, too: on its own terms, whoever began the call.
//! It never waits longer than it would alone, and never gets the refusal of somebody else.

use std::{future::pending, sync::Arc};

use http::StatusCode;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{
    Errand, Saved, Wish,
    fetch::{Own, Stand},
    flights::{Landed, Outcome, Tally, Waiter},
    place::Place,
    whole,
};
use crate::{
    decide::{
        course::{Share, Terms},
        failure::Failure,
        saving::{Ask, Origin},
    },
    gateway::{Gateway, admit::Asking, credential::Head, recover::Recovered},
    telemetry::{access_log::Record, metrics::SavedBy},
};

/// What came of waiting.
pub enum Waited {
    /// An answer in memory.
    Saved(Box<Saved>),
    /// One that is too large for several, on its way to this one.
    Streamed(Box<Recovered>),
    /// It is too large, and is on its way to another one: this caller's call goes its usual way.
    Alone,
    /// Whoever sent it could not wait any longer. This caller can.
    InVain,
}

/// One caller's place in line, and its chances of another one.
struct Hand {
    /// Tells how its place in line ended, while it has one.
    own: Option<oneshot::Receiver<Own>>,
    /// It has not been refused.
    eager: bool,
}

impl Gateway {
    /// Waits for a call that somebody sends, and sends it if its own turn is the first to come.
    pub(super) async fn share(
        self: &Arc<Self>,
        mut waiter: Waiter,
        wish: &Wish,
        errand: &mut Errand,
        record: &mut Record,
    ) -> Result<Waited, Failure> {
        let mut hand = Hand { own: None, eager: true };
        if waiter.began() {
            // One that never waited may leave out of a worker's slice.
            let call = errand.clone();
            let place = waiter.first(self.turn_of(errand), errand.deadline);
            hand.own = Some(self.stand(place, wish, call, record));
        }
        loop {
            // Listened for before it is looked at: no change is missed.
            let mut news = waiter.news();
            if let Some(landed) = waiter.landed() {
                return self.landed(&waiter, landed, hand, (wish, errand), record).await;
            }
            let until = match hand.own {
                Some(_) => None,
                None => self.count_on(&mut waiter, wish, errand, &mut hand, record),
            };
            let told = tokio::select! {
                biased;
                told = hear(&mut hand.own) => told,
                () = news.next() => continue,
                () = until_then(until) => continue,
            };
            hand.own = None;
            match told {
                Some(Own::Streamed(answer)) => return Ok(streamed(*answer, wish, record)),
                Some(Own::Over) => {}
                Some(Own::Refused(failure, tally)) => {
                    if !waiter.hopes(Instant::now(), errand.deadline) {
                        tally.write(record);
                        return Err(failure);
                    }
                    hand.eager = false;
                }
                None if waiter.landed().is_some() => {}
                None => return Err(Failure::UpstreamBroken),
            }
        }
    }

    /// Whether there is a turn to count on, and until when; else one of its own.
    fn count_on(
        self: &Arc<Self>,
        waiter: &mut Waiter,
        wish: &Wish,
        errand: &mut Errand,
        hand: &mut Hand,
        record: &Record,
    ) -> Option<Instant> {
        if waiter.sent() {
            return None;
        }
        let turn = self.turn_of(errand).into_std();
        let terms = Terms { turn, deadline: errand.deadline.into_std(), eager: hand.eager };
        match waiter.next(Instant::now(), terms) {
            Ok(until) => until,
            Err(place) => {
                tracing::debug!("a call that others want, too, is waited for on its own terms");
                hand.own = Some(self.stand(place, wish, errand.clone(), record));
                None
            }
        }
    }

    /// When this call would leave, if there were no other. If it has to stand in line later, it does
    /// so where it came.
    fn turn_of(&self, errand: &mut Errand) -> Instant {
        let admission = &self.shared.admission;
        let newest = admission.ticket();
        errand.ticket.get_or_insert(newest);
        let Errand { head, asker, deadline, .. } = &*errand;
        let Head { method, path: target, .. } = &**head;
        let asking = Asking { asker: *asker, method, target, deadline: *deadline };
        // As the newest: with its own ticket it would seem to pass those that came before it.
        admission.turn_of(Instant::now(), &asking, newest)
    }

    /// A place in line, in a task of its own: callers leave, and others count on it.
    fn stand(
        self: &Arc<Self>,
        place: Place,
        wish: &Wish,
        errand: Errand,
        record: &Record,
    ) -> oneshot::Receiver<Own> {
        let mut own = Record::begin(
            &place.saving().silent,
            record.principal,
            errand.head.method.clone(),
            http::Uri::default(),
            record.request_id.clone(),
        );
        own.follow_another(record);
        let (tell, told) = oneshot::channel();
        let stand = Stand { place: Arc::new(place), errand, life: wish.life };
        self.tasks.spawn(Arc::clone(self).fly(stand, own, tell));
        told
    }

    /// What an outcome is to this caller.
    async fn landed(
        &self,
        waiter: &Waiter,
        landed: Landed,
        hand: Hand,
        (wish, errand): (&Wish, &mut Errand),
        record: &mut Record,
    ) -> Result<Waited, Failure> {
        let share = waiter.claim();
        if share == Share::Others && self.in_vain(&landed, errand) {
            return Ok(Waited::InVain);
        }
        let Landed { outcome, tally, .. } = landed;
        if let (Outcome::Alone, Share::Own, Some(own)) = (&outcome, share, hand.own) {
            return match own.await {
                Ok(Own::Streamed(answer)) => Ok(streamed(*answer, wish, record)),
                Ok(Own::Refused(..) | Own::Over) | Err(_) => Err(Failure::UpstreamBroken),
            };
        }
        if matches!(outcome, Outcome::Alone) {
            return Ok(Waited::Alone);
        }
        match share {
            Share::Own => tally.write(record),
            Share::Left => tally.of_another().write(record),
            Share::Others => self.note(SavedBy::coalesced, record),
        }
        match outcome {
            Outcome::Whole { whole, body, stored } => {
                let wanted = wish.ask == Ask::Fresh;
                let own = Origin::Sent { wanted, stored };
                let origin = if share == Share::Own { own } else { Origin::Collapsed };
                Ok(Waited::Saved(Box::new(Saved { whole, body, origin })))
            }
            // As many calls again would be a storm, and they would fail as this one did.
            Outcome::Failed(failure) => Err(failure),
            Outcome::Alone => Ok(Waited::Alone),
        }
    }

    /// It ended so because its sender could wait no longer, and this caller can.
    fn in_vain(&self, landed: &Landed, errand: &mut Errand) -> bool {
        let now = Instant::now();
        match &landed.outcome {
            Outcome::Failed(
                Failure::TokenUnavailable { retry_after }
                | Failure::CredentialsRefused { retry_after },
            ) => now + *retry_after <= errand.deadline,
            // Upstream's pause, which the line knows of, was too long for the one and is not for the
            // other.
            Outcome::Whole { whole, .. } if whole.parts.status == StatusCode::TOO_MANY_REQUESTS => {
                let turn = self.turn_of(errand);
                turn > now && landed.patience < turn && turn <= errand.deadline
            }
            Outcome::Failed(_) | Outcome::Whole { .. } | Outcome::Alone => false,
        }
    }
}

fn streamed(
    (mut recovered, tally): (Recovered, Tally),
    wish: &Wish,
    record: &mut Record,
) -> Waited {
    tally.write(record);
    let wanted = wish.ask == Ask::Fresh;
    whole::mark(&mut recovered.answer.parts, Origin::Sent { wanted, stored: false });
    Waited::Streamed(Box::new(recovered))
}

/// How a place in line ended; `None` when its task did without a word.
async fn hear(own: &mut Option<oneshot::Receiver<Own>>) -> Option<Own> {
    match own {
        Some(own) => own.await.ok(),
        None => pending().await,
    }
}

async fn until_then(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}
