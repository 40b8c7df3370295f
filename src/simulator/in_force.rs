//! The faults in force: which one a request meets, and how often.
//! It must never act: `journey` and `oauth` do what a fault says.

use std::{collections::HashMap, time::Duration};

use http::Method;

use super::{
    faults::{ApiFault, Faults, FaultsPatch, TokenFault},
    limits::{Verdict, Window},
};

/// The faults, and how far they are used up.
#[derive(Debug, Default)]
pub(super) struct InForce {
    faults: Faults,
    /// The running window of each API fault that has a `limit`, by its place in the list.
    windows: HashMap<usize, Window>,
}

impl InForce {
    /// What is left of them.
    pub(super) const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What this API call meets at `now`, with limits counted in windows of `length`; the first
    /// fault that matches, used up once.
    pub(super) fn meet(
        &mut self,
        (method, path): (&Method, &str),
        now: Duration,
        length: Duration,
    ) -> Option<ApiFault> {
        for (place, fault) in self.faults.api.iter_mut().enumerate() {
            if !applies(&fault.matches, method, path) || fault.times == Some(0) {
                continue;
            }
            let Some(limit) = fault.limit else {
                spend(&mut fault.times);
                return Some(fault.clone());
            };
            let fresh = || Window::new(limit, length);
            let window = self.windows.entry(place).or_insert_with(fresh);
            if let Verdict::Exceeded { retry_after } = window.take(now) {
                spend(&mut fault.times);
                return Some(beyond(fault.clone(), retry_after));
            }
        }
        None
    }

    /// What this login meets; uses it up once.
    pub(super) fn meet_login(&mut self) -> TokenFault {
        let token = &mut self.faults.token;
        if token.times == Some(0) {
            return TokenFault::default();
        }
        spend(&mut token.times);
        token.clone()
    }

    /// What new tokens say of their life in seconds, and how many milliseconds they really live.
    pub(super) const fn token_life(&self) -> (Option<u64>, Option<u64>) {
        (self.faults.expire_in, self.faults.dies_after_ms)
    }

    /// Changes what the patch names.
    pub(super) fn apply(&mut self, patch: FaultsPatch) {
        if patch.clear {
            *self = Self::default();
        }
        if let Some(token) = patch.token {
            self.faults.token = token;
        }
        if let Some(api) = patch.api {
            self.faults.api = api;
            self.windows.clear();
        }
        if let Some(seconds) = patch.expire_in {
            self.faults.expire_in = (seconds > 0).then_some(seconds);
        }
        if let Some(millis) = patch.dies_after_ms {
            self.faults.dies_after_ms = (millis > 0).then_some(millis);
        }
    }
}

/// Counts one use.
fn spend(times: &mut Option<u32>) {
    if let Some(left) = times {
        *left = left.saturating_sub(1);
    }
}

/// The fault as a call beyond its limit meets it: a 429 if it does not say otherwise.
fn beyond(fault: ApiFault, retry_after: u64) -> ApiFault {
    match fault.status {
        None | Some(429) => ApiFault {
            status: Some(429),
            retry_after: fault.retry_after.or_else(|| Some(retry_after.to_string())),
            ..fault
        },
        Some(_) => fault,
    }
}

/// Whether `"METHODS PATH"` means this call.
fn applies(rule: &str, method: &Method, path: &str) -> bool {
    let (methods, pattern) = match rule.split_once(' ') {
        Some((methods, pattern)) => (Some(methods), pattern.trim()),
        None => (None, rule),
    };
    let named = |list: &str| list.split(',').any(|name| name.trim() == method.as_str());
    methods.is_none_or(named)
        && match pattern.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => pattern.is_empty() || path == pattern,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::faults::TokenMode;

    const NOW: Duration = Duration::from_secs(7);
    const MINUTE: Duration = Duration::from_mins(1);

    fn patched(text: &str) -> InForce {
        let mut faults = InForce::default();
        faults.apply(serde_json::from_str(text).unwrap());
        faults
    }

    #[test]
    fn a_fault_matches_methods_and_a_path_or_its_prefix() {
        assert!(applies("", &Method::GET, "/anything"));
        assert!(applies("GET /api/v2/users*", &Method::GET, "/api/v2/users/7"));
        assert!(applies("GET,PUT /api/v2/users", &Method::PUT, "/api/v2/users"));
        assert!(applies("/api/v2/users", &Method::DELETE, "/api/v2/users"));
        assert!(!applies("GET /api/v2/users", &Method::GET, "/api/v2/users/7"));
        assert!(!applies("GET /api/v2/users*", &Method::POST, "/api/v2/users"));
    }

    #[test]
    fn a_fault_with_times_is_used_up_and_the_next_one_applies() {
        let mut faults = patched(r#"{"api": [{"status": 503, "times": 1}, {"status": 500}]}"#);
        let mut status = || faults.meet((&Method::GET, "/"), NOW, MINUTE).unwrap().status;
        assert_eq!([status(), status(), status()], [Some(503), Some(500), Some(500)]);
    }

    #[test]
    fn a_limit_on_one_endpoint_meets_the_calls_beyond_it() {
        let mut faults = patched(r#"{"api": [{"match": "PUT /ivrs/*", "limit": 1}]}"#);
        let mut meet = |method, now| {
            let met = faults.meet((method, "/ivrs/1"), Duration::from_secs(now), MINUTE)?;
            Some((met.status, met.retry_after))
        };
        assert_eq!(meet(&Method::PUT, 0), None);
        assert_eq!(meet(&Method::PUT, 18), Some((Some(429), Some("42".to_owned()))));
        assert_eq!(meet(&Method::GET, 18), None);
        assert_eq!(meet(&Method::PUT, 60), None);
    }

    #[test]
    fn a_login_fault_with_times_ends() {
        let mut faults = patched(r#"{"token": {"mode": "down", "times": 1}}"#);
        assert_eq!(faults.meet_login().mode, TokenMode::Down);
        assert_eq!(faults.meet_login().mode, TokenMode::Ok);
    }

    #[test]
    fn what_a_patch_does_not_name_stays() {
        let mut faults = patched(r#"{"token": "html", "expire_in": 5}"#);
        faults.apply(serde_json::from_str(r#"{"expire_in": 0}"#).unwrap());
        let html = Faults { token: TokenMode::Html.into(), ..Faults::default() };
        assert_eq!(faults.faults(), &html);
        faults.apply(serde_json::from_str(r#"{"clear": true}"#).unwrap());
        assert_eq!(faults.faults(), &Faults::default());
    }
}
