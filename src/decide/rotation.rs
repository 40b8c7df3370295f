//! Two client secrets while one follows the other: which is live, and which is tried next.
//! It never sees a secret: whether both hold the same text is a fact that it is told.

/// One of the two secrets of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Which {
    /// `client_secret`
    Current = 0,
    /// `next_client_secret`
    Next = 1,
}

impl Which {
    /// As kept in an atomic.
    pub fn from_number(number: u8) -> Self {
        if number == Self::Next as u8 { Self::Next } else { Self::Current }
    }

    /// The one that is not this one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Current => Self::Next,
            Self::Next => Self::Current,
        }
    }
}

/// How one mint went that was asked for with one of the secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A token came.
    Accepted,
    /// The endpoint does not know a client with this secret.
    ClientRefused,
    /// Anything else: the secret is not to blame, and the other would fare no better.
    Failed,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// What came is the mint's result.
    Done,
    /// What came is the mint's result, and the secret that was tried is the live one now.
    Live,
    /// The other is tried, at once and within the same mint.
    Try(Which),
}

/// After `tried` had this `outcome` while `live` was the live one.
/// At most two tries: the live one first, then the other one.
pub fn then(live: Which, tried: Which, outcome: Outcome, has_other: bool) -> Then {
    match outcome {
        Outcome::Accepted if tried != live => Then::Live,
        Outcome::ClientRefused if tried == live && has_other => Then::Try(live.other()),
        Outcome::Accepted | Outcome::ClientRefused | Outcome::Failed => Then::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Which; 2] = [Which::Current, Which::Next];

    #[test]
    fn the_other_is_tried_when_the_live_one_is_refused_and_only_then() {
        for live in BOTH {
            assert_eq!(then(live, live, Outcome::ClientRefused, true), Then::Try(live.other()));
            assert_eq!(then(live, live, Outcome::ClientRefused, false), Then::Done);
            assert_eq!(then(live, live, Outcome::Failed, true), Then::Done);
            assert_eq!(then(live, live, Outcome::Accepted, true), Then::Done);
        }
    }

    #[test]
    fn the_one_that_worked_is_live_and_nothing_is_tried_a_third_time() {
        for live in BOTH {
            let other = live.other();
            assert_eq!(then(live, other, Outcome::Accepted, true), Then::Live);
            assert_eq!(then(live, other, Outcome::ClientRefused, true), Then::Done);
            assert_eq!(then(live, other, Outcome::Failed, true), Then::Done);
        }
    }

    #[test]
    fn a_number_is_the_secret_it_came_from() {
        for which in BOTH {
            assert_eq!(Which::from_number(which as u8), which);
        }
    }
}
