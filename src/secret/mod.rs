//! Secrets where they are kept: watched, and read anew for every mint, so that a changed one needs
//! no restart.
//! It never logs a value, and never gives up the last good one because its source fails.

mod command;
mod file;
mod json;
mod vault;
mod watch;
pub mod wiped;

pub use self::{
    command::read_output,
    file::loose,
    vault::{Auth, Unbuildable, VaultClient, read_auth, read_secret},
};
pub use crate::config::SecretKind as Kind;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch as channel},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::config::{self, SecretSource};
use file::Reading;
use watch::{Ask, Reader, Watcher};

/// Why a secret cannot be read: for the log and for `check --live`. Never holds a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Names the source.
    pub why: String,
    /// The server that keeps it cannot be reached, or cannot serve now; nothing here is wrong.
    pub away: bool,
}

impl Unreadable {
    /// Something is wrong with the source, or with where we look for it.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), away: false }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Unreadable {}

/// The newest good value. Each value that differs from its predecessor has the next number.
#[derive(Debug, Clone)]
struct Live {
    value: SecretString,
    number: u64,
}

/// Mints that ask at once; more wait to ask.
const ASKS: usize = 16;

/// Who has a good value at hand waits no longer for a newer one: calls wait for the token meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// One secret, a cheap handle on the task that reads it. `Debug` shows its source.
pub struct Secret {
    name: Arc<str>,
    way: Way,
    /// The number of the value that this handle last told of.
    told: AtomicU64,
    /// The number of the value that `fresh` last returned; 0: none yet.
    used: AtomicU64,
}

#[derive(Clone)]
enum Way {
    /// It cannot change.
    Fixed(SecretString),
    /// A task reads it.
    Watched { asks: mpsc::Sender<Ask>, live: channel::Receiver<Option<Live>> },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("source", &self.name).finish_non_exhaustive()
    }
}

/// The clone sees the same changes, each for itself.
impl Clone for Secret {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            way: self.way.clone(),
            told: AtomicU64::new(self.told.load(Ordering::Relaxed)),
            used: AtomicU64::new(self.used.load(Ordering::Relaxed)),
        }
    }
}

impl Secret {
    /// Starts the one task that reads it, which ends when `stop` is cancelled; a variable needs
    /// none. `vault` is asked for a secret in Vault.
    pub fn spawn(
        source: SecretSource,
        kind: Kind,
        vault: Option<&Arc<VaultClient>>,
        tasks: &TaskTracker,
        runtime: &Handle,
        stop: CancellationToken,
    ) -> Self {
        let name: Arc<str> = source.to_string().into();
        let reader = match source {
            SecretSource::Variable { value, .. } => {
                return Self::new(name, Way::Fixed(value));
            }
            SecretSource::File(path) => Reader::File(Reading::new(path, kind)),
            SecretSource::Command(command) => Reader::Command(command),
            SecretSource::Vault(secret) => Reader::Vault(vault.cloned(), secret),
        };
        let (asks, asked) = mpsc::channel(ASKS);
        let (sender, live) = channel::channel(None);
        let watcher = Watcher::new(Arc::clone(&name), reader, kind, asked, sender);
        tasks.spawn_on(
            async move {
                stop.run_until_cancelled(watcher.watch()).await;
            },
            runtime,
        );
        Self::new(name, Way::Watched { asks, live })
    }

    fn new(name: Arc<str>, way: Way) -> Self {
        Self { name, way, told: AtomicU64::new(0), used: AtomicU64::new(0) }
    }

    /// As it is now, by a read that begins after this call; all who ask meanwhile share one read.
    /// When the source fails, or takes longer than 2 s: the last good one. A read that takes longer
    /// goes on, and `changed` and `outdated` tell of what it brings.
    ///
    /// # Errors
    /// The source fails and there never was a good one.
    pub async fn fresh(&self) -> Result<SecretString, Unreadable> {
        let (asks, live) = match &self.way {
            Way::Fixed(value) => return Ok(value.clone()),
            Way::Watched { asks, live } => (asks, live),
        };
        let read = tokio::select! {
            biased;
            read = ask(asks) => read,
            () = patience(live.clone()) => None,
        };
        // Or the task has ended: so does the gateway, which may need it once more.
        let ended = || Unreadable::new(format!("{}: the gateway is stopping", self.name));
        let read = read.unwrap_or_else(|| live.borrow().clone().ok_or_else(ended))?;
        self.told.store(read.number, Ordering::Relaxed);
        self.used.store(read.number, Ordering::Relaxed);
        Ok(read.value)
    }

    /// The last good value, without a look at the source; `None` before there is one.
    pub fn live(&self) -> Option<SecretString> {
        match &self.way {
            Way::Fixed(value) => Some(value.clone()),
            Way::Watched { live, .. } => live.borrow().as_ref().map(|live| live.value.clone()),
        }
    }

    /// There is another value by now than `fresh` last returned: what was refused with that one may
    /// work with this one. Said once for each change, so that nobody tries without an end.
    pub fn outdated(&self) -> bool {
        let Way::Watched { live, .. } = &self.way else { return false };
        let number = live.borrow().as_ref().map_or(0, |live| live.number);
        let used = self.used.swap(number, Ordering::Relaxed);
        used > 0 && number > used
    }

    /// Resolves when the value is another one than `fresh` last returned, or than it was when this
    /// last resolved: a mint that was refused may work now. Never for a variable.
    pub async fn changed(&self) {
        if let Way::Watched { live, .. } = &self.way {
            let told = self.told.load(Ordering::Relaxed);
            let mut live = live.clone();
            let newer = |live: &Option<Live>| live.as_ref().is_some_and(|l| l.number > told);
            if let Ok(live) = live.wait_for(newer).await {
                let number = live.as_ref().map_or(told, |live| live.number);
                self.told.store(number, Ordering::Relaxed);
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Where it is, for people.
    pub fn source(&self) -> String {
        self.name.to_string()
    }
}

/// `None`: the task that reads has ended.
async fn ask(asks: &mpsc::Sender<Ask>) -> Option<Result<Live, Unreadable>> {
    let (answer, answered) = oneshot::channel();
    asks.send(answer).await.ok()?;
    answered.await.ok()
}

/// Ends when there has been a good value for long enough. Who has none waits for the read, which
/// has a deadline of its own.
async fn patience(mut live: channel::Receiver<Option<Live>>) {
    if live.wait_for(Option::is_some).await.is_ok() {
        tokio::time::sleep(PATIENCE).await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// The secret, if it can be one; else why not.
fn usable(secret: SecretString, kind: Kind) -> Result<SecretString, &'static str> {
    match config::unusable(secret.expose_secret(), kind) {
        None => Ok(secret),
        Some(wrong) => Err(wrong),
    }
}

#[cfg(test)]
mod tests;
