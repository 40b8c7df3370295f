//! Calls that need not be sent: another caller waits for the same answer, or had it a moment ago.
//! It never answers what no rule of `[saving]` names, and never after a write that it knows of.

mod fetch;
mod flights;
mod kept;
mod place;
mod wait;
mod whole;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use tokio::time::Instant;

use super::{Gateway, admit::Asker, credential::Head, recover::Recovered};
use crate::{
    config,
    decide::{
        failure::Failure,
        queue::Ticket,
        saving::{self as decide, Ask, Identity, Organisation, Origin, Write},
    },
    telemetry::{
        access_log::{AccessLog, Observers, Record},
        callers::Names,
        metrics::{Metrics, SavedBy},
    },
    upstream::unbroken::Unbroken,
};
use flights::{Flights, Found};
use kept::{Kept, Writes};
pub use place::Place;
use wait::Waited;
use whole::{Room, Whole};

/// What all workers share. There is none while `[saving]` names nothing.
#[derive(Debug)]
pub struct Saving {
    rules: config::Saving,
    organisation: Organisation,
    flights: Flights,
    kept: Kept,
    writes: Writes,
    /// Of answers on their way to several callers.
    room: Arc<Room>,
    /// A larger answer is not shared.
    largest: usize,
    /// Of calls that are nobody's own: whoever waits for one has a line of its own.
    silent: Arc<AccessLog>,
}

/// No answer is worth more memory than this.
const LARGEST: usize = 1 << 20;
/// And none more than this part of it all, so that one does not push out the others.
const SHARE: usize = 16;

/// What a call under a rule wants.
#[derive(Debug)]
pub struct Wish {
    identity: Identity,
    /// Of the writes that change its answer.
    marks: Arc<[u64]>,
    ask: Ask,
    /// How long its answer is kept, if at all.
    life: Option<Duration>,
}

/// An answer that was not asked for on this caller's behalf, or not only.
#[derive(Debug)]
pub struct Saved {
    /// Status and fields, and what was learned from them.
    pub whole: Arc<Whole>,
    /// Counted while it is anywhere on its way.
    pub body: Bytes,
    /// Where it came from.
    pub origin: Origin,
}

/// A call on its way: whose, what, and until when it waits for its turn.
#[derive(Debug, Clone)]
pub struct Errand {
    /// Stripped, unsigned.
    pub head: Box<Head>,
    /// Whose.
    pub asker: Asker,
    /// The end of its caller's patience.
    pub deadline: Instant,
    /// Its place in the order of arrival, once it has waited.
    pub ticket: Option<Ticket>,
}

/// What became of a wish.
#[derive(Debug)]
pub enum Step {
    /// The call goes its usual way.
    Send(Box<Head>),
    /// It went out for several, and its answer is too large for them.
    Streamed(Recovered),
    /// Here it is.
    Saved(Box<Saved>),
}

impl Saving {
    /// `None` when nothing is to be saved.
    pub fn new(config: &config::Config, organisation: Organisation) -> Option<Arc<Self>> {
        let rules = config.saving.clone();
        if rules.coalesce.is_empty() && rules.cache.is_empty() {
            return None;
        }
        Some(Arc::new(Self {
            organisation,
            flights: Flights::default(),
            kept: Kept::new(rules.memory),
            writes: Writes::default(),
            room: Room::new(rules.memory),
            largest: LARGEST.min(rules.memory / SHARE),
            // Whoever wanted the answer has a record of its own, and is counted by that.
            silent: AccessLog::new(
                config.telemetry.format,
                None,
                Names::default(),
                (None, None),
                Observers::default(),
            ),
            rules,
        }))
    }

    /// For the metrics page.
    pub fn measure(&self, metrics: &Metrics) {
        metrics.kept(self.kept.count(), self.kept.bytes());
    }

    fn wish(&self, head: &Head, bodiless: bool) -> Option<Wish> {
        let path = head.path.path();
        let cached = self.rules.cache.iter().find(|of| of.rule.speaks_of(&head.method, path));
        let coalesced = || self.rules.coalesce.iter().any(|of| of.speaks_of(&head.method, path));
        if cached.is_none() && !coalesced() {
            return None;
        }
        Some(Wish {
            ask: decide::ask(&head.method, head.received(), bodiless)?,
            identity: Identity::of(self.organisation, head.path.as_str(), head.received()),
            marks: decide::marks(self.organisation, path).into(),
            life: cached.map(|cached| cached.life),
        })
    }

    /// A write is about to be sent. When that is over, whatever it may have changed is out of date.
    pub fn write(self: &Arc<Self>, head: &Head) -> Option<Written> {
        match Write::of(self.organisation, &head.method, head.path.path()) {
            Write::Nothing => None,
            write @ (Write::Marked(_) | Write::Anything) => {
                Some(Written { saving: Arc::clone(self), write })
            }
        }
    }
}

/// A write under way. However it ends, by an error, or because its caller leaves, it may have been
/// carried out.
#[derive(Debug)]
pub struct Written {
    saving: Arc<Saving>,
    write: Write,
}

impl Written {
    /// Upstream has said what became of it, at its first try or at a later one.
    pub fn answered(mut self, status: StatusCode, attempts: u32) {
        // Refused, so nothing changed; unless an earlier try did, whose answer was lost.
        let timeout = status == StatusCode::REQUEST_TIMEOUT;
        if status.is_client_error() && !timeout && attempts == 1 {
            self.write = Write::Nothing;
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.saving.writes.note(&self.write);
    }
}

impl Gateway {
    /// What this call wants, if a rule speaks of it. One branch when nothing is to be saved.
    pub(super) fn wish(&self, head: &Head, body: &Unbroken) -> Option<(Arc<Saving>, Wish)> {
        let saving = self.shared.saving.as_ref()?;
        let wish = saving.wish(head, body.is_end_stream())?;
        Some((Arc::clone(saving), wish))
    }

    /// An answer that is kept, or one that comes anyway; else this call goes out for all who want
    /// the same meanwhile.
    pub(super) async fn save(
        self: &Arc<Self>,
        (saving, wish): (Arc<Saving>, Wish),
        mut errand: Errand,
        record: &mut Record,
    ) -> Result<Step, Failure> {
        loop {
            let waiter = match saving.look(&wish, Instant::now()) {
                Found::Kept(saved) => {
                    self.note(SavedBy::cached, record);
                    return Ok(Step::Saved(saved));
                }
                Found::Full => return Ok(Step::Send(errand.head)),
                Found::Nobody(waiter) => {
                    tracing::debug!("a call goes out for all who want its answer");
                    waiter
                }
                Found::Flying(waiter) => {
                    tracing::debug!("a call waits for the answer to another one");
                    waiter
                }
            };
            match self.share(waiter, &wish, &mut errand, record).await? {
                Waited::Alone => return Ok(Step::Send(errand.head)),
                Waited::Streamed(recovered) => return Ok(Step::Streamed(*recovered)),
                Waited::Saved(saved) => return Ok(Step::Saved(saved)),
                Waited::InVain => {}
            }
        }
    }

    fn note(&self, how: SavedBy, record: &mut Record) {
        record.saved = Some(how);
        self.shared.metrics.saved(how);
    }
}
