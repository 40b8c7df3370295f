//! A token of the gateway's own that says itself whose it is: what stands in it, and whether it is good.
//! It never seals or opens one, and never knows a caller's name.

use std::time::Duration;

/// What tells a caller, with the key that it logged in with: 32 hex digits of a keyed digest.
pub type Whose = [u8; 32];

/// Of a ticket, before it is sealed.
pub const TICKET_BYTES: usize = 32 + 8 + 8;

/// A use is told the others when so much of `login_idle` has passed since the last one that was told.
const TOLD_PART: u32 = 10;
/// How often it is looked whether there is something to tell: a shorter `login_idle`, more often.
const LOOK_PART: u32 = 20;
/// And this often at least.
const LOOK: Duration = Duration::from_secs(30);
/// So much of `login_idle` a use may be known late by: what is told seldom, and on its way.
const LATE_PART: u32 = 5;

/// What stands in a token, for replicas that have never seen it. Times are since 1970, by the clock of
/// who issued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The caller's.
    pub whose: Whose,
    /// When it was issued.
    pub issued: Duration,
    /// When it ends.
    pub ends: Duration,
}

/// What the store knows of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Nothing, or the store did not answer.
    Nothing,
    /// It was used, so long ago.
    Used(Duration),
    /// It was revoked.
    Revoked,
}

/// Whether an authentic token in its time is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Good,
    /// It was not used for too long.
    Idle,
    /// It was revoked.
    Revoked,
}

impl Ticket {
    /// As it is sealed.
    pub fn write(&self) -> [u8; TICKET_BYTES] {
        let mut bytes = [0; TICKET_BYTES];
        let times = [self.issued, self.ends].map(|time| millis(time).to_be_bytes());
        let all = self.whose.iter().chain(times.iter().flatten());
        bytes.iter_mut().zip(all).for_each(|(place, byte)| *place = *byte);
        bytes
    }

    /// What was sealed.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (whose, rest) = bytes.split_first_chunk()?;
        let (issued, rest) = rest.split_first_chunk()?;
        let (ends, []) = rest.split_first_chunk()? else { return None };
        let [issued, ends] =
            [issued, ends].map(|time| Duration::from_millis(u64::from_be_bytes(*time)));
        Some(Self { whose: *whose, issued, ends })
    }

    /// How long it lives yet, by this replica's clock, where a login lasts `life`: another replica may
    /// have been told of a longer one. `None`: it is over.
    pub fn left(&self, now: Duration, life: Duration) -> Option<Duration> {
        // Its clock may be ahead of ours.
        let age = now.saturating_sub(self.issued);
        let left = self.ends.saturating_sub(now).min(life.saturating_sub(age)).min(life);
        (!left.is_zero()).then_some(left)
    }
}

/// Whether it is good. Of what nobody told, the store may have lost it: it is authentic all the same.
pub fn judge(record: Record, idle: Duration) -> Verdict {
    match record {
        Record::Revoked => Verdict::Revoked,
        Record::Used(ago) if ago >= idle + idle / LATE_PART => Verdict::Idle,
        Record::Used(_) | Record::Nothing => Verdict::Good,
    }
}

/// Whether a use is worth telling; `told`: the last one that was.
pub fn worth_telling(used: Duration, told: Option<Duration>, idle: Duration) -> bool {
    told.is_none_or(|told| used.saturating_sub(told) >= idle / TOLD_PART)
}

/// How often it is looked whether there is something to tell.
pub fn look_every(idle: Duration) -> Duration {
    (idle / LOOK_PART).min(LOOK)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ticket(issued: Duration, ends: Duration) -> Ticket {
        Ticket { whose: [b'a'; 32], issued, ends }
    }

    #[test]
    fn a_token_lives_as_long_as_the_stricter_of_both_replicas_says() {
        let ticket = ticket(100 * HOUR, 124 * HOUR);
        for (now, life, left) in [
            (100, 24, Some(24)),
            (123, 24, Some(1)),
            (124, 24, None),
            (200, 24, None),
            (101, 2, Some(1)),
            (102, 2, None),
            (101, 48, Some(23)),
            // The clock of who issued it is ahead.
            (99, 24, Some(24)),
        ] {
            assert_eq!(ticket.left(now * HOUR, life * HOUR), left.map(|left| left * HOUR), "{now}");
        }
    }

    #[test]
    fn only_what_the_store_knows_of_a_token_ends_it_before_its_time() {
        assert_eq!(judge(Record::Nothing, HOUR), Verdict::Good);
        assert_eq!(judge(Record::Revoked, HOUR), Verdict::Revoked);
        assert_eq!(judge(Record::Used(Duration::ZERO), HOUR), Verdict::Good);
        assert_eq!(judge(Record::Used(2 * HOUR), HOUR), Verdict::Idle);
    }

    #[test]
    fn a_use_that_is_told_as_late_as_may_be_is_in_time() {
        // Used at the very end, told before that as late as it was not worth telling again, and looked
        // for just when it was looked whether to tell.
        let told = HOUR / TOLD_PART + look_every(HOUR);
        assert_eq!(judge(Record::Used(HOUR + told), HOUR), Verdict::Good);
        assert!(look_every(24 * HOUR) <= LOOK && look_every(HOUR / 60) <= HOUR / 60 / TOLD_PART);
    }

    #[test]
    fn a_token_in_use_is_told_of_ten_times_in_its_idle_time_and_no_more_often() {
        assert!(worth_telling(HOUR, None, HOUR));
        let (mut told, mut times) = (HOUR, 0);
        for second in 0..3600 {
            let used = HOUR + Duration::from_secs(second);
            if worth_telling(used, Some(told), HOUR) {
                (told, times) = (used, times + 1);
            }
        }
        assert_eq!(times, 9);
    }

    proptest! {
        #[test]
        fn a_ticket_is_read_as_it_was_written_and_nothing_else_is_one(
            whose in any::<[u8; 32]>(),
            issued in 0..u64::MAX,
            ends in 0..u64::MAX,
            other in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let [issued, ends] = [issued, ends].map(Duration::from_millis);
            let ticket = Ticket { whose, issued, ends };
            prop_assert_eq!(Ticket::read(&ticket.write()), Some(ticket));
            prop_assert_eq!(Ticket::read(&other).is_some(), other.len() == TICKET_BYTES);
        }
    }
}
