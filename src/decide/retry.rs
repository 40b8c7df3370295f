//! After one try: renew the token, wait and go again, try another connection, or stop, and why.
//! It never allows a second delivery of a call that upstream may have accepted, unless its method
//! is idempotent (RFC 9110 section 9.2.2), its caller vouches for it with an `Idempotency-Key`, or
//! upstream said that it was not processed.

use std::time::{Duration, Instant, SystemTime};

use super::backoff::Backoff;

/// What the request allows, and what chance adds.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Carried out twice it does what once does: by its method, or by its key ([`keyed`]). Never a
    /// call that asks for a tunnel.
    pub idempotent: bool,
    /// Its body can be sent again from the first byte.
    pub replayable: bool,
    /// Until when its caller waits.
    pub deadline: Instant,
    /// `retry.attempts`: how often it may be sent for want of an answer of use, the first included.
    pub attempts: u32,
    /// In `0.0..1.0`: those whose connections broke together must not come back together.
    pub dice: f64,
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
    /// There was no connection to send it on.
    Unreachable,
    /// It was sent, and no answer came in time.
    Silent,
    /// What sending it again does not mend: no trust, an answer that cannot be passed on, a caller
    /// whose body broke.
    Hopeless,
}

/// Why a call is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// 502
    BadGateway,
    /// 503
    Unavailable,
    /// 504
    GatewayTimeout,
    /// No connection could be made.
    Unreachable,
    /// Connections ended before they took it.
    Unsent,
    /// The connection broke before an answer.
    Broken,
    /// No answer came in time.
    Silent,
}

impl Reason {
    /// As metrics and logs name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::BadGateway => "502",
            Self::Unavailable => "503",
            Self::GatewayTimeout => "504",
            Self::Unreachable => "unreachable",
            Self::Unsent => "unsent",
            Self::Broken => "broken",
            Self::Silent => "timeout",
        }
    }

    /// The answers that mean "later": Genesys documents a schedule for these three.
    fn of(status: u16) -> Option<Self> {
        match status {
            502 => Some(Self::BadGateway),
            503 => Some(Self::Unavailable),
            504 => Some(Self::GatewayTimeout),
            _ => None,
        }
    }
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
    /// Retries: what `attempts` bounds, and the budget pays for.
    pub retried: u32,
    /// When the failures began that it is retried for.
    pub failing_since: Option<Instant>,
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
    /// Once more at `at`, if the budget has a retry for it.
    Retry {
        /// The end of the wait.
        at: Instant,
        /// Why.
        reason: Reason,
    },
    /// The caller gets our own error.
    Fail,
}

/// Upstream's pause when it names none: Genesys's documented schedule.
const DEFAULT_PAUSE: Duration = Duration::from_secs(3);
/// The shortest pause: "0" and dates in the past must not make us spin.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Connections tried for one request that never left.
const MAX_MOVES: u32 = 3;
/// Before the first retry on a new connection: most failures are one process that restarts, or one
/// connection that was cut, and a caller need not wait three seconds for that.
const FIRST_PAUSE: Backoff = Backoff {
    floor: Duration::from_millis(100),
    first: Duration::from_millis(500),
    cap: Duration::from_millis(500),
};

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
        Outcome::Answered { status, retry_after } => {
            let reason = Reason::of(status).filter(|_| facts.idempotent);
            let pause = retry_after.map(|pause| pause.max(MIN_PAUSE));
            reason
                .and_then(|reason| retry(reason, pause, facts, history, now))
                .unwrap_or(Next::Answer)
        }
        Outcome::Unsent if history.moved < MAX_MOVES && facts.replayable => Next::Again,
        Outcome::Broken { reused: true }
            if history.moved == 0 && facts.idempotent && facts.replayable =>
        {
            Next::Again
        }
        Outcome::Unsent => reconnect(Reason::Unsent, facts, history, now),
        Outcome::Unreachable => reconnect(Reason::Unreachable, facts, history, now),
        Outcome::Broken { .. } if facts.idempotent => {
            reconnect(Reason::Broken, facts, history, now)
        }
        Outcome::Silent if facts.idempotent => reconnect(Reason::Silent, facts, history, now),
        Outcome::Broken { .. } | Outcome::Silent | Outcome::Hopeless => Next::Fail,
    }
}

/// A retry on a new connection: the first soon.
fn reconnect(reason: Reason, facts: Facts, history: History, now: Instant) -> Next {
    let soon = (history.retried == 0).then(|| FIRST_PAUSE.delay(1, facts.dice));
    retry(reason, soon, facts, history, now).unwrap_or(Next::Fail)
}

/// A retry after `pause`, or by schedule. `None` when it has had its tries, or its caller would be
/// gone.
fn retry(
    reason: Reason,
    pause: Option<Duration>,
    facts: Facts,
    history: History,
    now: Instant,
) -> Option<Next> {
    if !facts.replayable || history.retried + 1 >= facts.attempts {
        return None;
    }
    let since = history.failing_since.map_or(Duration::ZERO, |since| now - since);
    // A server may say thirty years, which no clock can add.
    let at = now.checked_add(pause.unwrap_or_else(|| scheduled(since)))?;
    (at <= facts.deadline).then_some(Next::Retry { at, reason })
}

/// Genesys's documented schedule: every 3 s in the first five minutes of trouble, every 9 s in the
/// next five, then every 27 s.
fn scheduled(since: Duration) -> Duration {
    match since.as_secs() {
        0..300 => DEFAULT_PAUSE,
        300..600 => DEFAULT_PAUSE * 3,
        600.. => DEFAULT_PAUSE * 9,
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

/// Whether an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) says that upstream will
/// carry a call out once however often it comes. The draft is for the methods that need it.
pub fn keyed(method: &http::Method, key: &[u8]) -> bool {
    let key = key.trim_ascii();
    matches!(method.as_str(), "POST" | "PATCH") && !key.is_empty() && key != b"\"\""
}

#[cfg(test)]
mod again_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    const CAP: Duration = Duration::from_secs(180);

    fn facts(now: Instant) -> Facts {
        let deadline = now + Duration::from_secs(12);
        Facts { idempotent: false, replayable: true, deadline, attempts: 1, dice: 0.5 }
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
