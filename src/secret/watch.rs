//! The task behind a secret: reads when asked and now and then, and keeps what is good.
//! It never reads twice at a time, and never lets a caller own a read: callers leave.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Kind, Live, Unreadable, VaultClient, command, file::Reading, usable};
use crate::config::{Command, VaultSecret};

/// A look at a file costs next to nothing, and somebody who has just changed it watches the log.
const FILE_EVERY: Duration = Duration::from_secs(2);
/// A command may cost a process, a network and a quota; a mint asks it anyway.
const COMMAND_EVERY: Duration = Duration::from_mins(5);
/// One small request; a rotation in Vault is known within a minute.
const VAULT_EVERY: Duration = Duration::from_mins(1);
/// A changed file counts when it reads the same again after this: a writer may be half-way.
const SETTLES_IN: Duration = Duration::from_millis(100);
/// A file that is never the same twice is taken as it is.
const SETTLES: u32 = 5;

/// Somebody waits for a read.
pub(super) type Ask = oneshot::Sender<Result<Live, Unreadable>>;

/// How a secret is read.
#[derive(Debug)]
pub(super) enum Reader {
    File(Reading),
    Command(Command),
    /// The configuration gives no source in Vault without a Vault; who builds one by hand may.
    Vault(Option<Arc<VaultClient>>, VaultSecret),
}

impl Reader {
    fn every(&self) -> Duration {
        match self {
            Self::File(_) => FILE_EVERY,
            Self::Command(_) => COMMAND_EVERY,
            Self::Vault(..) => VAULT_EVERY,
        }
    }

    /// What was just read need not be what the file will hold in a moment.
    fn may_be_half_written(&self) -> bool {
        match self {
            Self::File(file) => !file.hangs(),
            Self::Command(_) | Self::Vault(..) => false,
        }
    }

    async fn read(&mut self, kind: Kind) -> Result<SecretString, Unreadable> {
        match self {
            Self::File(file) => file.read().await,
            Self::Command(command) => command::run(command, kind).await,
            Self::Vault(Some(vault), secret) => {
                let value = vault.read(secret).await?;
                usable(value, kind)
                    .map_err(|wrong| Unreadable::new(format!("Vault {secret} {wrong}")))
            }
            Self::Vault(None, secret) => {
                Err(Unreadable::new(format!("Vault {secret}: no [vault]")))
            }
        }
    }
}

pub(super) struct Watcher {
    name: Arc<str>,
    reader: Reader,
    kind: Kind,
    asked: mpsc::Receiver<Ask>,
    live: watch::Sender<Option<Live>>,
    /// The source has failed since it last worked, and the log says so.
    outage: bool,
}

impl Watcher {
    pub(super) fn new(
        name: Arc<str>,
        reader: Reader,
        kind: Kind,
        asked: mpsc::Receiver<Ask>,
        live: watch::Sender<Option<Live>>,
    ) -> Self {
        Self { name, reader, kind, asked, live, outage: false }
    }

    /// Until every handle is gone.
    pub(super) async fn watch(mut self) {
        let mut next = Instant::now();
        loop {
            let ask = tokio::select! {
                ask = self.asked.recv() => match ask {
                    Some(ask) => Some(ask),
                    None => return,
                },
                () = sleep_until(next) => None,
            };
            // Who asks from here on gets the next read: this one may have seen the value before.
            let mut asks: Vec<_> = ask.into_iter().collect();
            while let Ok(ask) = self.asked.try_recv() {
                asks.push(ask);
            }
            let read = self.settled().await;
            let answer = self.judge(read);
            for ask in asks {
                // Whoever asked may have left.
                ask.send(answer.clone()).ok();
            }
            next = Instant::now() + self.reader.every();
        }
    }

    /// A file in the middle of being written reads as empty, or as half a secret.
    async fn settled(&mut self) -> Result<SecretString, Unreadable> {
        let mut read = self.reader.read(self.kind).await;
        for _ in 0..SETTLES {
            if !self.reader.may_be_half_written() {
                break;
            }
            let known = match (&read, &*self.live.borrow()) {
                (Ok(value), Some(live)) => same(value, &live.value),
                // Nothing to fall back on: whoever waits for the first one waits no longer.
                (_, None) => true,
                (Err(_), Some(_)) => false,
            };
            if known {
                break;
            }
            sleep(SETTLES_IN).await;
            let again = self.reader.read(self.kind).await;
            let settled = match (&read, &again) {
                (Ok(before), Ok(now)) => same(before, now),
                (Err(_), Err(_)) => true,
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
            };
            read = again;
            if settled {
                break;
            }
        }
        read
    }

    /// Keeps what is good, tells of what is new.
    fn judge(&mut self, read: Result<SecretString, Unreadable>) -> Result<Live, Unreadable> {
        let known = self.live.borrow().clone();
        let name = &*self.name;
        match (read, known) {
            (Err(why), None) => Err(why),
            (Err(why), Some(known)) => {
                if !std::mem::replace(&mut self.outage, true) {
                    tracing::warn!(source = name, %why, "secret unreadable: the last good one is used");
                }
                Ok(known)
            }
            (Ok(value), known) => {
                if std::mem::take(&mut self.outage) {
                    tracing::info!(source = name, "secret readable again");
                }
                let number = match known {
                    Some(known) if same(&known.value, &value) => return Ok(known),
                    Some(known) => {
                        tracing::info!(source = name, "secret changed: the new one is live");
                        known.number + 1
                    }
                    None => {
                        tracing::info!(source = name, "secret read: it is live");
                        1
                    }
                };
                // Whoever changes a file may have made it anew, with other permissions.
                if let Reader::File(file) = &self.reader
                    && let Some(loose) = file.loose()
                {
                    tracing::warn!("{loose}");
                }
                let live = Live { value, number };
                self.live.send_replace(Some(live.clone()));
                Ok(live)
            }
        }
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
