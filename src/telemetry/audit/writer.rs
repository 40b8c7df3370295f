//! The thread that writes the audit log: lines into the chain, the chain into the file.
//! It never drops a line that has a place, and never gives up: a disk may have room again.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::{
    Place, State,
    file::{Log, Unusable},
    line,
};
use crate::{
    config::{self, OnFailure},
    decide::audit::{Head, Seal},
    telemetry::stamp::Stamp,
};

/// Of one write.
const BATCH: usize = 32 * 1024;
/// Lines of calls that end together are written together: it is the waking that costs.
const GATHER: Duration = Duration::from_millis(2);
/// Calls that have no line each are told of together.
const TOGETHER: Duration = Duration::from_secs(1);
/// After a failure.
const AGAIN: Duration = Duration::from_millis(250);
/// How often the newest hash is told where the file's writer cannot change it.
const ANCHOR: Duration = Duration::from_hours(1);
/// While nothing can be written, how often that is said.
const COMPLAIN: Duration = Duration::from_mins(1);

/// A line to be.
#[derive(Debug)]
pub(super) struct Entry {
    /// What it tells.
    pub told: Vec<u8>,
    /// Given back when it is written.
    pub _place: Option<Place>,
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A call has ended.
    Entry(Entry),
    /// There are calls without a line.
    Lost,
    /// There are calls that are only counted.
    LeftOut,
    /// It is over.
    End(SyncSender<()>),
}

/// The thread's own.
pub(super) struct Writer {
    log: Log,
    seal: Seal,
    sync: Duration,
    state: Arc<State>,
    messages: Receiver<Message>,
    waiting: VecDeque<Entry>,
    stamp: Stamp,
    /// Since when lines are written that a power cut would take.
    unsafe_since: Option<Instant>,
    /// The last write failed; when the next is tried.
    again: Option<Instant>,
    /// When that is said next.
    complain: Instant,
    /// When those that are only counted are told of next.
    together: Option<Instant>,
    /// When the newest hash is told next.
    anchor: Instant,
    /// The line that was told last.
    anchored: u64,
}

impl Writer {
    pub(super) fn open(
        config: &config::Audit,
        state: Arc<State>,
        messages: Receiver<Message>,
    ) -> Result<Self, Unusable> {
        let seal = match &config.key {
            Some(key) => Seal::keyed(key.expose_secret().as_bytes()),
            None => Seal::Plain,
        };
        let log = Log::open(&config.file, config.max_size, &seal)?;
        Ok(Self {
            log,
            seal,
            sync: config.sync,
            state,
            messages,
            waiting: VecDeque::new(),
            stamp: Stamp::default(),
            unsafe_since: None,
            again: None,
            complain: Instant::now(),
            together: None,
            anchor: Instant::now() + ANCHOR,
            anchored: 0,
        })
    }

    /// The first line.
    pub(super) fn begin(&mut self) {
        if self.log.cut > 0 {
            let bytes = self.log.cut;
            tracing::warn!(bytes, "half a line at the end of the audit log was cut off: a crash");
        }
        let told = line::started(self.stamp.now(), self.seal.word(), self.log.cut);
        self.waiting.push_back(Entry { told, _place: None });
        self.write();
        self.tell("the audit log begins");
    }

    /// Until it is over.
    pub(super) fn run(mut self) {
        loop {
            let mut end = match self.messages.recv_timeout(self.due()) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            };
            if self.again.is_none() && (!self.waiting.is_empty() || self.lost() > 0) {
                std::thread::sleep(GATHER);
                while let Ok(message) = self.messages.try_recv() {
                    end = self.take(message).or(end);
                }
                self.write();
            }
            if let Some(done) = end {
                self.end();
                // Whoever waited may have given up.
                let _ = done.try_send(());
                return;
            }
            self.late();
        }
    }

    fn take(&mut self, message: Message) -> Option<SyncSender<()>> {
        match message {
            Message::Entry(entry) => self.waiting.push_back(entry),
            // It is counted where everybody sees it.
            Message::Lost => {}
            Message::LeftOut => {
                self.together.get_or_insert_with(|| Instant::now() + TOGETHER);
            }
            Message::End(done) => return Some(done),
        }
        None
    }

    fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }

    /// How long there is nothing to do but to listen.
    fn due(&self) -> Duration {
        let safe = self.unsafe_since.map(|since| since + self.sync);
        let due = match self.again {
            Some(again) => again,
            None => [safe, self.together].into_iter().flatten().fold(self.anchor, Instant::min),
        };
        due.saturating_duration_since(Instant::now())
    }

    /// What is due by the clock.
    fn late(&mut self) {
        let now = Instant::now();
        let unsafe_for_long = self.unsafe_since.is_some_and(|since| since + self.sync <= now);
        if let Some(again) = self.again {
            if again <= now {
                self.write();
            }
        } else if self.together.is_some_and(|at| at <= now) {
            self.tell_left_out();
            self.write();
        } else if unsafe_for_long && let Err(error) = self.make_safe() {
            self.failed(&error);
        }
        if self.anchor <= now {
            self.anchor = now + ANCHOR;
            if self.log.head.seq != self.anchored {
                self.tell("the audit log goes on");
            }
        }
    }

    /// Writes all that waits, and says so when that begins or ceases to work.
    fn write(&mut self) {
        match self.try_to_write() {
            Ok(()) if self.again.take().is_some() => {
                self.state.failing.store(false, Ordering::Relaxed);
                let seq = self.log.head.seq;
                tracing::warn!(seq, "the audit log can be written again");
            }
            Ok(()) => {}
            Err(error) => self.failed(&error),
        }
    }

    fn try_to_write(&mut self) -> Result<(), Unusable> {
        let mut lines = Vec::with_capacity(BATCH);
        while !self.waiting.is_empty() {
            lines.clear();
            let (mut head, mut count) = (self.log.head, 0);
            for entry in &self.waiting {
                if lines.len() >= BATCH {
                    break;
                }
                head = head.append(&entry.told, &self.seal, &mut lines);
                count += 1;
            }
            self.append(&lines, head)?;
            self.waiting.drain(..count);
        }
        let lost = self.lost();
        if lost > 0 {
            lines.clear();
            let refused = self.state.on_failure == OnFailure::Refuse;
            let told = line::lost(self.stamp.now(), lost, refused);
            let head = self.log.head.append(&told, &self.seal, &mut lines);
            self.append(&lines, head)?;
            self.state.lost.fetch_sub(lost, Ordering::Relaxed);
        }
        // A disk that could not keep what it had must first show that it can.
        if self.sync.is_zero() || self.again.is_some() {
            self.make_safe()?;
        }
        Ok(())
    }

    fn append(&mut self, lines: &[u8], head: Head) -> Result<(), Unusable> {
        self.log.append(lines, head)?;
        self.unsafe_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn make_safe(&mut self) -> Result<(), Unusable> {
        if self.unsafe_since.is_some() {
            self.log.sync()?;
            self.unsafe_since = None;
        }
        Ok(())
    }

    fn failed(&mut self, error: &Unusable) {
        let now = Instant::now();
        self.state.failing.store(true, Ordering::Relaxed);
        if self.again.is_none() || self.complain <= now {
            self.complain = now + COMPLAIN;
            let (waiting, calls) = match self.state.on_failure {
                OnFailure::Refuse => (self.waiting.len(), "are refused until it can"),
                OnFailure::Continue => (self.waiting.len(), "go on, and may have no line"),
            };
            tracing::error!(%error, waiting, "the audit log cannot be written: calls {calls}");
        }
        self.again = Some(now + AGAIN);
    }

    /// One line for all that have none.
    fn tell_left_out(&mut self) {
        self.together = None;
        let calls = self.state.left_out.swap(0, Ordering::Relaxed);
        if calls > 0 {
            let told = line::left_out(self.stamp.now(), calls);
            self.waiting.push_back(Entry { told, _place: None });
        }
    }

    /// The last line.
    fn end(&mut self) {
        self.tell_left_out();
        self.write();
        if self.again.is_none() {
            let told = line::stopped(self.stamp.now());
            self.waiting.push_back(Entry { told, _place: None });
            self.write();
        }
        if let Err(error) = self.make_safe() {
            self.failed(&error);
        }
        if self.again.is_some() {
            let (lines, lost) = (self.waiting.len(), self.lost());
            tracing::error!(lines, lost, "the end of the audit log could not be written");
        }
        self.tell("the audit log ends");
    }

    /// Where the log is, for whoever compares it one day with what the file says.
    fn tell(&mut self, what: &str) {
        let Head { seq, hash, chain } = self.log.head;
        self.anchored = seq;
        tracing::info!(seq, %hash, chain = chain.map(tracing::field::display), "{what}");
    }
}
