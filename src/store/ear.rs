//! Messages of other replicas, over a connection of their own.
//! It never keeps one for who does not take it: that receiver is told of a gap.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};

use super::{
    Health, Heard, Link,
    keeper::{BACKOFF, PULSE},
    link::said,
    refusal::Trouble,
    way::slow,
};

/// Messages that a receiver may be behind by.
const BEHIND: usize = 256;

/// Failures in a row: one or two come with every restart of a server.
const WORTH_A_LINE: u32 = 4;

/// Who listens to what.
#[derive(Clone, Default)]
pub(super) struct Channels(Arc<Shared>);

#[derive(Default)]
struct Shared {
    all: Mutex<HashMap<String, broadcast::Sender<Heard>>>,
    /// There is one more, or the connection has ended.
    changed: Notify,
}

impl Channels {
    pub(super) fn listen(&self, channel: &str) -> broadcast::Receiver<Heard> {
        let mut all = self.all();
        if let Some(sender) = all.get(channel) {
            let receiver = sender.subscribe();
            // It may be listened to already: then nobody else would say so.
            let _ = sender.send(Heard::Gap);
            return receiver;
        }
        let (sender, receiver) = broadcast::channel(BEHIND);
        all.insert(channel.to_owned(), sender);
        self.0.changed.notify_one();
        receiver
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, broadcast::Sender<Heard>>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    fn tell(&self, channel: &str, heard: Heard) {
        if let Some(sender) = self.all().get(channel) {
            // Nobody may be listening just now.
            let _ = sender.send(heard);
        }
    }

    /// What the connection brings.
    fn hear(&self, push: &PushInfo) {
        match (&push.kind, push.data.as_slice()) {
            (PushKind::Message, [Value::BulkString(channel), Value::BulkString(payload)]) => {
                if let (Ok(channel), Some(heard)) = (str::from_utf8(channel), said(payload)) {
                    self.tell(channel, heard);
                }
            }
            (PushKind::Disconnection, _) => self.0.changed.notify_one(),
            _ => {}
        }
    }
}

impl Link {
    /// Until it is cancelled.
    pub(super) async fn hear(&self) {
        let (mut failures, mut told) = (0, false);
        loop {
            let begun = Instant::now();
            let why = self.listen_once(&mut told).await;
            if begun.elapsed() > BACKOFF.cap {
                failures = 0;
            }
            failures += 1;
            // While the store is away altogether, that is said elsewhere.
            let alone = *self.health().borrow() == Health::Up && failures >= WORTH_A_LINE;
            if alone && !told {
                told = true;
                tracing::warn!(
                    why,
                    "messages of other replicas do not arrive: what they tell is read now and then"
                );
            }
            tokio::time::sleep(BACKOFF.delay(failures, fastrand::f64())).await;
        }
    }

    /// Connects, and listens until the connection is of no use; why it is not.
    async fn listen_once(&self, told: &mut bool) -> String {
        let channels = self.channels.clone();
        let made = self.way.listen(move |push| channels.hear(&push)).await;
        let mut connection = match made {
            Ok(connection) => connection,
            Err(trouble) => return trouble.why().to_owned(),
        };
        let mut subscribed = Vec::new();
        loop {
            for channel in self.channels.names() {
                if subscribed.contains(&channel) {
                    continue;
                }
                let asked = connection.subscribe(&channel);
                if let Err(why) = self.in_time(asked).await {
                    return why;
                }
                self.channels.tell(&channel, Heard::Gap);
                subscribed.push(channel);
                if std::mem::take(told) {
                    tracing::info!("messages of other replicas arrive again");
                }
            }
            tokio::select! {
                () = self.channels.0.changed.notified() => {}
                () = tokio::time::sleep(PULSE) => {}
            }
            // A server that hangs, or a cable that was cut, says nothing by itself.
            if let Err(why) = self.alive(&mut connection).await {
                return why;
            }
        }
    }

    async fn alive(&self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        let ping = redis::cmd("PING");
        self.in_time(ping.query_async(connection)).await
    }

    async fn in_time(
        &self,
        asked: impl Future<Output = redis::RedisResult<()>>,
    ) -> Result<(), String> {
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Trouble::of(&error).why().to_owned()),
            Err(_) => Err(slow(self.timeout)),
        }
    }
}
