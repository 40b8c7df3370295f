//! A limit that somebody else uses, too: how much of it is left for us.
//! It never goes above the limit that was configured.
//!
//! Upstream tells nothing but 429. When it comes below our own count, others use the rest: what we
//! had by then is what we may expect. After a while of peace the estimate grows again, because the
//! others may have gone; growing into a 429 costs a call that is sent once more, so whoever stays is
//! tried less and less often.

use std::time::{Duration, Instant};

/// Windows of peace before the first growth.
const FIRST_HOLD: u32 = 1;
/// And when the others turn out to be there still, again and again.
const LONGEST_HOLD: u32 = 8;
/// Growth in a window, as a share of the limit: a twentieth.
const STEPS: u32 = 20;

/// The estimate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bend {
    low: Option<Low>,
}

#[derive(Debug, Clone, Copy)]
struct Low {
    estimate: u32,
    /// When the pause ends that the 429 called for.
    resumes: Instant,
    hold: u32,
}

impl Bend {
    /// How many of `full` calls in a `window` may be ours.
    pub fn limit(&self, full: u32, window: Duration, now: Instant) -> u32 {
        let Some(low) = self.low else { return full };
        let peace =
            now.saturating_duration_since(low.resumes).as_nanos() / window.as_nanos().max(1);
        let grown = u32::try_from(peace).unwrap_or(u32::MAX).saturating_sub(low.hold);
        low.estimate.saturating_add(grown.saturating_mul(step(full))).clamp(1, full)
    }

    /// Upstream said 429 after `used` of our calls, and will take more when it `resumes`.
    pub fn limited(
        &mut self,
        used: u32,
        (full, window): (u32, Duration),
        (now, resumes): (Instant, Instant),
    ) {
        // One 429 may be an accident, or of another kind: it costs half at most.
        let limit = self.limit(full, window, now);
        let used = used.max(limit / 2).max(step(full));
        let bent = limit < full;
        self.low = Some(match self.low {
            // Of those that were on their way at the first 429.
            Some(low) if now < low.resumes => {
                Low { estimate: low.estimate.min(used), resumes: low.resumes.max(resumes), ..low }
            }
            Some(low) if bent => {
                Low { estimate: used, resumes, hold: (low.hold * 2).min(LONGEST_HOLD) }
            }
            Some(_) | None => Low { estimate: used, resumes, hold: FIRST_HOLD },
        });
    }

    /// Forgets it: upstream counts from nothing.
    pub fn forget(&mut self) {
        self.low = None;
    }
}

fn step(full: u32) -> u32 {
    (full / STEPS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn it_bends_to_what_was_ours_holds_and_grows_back_to_the_limit() {
        let (now, mut bend) = (t0(), Bend::default());
        assert_eq!(bend.limit(300, WINDOW, now), 300);
        let resumes = now + WINDOW / 4;
        bend.limited(240, (300, WINDOW), (now, resumes));
        let after = |windows: u32| bend.limit(300, WINDOW, resumes + WINDOW * windows);
        assert_eq!([0, 1, 2, 3, 5, 9].map(after), [240, 240, 255, 270, 300, 300]);
    }

    #[test]
    fn calls_on_their_way_at_the_first_429_are_one_lesson() {
        let (now, mut bend) = (t0(), Bend::default());
        let resumes = now + WINDOW / 4;
        bend.limited(240, (300, WINDOW), (now, resumes));
        bend.limited(238, (300, WINDOW), (now + WINDOW / 100, resumes));
        bend.limited(250, (300, WINDOW), (now + WINDOW / 100, resumes));
        assert_eq!(bend.limit(300, WINDOW, resumes + WINDOW), 238);
        assert_eq!(bend.limit(300, WINDOW, resumes + WINDOW * 2), 253, "held for one window");
    }

    #[test]
    fn who_stays_is_tried_less_and_less_often() {
        let (mut now, mut bend) = (t0(), Bend::default());
        let mut tried = Vec::new();
        for _ in 0..6 {
            bend.limited(240, (300, WINDOW), (now, now));
            let mut windows = 0;
            while bend.limit(300, WINDOW, now + WINDOW * windows) <= 240 {
                windows += 1;
            }
            tried.push(windows);
            now += WINDOW * windows;
        }
        assert_eq!(tried, [2, 3, 5, 9, 9, 9]);
    }

    #[test]
    fn it_never_closes_and_never_exceeds_the_limit() {
        let (now, mut bend) = (t0(), Bend::default());
        bend.limited(0, (1, WINDOW), (now, now));
        assert_eq!(bend.limit(1, WINDOW, now), 1);
        bend.forget();
        let lessons = [0; 6].map(|used| {
            bend.limited(used, (300, WINDOW), (now, now));
            bend.limit(300, WINDOW, now)
        });
        assert_eq!(
            lessons,
            [150, 75, 37, 18, 15, 15],
            "half each, and a twentieth is always tried"
        );
        bend.limited(900, (300, WINDOW), (now, now));
        assert_eq!(bend.limit(300, WINDOW, now), 300);
    }
}
