//! How soon a caller wants a call answered, among its own (RFC 9218).
//! It never ranks one caller above another: any caller may write what it likes.

use std::fmt;

use super::bytes::outside_quotes;

/// From 0, at once, to 7, whenever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Urgency(u8);

impl Default for Urgency {
    /// RFC 9218 section 4.1.
    fn default() -> Self {
        Self(3)
    }
}

impl Urgency {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// Of a `Priority` line: the `u` of its dictionary, the last one if it is there twice. What is
    /// no urgency is none (RFC 9218 section 4).
    pub fn of(line: &str) -> Option<Self> {
        let key = |item: &str| item.split(['=', ';']).next() == Some("u");
        let items = outside_quotes(line, b',').map(str::trim);
        let value = items.filter(|item| key(item)).last()?.strip_prefix("u=")?;
        let number: i8 = value.split(';').next().filter(|n| !n.starts_with('+'))?.parse().ok()?;
        u8::try_from(number).ok().filter(|number| *number < 8).map(Self)
    }

    /// More urgent than a call that says nothing: it may use `rate_limit.reserve`.
    pub fn is_urgent(self) -> bool {
        self < Self::default()
    }

    /// From 0.
    pub fn number(self) -> usize {
        self.0.into()
    }
}

impl fmt::Display for Urgency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_the_rfc_writes_it_and_nonsense_is_the_default() {
        for (line, expected) in [
            ("u=0", Some(0)),
            ("u=5, i", Some(5)),
            ("i, u=7", Some(7)),
            ("u=1, u=2", Some(2)),
            ("u=1;x=y", Some(1)),
            ("u=007", Some(7)),
            ("a=\"b, u=0;\", u=6", Some(6)),
            ("a=\"b, u=0\"", None),
            ("u=1, u=9", None),
            ("u=1, u", None),
            ("u=+1", None),
            ("u=\"1\"", None),
            ("u=8", None),
            ("u=-1", None),
            ("u=1.5", None),
            ("u", None),
            ("U=1", None),
            ("", None),
        ] {
            assert_eq!(Urgency::of(line), expected.map(Urgency), "{line:?}");
        }
        assert!(Urgency(2).is_urgent() && !Urgency::default().is_urgent());
    }
}
