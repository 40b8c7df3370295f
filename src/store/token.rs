//! The shared token's place in the store: a record, a lock, and a channel for news.
//! It never decides: what an answer means is the replica's affair, and a store that is down is an answer
//! of its own.

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast;

use super::{Down, Heard, Link, ReplicaId, Scope, Script, script::script};

/// A holder of the lock that was silent for so long is dead.
pub(super) const DEAD: Duration = Duration::from_secs(3);
/// How often it must be heard of.
pub const BEAT: Duration = Duration::from_secs(1);

/// Where one token is, for those who have one key.
#[derive(Debug, Clone)]
pub struct Place {
    /// The record's name.
    pub token: String,
    lock: String,
    /// The channel's name: the same for all keys.
    pub channel: String,
}

impl Place {
    /// Of a client's `lane`-th token, under the key of that id.
    pub fn new(scope: &Scope, lane: usize, key_id: &str) -> Self {
        Self {
            token: scope.name(&format!("token:{lane}:{key_id}")),
            lock: scope.name(&format!("lock:{lane}:{key_id}")),
            channel: channel(scope, lane),
        }
    }
}

/// Where news of a token is told.
pub fn channel(scope: &Scope, lane: usize) -> String {
    scope.name(&format!("news:{lane}"))
}

/// What is in a place: a hint. What is sealed is bounded, and tells whether the rest is true.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Its number; 0: there is none.
    pub serial: u64,
    /// Until it ends, by the store's clock.
    pub left: Duration,
    /// The token.
    pub sealed: Vec<u8>,
    /// That it was given up; empty: it was not.
    pub gone: Vec<u8>,
}

/// Whether the lock is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Under this fence.
    Taken(u64),
    /// It is another's, who lives.
    Held,
}

/// Whether a token is everybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is.
    Yes,
    /// Somebody has a newer fence: this is there.
    Lost(Record),
}

/// A token to be published, under its fence.
#[derive(Debug, Clone, Copy)]
pub struct News<'a> {
    /// The lock's.
    pub fence: u64,
    /// Until it ends.
    pub left: Duration,
    /// The record.
    pub sealed: &'a [u8],
    /// For the others.
    pub message: &'a [u8],
}

/// What a step comes to.
pub type Told<T = ()> = Result<T, Down>;

/// What a replica does with a place. Each is one step of the store.
pub trait TokenStore: Send + Sync + 'static {
    /// What is there.
    fn read(&self, place: &Place) -> impl Future<Output = Told<Record>> + Send;

    /// Takes the lock, if it is free, ours, or a dead holder's; and what is there.
    fn take(
        &self,
        place: &Place,
        lease: Duration,
    ) -> impl Future<Output = Told<(Lock, Record)>> + Send;

    /// The holder lives.
    fn beat(&self, place: &Place, fence: u64) -> impl Future<Output = Told> + Send;

    /// Lets go of the lock, if it is still ours.
    fn release(&self, place: &Place, fence: u64) -> impl Future<Output = Told> + Send;

    /// Makes a token everybody's, unless there is a newer fence; the lock is free then.
    fn publish(
        &self,
        place: &Place,
        news: News<'_>,
    ) -> impl Future<Output = Told<Published>> + Send;

    /// Marks a token as given up with `note`, unless there is a newer one, and says so.
    fn give_up(
        &self,
        place: &Place,
        serial: u64,
        note: &[u8],
        message: &[u8],
    ) -> impl Future<Output = Told> + Send;

    /// Takes that mark away.
    fn vouch(&self, place: &Place, serial: u64) -> impl Future<Output = Told> + Send;

    /// Says that we live for so long; zero: we leave. How many others live.
    fn alive(&self, scope: &Scope, life: Duration) -> impl Future<Output = Told<u64>> + Send;

    /// What others say from now on.
    fn listen(&self, channel: &str) -> broadcast::Receiver<Heard>;
}

/// In Redis.
#[derive(Debug)]
pub struct Redis {
    link: Arc<Link>,
    /// Whoever holds a lock: each keeper of a token for itself.
    me: ReplicaId,
    /// Whoever lives: all keepers of a client in one process are one.
    life: ReplicaId,
    scripts: Scripts,
}

#[derive(Debug)]
struct Scripts {
    read: Script,
    take: Script,
    beat: Script,
    release: Script,
    publish: Script,
    give_up: Script,
    vouch: Script,
    alive: Script,
}

impl Redis {
    /// Nothing is asked yet. `life` is that of all the client's keepers in this process.
    pub fn new(link: Arc<Link>, life: ReplicaId) -> Self {
        let scripts = Scripts {
            read: script!("token", "read"),
            take: script!("token", "take"),
            beat: script!("token", "beat"),
            release: script!("token", "release"),
            publish: script!("token", "publish"),
            give_up: script!("token", "give_up"),
            vouch: script!("token", "vouch"),
            alive: script!("token", "alive"),
        };
        Self { link, me: ReplicaId::random(), life, scripts }
    }

    fn me(&self) -> &[u8] {
        self.me.as_str().as_bytes()
    }
}

type Raw = (u64, u64, Vec<u8>, Vec<u8>);

fn record((serial, left, sealed, gone): Raw) -> Record {
    Record { serial, left: Duration::from_millis(left), sealed, gone }
}

fn text(number: &impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn ms(time: Duration) -> Vec<u8> {
    text(&time.as_millis())
}

impl TokenStore for Redis {
    async fn read(&self, place: &Place) -> Told<Record> {
        self.link.run(&self.scripts.read, &[&place.token], &[]).await.map(record)
    }

    async fn take(&self, place: &Place, lease: Duration) -> Told<(Lock, Record)> {
        let keys = [place.token.as_str(), &place.lock];
        let args: [&[u8]; 3] = [self.me(), &ms(lease), &ms(DEAD)];
        let (taken, fence, found): (u8, u64, Raw) =
            self.link.run(&self.scripts.take, &keys, &args).await?;
        let lock = if taken == 1 { Lock::Taken(fence) } else { Lock::Held };
        Ok((lock, record(found)))
    }

    async fn beat(&self, place: &Place, fence: u64) -> Told {
        let args: [&[u8]; 2] = [self.me(), &text(&fence)];
        self.link.run::<u8>(&self.scripts.beat, &[&place.lock], &args).await.map(|_| ())
    }

    async fn release(&self, place: &Place, fence: u64) -> Told {
        let args: [&[u8]; 2] = [self.me(), &text(&fence)];
        self.link.run::<u8>(&self.scripts.release, &[&place.lock], &args).await.map(|_| ())
    }

    async fn publish(&self, place: &Place, news: News<'_>) -> Told<Published> {
        let keys = [place.token.as_str(), &place.lock];
        let (fence, left) = (text(&news.fence), ms(news.left));
        let channel = place.channel.as_bytes();
        let args: [&[u8]; 6] = [self.me(), &fence, &left, news.sealed, channel, news.message];
        let (done, found): (u8, Raw) = self.link.run(&self.scripts.publish, &keys, &args).await?;
        Ok(if done == 1 { Published::Yes } else { Published::Lost(record(found)) })
    }

    async fn give_up(&self, place: &Place, serial: u64, note: &[u8], message: &[u8]) -> Told {
        let args: [&[u8]; 4] = [&text(&serial), note, place.channel.as_bytes(), message];
        self.link.run::<u8>(&self.scripts.give_up, &[&place.token], &args).await.map(|_| ())
    }

    async fn vouch(&self, place: &Place, serial: u64) -> Told {
        let args: [&[u8]; 1] = [&text(&serial)];
        self.link.run::<u8>(&self.scripts.vouch, &[&place.token], &args).await.map(|_| ())
    }

    async fn alive(&self, scope: &Scope, life: Duration) -> Told<u64> {
        let args: [&[u8]; 2] = [self.life.as_str().as_bytes(), &ms(life)];
        self.link.run(&self.scripts.alive, &[&scope.name("replicas")], &args).await
    }

    fn listen(&self, channel: &str) -> broadcast::Receiver<Heard> {
        self.link.listen(channel)
    }
}

#[cfg(test)]
mod tests;
