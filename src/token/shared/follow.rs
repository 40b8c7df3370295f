//! The shared token between renewals: what others say of it is heard, what happens to ours is told.
//! It never trusts a message to arrive: behind them it looks into the store, every few seconds.

use std::{sync::PoisonError, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{Message, Seat, Shared, Sharer, record};
use crate::{
    decide::shared_token::{End, Holding, Renewal, Serial, Watch, watch},
    store::{
        Heard,
        token::{TokenStore, channel},
    },
    token::{Token, Tokens, answer::Minted},
};

/// Between two looks, not in step with the others.
const EVERY: Duration = Duration::from_secs(3);
/// Between two looks that messages ask for: a flood of them is one.
const SETTLE: Duration = Duration::from_millis(50);
/// How often a replica says that it lives, and for how long that is believed.
const PULSE: Duration = Duration::from_secs(2);
const LIFE: Duration = Duration::from_secs(6);

impl<I: Sharer, S: TokenStore> Shared<I, S> {
    /// Until it is cancelled.
    pub async fn follow(&self, tokens: &Tokens) {
        let mut heard = self.store.listen(&channel(self.inner.scope(), self.lane));
        let (mut told, mut looked) = (0, Instant::now());
        let mut next = looked;
        loop {
            let sooner = tokio::select! {
                heard = Heard::next(&mut heard) => match heard {
                    Heard::Said(said) => self.hear(tokens, &said).await,
                    Heard::Gap => true,
                },
                () = tokens.news.notified() => {
                    self.tell(tokens, &mut told).await;
                    true
                }
                () = sleep_until(next) => {
                    self.heed(tokens).await;
                    looked = Instant::now();
                    next = looked + EVERY.mul_f64(0.75 + 0.5 * fastrand::f64());
                    false
                }
            };
            if sooner {
                next = next.min(looked + SETTLE);
            }
        }
    }

    /// Says that this replica lives. Does not end.
    pub async fn attend(&self) {
        loop {
            // Who it does not reach counts it as gone: the last but one may revoke a token then.
            let _ = self.store.alive(self.inner.scope(), LIFE).await;
            sleep(PULSE).await;
        }
    }

    /// A message; whether the store is to be looked into.
    async fn hear(&self, tokens: &Tokens, said: &[u8]) -> bool {
        let seats = self.seats().await;
        let Some(message) = seats.iter().find_map(|seat| Message::read(seat, said)) else {
            return false;
        };
        match message {
            Message::Published(serial) => {
                let news = match tokens.held().holding {
                    Holding::Nothing | Holding::Private { .. } => true,
                    Holding::Shared { serial: ours } => serial > ours,
                };
                if news {
                    self.heard.notify_one();
                }
                news
            }
            Message::GivenUp(serial) => {
                tokens.doubted(serial);
                false
            }
        }
    }

    /// Looks, and does what follows.
    async fn heed(&self, tokens: &Tokens) {
        let Ok(sight) = self.look(&self.seats().await).await else { return };
        match watch(&tokens.held(), sight.found) {
            Watch::Keep => {}
            Watch::Adopt => {
                if let Some(minted) = sight.minted {
                    self.remember(&minted);
                    tokens.adopt(minted);
                }
            }
            Watch::Offer => self.offer(tokens).await,
            Watch::LetGo(serial) => tokens.doubted(serial),
        }
    }

    /// The token at hand, for those who do not have it: one that was made while the store was away, or
    /// that the store has lost.
    async fn offer(&self, tokens: &Tokens) {
        // A renewal that is on its way brings a better one.
        let Ok(_turn) = self.turn.try_lock() else { return };
        let Some(token) = tokens.current(Instant::now()) else { return };
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(last) = last.filter(|last| last.fingerprint == token.fingerprint) else { return };
        let life = token.expires_at.saturating_duration_since(token.born);
        let ours = Minted { born: Some(token.born), life, ..last };
        let seats = self.seats().await;
        let ran = self.run(&seats, Renewal::offer(tokens.held()), Some(ours)).await;
        match ran.end {
            End::Published(serial) => {
                tracing::info!(token = tokens.lane.number(), "token shared with other replicas");
                tokens.published(&token.fingerprint, serial);
            }
            End::Adopted => {
                if let Some(minted) = ran.theirs {
                    self.remember(&minted);
                    tokens.adopt(minted);
                }
            }
            End::Private | End::Nothing => {}
        }
    }

    /// What became of ours: given up, or found good again.
    async fn tell(&self, tokens: &Tokens, told: &mut Serial) {
        let held = tokens.held();
        let seats = self.seats().await;
        let in_use = held.holding == Holding::Shared { serial: held.given_up };
        if held.given_up > *told && !in_use {
            for seat in &seats {
                self.spread(seat, held.given_up).await;
            }
            *told = held.given_up;
        } else if in_use && held.given_up > 0 {
            for seat in &seats {
                let _ = self.store.vouch(&seat.place, held.given_up).await;
            }
        }
    }

    /// Nobody is to take it over any more: it is about to be revoked.
    pub async fn withdraw(&self, token: &Token) {
        for seat in &self.seats().await {
            self.spread(seat, token.serial).await;
        }
    }

    async fn spread(&self, seat: &Seat, serial: Serial) {
        let note = record::note(seat, serial);
        let message = Message::GivenUp(serial).write(seat);
        // Who does not hear of it gets a 401 of its own.
        let _ = self.store.give_up(&seat.place, serial, &note, &message).await;
    }
}
