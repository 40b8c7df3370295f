//! What an answer says about a quota, in any of the ways that servers say it.
//! It never needs to be there: Genesys Cloud stopped saying so in 2021, and a 429 is enough.

pub mod whose;

use std::time::Duration;

use http::HeaderValue;

/// A quota at the moment of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Calls in a window, if it says so.
    pub limit: Option<u64>,
    /// Calls left in this one.
    pub remaining: u64,
    /// How long this one lasts, if it says so.
    pub reset: Option<Duration>,
}

/// The fields of an answer that speak of quotas, as they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    limit: Option<u64>,
    remaining: Option<u64>,
    used: Option<u64>,
    reset: Option<u64>,
}

/// A reset above this is a moment in seconds since 1970, not a wait (GitHub's habit).
const MOMENT: u64 = 1_000_000_000;

impl Heard {
    /// Takes note of one field.
    pub fn hear(&mut self, name: &str, value: &HeaderValue) {
        let Ok(text) = value.to_str() else { return };
        let Some(field) =
            name.trim_start_matches("inin-").trim_start_matches("x-").strip_prefix("ratelimit")
        else {
            return;
        };
        let number = || text.split([',', ';']).next().and_then(|first| first.trim().parse().ok());
        match field {
            // draft-ietf-httpapi-ratelimit-headers: `"name";r=50;t=30`, before -08 `limit=100,
            // remaining=50, reset=30`.
            "" => text.split([',', ';']).for_each(|part| self.parameter(part)),
            "-limit" | "-allowed" => self.limit = number(),
            "-remaining" => self.remaining = number(),
            "-count" => self.used = number(),
            "-reset" => self.reset = number(),
            _ => {}
        }
    }

    fn parameter(&mut self, part: &str) {
        let Some((name, value)) = part.split_once('=') else { return };
        let Ok(value) = value.trim().parse::<u64>() else { return };
        match name.trim() {
            "r" | "remaining" => {
                // Of several policies, the scarcest.
                self.remaining = Some(self.remaining.map_or(value, |known| known.min(value)));
            }
            "t" | "reset" => self.reset = Some(value),
            "limit" => self.limit = Some(value),
            _ => {}
        }
    }

    /// What they say together; `unix` is the time in seconds since 1970.
    pub fn quota(&self, unix: u64) -> Option<Quota> {
        let of_count = || Some(self.limit?.saturating_sub(self.used?));
        let remaining = self.remaining.or_else(of_count)?;
        let reset = self.reset.map(|reset| {
            let wait = if reset >= MOMENT { reset.saturating_sub(unix) } else { reset };
            Duration::from_secs(wait)
        });
        Some(Quota { limit: self.limit, remaining, reset })
    }
}

/// Whether a field may speak of a quota: a quick look at its name.
pub fn speaks_of_quota(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'r' | b'x' | b'i')) && name.contains("ratelimit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(lines: &[(&'static str, &'static str)]) -> Option<(Option<u64>, u64, Option<u64>)> {
        let mut heard = Heard::default();
        for (name, value) in lines {
            assert!(speaks_of_quota(name));
            heard.hear(name, &HeaderValue::from_static(value));
        }
        let quota = heard.quota(1_700_000_000)?;
        Some((quota.limit, quota.remaining, quota.reset.map(|reset| reset.as_secs())))
    }

    #[test]
    fn every_way_of_saying_it_is_understood() {
        let genesys = [
            ("inin-ratelimit-count", "100"),
            ("inin-ratelimit-allowed", "300"),
            ("inin-ratelimit-reset", "42"),
        ];
        assert_eq!(quota(&genesys), Some((Some(300), 200, Some(42))));
        let common = [
            ("x-ratelimit-limit", "300"),
            ("x-ratelimit-remaining", "7"),
            ("x-ratelimit-reset", "1700000030"),
        ];
        assert_eq!(quota(&common), Some((Some(300), 7, Some(30))));
        assert_eq!(quota(&[("ratelimit", "\"default\";r=50;t=30")]), Some((None, 50, Some(30))));
        let old = [("ratelimit", "limit=100, remaining=50, reset=5")];
        assert_eq!(quota(&old), Some((Some(100), 50, Some(5))));
        let older = [("ratelimit-limit", "100, 100;w=60"), ("ratelimit-remaining", "0")];
        assert_eq!(quota(&older), Some((Some(100), 0, None)));
        let two = [("ratelimit", "\"minute\";r=50;t=30, \"day\";r=3;t=30")];
        assert_eq!(quota(&two), Some((None, 3, Some(30))));
    }

    #[test]
    fn nonsense_says_nothing() {
        for lines in [
            &[("ratelimit", "soon")][..],
            &[("ratelimit", "r=-1")],
            &[("x-ratelimit-limit", "300")],
            &[("x-ratelimit-remaining", "many")],
            &[("ratelimit-policy", "\"default\";q=300;w=60")],
        ] {
            assert_eq!(quota(lines), None, "{lines:?}");
        }
        assert!(!speaks_of_quota("x-request-id") && !speaks_of_quota("content-type"));
    }
}
