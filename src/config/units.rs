//! Durations ("500ms", "12s", "5m", "1h30m") and sizes ("512B", "64KiB", "1MiB"), read and shown.
//! It never guesses: "5M" or "1MB" is an error with a suggestion. (humantime reads "5M" as five
//! months and bytesize reads "1M" as a million bytes; in a proxy's file both are slips.)

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// What people write when they mean one of our duration units.
const DURATION_SLIPS: [(&str, &[&str]); 4] = [
    ("ms", &["msec", "msecs", "milli", "millis", "millisecond", "milliseconds"]),
    ("s", &["sec", "secs", "second", "seconds"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
];
/// What people write when they mean one of our size units; compared in lower case.
const SIZE_SLIPS: [(&str, &[&str]); 4] = [
    ("B", &["b", "byte", "bytes"]),
    ("KiB", &["k", "kb", "kib"]),
    ("MiB", &["m", "mb", "mib"]),
    ("GiB", &["g", "gb", "gib"]),
];

/// Reads a duration: whole numbers, each with its unit, the largest first, nothing between.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let (_, milliseconds) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        if *milliseconds >= smallest {
            return None;
        }
        smallest = *milliseconds;
        total = total.checked_add(number.checked_mul(*milliseconds)?)?;
        rest = after;
    }
    (smallest < u64::MAX).then(|| Duration::from_millis(total))
}

/// Writes a duration the way [`duration`] reads it; less than a millisecond is dropped.
pub(crate) fn show_duration(length: Duration) -> String {
    let mut rest = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let mut part = |(unit, milliseconds): (&str, u64)| {
        let count = rest / milliseconds;
        rest %= milliseconds;
        (count > 0).then(|| format!("{count}{unit}"))
    };
    let shown: String = DURATION_UNITS.into_iter().filter_map(&mut part).collect();
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

/// What was probably meant by something that is not a duration: "5 minutes" → "5m".
pub(super) fn suggest_duration(text: &str) -> Option<String> {
    suggest(text, &DURATION_SLIPS, "s", |meant| duration(meant).is_some())
}

/// Reads a size in bytes: one whole number and its unit.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

/// Writes a size the way [`size`] reads it, in the largest unit that is exact.
pub(crate) fn show_size(bytes: u64) -> String {
    let exact = SIZE_UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    let (name, unit) = exact.copied().unwrap_or(("B", 1));
    format!("{}{name}", bytes / unit)
}

/// What was probably meant by something that is not a size: "1 mb" → "1MiB".
pub(super) fn suggest_size(text: &str) -> Option<String> {
    suggest(text, &SIZE_SLIPS, "B", |meant| size(meant).is_some())
}

fn suggest(
    text: &str,
    slips: &[(&'static str, &[&str])],
    bare: &'static str,
    readable: impl Fn(&str) -> bool,
) -> Option<String> {
    let text = text.trim();
    let (_, unit) = leading_number(text)?;
    let digits = text.strip_suffix(unit)?;
    let unit = unit.trim().to_lowercase();
    let meant = slips
        .iter()
        .find(|(name, slips)| name.to_lowercase() == unit || slips.contains(&unit.as_str()))
        .map(|(name, _)| *name)
        .or(unit.is_empty().then_some(bare))?;
    Some(format!("{digits}{meant}")).filter(|meant| readable(meant))
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("12s", 12_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in ["", "5", "s", "5M", "5 m", "1.5s", "-5s", "5m1h", "5s5s", "5d", "1us", "+5s"] {
            assert_eq!(duration(text), None, "{text:?}");
        }
        for text in ["", "1", "MiB", "1MB", "1M", "1mib", "1 MiB", "1.5MiB", "-1B", "1MiB1B"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(size("512B"), Some(512));
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("1MiB"), Some(1_048_576));
        assert_eq!(size("20000000000GiB"), None);
    }

    #[test]
    fn a_slip_gets_the_spelling_that_works() {
        assert_eq!(suggest_duration("5 minutes").as_deref(), Some("5m"));
        assert_eq!(suggest_duration("12").as_deref(), Some("12s"));
        assert_eq!(suggest_duration("250 MS").as_deref(), Some("250ms"));
        assert_eq!(suggest_duration("1MiB"), None);
        assert_eq!(suggest_size("1mb").as_deref(), Some("1MiB"));
        assert_eq!(suggest_size("64 k").as_deref(), Some("64KiB"));
        assert_eq!(suggest_size("5s"), None);
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(milliseconds in any::<u64>()) {
            let length = Duration::from_millis(milliseconds);
            prop_assert_eq!(duration(&show_duration(length)), Some(length));
        }

        #[test]
        fn a_shown_size_reads_back(bytes in any::<u64>()) {
            prop_assert_eq!(size(&show_size(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC*", number in "[0-9]{0,25} ?[a-zA-Zµ]{0,8}[0-9]{0,3}") {
            for text in [text, number] {
                let _ = (duration(&text), size(&text));
                let suggestions = [suggest_duration(&text), suggest_size(&text)];
                for meant in suggestions.iter().flatten() {
                    prop_assert!(duration(meant).is_some() || size(meant).is_some());
                }
            }
        }
    }
}
