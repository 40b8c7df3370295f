//! One token as requests carry it.
//! It never tells its value to a log.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use http::HeaderValue;
use tokio::time::Instant;

use super::Share;
use crate::decide::{freshness::Generation, shared_token::Serial};

/// A usable token, ready to be put on a request.
#[derive(Debug)]
pub struct Token {
    /// `Bearer …`, marked sensitive.
    pub authorization: HeaderValue,
    /// Which one it is.
    pub generation: Generation,
    /// The first 12 hex digits of its SHA-256: tells tokens apart in logs, reveals nothing.
    pub fingerprint: String,
    /// Who has it.
    pub share: Share,
    pub(super) expires_at: Instant,
    pub(super) born: Instant,
    /// Seconds after `born`, at least one, at which it last worked; 0: never.
    pub(super) worked: AtomicU32,
}

impl Token {
    /// Upstream answered something other than 401 to it.
    pub fn worked(&self, now: Instant) {
        let age = now.saturating_duration_since(self.born).as_secs();
        let age = u32::try_from(age).unwrap_or(u32::MAX).max(1);
        // Read first: a store would bounce the cache line between workers on every answer.
        if self.worked.load(Ordering::Relaxed) != age {
            self.worked.store(age, Ordering::Relaxed);
        }
    }

    /// Its bytes, without the scheme: what no answer may hold.
    pub fn secret(&self) -> &[u8] {
        let whole = self.authorization.as_bytes();
        whole.strip_prefix(b"Bearer ").unwrap_or(whole)
    }

    /// It worked, and not longer ago than `age`.
    pub fn worked_within(&self, age: Duration) -> bool {
        let at = self.worked.load(Ordering::Relaxed);
        at > 0 && self.born.elapsed() <= Duration::from_secs(at.into()) + age
    }

    /// The same, with another end.
    pub(super) fn ending(&self, expires_at: Instant) -> Self {
        Self {
            authorization: self.authorization.clone(),
            generation: self.generation,
            fingerprint: self.fingerprint.clone(),
            share: self.share,
            expires_at,
            born: self.born,
            worked: AtomicU32::new(self.worked.load(Ordering::Relaxed)),
        }
    }

    /// The same, as all know it.
    pub(super) fn numbered(&self, serial: Serial) -> Self {
        Self { share: self.share.numbered(serial), ..self.ending(self.expires_at) }
    }

    /// How long it lives, from `born` on.
    pub fn life(&self) -> Duration {
        self.expires_at.saturating_duration_since(self.born)
    }

    /// How much of that is left.
    pub fn left(&self, now: Instant) -> Duration {
        self.expires_at.saturating_duration_since(now)
    }

    /// When it was asked for.
    pub fn born(&self) -> Instant {
        self.born
    }

    /// It was asked for after this moment.
    pub fn younger_than(&self, moment: Instant) -> bool {
        self.born >= moment
    }

    pub(super) fn ever_worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed) > 0
    }
}
