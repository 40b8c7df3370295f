//! How far this machine's clock is from the token endpoint's, and whether that is worth a word.
//! It never corrects a clock: lives are counted on the monotonic one, only assertions need the time.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// Assertions live 60 s, and servers grant about as much leeway: half of it is still harmless.
const WORTH_WARNING: u64 = 30;

/// Our clock minus theirs, in whole seconds: positive when ours is ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Seconds ahead.
    pub seconds: i64,
}

impl Skew {
    /// From an answer's `Date`, which its server wrote somewhere between `asked` and `answered`:
    /// half-way is off by half the wait at most. `Date` has whole seconds, cut: half of one is added.
    pub fn measured(date: SystemTime, asked: SystemTime, answered: SystemTime) -> Self {
        let wait = answered.duration_since(asked).unwrap_or_default();
        let ours = asked.checked_add(wait / 2).unwrap_or(asked);
        let theirs = date.checked_add(Duration::from_millis(500)).unwrap_or(date);
        let whole = |length: Duration| {
            let rounded = length.as_secs() + u64::from(length.subsec_millis() >= 500);
            i64::try_from(rounded).unwrap_or(i64::MAX)
        };
        let seconds = match ours.duration_since(theirs) {
            Ok(ahead) => whole(ahead),
            Err(behind) => -whole(behind.duration()),
        };
        Self { seconds }
    }

    /// Assertions and the claims of tokens may be refused because of it.
    pub fn worth_warning(self) -> bool {
        self.seconds.unsigned_abs() > WORTH_WARNING
    }
}

/// Which way, by how much, and the fix.
impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.seconds {
            ..0 => "behind",
            0 => return f.write_str("this machine's clock agrees with the token endpoint's"),
            1.. => "ahead of",
        };
        let by = Duration::from_secs(self.seconds.unsigned_abs());
        let by = humantime::format_duration(by);
        write!(f, "this machine's clock is {by} {side} the token endpoint's")?;
        if self.worth_warning() {
            f.write_str(": set it: timedatectl set-ntp true")?;
        }
        Ok(())
    }
}

/// What to say about a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Nothing new.
    Nothing,
    /// It is off now: said once.
    Off,
    /// It is right again.
    Right,
}

/// Once when it goes wrong, once when it is right again.
pub fn say(warned: bool, skew: Skew) -> Say {
    match (warned, skew.worth_warning()) {
        (false, true) => Say::Off,
        (true, false) => Say::Right,
        (true, true) | (false, false) => Say::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn the_middle_of_the_request_is_compared() {
        // Asked at 100 s, answered at 104 s, and theirs said 40 s.
        assert_eq!(Skew::measured(at(40_000), at(100_000), at(104_000)).seconds, 62);
        assert_eq!(Skew::measured(at(200_000), at(100_000), at(104_000)).seconds, -99);
        assert_eq!(Skew::measured(at(100_000), at(100_200), at(100_600)).seconds, 0);
        // Our clock was set back while we waited.
        assert_eq!(Skew::measured(at(10_000), at(100_000), at(10_000)).seconds, 90);
    }

    #[test]
    fn half_a_minute_is_borne_and_more_is_said_with_the_fix() {
        for (seconds, worth) in [(30, false), (31, true), (-30, false), (-31, true), (0, false)] {
            let skew = Skew { seconds };
            assert_eq!(skew.worth_warning(), worth, "{seconds}");
            assert_eq!(skew.to_string().contains("timedatectl set-ntp true"), worth);
        }
        assert!(Skew { seconds: 95 }.to_string().contains("1m 35s ahead of"));
        assert!(Skew { seconds: -95 }.to_string().contains("1m 35s behind"));
    }

    #[test]
    fn a_wrong_clock_is_said_once_until_it_is_right_again() {
        let (off, right) = (Skew { seconds: 600 }, Skew { seconds: 1 });
        assert_eq!(say(false, off), Say::Off);
        assert_eq!(say(true, off), Say::Nothing);
        assert_eq!(say(true, right), Say::Right);
        assert_eq!(say(false, right), Say::Nothing);
    }

    proptest! {
        #[test]
        fn no_clock_panics(date in any::<u32>(), asked in any::<u32>(), answered in any::<u32>()) {
            let at = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
            let skew = Skew::measured(at(date), at(asked), at(answered));
            let middle = i64::midpoint(asked.into(), answered.max(asked).into());
            prop_assert!((skew.seconds - (middle - i64::from(date))).abs() <= 1);
        }
    }
}
