//! Renewals that a 401 forces: when one is worth it, and when it has proved to be in vain.
//! It never judges one token: what it learns holds for all tokens of a client.

use std::time::{Duration, Instant};

use super::backoff::Backoff;

/// How long a fruitless renewal keeps the next one away. Short at first: it may have been a token
/// that was revoked on its way.
const COOL_DOWN: Backoff = Backoff {
    floor: Duration::from_secs(1),
    first: Duration::from_secs(1),
    cap: Duration::from_secs(300),
};

/// Forced renewals that may follow one another without helping, whatever the families; one comes
/// back every `ALLOWANCE_RETURNS`. Each costs a mint, and minting is throttled for the whole client.
const FORCED_ALLOWANCE: f64 = 5.0;
const ALLOWANCE_RETURNS: Duration = Duration::from_secs(10);

/// Path families remembered as "401 whatever the token"; the oldest is forgotten first.
const MAX_BLAMED: usize = 64;

/// A family that was to blame is tried again by one renewal; the others pass on meanwhile.
const TRIAL: Duration = Duration::from_secs(5);
/// What was to blame so long ago is a family like any other.
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Blamed {
    family: u64,
    /// How often in a row.
    times: u32,
    /// The last time.
    at: Instant,
    until: Instant,
    /// Its time was over, and a renewal is on its way that may help.
    on_trial: bool,
}

/// What a client's renewals have taught.
#[derive(Debug)]
pub struct Renewals {
    /// The most that may be forced in a row: a few for each token.
    most: f64,
    /// In a row without helping, of tokens that never worked.
    fruitless: u32,
    /// Still allowed, and when that was counted.
    allowance: f64,
    allowance_at: Option<Instant>,
    /// While a token never worked, 401s pass on until then.
    unproven_until: Option<Instant>,
    /// Families that answer 401 although the token works elsewhere.
    blamed: Vec<Blamed>,
}

impl Default for Renewals {
    /// Of a single token.
    fn default() -> Self {
        Self::new(1)
    }
}

impl Renewals {
    /// Of a client with so many tokens: all of them may die at once.
    pub fn new(tokens: u32) -> Self {
        let most = FORCED_ALLOWANCE * f64::from(tokens);
        Self {
            most,
            fruitless: 0,
            allowance: most,
            allowance_at: None,
            unproven_until: None,
            blamed: Vec::new(),
        }
    }

    /// Another renewal because of this family would not help.
    fn vain(&self, now: Instant, family: u64, worked: bool) -> bool {
        let unproven = !worked && self.unproven_until.is_some_and(|until| now < until);
        unproven || self.is_blamed(now, family)
    }

    /// A replay with a fresh token got a 401 too. `worked`: the token works elsewhere.
    pub(super) fn fruitless(&mut self, now: Instant, family: u64, worked: bool) {
        // A storm of replays is one lesson, not many.
        let known = if worked {
            self.blamed.iter().any(|b| b.family == family && !b.on_trial && now < b.until)
        } else {
            self.unproven_until.is_some_and(|until| now < until)
        };
        if known {
            return;
        }
        self.blame(now, family, now);
        if !worked {
            self.fruitless = self.fruitless.saturating_add(1);
            self.unproven_until = Some(now + COOL_DOWN.delay(self.fruitless, 1.0));
        }
    }

    /// A replay with a fresh token succeeded: the next 401 deserves a renewal again.
    pub fn recovered(&mut self) {
        self.fruitless = 0;
        self.unproven_until = None;
        self.blamed.retain(|blamed| !blamed.on_trial);
        // It helped, so it was no waste.
        self.allowance = (self.allowance + 1.0).min(self.most);
    }

    /// A 401 under a token that another replica asked for and that is here `since` then. A family that
    /// was to blame before is so again: this token was the next try, and it did not help.
    pub(super) fn tried(&mut self, now: Instant, family: u64, since: Instant) -> bool {
        let tried = self.blamed.iter().any(|blamed| blamed.family == family && blamed.at < since);
        if tried {
            self.blame(now, family, now);
        }
        tried
    }

    /// A renewal because of this family, if one is worth it and allowed.
    pub(super) fn grant(&mut self, now: Instant, family: u64, worked: bool) -> bool {
        self.blamed.retain(|blamed| now < blamed.until + FORGIVEN_AFTER);
        if self.vain(now, family, worked) || !self.force(now) {
            return false;
        }
        if let Some(blamed) = self.blamed.iter_mut().find(|blamed| blamed.family == family) {
            (blamed.until, blamed.on_trial) = (now + TRIAL, true);
        }
        true
    }

    /// One of the forced renewals that are still allowed.
    pub(super) fn force(&mut self, now: Instant) -> bool {
        if let Some(at) = self.allowance_at {
            let returned = now.saturating_duration_since(at).div_duration_f64(ALLOWANCE_RETURNS);
            self.allowance = (self.allowance + returned).min(self.most);
        }
        self.allowance_at = Some(now);
        let allowed = self.allowance >= 1.0;
        if allowed {
            self.allowance -= 1.0;
        }
        allowed
    }

    /// The family is to blame for its 401, for longer each time, and not only until `not_before`.
    pub(super) fn blame(&mut self, now: Instant, family: u64, not_before: Instant) {
        let known = self.blamed.iter().find(|blamed| blamed.family == family);
        let times = known.map_or(0, |blamed| blamed.times).saturating_add(1);
        let until = (now + COOL_DOWN.delay(times, 1.0)).max(not_before);
        self.blamed.retain(|blamed| blamed.family != family);
        if self.blamed.len() == MAX_BLAMED {
            self.blamed.remove(0);
        }
        self.blamed.push(Blamed { family, times, at: now, until, on_trial: false });
    }

    fn is_blamed(&self, now: Instant, family: u64) -> bool {
        self.blamed.iter().any(|blamed| blamed.family == family && now < blamed.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{
        freshness::{Freshness, Verdict},
        t0,
    };

    const HOUR: Duration = Duration::from_secs(3600);

    /// Tokens that are asked for in ten minutes because of an endpoint that always answers 401, polled
    /// once a second at replicas in turn. `worked`: other endpoints take the tokens.
    fn polled(replicas: usize, worked: bool) -> usize {
        let t0 = t0();
        let mut all: Vec<_> =
            (0..replicas).map(|_| (Freshness::new(Duration::ZERO), Renewals::default())).collect();
        for (freshness, _) in &mut all {
            freshness.fetched(t0, HOUR, 0.0);
        }
        let mut asked = 0;
        for second in 1..=600_usize {
            let (now, turn) = (t0 + Duration::from_secs(second as u64), second % replicas);
            let (freshness, renewals) = &mut all[turn];
            let refused = freshness.generation();
            if freshness.rejected(renewals, now, refused, 1, worked) == Verdict::PassOn {
                continue;
            }
            asked += 1;
            for (number, (freshness, renewals)) in all.iter_mut().enumerate() {
                let generation = freshness.fetched(now, HOUR, 0.0);
                if number == turn {
                    freshness.fruitless(renewals, now, generation, 1, worked);
                } else {
                    freshness.adopted(now);
                }
            }
        }
        asked
    }

    #[test]
    fn replicas_learn_from_one_anothers_renewals_which_endpoint_always_says_401() {
        for worked in [true, false] {
            let alone = polled(1, worked);
            for replicas in [2, 3, 10] {
                let asked = polled(replicas, worked);
                assert!(asked < alone + replicas, "{asked} of {replicas}, {alone} of one");
            }
        }
    }

    #[test]
    fn anothers_token_is_renewed_when_it_is_refused_where_nothing_was_to_blame() {
        let t0 = t0();
        let (mut freshness, mut renewals) = (Freshness::new(Duration::ZERO), Renewals::default());
        renewals.fruitless(t0, 1, true);
        let later = t0 + Duration::from_secs(60);
        let generation = freshness.fetched(later, HOUR, 0.0);
        freshness.adopted(later);
        let mut refused =
            |now, family| freshness.rejected(&mut renewals, now, generation, family, true);
        assert_eq!(refused(later, 1), Verdict::PassOn, "it was to blame with the former one");
        assert_eq!(refused(later, 2), Verdict::Renew);
    }

    #[test]
    fn ten_tokens_may_all_die_at_once_and_one_bad_endpoint_costs_few_renewals() {
        let t0 = t0();
        let mut renewals = Renewals::new(10);
        assert!((0..10).all(|_| renewals.grant(t0, 1, true)));
        renewals.fruitless(t0, 1, true);
        // Ten tokens ask every tenth of a second for a minute: one renewal after each cool-down.
        let mut granted = 0;
        for tenth in 1..=600 {
            let now = t0 + Duration::from_millis(100 * tenth);
            for _ in 0..10 {
                if renewals.grant(now, 1, true) {
                    granted += 1;
                    renewals.fruitless(now, 1, true);
                }
            }
        }
        assert!(granted <= 6, "{granted}");
    }

    #[test]
    fn what_was_to_blame_long_ago_does_not_stand_in_the_way_of_a_mass_renewal() {
        let t0 = t0();
        let mut renewals = Renewals::new(10);
        assert!(renewals.grant(t0, 1, true));
        renewals.fruitless(t0, 1, true);
        let later = t0 + Duration::from_secs(3600);
        assert!((0..10).all(|_| renewals.grant(later, 1, true)));
    }

    #[test]
    fn one_endpoints_history_is_not_anothers_sentence() {
        let t0 = t0();
        let mut renewals = Renewals::new(10);
        (0..8).for_each(|n| renewals.fruitless(t0 + Duration::from_secs(300 * n), 1, true));
        let now = t0 + Duration::from_secs(300 * 7);
        renewals.fruitless(now, 2, true);
        assert!(!renewals.grant(now, 2, true));
        assert!(renewals.grant(now + Duration::from_secs(1), 2, true));
    }

    #[test]
    fn a_family_on_trial_is_free_again_when_renewing_helped() {
        let t0 = t0();
        let mut renewals = Renewals::default();
        assert!(renewals.grant(t0, 1, true));
        renewals.fruitless(t0, 1, true);
        let later = t0 + Duration::from_secs(2);
        assert!(renewals.grant(later, 1, true));
        assert!(!renewals.grant(later, 1, true), "the others wait for the verdict");
        renewals.recovered();
        assert!(renewals.grant(later, 1, true));
    }
}
