//! When a replica asks the store: as often as it must be heard, and at once when something is off.
//! It never asks twice in a moment, and asks less often when that changes nothing.

use std::time::{Duration, Instant};

use super::HEARTBEAT;

/// Between two questions of which each changed something.
const LEAST: Duration = Duration::from_millis(10);
/// Between two of which none did, while something is off.
const MOST: Duration = Duration::from_millis(100);

/// When the last question was answered, and how soon the next one may be asked.
#[derive(Debug, Clone)]
pub struct Rhythm {
    asked: Option<Instant>,
    pause: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { asked: None, pause: LEAST }
    }
}

impl Rhythm {
    /// When to ask next; `off`: something should be otherwise.
    pub fn next(&self, now: Instant, off: bool) -> Instant {
        let Some(asked) = self.asked else { return now };
        asked + if off { self.pause } else { HEARTBEAT }
    }

    /// A question has been answered, or not.
    pub fn asked(&mut self, now: Instant, changed: bool) {
        self.asked = Some(now);
        self.pause = if changed { LEAST } else { (self.pause * 2).min(MOST) };
    }
}
