//! What may stand between callers and upstream: the gateway's own turns, and what they are compared
//! with.
//! They never see upstream's window: all that they learn is in its answers.

mod bucket;
mod direct;
mod fifo;
mod ours;

use std::time::{Duration, Instant};

pub use bucket::Bucket;
pub use direct::Direct;
pub use fifo::Fifo;
pub use ours::Ours;

/// How long a call waits for its turn: the default of `rate_limit.max_wait`.
pub const MAX_WAIT: Duration = Duration::from_secs(12);
/// The default of `rate_limit.max_queue`.
pub const MAX_QUEUE: usize = 1_000;

/// A call by its number.
pub type CallId = usize;

/// A call at the door.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Which.
    pub id: CallId,
    /// Whose.
    pub caller: u16,
    /// Its path family.
    pub family: u64,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// It leaves for upstream.
    Send(CallId),
    /// Its caller gets a 429 with this Retry-After.
    Refuse(CallId, Duration),
}

/// What stands between.
pub trait Policy {
    /// A call comes.
    fn arrive(&mut self, now: Instant, asked: Asked, steps: &mut Vec<Step>);

    /// Upstream answered 429 to a call.
    fn refused(&mut self, now: Instant, id: CallId, retry_after: Duration, steps: &mut Vec<Step>);

    /// Upstream answered a call.
    fn answered(&mut self, _now: Instant, _id: CallId, _steps: &mut Vec<Step>) {}

    /// When it wants to be woken.
    fn next(&self) -> Option<Instant> {
        None
    }

    /// It is that time, or a little later.
    fn wake(&mut self, _now: Instant, _steps: &mut Vec<Step>) {}
}

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `pacing = "burst"`, the default.
    Burst,
    /// `pacing = "even"`.
    Even,
    /// One line in order of arrival.
    Fifo,
    /// A token bucket that holds a window's calls.
    Bucket,
    /// A token bucket that holds a tenth of them.
    SmallBucket,
    /// Calls go to upstream as they come.
    Direct,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Burst, Self::Even, Self::Fifo, Self::Bucket, Self::SmallBucket, Self::Direct];

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Burst => "gateway",
            Self::Even => "gateway-even",
            Self::Fifo => "fifo",
            Self::Bucket => "bucket-300",
            Self::SmallBucket => "bucket-30",
            Self::Direct => "none",
        }
    }

    /// A new one.
    pub fn build(self, now: Instant) -> Box<dyn Policy> {
        match self {
            Self::Burst => Box::new(Ours::new(false, now)),
            Self::Even => Box::new(Ours::new(true, now)),
            Self::Fifo => Box::new(Fifo::new(now)),
            Self::Bucket => Box::new(Bucket::new(300, now)),
            Self::SmallBucket => Box::new(Bucket::new(30, now)),
            Self::Direct => Box::new(Direct),
        }
    }
}
