//! The audit log: a line for each call, in a chain, by a thread of its own.
//! It never makes a worker wait, and never lets a call pass that it promised to record and cannot.
//!
//! A call that may pass has a place: room for its line, taken before it is sent and given back when
//! the line is in the file. So what is under way when a disk fills up gets its line all the same.

mod file;
mod line;
mod writer;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Sender, channel, sync_channel},
    },
    time::Duration,
};

pub use file::Unusable;

use tokio::time::Instant;

use super::{access_log::Record, callers::Name, metrics::Metrics, seldom::Seldom};
use crate::{
    config::{self, OnFailure},
    decide::audit::strangers::Strangers,
};
use writer::{Entry, Message, Writer};

/// Calls under way and lines not yet written, together. A line is some 500 bytes, 3 KiB at most.
const PLACES: usize = 32 * 1024;

/// A handle on the log. Clones share it.
#[derive(Debug, Clone)]
pub struct Audit {
    queue: Sender<Message>,
    state: Arc<State>,
}

/// What workers and the writing thread tell each other.
#[derive(Debug)]
struct State {
    on_failure: OnFailure,
    /// Places that nobody has.
    free: AtomicUsize,
    /// The last write failed.
    failing: AtomicBool,
    /// Calls without a line that the log has not told of yet.
    lost: AtomicU64,
    /// All of them.
    lost_ever: AtomicU64,
    /// Which calls of strangers have a line.
    strangers: Mutex<Strangers>,
    /// Those that have none and that the log has not told of yet.
    left_out: AtomicU64,
    /// All of them.
    left_out_ever: AtomicU64,
    /// There is no place.
    full: Seldom,
}

/// Room for one line.
#[derive(Debug)]
pub struct Place(Arc<State>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

impl State {
    /// A stranger's call has a line of its own.
    fn passes(&self) -> bool {
        let now = Instant::now().into_std();
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).passes(now)
    }
}

impl Audit {
    /// Opens the log and starts the thread that writes it. A disk that is full already is no error:
    /// it may have room later.
    ///
    /// # Errors
    /// The file cannot be the log, or the system refuses a thread.
    pub fn start(config: &config::Audit) -> Result<Self, Unusable> {
        let (queue, messages) = channel();
        let state = Arc::new(State {
            on_failure: config.on_failure,
            free: AtomicUsize::new(PLACES),
            failing: AtomicBool::default(),
            lost: AtomicU64::default(),
            lost_ever: AtomicU64::default(),
            strangers: Mutex::default(),
            left_out: AtomicU64::default(),
            left_out_ever: AtomicU64::default(),
            full: Seldom::new(),
        });
        let mut writer = Writer::open(config, Arc::clone(&state), messages)?;
        writer.begin();
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(Self { queue, state })
    }

    /// A place for a call's line, if there is one; and if the log works, or calls go on without.
    pub fn reserve(&self) -> Option<Place> {
        let state = &self.state;
        if self.refuses() && self.failing() {
            return None;
        }
        let take = |free: usize| free.checked_sub(1);
        if state.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            if let Some(left_out) = state.full.say(Instant::now()) {
                let calls = if self.refuses() { "are refused" } else { "go on without a line" };
                tracing::warn!(left_out, "the audit log has no place for more: calls {calls}");
            }
            return None;
        }
        Some(Place(Arc::clone(state)))
    }

    /// Calls without a place must not be made.
    pub fn refuses(&self) -> bool {
        self.state.on_failure == OnFailure::Refuse
    }

    /// The last write failed; the next try comes by itself.
    pub fn failing(&self) -> bool {
        self.state.failing.load(Ordering::Relaxed)
    }

    /// Calls without a line, since the start.
    pub fn lost(&self) -> u64 {
        self.state.lost_ever.load(Ordering::Relaxed)
    }

    /// How it does, for `/metrics`.
    pub fn measure(&self, metrics: &Metrics) {
        let state = &self.state;
        let left_out = state.left_out_ever.load(Ordering::Relaxed);
        let free = state.free.load(Ordering::Relaxed) as u64;
        metrics.audit(self.failing(), [self.lost(), left_out, free]);
    }

    /// A call has ended: `whose`, an organisation's unless it is the first, and its caller's.
    pub fn record(
        &self,
        now: &str,
        whose: (Option<&str>, Name<'_>),
        record: &Record,
        place: Option<Place>,
    ) {
        let Some(place) = place else {
            self.state.lost_ever.fetch_add(1, Ordering::Relaxed);
            if self.state.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                // The thread ends after the last worker.
                let _ = self.queue.send(Message::Lost);
            }
            return;
        };
        if line::is_a_strangers(record) && !self.state.passes() {
            self.state.left_out_ever.fetch_add(1, Ordering::Relaxed);
            if self.state.left_out.fetch_add(1, Ordering::Relaxed) == 0 {
                let _ = self.queue.send(Message::LeftOut);
            }
            return;
        }
        let entry = Entry { told: line::call(now, whose, record), _place: Some(place) };
        let _ = self.queue.send(Message::Entry(entry));
    }

    /// Writes the last line, after all that workers have sent, and waits for it, `patience` at most.
    /// Blocks its thread.
    pub fn end(&self, patience: Duration) {
        let (done, written) = sync_channel(1);
        let sent = self.queue.send(Message::End(done)).is_ok();
        if !sent || written.recv_timeout(patience).is_err() {
            tracing::error!("the audit log was not finished: its disk does not answer");
        }
    }
}

#[cfg(test)]
mod tests;
