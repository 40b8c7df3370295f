//! One call that goes out for several callers: the usual journey, then the answer read to its end.
//! It never reads for longer, or holds more, than is worth it: then the answer goes to one caller,
//! as it comes.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use tokio::sync::oneshot;

use super::{
    Errand,
    flights::{Outcome, Tally},
    place::Place,
    whole::{Place as Room, Whole},
};
use crate::{
    decide::{failure::Failure, saving::shareable},
    gateway::{
        Gateway,
        recover::{Call, Recovered},
    },
    telemetry::access_log::Record,
    upstream::{
        answer::{Answered, Body},
        replay::Replay,
    },
};

/// An answer that does not say how long it is may have no end: it gets this long to show one.
const UNMEASURED: Duration = Duration::from_secs(1);

/// A place in line, and what is to be sent when its turn comes.
pub struct Stand {
    /// Shared with the call while that is on its way.
    pub place: Arc<Place>,
    /// The call.
    pub errand: Errand,
    /// How long its answer is kept, if at all.
    pub life: Option<Duration>,
}

/// What the caller hears whose place it was, and nobody else.
pub enum Own {
    /// There is no turn for it.
    Refused(Failure, Tally),
    /// The call has left in another turn, or nobody wants it any longer.
    Over,
    /// An answer for one caller only.
    Streamed(Box<(Recovered, Tally)>),
}

/// A body as far as it was read.
enum Read {
    All(Bytes),
    Some(Body),
    Broken(Failure),
}

impl Gateway {
    /// Stands in line for a call, and carries it when this turn is the first to come, for as long as
    /// anybody waits for it.
    pub(super) async fn fly(
        self: Arc<Self>,
        stand: Stand,
        mut record: Box<Record>,
        tell: oneshot::Sender<Own>,
    ) {
        let over = stand.place.over();
        // A future that is dropped gives back its place, as that of a caller who leaves does.
        let own = tokio::select! {
            biased;
            () = over => Some(Own::Over),
            own = self.journey(stand, &mut record) => own,
        };
        if let Some(own) = own {
            // Whoever has left needs none.
            drop(tell.send(own));
        }
    }

    async fn journey(&self, stand: Stand, record: &mut Record) -> Option<Own> {
        let Stand { place, errand, life } = stand;
        let patience = errand.deadline;
        let recovered = match self.turn(&place, errand, record).await {
            Ok(recovered) => recovered,
            Err(failure) if is_own(failure) && !place.left() => {
                place.quits();
                return Some(Own::Refused(failure, Tally::of(record)));
            }
            Err(failure) => {
                place.end(Outcome::Failed(failure), (Tally::of(record), patience));
                return None;
            }
        };
        let tally = Tally::of(record);
        let Recovered { answer, permit, not_replayable, early, token } = recovered;
        let Answered { parts, told, body } = *answer;
        let mut room = place.saving().room.place();
        let read = if shareable(&parts.headers) {
            self.read(body, place.saving().largest, &mut room).await
        } else {
            Read::Some(body)
        };
        match read {
            Read::All(body) => {
                // Its last byte has come: it is no load any more.
                drop(permit);
                let whole = Whole::new(parts, told.correlation_id.as_ref(), body.clone());
                place.land(whole, room.of(body), life, (tally, patience));
                None
            }
            Read::Some(body) => {
                place.end(Outcome::Alone, (tally, patience));
                let answer = Box::new(Answered { parts, told, body });
                let rest = Recovered { answer, permit, not_replayable, early, token };
                Some(Own::Streamed(Box::new((rest, tally))))
            }
            Read::Broken(failure) => {
                place.end(Outcome::Failed(failure), (tally, patience));
                None
            }
        }
    }

    async fn turn(
        &self,
        place: &Arc<Place>,
        errand: Errand,
        record: &mut Record,
    ) -> Result<Recovered, Failure> {
        let Errand { head, asker, deadline, ticket } = errand;
        let permit = self.admit(&head, asker, deadline, ticket, record).await?;
        // What upstream says before its answer is for one connection, and this is for several.
        let (body, interim, shared) = (Replay::empty(), None, Some(Arc::clone(place)));
        let call = Call { asker, head, body, deadline, interim, shared };
        let recovered = self.recover(call, permit, record).await?;
        match recovered.answer.parts.status {
            // Nobody has asked for it.
            StatusCode::SWITCHING_PROTOCOLS => Err(Failure::BadAnswer),
            _ => Ok(recovered),
        }
    }

    /// Reads a body to its end, unless it is too large or too slow. Trailers may be left out
    /// (RFC 9110 section 6.5.1), and nobody has said that they are wanted.
    async fn read(&self, mut body: Body, largest: usize, place: &mut Room) -> Read {
        let length = body.size_hint().exact();
        let fits = |length: u64| usize::try_from(length).ok().filter(|length| *length <= largest);
        let mut bytes = match length.map(fits) {
            Some(None) => return Read::Some(body),
            Some(Some(length)) if !place.grow(length) => return Read::Some(body),
            Some(Some(length)) => Vec::with_capacity(length),
            None => Vec::new(),
        };
        let timeout = self.shared.config.upstream.idle_timeout;
        let timeout = if length.is_some() { timeout } else { timeout.min(UNMEASURED) };
        let mut deadline = self.deadlines.after(timeout);
        loop {
            let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(frame) => Poll::Ready(Some(frame)),
                Poll::Pending => deadline.poll_passed(cx).map(|()| None),
            });
            match frame.await {
                Some(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    bytes.extend_from_slice(&data);
                    if length.is_some() {
                        deadline.restart(timeout);
                    } else if bytes.len() > largest || !place.grow(data.len()) {
                        return Read::Some(body.after(bytes.into()));
                    }
                }
                Some(Some(Err(error))) => {
                    tracing::debug!(%error, "an answer for several callers was cut");
                    return Read::Broken(Failure::UpstreamBroken);
                }
                // Without what the vector has to spare.
                Some(None) => return Read::All(bytes.into_boxed_slice().into()),
                None if length.is_some() => return Read::Broken(Failure::ResponseTimeout),
                None => return Read::Some(body.after(bytes.into())),
            }
        }
    }
}

/// It comes of the caller's own terms: of others the same may not be true.
fn is_own(failure: Failure) -> bool {
    match failure {
        Failure::RateLimited { .. }
        | Failure::QueueFull { .. }
        | Failure::TokenUnavailable { .. }
        | Failure::CredentialsRefused { .. }
        | Failure::CallerPaused => true,
        Failure::BadRequest(_)
        | Failure::HeadTooLarge(_)
        | Failure::Version
        | Failure::Misdirected
        | Failure::CrossSite
        | Failure::HeaderRequired
        | Failure::UriTooLong
        | Failure::MethodRefused
        | Failure::CallerUnknown(_)
        | Failure::KeysUnavailable
        | Failure::CallersCrowd
        | Failure::Denied
        | Failure::NotAllowed
        | Failure::BodyBroken
        | Failure::CallerLeft
        | Failure::BodyTimeout
        | Failure::Unreachable
        | Failure::TlsFailed
        | Failure::ConnectTimeout
        | Failure::ResponseTimeout
        | Failure::UpstreamBroken
        | Failure::BadAnswer
        | Failure::Draining
        | Failure::AuditUnavailable => false,
    }
}
