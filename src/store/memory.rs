//! The shared token's place without a server: the rules of the scripts beside it, word for word.
//! It never has rules of its own: a test runs both against each other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::broadcast, time::Instant};

use super::{
    Down, Heard, ReplicaId, Scope,
    token::{DEAD, Lock, News, Place, Published, Record, TokenStore, Told},
};

/// In milliseconds of the store's clock.
pub type Stamp = u64;

/// The token's hash and the lock's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Slot {
    pub serial: u64,
    pub fence: u64,
    pub expires: Stamp,
    pub sealed: Vec<u8>,
    pub gone: Vec<u8>,
    pub lock: Option<Holder>,
}

/// Who has the lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    pub by: Vec<u8>,
    pub fence: u64,
    pub beat: Stamp,
    pub ends: Stamp,
}

impl Slot {
    pub fn record(&self, now: Stamp) -> Record {
        let left = Duration::from_millis(self.expires.saturating_sub(now));
        Record { serial: self.serial, left, sealed: self.sealed.clone(), gone: self.gone.clone() }
    }

    pub fn take(&mut self, now: Stamp, me: &[u8], lease: Duration, dead: Duration) -> Lock {
        let [lease, dead] = [lease, dead].map(ms);
        let held = self.lock.as_ref().is_some_and(|lock| {
            lock.by != me && lock.ends > now && now.saturating_sub(lock.beat) <= dead
        });
        if held {
            return Lock::Held;
        }
        let fence = (self.serial.max(self.fence) + 1).max(now);
        self.lock = Some(Holder { by: me.to_vec(), fence, beat: now, ends: now + lease });
        self.fence = fence;
        Lock::Taken(fence)
    }

    fn own(&mut self, me: &[u8], fence: u64) -> Option<&mut Holder> {
        self.lock.as_mut().filter(|lock| lock.by == me && lock.fence == fence)
    }

    pub fn beat(&mut self, now: Stamp, me: &[u8], fence: u64) {
        if let Some(lock) = self.own(me, fence).filter(|lock| lock.ends > now) {
            lock.beat = now;
        }
    }

    pub fn release(&mut self, me: &[u8], fence: u64) {
        if self.own(me, fence).is_some() {
            self.lock = None;
        }
    }

    pub fn publish(&mut self, now: Stamp, me: &[u8], news: News<'_>) -> bool {
        if self.serial.max(self.fence) > news.fence || self.serial >= news.fence {
            return false;
        }
        (self.serial, self.fence) = (news.fence, news.fence);
        self.expires = now + ms(news.left);
        (self.sealed, self.gone) = (news.sealed.to_vec(), Vec::new());
        self.release(me, news.fence);
        true
    }

    /// Whether it is to be said.
    pub fn give_up(&mut self, serial: u64, note: &[u8]) -> bool {
        if self.serial == serial {
            self.gone = note.to_vec();
        }
        self.serial <= serial
    }

    pub fn vouch(&mut self, serial: u64) {
        if self.serial == serial {
            self.gone.clear();
        }
    }
}

fn ms(time: Duration) -> Stamp {
    Stamp::try_from(time.as_millis()).unwrap()
}

/// What all replicas of a test see.
#[derive(Debug, Default)]
pub struct Shelf {
    slots: HashMap<String, Slot>,
    channels: HashMap<String, broadcast::Sender<Heard>>,
    alive: HashMap<Vec<u8>, Stamp>,
    pub down: bool,
    /// There is room for a lock, and none for a token.
    pub full: bool,
}

/// One replica's way to it.
#[derive(Debug)]
pub struct Memory {
    shelf: Arc<Mutex<Shelf>>,
    me: ReplicaId,
    began: Instant,
}

impl Memory {
    /// Whoever has the same `shelf` shares.
    pub fn new(shelf: &Arc<Mutex<Shelf>>, began: Instant) -> Self {
        Self { shelf: Arc::clone(shelf), me: ReplicaId::random(), began }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step, unless the store is down.
    fn step<T>(
        &self,
        place: &Place,
        step: impl FnOnce(&mut Slot, Stamp, &[u8]) -> (T, Option<Vec<u8>>),
    ) -> Result<T, Down> {
        // Some day: a clock that begins at zero would hide what a fence is.
        let now = 1_000_000 + ms(self.began.elapsed());
        let mut all = self.shelf();
        if all.down {
            return Err(Down { why: "it is down".to_owned() });
        }
        let slot = all.slots.entry(place.token.clone()).or_default();
        let (told, message) = step(slot, now, self.me.as_str().as_bytes());
        if let Some((message, channel)) = message.zip(all.channels.get(&place.channel)) {
            let _ = channel.send(Heard::Said(message.into()));
        }
        Ok(told)
    }
}

impl Shelf {
    /// Everything is gone.
    pub fn flush(&mut self) {
        self.slots.clear();
    }

    /// Comes back, or goes.
    pub fn set_down(&mut self, down: bool) {
        self.down = down;
        if !down {
            for channel in self.channels.values() {
                let _ = channel.send(Heard::Gap);
            }
        }
    }
}

impl TokenStore for Memory {
    async fn read(&self, place: &Place) -> Told<Record> {
        self.step(place, |slot, now, _| (slot.record(now), None))
    }

    async fn take(&self, place: &Place, lease: Duration) -> Told<(Lock, Record)> {
        self.step(place, |slot, now, me| {
            let lock = slot.take(now, me, lease, DEAD);
            ((lock, slot.record(now)), None)
        })
    }

    async fn beat(&self, place: &Place, fence: u64) -> Told {
        self.step(place, |slot, now, me| (slot.beat(now, me, fence), None))
    }

    async fn release(&self, place: &Place, fence: u64) -> Told {
        self.step(place, |slot, _, me| (slot.release(me, fence), None))
    }

    async fn publish(&self, place: &Place, news: News<'_>) -> Told<Published> {
        if self.shelf().full {
            return Err(Down { why: "it is full".to_owned() });
        }
        self.step(place, |slot, now, me| {
            if slot.publish(now, me, news) {
                (Published::Yes, Some(news.message.to_vec()))
            } else {
                (Published::Lost(slot.record(now)), None)
            }
        })
    }

    async fn give_up(&self, place: &Place, serial: u64, note: &[u8], message: &[u8]) -> Told {
        self.step(place, |slot, _, _| ((), slot.give_up(serial, note).then(|| message.to_vec())))
    }

    async fn vouch(&self, place: &Place, serial: u64) -> Told {
        self.step(place, |slot, _, _| (slot.vouch(serial), None))
    }

    async fn alive(&self, _: &Scope, life: Duration) -> Told<u64> {
        let now = ms(self.began.elapsed());
        let mut all = self.shelf();
        all.alive.retain(|who, until| who != self.me.as_str().as_bytes() && *until >= now);
        let others = all.alive.len();
        if !life.is_zero() {
            all.alive.insert(self.me.as_str().into(), now + ms(life));
        }
        Ok(others as u64)
    }

    fn listen(&self, channel: &str) -> broadcast::Receiver<Heard> {
        let mut all = self.shelf();
        let sender =
            all.channels.entry(channel.to_owned()).or_insert_with(|| broadcast::channel(16).0);
        let receiver = sender.subscribe();
        let _ = sender.send(Heard::Gap);
        receiver
    }
}
