//! The way to the store: one connection that all use, kept by a task of its own.
//! It never makes a caller wait for a connection that failed, and never repeats a command.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use redis::FromRedisValue;
use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Down, Health, Heard, Script, Unbuildable,
    ear::Channels,
    health::State,
    refusal::Trouble,
    way::{Way, Wire, slow},
};
use crate::{
    config,
    secret::Secret,
    telemetry::metrics::{CommandOutcome, Metrics},
};

/// A way to the store.
pub struct Link {
    pub(super) way: Way,
    pub(super) timeout: Duration,
    pub(super) state: State,
    pub(super) channels: Channels,
    /// The connection was lost.
    pub(super) lost: Notify,
    open: Mutex<Open>,
    metrics: Metrics,
}

/// The connection there is.
#[derive(Default)]
struct Open {
    /// How many there have been.
    number: u64,
    wire: Option<Wire>,
    /// Of the key that was refused last: a cluster may be well but for the node that has it.
    tag: Option<String>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects, and keeps connected until `stop`. `password` is that of `config`, watched.
    ///
    /// # Errors
    /// When TLS has no usable roots.
    pub fn spawn(
        config: &config::Store,
        password: Option<Secret>,
        metrics: Metrics,
        tasks: &TaskTracker,
        runtime: &Handle,
        stop: &CancellationToken,
    ) -> Result<Arc<Self>, Unbuildable> {
        let link = Arc::new(Self {
            way: Way::new(config, password)?,
            timeout: config.timeout,
            state: State::new(config.servers.to_string(), metrics.clone()),
            channels: Channels::default(),
            lost: Notify::new(),
            open: Mutex::default(),
            metrics,
        });
        let (kept, heard) = (Arc::clone(&link), Arc::clone(&link));
        let (keeping, hearing) = (stop.clone(), stop.clone());
        let keep = async move {
            keeping.run_until_cancelled(kept.keep()).await;
        };
        let hear = async move {
            hearing.run_until_cancelled(heard.hear()).await;
        };
        tasks.spawn_on(keep, runtime);
        tasks.spawn_on(hear, runtime);
        Ok(link)
    }

    /// Runs a script, once. All keys must have the same `{tag}`: a cluster runs it where they are.
    /// While there is no connection it fails at once; only the very first one is waited for.
    ///
    /// # Errors
    /// When the store cannot be reached, is slow, or refuses.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<T, Down> {
        let begun = Instant::now();
        let told = self.try_run(script, keys, args).await;
        let outcome = match &told {
            Ok(_) => CommandOutcome::ok,
            Err(Failed { late: true, .. }) => CommandOutcome::timeout,
            Err(Failed { late: false, .. }) => CommandOutcome::error,
        };
        self.metrics.store.command(outcome, begun.elapsed());
        told.map_err(|failed| Down { why: failed.why })
    }

    async fn try_run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<T, Failed> {
        self.first_attempt().await;
        let (number, wire) = self.wire();
        let Some(mut wire) = wire else {
            return Err(Failed { why: self.state.why(), late: false });
        };
        let running = script.run(&mut wire, keys, args);
        match tokio::time::timeout(self.timeout, running).await {
            Ok(Ok(told)) => {
                self.state.did(script);
                Ok(told)
            }
            Ok(Err(error)) => {
                let why = self.judge(&Trouble::of(&error), number, (script, keys));
                Err(Failed { why, late: false })
            }
            Err(_) => {
                let why = self.lose(number, &slow(self.timeout));
                Err(Failed { why, late: true })
            }
        }
    }

    /// What an error means for everybody; what to say of it.
    fn judge(&self, trouble: &Trouble, number: u64, (script, keys): (&Script, &[&str])) -> String {
        match trouble {
            Trouble::Lost(why) | Trouble::Denied(why) => self.lose(number, why),
            Trouble::Refused(why) => {
                self.open().tag = keys.first().and_then(|key| tag(key)).map(str::to_owned);
                self.state.refused(why, None)
            }
            Trouble::Forbidden(why) => self.state.refused(why, Some(script)),
            Trouble::Script(why) => self.state.failed(why),
        }
    }

    /// How many connections there have been, this one included: with another one, what was read
    /// before may be gone. 0: none yet.
    pub fn connection(&self) -> u64 {
        self.open().number
    }

    /// Whether it can be used, now and from now on.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.state.watch()
    }

    /// What is published on a channel from now on. [`Heard::Gap`] comes first, as soon as it is
    /// listened to, and again after every time when it was not.
    pub fn listen(&self, channel: &str) -> broadcast::Receiver<Heard> {
        self.channels.listen(channel)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wire(&self) -> (u64, Option<Wire>) {
        let open = self.open();
        (open.number, open.wire.clone())
    }

    /// The tag of the key that was refused last.
    pub(super) fn tag(&self) -> Option<String> {
        self.open().tag.clone()
    }

    /// There is a new connection.
    pub(super) fn opened(&self, wire: Wire) {
        let mut open = self.open();
        (open.number, open.wire) = (open.number + 1, Some(wire));
    }

    /// Connection `number` is of no use: nobody uses it from now on.
    pub(super) fn lose(&self, number: u64, why: &str) -> String {
        let mut open = self.open();
        if open.number == number && open.wire.take().is_some() {
            self.lost.notify_one();
            self.state.down(why)
        } else {
            // Somebody else has said so.
            self.state.named(why)
        }
    }

    /// At the start the store is worth a wait: it may have the token.
    async fn first_attempt(&self) {
        let mut health = self.state.watch();
        let made = health.wait_for(|health| *health != Health::Connecting);
        // Then it fails as without a connection.
        let _ = tokio::time::timeout(self.timeout, made).await;
    }
}

/// A command without an answer.
struct Failed {
    why: String,
    /// None came in time.
    late: bool,
}

/// What stands between the first { and the next }: by that a cluster knows where a key is.
fn tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
}

/// What a message may be long.
pub(super) const MOST: usize = 4096;

/// A message as it goes to those who listen.
pub(super) fn said(payload: &[u8]) -> Option<Heard> {
    (payload.len() <= MOST).then(|| Heard::Said(Bytes::copy_from_slice(payload)))
}
