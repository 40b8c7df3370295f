//! Traces of calls for a collector: which calls have one, and what has happened to each.
//! It never makes a call wait: what the exporter has not fetched when the queue is full is lost, and
//! counted.
//!
//! A call without a trace costs nothing but the question. One that has a trace takes notes on its way
//! ([`Trace`]); when its record ends, they go into a queue, and the slow side makes spans of them.

mod export;
mod notes;
mod spans;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Method, StatusCode, Uri};
use tokio::{sync::Notify, time::Instant};

use self::notes::Notes;
pub use self::{
    export::{Exporter, Unbuildable},
    notes::{Ended, Wait},
};
use super::{
    access_log::{AccessLog, End, Record},
    digits::hex,
    errors::Whose,
    metrics::{ProcessMetrics, SavedBy},
};
use crate::decide::{
    asked::Asked,
    callers::{Peer, Principal},
    trace::{Context, LENGTH, Ratio},
};

/// Calls whose spans have not been fetched yet; half of them wake the exporter.
const MOST: usize = 4096;

/// A `traceparent`, as it is written.
pub type Traceparent = [u8; LENGTH];

/// Of the whole process: what is kept, and what waits to be exported.
#[derive(Debug)]
pub struct Traces {
    ratio: Ratio,
    /// `None` once nobody fetches them any longer.
    ended: Mutex<Option<Vec<Call>>>,
    half_full: Notify,
    metrics: ProcessMetrics,
}

/// A call that has ended.
#[derive(Debug)]
struct Call {
    trace: Box<Trace>,
    ended: Instant,
    /// Of its organisation: knows what callers are called.
    log: Arc<AccessLog>,
    started: Instant,
    principal: Principal,
    method: Method,
    uri: Uri,
    status: Option<StatusCode>,
    code: Option<&'static str>,
    saved: Option<SavedBy>,
    replayed: bool,
    bytes: u64,
    end: End,
    request_id: HeaderValue,
    correlation_id: Option<HeaderValue>,
}

/// The spans of one call, as they come to be.
#[derive(Debug)]
pub struct Trace {
    to: Arc<Traces>,
    id: u128,
    /// Whose span caused it; 0: the trace begins here.
    parent: u64,
    /// Its own span.
    span: u64,
    /// It goes out for several calls: its span is one of the gateway's own.
    shared: bool,
    begun: SystemTime,
    notes: Notes,
}

impl Traces {
    /// Nothing is kept of those that begin here but `share`, from 0 to 1.
    pub fn new(share: f64, metrics: ProcessMetrics) -> Arc<Self> {
        Arc::new(Self {
            ratio: Ratio::new(share),
            ended: Mutex::new(Some(Vec::new())),
            half_full: Notify::new(),
            metrics,
        })
    }

    /// A call has come, which may be part of a trace: then whoever began that has decided.
    fn begin(self: &Arc<Self>, of: Option<Context>) -> Option<Box<Trace>> {
        let (id, parent) = match of {
            Some(Context { trace, span, sampled }) => sampled.then_some((trace, span))?,
            None => Some((new_trace(), 0)).filter(|(id, _)| self.ratio.keeps(*id))?,
        };
        Some(Box::new(Trace {
            to: Arc::clone(self),
            id,
            parent,
            span: new_span(),
            shared: false,
            begun: SystemTime::now(),
            notes: Notes::default(),
        }))
    }

    fn push(&self, call: Call) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *ended {
            Some(calls) if calls.len() < MOST => {
                calls.push(call);
                if calls.len() == MOST / 2 {
                    self.half_full.notify_one();
                }
            }
            Some(_) | None => self.metrics.traces_lost(1),
        }
    }

    /// All that have ended, in their order.
    fn fetch(&self) -> Vec<Call> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The last of them; those that end later are lost.
    fn close(&self) -> Vec<Call> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.take().unwrap_or_default()
    }
}

impl Trace {
    /// A call that goes out for this one and others.
    fn branch(&self) -> Box<Self> {
        Box::new(Self {
            to: Arc::clone(&self.to),
            id: self.id,
            parent: self.span,
            span: new_span(),
            shared: true,
            begun: SystemTime::now(),
            notes: Notes::default(),
        })
    }
}

/// What a call does with its trace, if it has one.
impl Record {
    /// From where, and as part of which trace: whether it has one of ours is decided now.
    pub fn comes(&mut self, from: Peer, asked: &Asked) {
        self.peer = from;
        self.trace = self.log.traces().and_then(|traces| traces.begin(asked.trace));
    }

    /// It goes out for a call that has come, and for others.
    pub fn follow_another(&mut self, other: &Self) {
        self.trace = other.trace.as_ref().map(|trace| trace.branch());
    }

    /// What upstream gets in place of the caller's own; `None`: that one is good. Without a collector a
    /// trace that begins here is one for others to keep, as upstream's support asks for its id.
    pub fn traceparent(&self, asked: &Asked) -> Option<Traceparent> {
        match (&self.trace, asked.trace) {
            (Some(trace), _) => Some(write(trace.id, trace.span, true)),
            (None, Some(_)) => None,
            (None, None) => Some(write(new_trace(), new_span(), self.log.traces().is_none())),
        }
    }

    /// Its turn has come, or it will not, so long after the call did.
    pub fn queued(&mut self, waited: Duration) {
        self.queue = waited;
        if let Some(trace) = &mut self.trace {
            trace.notes.waited(Wait::Queue, self.started, self.started + waited);
        }
    }

    /// It has waited since then.
    pub fn waited(&mut self, what: Wait, since: Instant) {
        match what {
            Wait::Queue => self.queue += since.elapsed(),
            Wait::Token => self.token += since.elapsed(),
            Wait::Backoff => {}
        }
        if let Some(trace) = &mut self.trace {
            trace.notes.waited(what, since, Instant::now());
        }
    }

    /// A try begins, for this host; what upstream gets as `traceparent`, if it is another for each try.
    pub fn try_begins(&mut self, host: &HeaderValue) -> Option<Traceparent> {
        let trace = self.trace.as_mut()?;
        let span = new_span();
        trace.notes.try_begins(span, host, Instant::now());
        Some(write(trace.id, span, true))
    }

    /// The try that began last has ended.
    pub fn try_ended(&mut self, ended: Ended) {
        if let Some(trace) = &mut self.trace {
            trace.notes.try_ended(ended, Instant::now());
        }
    }

    /// Nothing more will happen to it. Those that were refused as strangers leave no spans: anybody
    /// could fill the collector, and keep out what callers did.
    pub(super) fn leave_trace(&mut self) {
        let Some(trace) = self.trace.take() else { return };
        if Whose::of(self) == Whose::Strangers {
            return;
        }
        let traces = Arc::clone(&trace.to);
        traces.push(Call {
            trace,
            ended: Instant::now(),
            log: Arc::clone(&self.log),
            started: self.started,
            principal: self.principal,
            method: std::mem::take(&mut self.method),
            uri: std::mem::take(&mut self.uri),
            status: self.status,
            code: self.code,
            saved: self.saved,
            replayed: self.replayed,
            bytes: self.bytes,
            end: self.end,
            request_id: self.request_id.clone(),
            correlation_id: self.correlation_id.take(),
        });
    }
}

/// Random, not secret, and not 0.
fn new_trace() -> u128 {
    u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(1..))
}

fn new_span() -> u64 {
    fastrand::u64(1..)
}

/// W3C Trace Context, section 3.2. In pieces: byte by byte it takes ten times as long, and every call
/// has one.
fn write(trace: u128, span: u64, sampled: bool) -> Traceparent {
    let mut text = [b'-'; LENGTH];
    let [high, low] = [trace >> 64, trace & u128::from(u64::MAX)]
        .map(|half| hex(u64::try_from(half).unwrap_or_default()));
    let (span, flags) = (hex(span), if sampled { b"01" } else { b"00" });
    let pieces: [&[u8]; 5] = [b"00", &high, &low, &span, flags];
    for (at, piece) in [0, 3, 19, 36, 53].into_iter().zip(pieces) {
        if let Some(place) = text.get_mut(at..at + piece.len()) {
            place.copy_from_slice(piece);
        }
    }
    text
}

#[cfg(test)]
mod tests;
