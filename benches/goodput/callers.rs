//! Who calls, how often, and what they do when they are told to come back.
//! They never know of one another.

use std::time::{Duration, Instant};

use crate::upstream::{LIMIT, WINDOW};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Eight callers at random times, each an eighth of the load.
    Equal,
    /// One with nine tenths of the load, and one with a call every five seconds.
    Greedy,
    /// Four that make all of a minute's calls at once, and four that make as many at random times.
    Bursty,
    /// Eight equal ones, and for a while a program outside with the same token.
    Outsider,
}

impl Mix {
    /// All.
    pub const ALL: [Self; 4] = [Self::Equal, Self::Greedy, Self::Bursty, Self::Outsider];

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Greedy => "greedy",
            Self::Bursty => "bursty",
            Self::Outsider => "outsider",
        }
    }

    /// The callers at `load` times upstream's allowance.
    pub fn callers(self, load: f64, random: &mut fastrand::Rng) -> Vec<Habit> {
        let minute = f64::from(LIMIT) * load;
        match self {
            Self::Equal | Self::Outsider => vec![Habit::random(minute / 8.0); 8],
            Self::Greedy => vec![Habit::random(minute * 0.9), Habit::Steady(POLITE)],
            Self::Bursty => {
                let share = minute / 8.0;
                let mut callers = vec![Habit::random(share); 8];
                for caller in callers.iter_mut().take(4) {
                    let phase = WINDOW.mul_f64(random.f64());
                    // What a share is over a whole number of calls comes with the next burst.
                    *caller = Habit::AtOnce { each: share, phase, owed: 0.0 };
                }
                callers
            }
        }
    }

    /// The callers whose waits are looked at: the polite one, or those that do not burst.
    pub fn is_watched(self, caller: usize) -> bool {
        match self {
            Self::Equal | Self::Outsider => true,
            Self::Greedy => caller == 1,
            Self::Bursty => caller >= 4,
        }
    }
}

/// Between two calls of the polite caller.
pub const POLITE: Duration = Duration::from_secs(5);

/// When a caller calls.
#[derive(Debug, Clone, Copy)]
pub enum Habit {
    /// At random times (a Poisson process), this long apart on average.
    Random(Duration),
    /// This long apart, give or take a tenth.
    Steady(Duration),
    /// All of a minute's calls at once.
    AtOnce {
        /// How many in a minute.
        each: f64,
        /// When in the minute.
        phase: Duration,
        /// The part of a call that is left over.
        owed: f64,
    },
}

impl Habit {
    /// So many in a minute.
    pub fn random(minute: f64) -> Self {
        Self::Random(WINDOW.div_f64(minute))
    }

    /// How many calls come now, and when the next come.
    pub fn call(&mut self, now: Instant, random: &mut fastrand::Rng) -> (u32, Instant) {
        match self {
            Self::Random(apart) => (1, now + exponential(*apart, random)),
            Self::Steady(apart) => (1, now + apart.mul_f64(0.9 + 0.2 * random.f64())),
            Self::AtOnce { each, owed, .. } => {
                *owed += *each;
                let calls = owed.floor();
                *owed -= calls;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "some hundreds"
                )]
                let calls = calls as u32;
                (calls, now + WINDOW)
            }
        }
    }

    /// When it calls first.
    pub fn first(&self, start: Instant, random: &mut fastrand::Rng) -> Instant {
        match self {
            Self::Random(apart) => start + exponential(*apart, random),
            Self::Steady(apart) => start + apart.mul_f64(random.f64()),
            Self::AtOnce { phase, .. } => start + *phase,
        }
    }
}

/// A time between two events that know nothing of each other.
pub fn exponential(mean: Duration, random: &mut fastrand::Rng) -> Duration {
    mean.mul_f64(-(1.0 - random.f64()).ln())
}

/// What a caller does about a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Comes back exactly when it was told to, up to ten times: the SDK for Python.
    Obeys,
    /// Never comes back: the SDK for JavaScript.
    Leaves,
}

impl Manner {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Obeys, Self::Leaves];
    /// How often the SDK for Python comes back.
    const TIMES: u32 = 10;

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Obeys => "obeys",
            Self::Leaves => "leaves",
        }
    }

    /// Whether it comes back once more.
    pub fn returns(self, returned: u32) -> bool {
        match self {
            Self::Obeys => returned < Self::TIMES,
            Self::Leaves => false,
        }
    }
}
