//! One line a request, written once, when its last byte has left.
//! It never makes a request wait: a worker fills its own buffer and hands it to the log's thread.

mod line;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    audit::{Audit, Place},
    callers::{Name, Names},
    errors::{ErrorAnswer, Errors, Whose},
    metrics::{SavedBy, Tally},
    output::Output,
    stamp::Stamp,
    traces::{Trace, Traces},
};
use crate::{
    config::LogFormat,
    decide::{
        callers::{Peer, Principal},
        path,
        turns::Standing,
    },
};

/// A buffer is handed over when it is this large; the sweeper hands over smaller ones.
const FULL: usize = 16 * 1024;

/// How a request's answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The last byte was handed over.
    Complete,
    /// The caller left, or upstream's body was cut.
    Cut,
}

/// What one line says. Times in microseconds.
#[derive(Debug)]
pub struct Record {
    pub(super) log: Arc<AccessLog>,
    /// Its place in the audit log, if there is one and it has room.
    pub(super) place: Option<Place>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) started: Instant,
    /// Where its connection comes from.
    pub peer: Peer,
    /// Whose call it is.
    pub principal: Principal,
    /// What the caller got; `None` while undecided.
    pub status: Option<StatusCode>,
    /// The gateway's own error, if the answer is one.
    pub code: Option<&'static str>,
    /// The rule that refused it, or would have.
    pub ruling: Option<Box<Ruling>>,
    /// A rule of the gateway's ended it, not a misfortune.
    pub refused: bool,
    /// Requests sent upstream.
    pub attempts: u32,
    /// Answered without a call of its own.
    pub saved: Option<SavedBy>,
    /// Sent again with a renewed token.
    pub replayed: bool,
    /// Waited for its turn.
    pub queue: Duration,
    /// What its caller has left of the limit: told, not logged.
    pub standing: Option<Standing>,
    /// Waited for a token.
    pub token: Duration,
    /// From the last request's start to its answer's head.
    pub upstream: Duration,
    /// Of the answer's body.
    pub bytes: u64,
    /// Ours, told to the caller too.
    pub request_id: HeaderValue,
    /// Upstream's.
    pub correlation_id: Option<HeaderValue>,
    /// How it ended.
    pub end: End,
    /// The audit log has its line.
    settled: bool,
    /// What becomes spans. Boxed: few calls have one.
    pub(super) trace: Option<Box<Trace>>,
}

/// What a rule said of a call.
#[derive(Debug, Serialize)]
pub struct Ruling {
    /// In the operator's own words.
    pub rule: String,
    /// It was let through all the same.
    pub observed: bool,
}

impl Ruling {
    /// Boxed: few calls have one.
    pub fn new(rule: String, observed: bool) -> Option<Box<Self>> {
        Some(Box::new(Self { rule, observed }))
    }
}

impl Record {
    /// A request has come. Boxed: it follows its request through many hands.
    pub fn begin(
        log: &Arc<AccessLog>,
        principal: Principal,
        method: Method,
        uri: Uri,
        request_id: HeaderValue,
    ) -> Box<Self> {
        Box::new(Self {
            log: Arc::clone(log),
            place: log.audit.as_ref().and_then(Audit::reserve),
            method,
            uri,
            started: Instant::now(),
            peer: Peer::Unknown,
            principal,
            status: None,
            code: None,
            ruling: None,
            refused: false,
            attempts: 0,
            saved: None,
            replayed: false,
            queue: Duration::ZERO,
            standing: None,
            token: Duration::ZERO,
            upstream: Duration::ZERO,
            bytes: 0,
            request_id,
            correlation_id: None,
            end: End::Cut,
            settled: false,
            trace: None,
        })
    }

    /// Nothing will change that the audit log tells: it has its line now, and not with the last byte
    /// of an answer that its caller may never take. What waits for a caller would hold a place.
    pub fn settle(&mut self) {
        let place = self.place.take();
        self.log.audit(self, place);
        self.settled = true;
    }

    /// Its method and family, as a line shows them.
    pub fn call(&self) -> String {
        format!("{} {}", self.method, path::family(self.uri.path()))
    }

    /// It cannot be recorded, and what cannot be is not made.
    pub fn must_not_pass(&self) -> bool {
        self.place.is_none() && self.log.audit.as_ref().is_some_and(Audit::refuses)
    }

    /// When it came.
    pub fn started(&self) -> Instant {
        self.started
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.settled {
            self.settle();
        }
        self.log.write(self);
        self.log.observe(self);
        self.leave_trace();
    }
}

/// One worker's lines on their way to the writing thread.
#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    org: Option<Box<str>>,
    names: Names,
    buffer: Mutex<Buffer>,
    /// `None`: `telemetry.access_log` is off.
    writer: Option<Output>,
    audit: Option<Audit>,
    observers: Observers,
}

/// Who else sees how each call ends; nobody, where what is recorded is seen elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Observers {
    /// Counts them.
    pub tally: Option<Arc<Tally>>,
    /// Keeps those that ended in an error.
    pub errors: Option<Arc<Errors>>,
    /// Tells a collector of those that have a trace.
    pub traces: Option<Arc<Traces>>,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    stamp: Stamp,
}

impl AccessLog {
    /// A worker's own, of an organisation that lines name unless it is the first. All workers share
    /// what writes: access lines, if they are on, and the audit log, if there is one.
    pub fn new(
        format: LogFormat,
        org: Option<Box<str>>,
        names: Names,
        (writer, audit): (Option<Output>, Option<Audit>),
        observers: Observers,
    ) -> Arc<Self> {
        Arc::new(Self { format, org, names, buffer: Mutex::default(), writer, audit, observers })
    }

    /// Hands over what there is. The sweeper calls it.
    pub fn flush(&self) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        self.hand_over(&mut buffer);
    }

    pub(super) fn traces(&self) -> Option<&Arc<Traces>> {
        self.observers.traces.as_ref()
    }

    /// What people call one who calls.
    pub(super) fn name(&self, principal: Principal) -> Name<'_> {
        self.names.of(principal)
    }

    /// `None`: the organisation at the top.
    pub(super) fn org(&self) -> Option<&str> {
        self.org.as_deref()
    }

    fn audit(&self, record: &Record, place: Option<Place>) {
        let Some(audit) = &self.audit else { return };
        let caller = self.names.of(record.principal);
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let now = buffer.stamp.now();
        audit.record(now, (self.org.as_deref(), caller), record, place);
    }

    /// Whether or not it is logged.
    fn observe(&self, record: &Record) {
        let Observers { tally, errors, .. } = &self.observers;
        if let Some(tally) = tally {
            tally.count(record);
        }
        let Some(errors) = errors else { return };
        let of = (self.org.as_deref(), self.names.of(record.principal));
        if let Some(answer) = ErrorAnswer::of(record, of) {
            errors.note(Whose::of(record), answer);
        }
    }

    fn write(&self, record: &Record) {
        if self.writer.is_none() {
            return;
        }
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffer { lines, stamp } = &mut *buffer;
        line::line(lines, stamp.now(), self, record);
        if lines.len() >= FULL {
            self.hand_over(&mut buffer);
        }
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        let Some(writer) = &self.writer else { return };
        if buffer.lines.is_empty() {
            return;
        }
        // Room for the line that makes it full, too.
        writer.send(std::mem::replace(&mut buffer.lines, Vec::with_capacity(FULL + 1024)));
    }
}

/// A header's value, cut: it comes from the network.
pub(super) fn text(value: Option<&HeaderValue>) -> &str {
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("-");
    text.get(..128).unwrap_or(text)
}

#[cfg(test)]
mod tests;
