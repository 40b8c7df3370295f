//! After one try: renew the token, wait and go again, try another connection, or stop, and why.
//! It never allows a second delivery of a call that upstream may have accepted, unless its method
//! is idempotent (RFC 9110 section 9.2.2) or upstream said that it was not processed.

use std::time::{Duration, Instant, SystemTime};

/// What the request allows.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// GET, HEAD, OPTIONS, PUT, DELETE (RFC 9110 section 9.2.2).
    pub idempotent: bool,
    /// Its body can be sent again from the first byte.
    pub replayable: bool,
    /// Until when its caller waits.
    pub deadline: Instant,
}

/// How one try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Upstream answered.
    Answered {
        /// Its status.
        status: u16,
        /// Its `Retry-After`, as a wait from now.
        retry_after: Option<Duration>,
    },
    /// Nothing of the request reached upstream, or HTTP/2 says that it was not processed.
    Unsent,
    /// The connection broke before an answer; `reused` when it had carried calls before.
    Broken {
        /// It may have been closed by upstream while idle.
        reused: bool,
    },
}

/// What was done for this request already.
#[derive(Debug, Clone, Copy, Default)]
pub struct History {
    /// A 401 was answered with a renewal and a replay.
    pub renewed: bool,
    /// Tries on another connection.
    pub moved: u32,
    /// Waits for a 429's end.
    pub requeued: u32,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The caller gets this answer as it is.
    Answer,
    /// 401: renew the token, replay once.
    Renew,
    /// A 401 on a freshly renewed token: renewing did not help, the caller gets it.
    Fruitless,
    /// 429: nothing leaves before `until`, then this request first.
    Requeue {
        /// The end of upstream's pause.
        until: Instant,
    },
    /// 429: nothing leaves before `until`, and this caller cannot wait so long.
    HandOn {
        /// The end of upstream's pause.
        until: Instant,
    },
    /// Once more, on another connection.
    Again,
    /// The caller gets our own error.
    Fail,
}

/// Upstream's pause when it names none: Genesys's documented schedule.
const DEFAULT_PAUSE: Duration = Duration::from_secs(3);
/// The shortest pause: "0" and dates in the past must not make us spin.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Connections tried for one request that never left.
const MAX_MOVES: u32 = 3;

/// The rule.
pub fn next(
    outcome: Outcome,
    facts: Facts,
    history: History,
    now: Instant,
    max_retry_after: Duration,
) -> Next {
    match outcome {
        Outcome::Answered { status: 401, .. } if history.renewed => Next::Fruitless,
        Outcome::Answered { status: 401, .. } if facts.replayable => Next::Renew,
        Outcome::Answered { status: 429, retry_after } => {
            let pause = retry_after.unwrap_or(DEFAULT_PAUSE).max(MIN_PAUSE);
            if pause > max_retry_after {
                // A daily limit, or nonsense: it must not freeze everybody else (trap 15).
                return Next::Answer;
            }
            let until = now + pause;
            if facts.replayable && until <= facts.deadline {
                Next::Requeue { until }
            } else {
                Next::HandOn { until }
            }
        }
        Outcome::Answered { .. } => Next::Answer,
        Outcome::Unsent if history.moved < MAX_MOVES && facts.replayable => Next::Again,
        Outcome::Broken { reused: true }
            if history.moved == 0 && facts.idempotent && facts.replayable =>
        {
            Next::Again
        }
        Outcome::Unsent | Outcome::Broken { .. } => Next::Fail,
    }
}

/// `Retry-After` as a wait: whole seconds or an HTTP-date (RFC 9110 section 10.2.3). `None` when
/// it is neither; a date in the past is a wait of zero.
pub fn retry_after(value: &[u8], wall: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(wall).unwrap_or_default())
}

/// Methods that may be sent again after a connection failure.
pub fn idempotent(method: &http::Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    const CAP: Duration = Duration::from_secs(180);

    fn facts(now: Instant) -> Facts {
        Facts { idempotent: false, replayable: true, deadline: now + Duration::from_secs(12) }
    }

    fn answered(status: u16, seconds: Option<u64>) -> Outcome {
        Outcome::Answered { status, retry_after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn a_401_is_renewed_once_and_a_second_is_the_callers() {
        let now = t0();
        let once = History::default();
        assert_eq!(next(answered(401, None), facts(now), once, now, CAP), Next::Renew);
        let twice = History { renewed: true, ..once };
        assert_eq!(next(answered(401, None), facts(now), twice, now, CAP), Next::Fruitless);
        let gone = Facts { replayable: false, ..facts(now) };
        assert_eq!(next(answered(401, None), gone, once, now, CAP), Next::Answer);
    }

    #[test]
    fn a_429_waits_within_the_deadline_and_is_handed_on_beyond_it() {
        let (now, none) = (t0(), History::default());
        let after = |seconds| next(answered(429, seconds), facts(now), none, now, CAP);
        let until = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(after(Some(5)), Next::Requeue { until: until(5) });
        assert_eq!(after(None), Next::Requeue { until: until(3) });
        assert_eq!(after(Some(0)), Next::Requeue { until: until(1) });
        assert_eq!(after(Some(42)), Next::HandOn { until: until(42) });
        assert_eq!(after(Some(181)), Next::Answer);
        assert_eq!(after(Some(u64::MAX)), Next::Answer);
    }

    #[test]
    fn a_post_that_may_have_arrived_is_never_sent_again() {
        let (now, none) = (t0(), History::default());
        for reused in [true, false] {
            let broken = Outcome::Broken { reused };
            assert_eq!(next(broken, facts(now), none, now, CAP), Next::Fail);
        }
        let get = Facts { idempotent: true, ..facts(now) };
        let stale = Outcome::Broken { reused: true };
        assert_eq!(next(stale, get, none, now, CAP), Next::Again);
        let moved = History { moved: 1, ..none };
        assert_eq!(next(stale, get, moved, now, CAP), Next::Fail);
        assert_eq!(next(Outcome::Broken { reused: false }, get, none, now, CAP), Next::Fail);
    }

    #[test]
    fn what_never_left_goes_again_a_few_times_whatever_its_method() {
        let now = t0();
        for (moved, expected) in [(0, Next::Again), (2, Next::Again), (3, Next::Fail)] {
            let history = History { moved, ..History::default() };
            assert_eq!(next(Outcome::Unsent, facts(now), history, now, CAP), expected);
        }
    }

    #[test]
    fn a_5xx_is_the_callers() {
        let now = t0();
        for status in [500, 502, 503, 504] {
            let next = next(answered(status, Some(1)), facts(now), History::default(), now, CAP);
            assert_eq!(next, Next::Answer);
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_nonsense_is_absence() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let secs = |text: &str| retry_after(text.as_bytes(), wall).map(|wait| wait.as_secs());
        assert_eq!(secs("42"), Some(42));
        assert_eq!(secs("1000000000"), Some(1_000_000_000));
        assert_eq!(secs("99999999999999999999999"), Some(u64::MAX));
        assert_eq!(secs("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(secs("Sun, 06 Nov 1994 08:49:27 GMT"), Some(0));
        for nonsense in ["-1", "soon", "", "1.5", "1e9"] {
            assert_eq!(secs(nonsense), None, "{nonsense:?}");
        }
    }
}
