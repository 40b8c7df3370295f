//! What other replicas do to a token of ours: they replace it, give it up, or come to know it.
//! It never spends a renewal of ours on what another was refused with.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::Instant;

use super::{
    Token, Tokens,
    answer::{Minted, Share},
};
use crate::decide::{
    budget::Belongs,
    shared_token::{Held, Holding, Serial},
};

impl Share {
    /// Its number; 0: nobody else knows it.
    pub(super) fn serial(self) -> Serial {
        match self {
            Self::Private | Self::Unheard => 0,
            Self::Published(serial) | Self::Adopted(serial) => serial,
        }
    }

    /// The same, as all know it.
    pub(super) fn numbered(self, serial: Serial) -> Self {
        match self {
            Self::Published(_) => Self::Published(serial),
            Self::Private | Self::Unheard | Self::Adopted(_) => Self::Adopted(serial),
        }
    }
}

impl Tokens {
    /// How it stands toward the others.
    pub(super) fn held(&self) -> Held {
        let now = Instant::now();
        let holding = match self.current(now) {
            None => Holding::Nothing,
            Some(token) => match token.share {
                Share::Private | Share::Unheard => {
                    Holding::Private { left: token.expires_at - now }
                }
                Share::Published(serial) | Share::Adopted(serial) => Holding::Shared { serial },
            },
        };
        Held { holding, given_up: self.given_up.load(Ordering::Acquire) }
    }

    /// It may be dead. Under the lock of `freshness`, before it is taken away.
    pub(super) fn give_up(&self, token: &Token) {
        self.given_up.fetch_max(token.share.serial(), Ordering::AcqRel);
        self.news.notify_one();
    }

    /// A newer one than the one in use, or the same under a newer number.
    pub(super) fn supersedes(&self, minted: &Minted) -> bool {
        let serial = minted.share.serial();
        let usable = self.current(Instant::now());
        usable.is_none_or(|token| serial > token.share.serial())
    }

    /// A token that the replicas share is signed with from now on.
    pub(super) fn adopt(&self, minted: Minted) {
        let now = Instant::now();
        let freshness = self.freshness();
        let serial = minted.share.serial();
        if !self.supersedes(&minted) || serial <= self.given_up.load(Ordering::Acquire) {
            return;
        }
        match self.current(now) {
            // It is no other token: what is known of it stays known. One that was ours alone begins anew:
            // its limit is no longer ours.
            Some(token)
                if token.authorization == minted.authorization
                    && token.share.belongs() == Belongs::All =>
            {
                self.current.store(Some(Arc::new(token.numbered(serial))));
                drop(freshness);
                self.changed.send_modify(|count| *count += 1);
            }
            Some(_) | None => self.put(freshness, minted, now),
        }
        // Its renewal is due at another time.
        self.nudge.notify_one();
    }

    /// The token of this fingerprint is everybody's now.
    pub(super) fn published(&self, fingerprint: &str, serial: Serial) {
        let freshness = self.freshness();
        if let Some(token) = self.current.load_full().filter(|it| it.fingerprint == fingerprint) {
            self.current.store(Some(Arc::new(token.numbered(serial))));
        }
        drop(freshness);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Another replica was refused with this one. Each is let go once: one that was looked at since
    /// and found good stays.
    pub(super) fn doubted(&self, serial: Serial) {
        let mut freshness = self.freshness();
        let Some(token) = self.current.load_full().filter(|it| it.share.serial() == serial) else {
            return;
        };
        let known = self.given_up.fetch_max(serial, Ordering::AcqRel) >= serial;
        if known || !freshness.doubted(token.generation) {
            return;
        }
        self.suspect.store(self.current.swap(None));
        drop(freshness);
        tracing::info!(
            token = self.lane.number(),
            generation = token.generation.number(),
            "token given up by another replica: waiting for the next one"
        );
        self.nudge.notify_one();
    }
}
