//! One token for all replicas: an issuer that looks into the store before it asks the login.
//! It never leaves a replica without a token for the store's sake: without the store each asks alone.

mod follow;
mod record;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use tokio::{
    sync::{Mutex as Turn, Notify},
    time::{Instant, sleep},
};

use super::{
    answer::{Minted, Share},
    error::MintError,
    issuer::{Issuer, Login},
    verify::{Alive, Check},
};
use crate::{
    decide::shared_token::{Do, End, Found, Held, Holding, Renewal, Seen, Serial},
    store::{
        Down, Scope,
        seal::Key,
        token::{BEAT, Lock, News, Place, Published, Record, TokenStore},
    },
    telemetry::metrics::Metrics,
};
use record::Message;

/// How often a waiting replica looks, give or take a half: not in step with the others.
const LOOK: Duration = Duration::from_millis(150);

/// An issuer whose tokens replicas may share.
pub trait Sharer: Issuer + Check {
    /// Whose tokens they are.
    fn scope(&self) -> &Scope;

    /// The keys they are sealed under, the one to write under first.
    fn token_seals(&self) -> impl Future<Output = Vec<Key>> + Send;

    /// Whether a token that another replica has asked for is one for us.
    fn admit(&self, minted: Minted) -> impl Future<Output = Result<Minted, MintError>> + Send;

    /// What one token request may take.
    fn timeout(&self) -> Duration;
}

impl Sharer for Login {
    fn scope(&self) -> &Scope {
        Self::scope(self)
    }

    async fn token_seals(&self) -> Vec<Key> {
        // Who asks for other scopes gets other tokens.
        let mut asked = vec!["token", "scope"];
        asked.extend(self.oauth.scope.iter().map(String::as_str));
        asked.push("params");
        for (name, value) in &self.oauth.extra_params {
            asked.extend([name.as_str(), value.as_str()]);
        }
        self.seals(&asked.join("\0")).await
    }

    async fn admit(&self, minted: Minted) -> Result<Minted, MintError> {
        self.accept(minted).await
    }

    fn timeout(&self) -> Duration {
        self.oauth.timeout
    }
}

/// A place, and the key that opens it.
#[derive(Debug)]
struct Seat {
    place: Place,
    key: Key,
}

/// What was found, and the token if it is one.
#[derive(Debug)]
struct Sight {
    found: Found,
    minted: Option<Minted>,
}

impl Sight {
    fn serial(&self) -> Serial {
        match self.found {
            Found::Nothing | Found::Unreadable => 0,
            Found::Token(offered) => offered.serial,
        }
    }
}

/// One of a client's tokens, shared.
#[derive(Debug)]
pub struct Shared<I, S> {
    inner: Arc<I>,
    store: S,
    /// Which of the client's tokens.
    lane: usize,
    /// One renewal or offer at a time: the lock is this replica's, not a task's.
    turn: Turn<()>,
    /// There is news: who waits looks at once.
    heard: Notify,
    /// The newest token, with all that is known of it.
    last: Mutex<Option<Minted>>,
}

impl<I: Sharer, S: TokenStore> Shared<I, S> {
    /// The client's `lane`-th token.
    pub fn new(inner: Arc<I>, store: S, lane: usize) -> Self {
        Self {
            inner,
            store,
            lane,
            turn: Turn::default(),
            heard: Notify::new(),
            last: Mutex::default(),
        }
    }

    /// The token that replicas share now; `None` when there is none that could be used.
    pub async fn peek(&self) -> Option<Minted> {
        let held = Held { holding: Holding::Nothing, given_up: 0 };
        let sight = self.look(&self.seats().await).await.ok()?;
        let (mut renewal, _) = Renewal::new(held);
        match renewal.after(Seen::Found(sight.found), true) {
            Do::End(End::Adopted) => sight.minted,
            _ => None,
        }
    }

    /// No other replica of this client lives. Not known: not the last.
    pub async fn last_alive(&self) -> bool {
        self.store.alive(self.inner.scope(), Duration::ZERO).await == Ok(0)
    }

    async fn seats(&self) -> Vec<Seat> {
        let scope = self.inner.scope();
        let seat = |key: Key| Seat { place: Place::new(scope, self.lane, key.id()), key };
        self.inner.token_seals().await.into_iter().map(seat).collect()
    }

    /// The newest of what is there under any of our keys.
    async fn look(&self, seats: &[Seat]) -> Result<Sight, Down> {
        let mut best = Sight { found: Found::Nothing, minted: None };
        for seat in seats {
            let asked = Instant::now();
            let record = self.store.read(&seat.place).await?;
            let sight = self.see(seat, &record, asked).await;
            if sight.serial() > best.serial() || best.found == Found::Nothing {
                best = sight;
            }
        }
        Ok(best)
    }

    async fn see(&self, seat: &Seat, record: &Record, asked: Instant) -> Sight {
        if record.serial == 0 || record.sealed.is_empty() {
            return Sight { found: Found::Nothing, minted: None };
        }
        let unreadable = Sight { found: Found::Unreadable, minted: None };
        let Some((minted, offered)) = record::read(seat, record, asked) else { return unreadable };
        // It may not be what is expected here.
        match self.inner.admit(minted).await {
            Ok(minted) => Sight { found: Found::Token(offered), minted: Some(minted) },
            Err(_) => unreadable,
        }
    }

    /// Longer than a mint takes: two requests, and the secrets.
    fn lease(&self) -> Duration {
        self.inner.timeout() * 3 + Duration::from_secs(10)
    }

    /// One renewal or offer to its end. `ours` is what is offered.
    async fn run(
        &self,
        seats: &[Seat],
        (mut renewal, mut next): (Renewal, Do),
        ours: Option<Minted>,
    ) -> Ran {
        let (began, patience) = (Instant::now(), self.lease() * 2);
        let mut ran = Ran { end: End::Nothing, ours, theirs: None, error: None };
        let Some(first) = seats.first() else { return ran };
        loop {
            let seen = match next {
                Do::End(end) => return Ran { end, ..ran },
                Do::Read => match self.look(seats).await {
                    Ok(sight) => Seen::Found(ran.saw(sight)),
                    Err(_) => Seen::Down,
                },
                Do::Take => self.take(first, &mut ran).await,
                Do::Wait => {
                    tokio::select! {
                        () = sleep(LOOK.mul_f64(0.5 + fastrand::f64())) => {}
                        () = self.heard.notified() => {}
                    }
                    Seen::Waited
                }
                Do::Mint => {
                    let asked = Instant::now();
                    let minted = tokio::select! {
                        minted = self.inner.mint() => minted,
                        never = self.beats(&first.place, renewal.fence()) => match never {},
                    };
                    match minted {
                        Ok(minted) => {
                            ran.ours = Some(Minted { born: Some(asked), ..minted });
                            Seen::Minted
                        }
                        Err(error) => {
                            ran.error = Some(error);
                            Seen::NotMinted
                        }
                    }
                }
                Do::Publish(fence) => self.publish(seats, fence, &mut ran).await,
                Do::Release(fence) => match self.store.release(&first.place, fence).await {
                    Ok(()) => Seen::Released,
                    Err(_) => Seen::Down,
                },
            };
            next = renewal.after(seen, began.elapsed() < patience);
        }
    }

    async fn take(&self, seat: &Seat, ran: &mut Ran) -> Seen {
        let asked = Instant::now();
        let Ok((lock, record)) = self.store.take(&seat.place, self.lease()).await else {
            return Seen::Down;
        };
        let found = ran.saw(self.see(seat, &record, asked).await);
        match lock {
            Lock::Taken(fence) => Seen::Taken(fence, found),
            Lock::Held => Seen::Held(found),
        }
    }

    /// Under all keys: whoever has only one of the secrets shares too.
    async fn publish(&self, seats: &[Seat], fence: Serial, ran: &mut Ran) -> Seen {
        let Some(minted) = ran.ours.clone() else { return Seen::Down };
        let ends = minted.born.unwrap_or_else(Instant::now) + minted.life;
        let mut seen = Seen::Published;
        for (number, seat) in seats.iter().enumerate() {
            let Some((sealed, left)) = record::write(seat, &minted, ends, fence) else {
                return Seen::Down;
            };
            let message = Message::Published(fence).write(seat);
            let news = News { fence, left, sealed: &sealed, message: &message };
            let asked = Instant::now();
            let told = self.store.publish(&seat.place, news).await;
            // The lock is at the first.
            if number > 0 {
                continue;
            }
            seen = match told {
                Ok(Published::Yes) => Seen::Published,
                Ok(Published::Lost(record)) => {
                    Seen::Lost(ran.saw(self.see(seat, &record, asked).await))
                }
                Err(_) => Seen::Down,
            };
            if seen != Seen::Published {
                break;
            }
        }
        seen
    }

    /// The holder lives. Does not end.
    async fn beats(&self, place: &Place, fence: Option<Serial>) -> std::convert::Infallible {
        let Some(fence) = fence else { return std::future::pending().await };
        loop {
            sleep(BEAT).await;
            // Whoever takes it for dead has the newer fence.
            let _ = self.store.beat(place, fence).await;
        }
    }

    fn remember(&self, minted: &Minted) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(minted.clone());
    }
}

/// How it went, with the tokens that were seen.
struct Ran {
    end: End,
    ours: Option<Minted>,
    theirs: Option<Minted>,
    error: Option<MintError>,
}

impl Ran {
    fn saw(&mut self, sight: Sight) -> Found {
        self.theirs = sight.minted;
        sight.found
    }

    fn token(self) -> Result<Minted, MintError> {
        let share = |minted: Option<Minted>, share| minted.map(|it| Minted { share, ..it });
        let minted = match self.end {
            End::Adopted => self.theirs,
            End::Published(serial) => share(self.ours, Share::Published(serial)),
            End::Private => share(self.ours, Share::Private),
            End::Unheard => share(self.ours, Share::Unheard),
            End::Nothing => None,
        };
        minted.ok_or_else(|| self.error.unwrap_or_else(MintError::dead_on_arrival))
    }
}

impl<I: Sharer, S: TokenStore> Issuer for Shared<I, S> {
    async fn mint(&self) -> Result<Minted, MintError> {
        self.inner.mint().await
    }

    async fn renew(&self, held: Held) -> Result<Minted, MintError> {
        let _turn = self.turn.lock().await;
        let seats = self.seats().await;
        if seats.is_empty() {
            // No secret, no seal; the login says why.
            return self.inner.mint().await;
        }
        let minted = self.run(&seats, Renewal::new(held), None).await.token()?;
        self.remember(&minted);
        Ok(minted)
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }

    fn outdated(&self) -> bool {
        self.inner.outdated()
    }

    fn client(&self) -> &str {
        self.inner.client()
    }

    fn show(&self, metrics: &Metrics) {
        self.inner.show(metrics);
    }
}

impl<I: Sharer, S: TokenStore> Check for Shared<I, S> {
    async fn check(&self, authorization: &HeaderValue) -> Alive {
        self.inner.check(authorization).await
    }

    async fn look(&self, authorization: &HeaderValue) -> Alive {
        self.inner.look(authorization).await
    }
}

#[cfg(test)]
mod tests;
