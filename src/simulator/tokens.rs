//! The access tokens that were issued: who may call with one, and how often.
//! It must never read a clock, and never show a token's value.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{
    limits::{Peak, Verdict, Window},
    random::fingerprint,
};

/// Beyond so many, the oldest is forgotten.
const KEPT: usize = 10_000;

/// The tokens of all clients.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    by_value: HashMap<String, Token>,
    order: VecDeque<String>,
    most_in_window: u32,
}

/// One token.
struct Token {
    caller: Caller,
    issued: Duration,
    dies: Duration,
    revoked: bool,
    window: Window,
    peak: Peak,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Token").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The client that logged in.
    pub(super) client: String,
    /// What it was granted.
    pub(super) scope: String,
    /// The token's fingerprint.
    pub(super) fingerprint: String,
}

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// The call may go on; it has been counted.
    Admitted(Caller),
    /// The token is good, its window is full.
    Limited { retry_after: u64 },
    /// No such token, or dead.
    Unknown,
}

/// What a new token is.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) value: String,
    pub(super) client: String,
    pub(super) scope: String,
    pub(super) life: Duration,
    pub(super) limit: u32,
    pub(super) window: Duration,
}

/// What introspection tells about a live token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) caller: Caller,
    /// How long it still lives.
    pub(super) left: Duration,
}

impl Tokens {
    /// Remembers a new token.
    pub(super) fn issue(&mut self, grant: Grant, now: Duration) {
        let token = Token {
            caller: Caller {
                client: grant.client,
                scope: grant.scope,
                fingerprint: fingerprint(&grant.value),
            },
            issued: now,
            dies: now.saturating_add(grant.life),
            revoked: false,
            window: Window::new(grant.limit, grant.window),
            peak: Peak::new(grant.window),
        };
        self.order.push_back(grant.value.clone());
        self.by_value.insert(grant.value, token);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_value.remove(&oldest);
        }
    }

    /// Counts a call with this token if it is alive and within its limit.
    pub(super) fn admit(&mut self, value: &str, now: Duration) -> Admission {
        let Some(token) = self.by_value.get_mut(value).filter(|token| token.alive(now)) else {
            return Admission::Unknown;
        };
        token.peak.mark(now);
        self.most_in_window = self.most_in_window.max(token.peak.highest());
        match token.window.take(now) {
            Verdict::Admitted => Admission::Admitted(token.caller.clone()),
            Verdict::Exceeded { retry_after } => Admission::Limited { retry_after },
        }
    }

    /// Another program calls so often with each token that lives; how many of its calls fit. The
    /// meter of the busiest window does not see them: it is about the client.
    pub(super) fn outsider(&mut self, calls: u16, now: Duration) -> u32 {
        let alive = self.by_value.values_mut().filter(|token| token.alive(now));
        let each = alive.map(|token| {
            let fits = (0..calls).take_while(|_| token.window.take(now) == Verdict::Admitted);
            u32::try_from(fits.count()).unwrap_or(u32::MAX)
        });
        each.sum()
    }

    /// The token as introspection sees it, when it is alive; counts nothing.
    pub(super) fn live(&self, value: &str, now: Duration) -> Option<Live> {
        let token = self.by_value.get(value).filter(|token| token.alive(now))?;
        Some(Live { caller: token.caller.clone(), left: token.dies.saturating_sub(now) })
    }

    /// Kills one token.
    pub(super) fn revoke(&mut self, value: &str) {
        if let Some(token) = self.by_value.get_mut(value) {
            token.revoked = true;
        }
    }

    /// Kills every token; says how many were alive.
    pub(super) fn revoke_all(&mut self, now: Duration) -> usize {
        let alive = self.by_value.values_mut().filter(|token| token.alive(now));
        alive.map(|token| token.revoked = true).count()
    }

    /// Fingerprints in the order of issue.
    pub(super) fn issued(&self) -> Vec<String> {
        let tokens = self.order.iter().filter_map(|value| self.by_value.get(value));
        tokens.map(|token| token.caller.fingerprint.clone()).collect()
    }

    /// The most calls that any one token made in any one window.
    pub(super) const fn most_in_window(&self) -> u32 {
        self.most_in_window
    }
}

impl Token {
    fn alive(&self, now: Duration) -> bool {
        !self.revoked && (self.issued..self.dies).contains(&now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn issued(values: &[&str]) -> Tokens {
        let mut tokens = Tokens::default();
        for value in values {
            let grant = Grant {
                value: (*value).to_owned(),
                client: "demo".to_owned(),
                scope: "*".to_owned(),
                life: SECOND * 10,
                limit: 2,
                window: SECOND * 5,
            };
            tokens.issue(grant, SECOND);
        }
        tokens
    }

    #[test]
    fn a_token_opens_until_it_expires() {
        let mut tokens = issued(&["one"]);
        assert!(matches!(tokens.admit("one", SECOND * 10), Admission::Admitted(_)));
        assert_eq!(tokens.admit("one", SECOND * 11), Admission::Unknown);
        assert_eq!(tokens.admit("two", SECOND * 2), Admission::Unknown);
    }

    #[test]
    fn each_token_has_a_limit_of_its_own() {
        let mut tokens = issued(&["one", "two"]);
        for value in ["one", "two"] {
            assert!(matches!(tokens.admit(value, SECOND * 2), Admission::Admitted(_)));
            assert!(matches!(tokens.admit(value, SECOND * 3), Admission::Admitted(_)));
            assert_eq!(tokens.admit(value, SECOND * 4), Admission::Limited { retry_after: 3 });
        }
        assert_eq!(tokens.most_in_window(), 3);
    }

    #[test]
    fn a_revoked_token_is_dead_and_the_others_live() {
        let mut tokens = issued(&["one", "two"]);
        tokens.revoke("one");
        assert_eq!(tokens.live("one", SECOND), None);
        assert_eq!(tokens.live("two", SECOND).unwrap().left, SECOND * 10);
        assert_eq!(tokens.revoke_all(SECOND), 1);
        assert_eq!(tokens.admit("two", SECOND), Admission::Unknown);
    }
}
