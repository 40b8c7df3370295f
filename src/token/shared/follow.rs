//! The shared token between renewals: what others say of it is heard, what happens to ours is told.
//! It never trusts a message to arrive: behind them it looks into the store, every few seconds.

use std::{sync::PoisonError, time::Duration};

use tokio::{
    sync::MutexGuard,
    time::{Instant, sleep, sleep_until},
};

use super::{Message, Seat, Shared, Sharer, record};
use crate::{
    decide::{
        backoff::Backoff,
        budget::Belongs,
        shared_token::{End, Holding, Renewal, Serial, Watch, watch},
    },
    store::{
        Heard,
        token::{TokenStore, channel},
    },
    token::{
        Token, Tokens,
        answer::{Minted, Share},
    },
};

/// Between two looks, not in step with the others.
const EVERY: Duration = Duration::from_secs(3);
/// Between two looks that messages ask for: a flood of them is one.
const SETTLE: Duration = Duration::from_millis(50);
/// How often a replica says that it lives, and for how long that is believed.
const PULSE: Duration = Duration::from_secs(2);
const LIFE: Duration = Duration::from_secs(6);
/// A store that can be read and not written would cost a token at every look.
const AGAIN: Backoff = Backoff {
    floor: Duration::from_secs(10),
    first: Duration::from_secs(10),
    cap: Duration::from_secs(300),
};

/// When a token for all is worth asking for again that came to nothing.
#[derive(Debug, Default)]
struct Again {
    failures: u32,
    at: Option<Instant>,
}

impl Again {
    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        // The lock keeps replicas out of step.
        self.at = Some(Instant::now() + AGAIN.delay(self.failures, 1.0));
    }
}

impl<I: Sharer, S: TokenStore> Shared<I, S> {
    /// Until it is cancelled.
    pub async fn follow(&self, tokens: &Tokens) {
        let mut heard = self.store.listen(&channel(self.inner.scope(), self.lane));
        let (mut told, mut looked, mut again) = (0, Instant::now(), Again::default());
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
                    self.heed(tokens, &mut again).await;
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

    /// Says that this replica lives, for all tokens of the client. Does not end.
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
    async fn heed(&self, tokens: &Tokens, again: &mut Again) {
        let seats = self.seats().await;
        if seats.is_empty() {
            // No secret, no seal.
            return;
        }
        let Ok(sight) = self.look(&seats).await else { return };
        match watch(&tokens.held(), sight.found) {
            Watch::Keep => {}
            Watch::Adopt => self.adopt(tokens, sight.minted),
            Watch::Offer => self.offer(tokens, &seats).await,
            Watch::Share => self.share(tokens, &seats, again).await,
            Watch::LetGo(serial) => tokens.doubted(serial),
        }
    }

    /// The token at hand, which the store has lost.
    async fn offer(&self, tokens: &Tokens, seats: &[Seat]) {
        let Some(_turn) = self.free() else { return };
        // A renewal may have brought one that is ours alone since it was looked at.
        let token = tokens.current(Instant::now());
        let Some(token) = token.filter(|token| token.share.belongs() == Belongs::All) else {
            return;
        };
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(last) = last.filter(|last| last.fingerprint == token.fingerprint) else { return };
        let life = token.expires_at.saturating_duration_since(token.born);
        let ours = Minted { born: Some(token.born), life, ..last };
        let ran = self.run(seats, Renewal::offer(tokens.held()), Some(ours)).await;
        match ran.end {
            End::Published(serial) => {
                tracing::info!(token = tokens.lane.number(), "token shared with other replicas");
                tokens.published(&token.fingerprint, serial);
            }
            End::Adopted => self.adopt(tokens, ran.theirs),
            End::Private | End::Unheard | End::Nothing => {}
        }
    }

    /// A token for all, in the place of one that only we have.
    async fn share(&self, tokens: &Tokens, seats: &[Seat], again: &mut Again) {
        let Some(_turn) = self.free() else { return };
        if again.at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let ran = self.run(seats, Renewal::share(tokens.held()), None).await;
        match ran.end {
            End::Published(serial) => {
                let share = Share::Published(serial);
                self.adopt(tokens, ran.ours.map(|ours| Minted { share, ..ours }));
            }
            End::Adopted => self.adopt(tokens, ran.theirs),
            // Another is at it.
            End::Nothing if ran.error.is_none() => return,
            End::Private | End::Unheard | End::Nothing => return again.failed(),
        }
        *again = Again::default();
    }

    /// A renewal that is on its way brings a better one.
    fn free(&self) -> Option<MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    fn adopt(&self, tokens: &Tokens, minted: Option<Minted>) {
        if let Some(minted) = minted {
            self.remember(&minted);
            tokens.adopt(minted);
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
            self.spread(seat, token.share.serial()).await;
        }
    }

    async fn spread(&self, seat: &Seat, serial: Serial) {
        let note = record::note(seat, serial);
        let message = Message::GivenUp(serial).write(seat);
        // Who does not hear of it gets a 401 of its own.
        let _ = self.store.give_up(&seat.place, serial, &note, &message).await;
    }
}
