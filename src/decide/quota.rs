//! What an answer says about a quota, in any of the ways that servers say it.
//! It never needs to be there: Genesys Cloud stopped saying so in 2021, and a 429 is enough.

mod items;
pub mod whose;

use std::{cmp::Reverse, time::Duration};

use http::HeaderValue;

use items::{Item, items};

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

/// What is left of a quota is little when it is this part of what all calls may be.
const SCARCE: u64 = 10;

impl Quota {
    /// Little is left, for a token that is allowed `limit` calls.
    pub fn is_scarce(&self, limit: u32) -> bool {
        self.remaining <= u64::from(limit) / SCARCE
    }
}

/// The fields of an answer that speak of quotas, as they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// In fields of their own, and without a name.
    plain: Item,
    used: Option<u64>,
    /// Of those with a name the scarcest.
    named: Item,
    /// Policies that say their limit.
    policies: [Item; POLICIES],
    known: usize,
}

/// More policies than any server has; the rest is not looked at.
const POLICIES: usize = 8;
/// A reset above this is a moment in seconds since 1970, not a wait (GitHub's habit).
const MOMENT: u64 = 1_000_000_000;

impl Heard {
    /// Takes note of one field.
    pub fn hear(&mut self, name: &str, value: &HeaderValue) {
        let Ok(text) = value.to_str() else { return };
        let Some(field) = field(name) else { return };
        let number = || text.split([',', ';']).next().and_then(|first| first.trim().parse().ok());
        match field {
            "" => items(text).for_each(|item| self.left(item)),
            "-policy" => items(text).for_each(|item| self.policy(item)),
            "-limit" | "-allowed" => self.plain.limit = number(),
            "-remaining" => self.plain.remaining = number(),
            "-count" => self.used = number(),
            "-reset" => self.plain.reset = number(),
            _ => {}
        }
    }

    fn left(&mut self, item: Item) {
        if item.name.is_some() {
            let scarcer = |other: &Item| scarcity(&item) < scarcity(other);
            if item.remaining.is_some() && (self.named.name.is_none() || scarcer(&self.named)) {
                self.named = item;
            }
            return;
        }
        let Item { name: _, limit, remaining, reset } = item;
        let plain = &mut self.plain;
        plain.limit = limit.or(plain.limit);
        plain.remaining = remaining.or(plain.remaining);
        plain.reset = reset.or(plain.reset);
    }

    fn policy(&mut self, item: Item) {
        if item.name.is_some()
            && item.limit.is_some()
            && let Some(free) = self.policies.get_mut(self.known)
        {
            *free = item;
            self.known += 1;
        }
    }

    /// What they say together; `unix` is the time in seconds since 1970.
    pub fn quota(&self, unix: u64) -> Option<Quota> {
        let mut plain = self.plain;
        let of_count = || Some(plain.limit?.saturating_sub(self.used?));
        plain.remaining = plain.remaining.or_else(of_count);
        let mut named = self.named;
        let policy = self.policies.iter().find(|policy| policy.name == named.name);
        named.limit = named.limit.or(policy.and_then(|policy| policy.limit));
        let mut said = if plain.remaining.is_none() { named } else { plain };
        if let (Some(one), Some(other)) = (plain.remaining, named.remaining) {
            said = if other < one { named } else { plain };
            if one == other {
                // One quota, told in two ways: what the one leaves out the other says.
                said.limit = named.limit.or(plain.limit);
                said.reset = named.reset.or(plain.reset);
            }
        }
        let reset = said.reset.map(|reset| {
            let wait = if reset >= MOMENT { reset.saturating_sub(unix) } else { reset };
            Duration::from_secs(wait)
        });
        Some(Quota { limit: said.limit, remaining: said.remaining?, reset })
    }
}

/// The scarcest first; of two alike the one that lasts.
fn scarcity(item: &Item) -> (u64, Reverse<Option<u64>>) {
    (item.remaining.unwrap_or(u64::MAX), Reverse(item.reset))
}

/// What a field of a quota tells of it.
fn field(name: &str) -> Option<&str> {
    name.trim_start_matches("inin-").trim_start_matches("x-").strip_prefix("ratelimit")
}

/// Whether a field speaks of a quota, understood or not.
pub fn is_of_quota(name: &str) -> bool {
    field(name).is_some_and(|told| told.is_empty() || told.starts_with('-'))
}

/// Whether a field may speak of a quota: a quick look at its name.
pub fn speaks_of_quota(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'r' | b'x' | b'i')) && name.contains("ratelimit")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Read at all, and never as more than one of the numbers that it has.
        #[test]
        fn whatever_comes_is_read(
            policy in "[\"\\\\ab;, =qw:0-9]{0,40}", left in "[\"\\\\ab;, =rt:0-9]{0,40}",
        ) {
            let mut heard = Heard::default();
            for (name, text) in [(POLICY, &policy), (LEFT, &left)] {
                heard.hear(name, &HeaderValue::from_str(text).unwrap());
            }
            if let Some(quota) = heard.quota(0) {
                prop_assert!(left.contains(&quota.remaining.to_string()) || left.contains("=0"));
            }
        }
    }

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

    const POLICY: &str = "ratelimit-policy";
    const LEFT: &str = "ratelimit";

    #[test]
    fn the_limit_is_that_of_the_policy_with_the_same_name() {
        let ivr = [(POLICY, "\"ivr\";q=100;w=60"), (LEFT, "\"ivr\";r=0;t=30")];
        assert_eq!(quota(&ivr), Some((Some(100), 0, Some(30))));
        let [policy, left] = ivr;
        assert_eq!(quota(&[left, policy]), Some((Some(100), 0, Some(30))), "in any order");
        let token = [(POLICY, "ivr;w=60;q=100, \"users\"; q=7"), (LEFT, "ivr; t=3; r=0")];
        assert_eq!(quota(&token), Some((Some(100), 0, Some(3))));
        let lines = [(POLICY, "\"a\";q=5"), (POLICY, "\"b\";q=6"), (LEFT, "\"b\";r=1")];
        assert_eq!(quota(&lines), Some((Some(6), 1, None)));
        let others = [(POLICY, "\"ivr\";q=100"), (LEFT, "\"ivrs\";r=0;t=30")];
        assert_eq!(quota(&others), Some((None, 0, Some(30))));
    }

    #[test]
    fn of_several_items_the_scarcest_counts_with_its_own_time_and_limit() {
        let policy = (POLICY, "\"minute\";q=300;w=60, \"day\";q=50;w=86400");
        for left in
            ["\"minute\";r=50;t=30, \"day\";r=3;t=4000", "\"day\";r=3;t=4000, \"minute\";r=50;t=30"]
        {
            assert_eq!(quota(&[policy, (LEFT, left)]), Some((Some(50), 3, Some(4_000))), "{left}");
        }
        let lines = [policy, (LEFT, "\"day\";r=3"), (LEFT, "\"minute\";r=9;t=30")];
        assert_eq!(quota(&lines), Some((Some(50), 3, None)));
        let both = [policy, (LEFT, "\"minute\";r=0;t=5, \"day\";r=0;t=4000")];
        assert_eq!(quota(&both), Some((Some(50), 0, Some(4_000))), "the one that lasts");
        let spoken_twice = [("x-ratelimit-limit", "300"), ("x-ratelimit-remaining", "3")];
        let twice = [spoken_twice[0], spoken_twice[1], (LEFT, "\"a\";r=3;t=7")];
        assert_eq!(quota(&twice), Some((Some(300), 3, Some(7))));
    }

    #[test]
    fn what_is_quoted_is_no_syntax() {
        let quoted = [
            (POLICY, "\"a,b;q=1\\\"\";pk=\"r=9, \\\" ;q=8\";q=70;w=60"),
            (LEFT, "\"a,b;q=1\\\"\";x=\";r=0,\";t=\"7\";pk=:cjow:;r=2"),
        ];
        assert_eq!(quota(&quoted), Some((Some(70), 2, Some(7))));
    }

    #[test]
    fn nonsense_says_nothing() {
        for lines in [
            &[("ratelimit", "soon")][..],
            &[("ratelimit", "r=-1")],
            &[("ratelimit", "\"x;r=1;t=2")],
            &[("ratelimit", "\"x\";r=;t=9, ;;, =5, \"y\";r=1.5;s")],
            &[("x-ratelimit-limit", "300")],
            &[("x-ratelimit-remaining", "many")],
            &[("ratelimit-policy", "\"default\";q=300;w=60")],
        ] {
            assert_eq!(quota(lines), None, "{lines:?}");
        }
        assert!(!speaks_of_quota("x-request-id") && !speaks_of_quota("content-type"));
    }
}
