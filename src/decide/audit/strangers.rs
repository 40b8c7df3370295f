//! How many lines of the audit log callers that nobody knows may have: as many as they like costs a
//! disk.
//! It never counts a call that was sent, nor one of a caller with a name: those have their lines.

use std::time::{Duration, Instant};

/// Between two lines, in the long run.
const EACH: Duration = Duration::from_millis(100);
/// At once, after a pause: what somebody tries out is told whole.
const AT_ONCE: u32 = 100;

/// A bucket that leaks a line every tenth of a second.
#[derive(Debug, Default)]
pub struct Strangers {
    /// When it is empty.
    empty_at: Option<Instant>,
}

impl Strangers {
    /// Whether the next one has its line.
    pub fn passes(&mut self, now: Instant) -> bool {
        let empty_at = self.empty_at.map_or(now, |at| at.max(now));
        let passes = empty_at.saturating_duration_since(now) <= EACH * (AT_ONCE - 1);
        if passes {
            self.empty_at = Some(empty_at + EACH);
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    #[test]
    fn a_hundred_have_a_line_at_once_and_then_ten_a_second_however_many_come() {
        let (mut strangers, begun) = (Strangers::default(), t0());
        let mut passed =
            |after: Duration| (0..1000).filter(|_| strangers.passes(begun + after)).count();
        assert_eq!(passed(Duration::ZERO), 100);
        assert_eq!(passed(EACH / 2), 0);
        assert_eq!([1, 2, 3].map(|s| passed(Duration::from_secs(s))), [10; 3]);
        assert_eq!(passed(Duration::from_mins(5)), 100, "and no more after a long silence");
    }
}
