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
    flights::{Outcome, Tally, Ticket},
    whole::{Place, Whole},
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

/// An answer for the first caller alone.
#[derive(Debug)]
pub struct Streamed(pub Recovered);

/// A body as far as it was read.
enum Read {
    All(Bytes),
    Some(Body),
    Broken(Failure),
}

impl Gateway {
    /// Carries a call, in the name of its first caller, for as long as anybody waits for it.
    pub(super) async fn fly(
        self: Arc<Self>,
        ticket: Ticket,
        errand: Errand,
        life: Option<Duration>,
        mut record: Box<Record>,
        first: oneshot::Sender<Streamed>,
    ) {
        let abandoned = ticket.abandoned();
        let carried = async {
            let recovered = match self.journey(&ticket, errand, &mut record).await {
                Ok(recovered) => recovered,
                Err(failure) => return ticket.end(Outcome::Failed(failure), Tally::of(&record)),
            };
            let tally = Tally::of(&record);
            let Recovered { answer, permit, not_replayable, early } = recovered;
            let Answered { parts, told, body } = *answer;
            let mut place = ticket.saving().room.place();
            let read = if shareable(&parts.headers) {
                self.read(body, ticket.saving().largest, &mut place).await
            } else {
                Read::Some(body)
            };
            match read {
                Read::All(body) => {
                    // Its last byte has come: it is no load any more.
                    drop(permit);
                    let whole = Whole::new(parts, told.correlation_id.as_ref(), body.clone());
                    ticket.land(whole, place.of(body), life, tally);
                }
                Read::Some(body) => {
                    let answer = Box::new(Answered { parts, told, body });
                    let rest = Recovered { answer, permit, not_replayable, early };
                    // Whoever has left needs none.
                    drop(first.send(Streamed(rest)));
                    ticket.end(Outcome::Alone, tally);
                }
                Read::Broken(failure) => ticket.end(Outcome::Failed(failure), tally),
            }
        };
        // A future that is dropped gives back its place, as that of a caller who leaves does.
        abandoned.run_until_cancelled(carried).await;
    }

    async fn journey(
        &self,
        ticket: &Ticket,
        errand: Errand,
        record: &mut Record,
    ) -> Result<Recovered, Failure> {
        let Errand { head, asker, deadline } = errand;
        let permit = self.admit(&head, asker, deadline, record).await?;
        ticket.sent();
        // What upstream says before its answer is for one connection, and this is for several.
        let call = Call { asker, head, body: Replay::empty(), deadline, interim: None };
        let recovered = self.recover(call, permit, record).await?;
        match recovered.answer.parts.status {
            // Nobody has asked for it.
            StatusCode::SWITCHING_PROTOCOLS => Err(Failure::BadAnswer),
            _ => Ok(recovered),
        }
    }

    /// Reads a body to its end, unless it is too large or too slow. Trailers may be left out
    /// (RFC 9110 section 6.5.1), and nobody has said that they are wanted.
    async fn read(&self, mut body: Body, largest: usize, place: &mut Place) -> Read {
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
