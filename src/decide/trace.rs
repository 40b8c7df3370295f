//! Which trace a call is part of, and whether its spans are kept (W3C Trace Context).
//! It never draws an id.

/// Length of a `traceparent` of version 00.
pub const LENGTH: usize = 55;

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace's id; not 0.
    pub trace: u128,
    /// The span that caused this call; not 0.
    pub span: u64,
    /// Whoever began the trace keeps it.
    pub sampled: bool,
}

impl Context {
    /// `00-<32 hex>-<16 hex>-<2 hex>`, lower case, ids not zero. Versions to come may have more behind a
    /// dash; ff is none (section 3.2 and its "Versioning of traceparent").
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let mut parts = known.split(|&byte| byte == b'-');
        let mut number = |digits| parts.next().filter(|part| part.len() == digits).and_then(hex);
        let (version, trace, span, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
        let known_end = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => matches!(more, [] | [b'-', ..]),
        };
        let span = u64::try_from(span).ok()?;
        let sampled = flags & 1 == 1;
        (known_end && trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The share of traces kept, of those that begin here. It goes by the trace's id, as OpenTelemetry's
/// `TraceIdRatioBased` does: services with the same share keep the same traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio(u64);

impl Ratio {
    /// From 0 (none) to 1 (all).
    pub fn new(share: f64) -> Self {
        const ALL: f64 = 9_223_372_036_854_775_808.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 2^63"
        )]
        Self((share.clamp(0.0, 1.0) * ALL) as u64)
    }

    /// Whether the trace of this id is.
    pub fn keeps(self, trace: u128) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "its last eight bytes count")]
        let last = trace as u64;
        last >> 1 < self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<Context> {
        Context::parse(text.as_bytes())
    }

    #[test]
    fn a_valid_one_says_which_trace_and_whether_it_is_kept() {
        let expected = Context {
            trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span: 0x00f0_67aa_0ba9_02b7,
            sampled: true,
        };
        assert_eq!(parse(VALID), Some(expected));
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let text = format!("{}{flags}", &VALID[..53]);
            assert_eq!(parse(&text), Some(Context { sampled, ..expected }), "{text}");
        }
        let later = format!("cc{}", &VALID[2..]);
        assert_eq!(parse(&later), Some(expected));
        assert_eq!(parse(&format!("{later}-what-comes")), Some(expected));
    }

    #[test]
    fn what_is_not_one_says_nothing() {
        for broken in [
            "",
            "00-0-0-0",
            &VALID[..54],
            &format!("{VALID}-"),
            &format!("{VALID}0"),
            &format!("cc{}.", &VALID[2..]),
            &format!("ff{}", &VALID[2..]),
            &VALID.to_uppercase(),
            &VALID.replace('-', "_"),
            &VALID.replace("4bf9", "4bg9"),
            &VALID.replace("00f067aa0ba902b7", "0000000000000000"),
            &VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_share_is_kept_by_the_last_bytes_of_the_id() {
        assert!(Ratio::new(1.0).keeps(u128::MAX) && !Ratio::new(0.0).keeps(0));
        let half = Ratio::new(0.5);
        assert!(half.keeps(u128::MAX << 64 | u128::from(u64::MAX >> 1)));
        assert!(!half.keeps(u128::from(u64::MAX >> 1) + 1));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), near in "[0-9a-f-]{50,60}") {
            let _ = (Context::parse(&bytes), Context::parse(near.as_bytes()));
        }
    }
}
