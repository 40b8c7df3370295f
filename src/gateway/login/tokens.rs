//! Tokens of the gateway's own: who logged in, until when, and which were revoked.
//! It never keeps a token, only its digest, and never outgrows its bound.
//!
//! A lock, and not a copy that is swapped: a table of ten thousand is not copied for each login,
//! and a reader holds the lock for one look.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{SecretString, zeroize::Zeroizing};
use tokio::time::Instant;

use crate::{
    config::KeyDigest,
    decide::{callers::Principal, offered::TOKEN_PREFIX},
};

/// Of a token: the prefix, and 32 bytes in base64url.
const LENGTH: usize = TOKEN_PREFIX.len() + 43;
/// Tokens at once, of all callers together.
const MOST: usize = 10_000;
/// So many go at once when there is no more room, so that not each login looks through all.
const GO: usize = MOST / 10;

/// One that is alive.
#[derive(Debug)]
struct Held {
    principal: Principal,
    until: Instant,
    /// When it was used last, in milliseconds since `begin`.
    used: AtomicU64,
}

/// All that are alive.
#[derive(Debug)]
pub struct Tokens {
    begin: Instant,
    life: Duration,
    idle: Duration,
    held: RwLock<HashMap<KeyDigest, Held>>,
}

impl Tokens {
    /// They live for `life`, and for `idle` without being used.
    pub fn new(life: Duration, idle: Duration, now: Instant) -> Self {
        Self { begin: now, life, idle, held: RwLock::default() }
    }

    /// How long a new one lives.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// A new one; of a named caller it is known from now on, of anybody else it says nothing.
    /// `None` when the system has no randomness.
    pub fn issue(&self, principal: Principal, now: Instant) -> Option<SecretString> {
        let mut random = Zeroizing::new([0; 32]);
        rand::fill(&mut *random).ok()?;
        let mut token = Zeroizing::new(String::with_capacity(LENGTH));
        token.push_str(TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(*random, &mut token);
        if let Principal::Named(_) = principal {
            let used = AtomicU64::new(self.millis(now));
            let held = Held { principal, until: now + self.life, used };
            let mut all = self.held.write().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= MOST {
                self.make_room(&mut all, now);
            }
            all.insert(KeyDigest::of(token.as_bytes()), held);
        }
        Some(token.as_str().into())
    }

    /// Whose it is; it counts as used now.
    pub fn find(&self, token: &str, now: Instant) -> Option<Principal> {
        let digest = KeyDigest::of(token.as_bytes());
        let all = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let held = all.get(&digest).filter(|held| self.lives(held, now))?;
        held.used.store(self.millis(now), Ordering::Relaxed);
        Some(held.principal)
    }

    /// Ends it. Whether it was alive.
    pub fn revoke(&self, token: &str) -> bool {
        let mut all = self.held.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(&KeyDigest::of(token.as_bytes())).is_some()
    }

    fn lives(&self, held: &Held, now: Instant) -> bool {
        let quiet = self.millis(now).saturating_sub(held.used.load(Ordering::Relaxed));
        now < held.until && Duration::from_millis(quiet) < self.idle
    }

    /// The dead go; then those of the caller with the most that were used least lately: who logs in
    /// for each call does it to itself.
    fn make_room(&self, all: &mut HashMap<KeyDigest, Held>, now: Instant) {
        all.retain(|_, held| self.lives(held, now));
        while all.len() > MOST - GO {
            let mut counts: HashMap<Principal, usize> = HashMap::new();
            for held in all.values() {
                *counts.entry(held.principal).or_default() += 1;
            }
            let Some((most, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
                return;
            };
            let mut used: Vec<u64> = all
                .values()
                .filter(|held| held.principal == most)
                .map(|held| held.used.load(Ordering::Relaxed))
                .collect();
            used.sort_unstable();
            let go = (all.len() - (MOST - GO)).min(count.div_ceil(2));
            let Some(last) = used.get(go.saturating_sub(1)).copied() else { return };
            let mut left = go;
            all.retain(|_, held| {
                let goes =
                    left > 0 && held.principal == most && held.used.load(Ordering::Relaxed) <= last;
                left -= usize::from(goes);
                !goes
            });
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.begin).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::decide::offered::is_local;

    const BILLING: Principal = Principal::Named(0);
    const HOUR: Duration = Duration::from_secs(3600);

    fn tokens() -> (Tokens, Instant) {
        let now = Instant::now();
        (Tokens::new(24 * HOUR, HOUR, now), now)
    }

    fn issue(tokens: &Tokens, principal: Principal, now: Instant) -> String {
        tokens.issue(principal, now).unwrap().expose_secret().to_owned()
    }

    #[test]
    fn a_token_is_its_callers_until_it_ends_however_much_it_is_used() {
        let (tokens, begin) = tokens();
        let token = issue(&tokens, BILLING, begin);
        assert!(is_local(&token));
        let mut now = begin;
        while now + HOUR / 2 < begin + 24 * HOUR {
            now += HOUR / 2;
            assert_eq!(tokens.find(&token, now), Some(BILLING));
        }
        assert_eq!(tokens.find(&token, begin + 24 * HOUR), None);
    }

    #[test]
    fn one_that_is_not_used_ends_sooner() {
        let (tokens, now) = tokens();
        let token = issue(&tokens, BILLING, now);
        assert_eq!(tokens.find(&token, now + HOUR), None);
    }

    #[test]
    fn a_revoked_one_and_one_of_nobodys_are_unknown() {
        let (tokens, now) = tokens();
        let token = issue(&tokens, BILLING, now);
        assert!(tokens.revoke(&token) && !tokens.revoke(&token));
        assert_eq!(tokens.find(&token, now), None);
        let nobodys = issue(&tokens, Principal::Unknown, now);
        assert_eq!(tokens.find(&nobodys, now), None);
        assert_ne!(token, nobodys);
    }

    #[test]
    fn of_a_token_only_its_digest_is_kept() {
        let (tokens, now) = tokens();
        let token = issue(&tokens, BILLING, now);
        assert!(tokens.held.read().unwrap().contains_key(&KeyDigest::of(token.as_bytes())));
        let kept = format!("{tokens:?}");
        assert!(kept.contains("held") && !kept.contains(&token[TOKEN_PREFIX.len()..]), "{kept}");
    }

    #[test]
    fn who_logs_in_for_each_call_pushes_out_its_own_and_nobody_elses() {
        let (tokens, now) = tokens();
        let other = issue(&tokens, Principal::Named(1), now);
        let first = issue(&tokens, BILLING, now);
        let mut last = String::new();
        for n in 0..2 * MOST as u64 {
            last = issue(&tokens, BILLING, now + Duration::from_millis(n + 1));
            assert!(tokens.held.read().unwrap().len() <= MOST);
        }
        let now = now + HOUR / 2;
        assert_eq!(tokens.find(&other, now), Some(Principal::Named(1)));
        assert_eq!(tokens.find(&last, now), Some(BILLING));
        assert_eq!(tokens.find(&first, now), None);
    }

    #[test]
    fn the_dead_make_room_first() {
        let (tokens, now) = tokens();
        for _ in 0..MOST {
            issue(&tokens, BILLING, now);
        }
        let living = issue(&tokens, BILLING, now + HOUR);
        assert_eq!(tokens.held.read().unwrap().len(), 1);
        assert_eq!(tokens.find(&living, now + HOUR), Some(BILLING));
    }
}
