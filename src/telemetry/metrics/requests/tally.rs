//! What one worker counts of its requests.
//! It never waits for another worker, nor allocates: a request is some ten additions.
//!
//! Only the worker adds, and others only read. So an addition is a load and a store, which costs a tenth
//! of one that locks the bus.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{
    families::{Families, Row},
    histogram::Histogram,
    outcome::{Outcome, Told},
};
use crate::{
    decide::callers::Principal,
    telemetry::{access_log::Record, callers::MOST},
};

const OUTCOMES: usize = Outcome::ALL.len();
const TOLD: usize = Told::ALL.len();
/// 100 to 599.
const STATUSES: usize = 500;

/// How many requests ended so, and were told so.
type Ends = [[AtomicU64; TOLD]; OUTCOMES];

/// Callers that get their room together, when the first of them calls.
const ROOM: usize = 16;

/// One worker's of one organisation.
#[derive(Debug)]
pub struct Tally {
    families: Arc<Families>,
    /// Those with a name, by its place.
    callers: Box<[OnceLock<Box<[Ends; ROOM]>>]>,
    /// All others together.
    pub(super) unnamed: Ends,
    pub(super) by_family: Box<[[AtomicU64; TOLD]]>,
    pub(super) statuses: Box<[AtomicU64]>,
    /// By the code of the gateway's own error. There are some thirty, and this lock is one worker's.
    pub(super) errors: Mutex<Vec<(&'static str, u64)>>,
    pub(super) replays: AtomicU64,
    pub(super) durations: [Histogram; OUTCOMES],
    pub(super) queue: Histogram,
    pub(super) upstream: Histogram,
    pub(super) attempts: Histogram,
}

impl Tally {
    /// With nothing counted.
    pub(super) fn new(families: Arc<Families>) -> Self {
        let rows = families.rows();
        Self {
            families,
            callers: (0..MOST.div_ceil(ROOM)).map(|_| OnceLock::new()).collect(),
            unnamed: Ends::default(),
            by_family: (0..rows).map(|_| Default::default()).collect(),
            statuses: (0..STATUSES).map(|_| AtomicU64::default()).collect(),
            errors: Mutex::default(),
            replays: AtomicU64::default(),
            durations: std::array::from_fn(|_| Histogram::of_times()),
            queue: Histogram::of_times(),
            upstream: Histogram::of_times(),
            attempts: Histogram::of_counts(),
        }
    }

    /// A request is over.
    pub fn count(&self, record: &Record) {
        let (outcome, told) = (Outcome::of(record), Told::of(record.status));
        let caller = self.caller(record.principal);
        add(caller.and_then(|ends| ends.get(outcome as usize)?.get(told as usize)));
        let good = outcome == Outcome::Answered && told == Told::Good;
        let Row(row) = self.families.row(record.uri.path(), good);
        add(self.by_family.get(row).and_then(|row| row.get(told as usize)));
        if let Some(status) = record.status {
            add(usize::from(status.as_u16()).checked_sub(100).and_then(|n| self.statuses.get(n)));
        }
        if let Some(code) = record.code {
            self.failed(code);
        }
        if record.replayed {
            increase(&self.replays, 1);
        }
        if let Some(durations) = self.durations.get(outcome as usize) {
            durations.took(record.started.elapsed());
        }
        if record.attempts > 0 || !record.queue.is_zero() {
            self.queue.took(record.queue);
        }
        if record.attempts > 0 && record.saved.is_none() {
            self.upstream.took(record.upstream);
            self.attempts.count(record.attempts.into());
        }
    }

    fn caller(&self, principal: Principal) -> Option<&Ends> {
        match principal {
            Principal::Named(number) => {
                let number = usize::from(number);
                let room = self.callers.get(number / ROOM)?;
                room.get_or_init(Box::default).get(number % ROOM)
            }
            Principal::Address(_) | Principal::User(_) | Principal::Unknown => Some(&self.unnamed),
        }
    }

    /// Of the caller whose name has this place; `None`: none near it has called here.
    pub(super) fn named(&self, number: usize) -> Option<&Ends> {
        self.callers.get(number / ROOM)?.get()?.get(number % ROOM)
    }

    fn failed(&self, code: &'static str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match errors.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => errors.push((code, 1)),
        }
    }
}

fn add(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        increase(counter, 1);
    }
}

/// Of a number that nobody else changes.
pub(super) fn increase(number: &AtomicU64, by: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}
