//! Local tokens at all replicas: tells revocations and uses, and hears of those of others.
//! It never holds up a call but for one look into the store, at a token that was never seen here.
//!
//! The table is the queue: what is to be told stands there until it was, so that a store that is away
//! costs nothing and nothing is lost.

mod duty;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, broadcast, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    seal::{Seal, Who},
    table::Table,
};
use crate::{
    config::KeyDigest,
    decide::local_token::{Record, Whose},
    store::{
        Heard, Link,
        logins::{Logins, Name, Place},
        seal::Key,
    },
    token::issuer::Login,
};
use duty::Duty;

/// What the keys are for.
const PURPOSE: &str = "login";
/// How often it is looked whether a secret has changed.
const KEYS: Duration = Duration::from_secs(5);
/// And while there is none.
const NO_KEYS: Duration = Duration::from_millis(200);
/// What a caller waits for the keys, which are there soon after the start.
const PATIENCE: Duration = Duration::from_secs(1);

/// The keys there are; the one to write under first.
pub type Seals = Arc<[Arc<Seal>]>;

/// No secret can be read yet.
#[derive(Debug)]
pub struct NoKeys;

/// One organisation's way to the others.
#[derive(Debug)]
pub struct Sharing {
    login: Arc<Login>,
    store: Logins,
    who: Mutex<Vec<Who>>,
    seals: watch::Sender<Seals>,
    /// There is something to tell.
    news: Notify,
}

impl Sharing {
    /// By the secret of `login`; nobody may log in yet.
    pub fn new(login: Arc<Login>, link: Arc<Link>) -> Self {
        let store = Logins::new(link, login.scope());
        let (who, seals) = (Mutex::default(), watch::Sender::new(Seals::default()));
        Self { login, store, who, seals, news: Notify::new() }
    }

    /// From now on these may log in, and are called by their names and keys at once.
    pub fn serve(&self, who: Vec<Who>) {
        *self.who() = who;
        self.seals.send_modify(|seals| *seals = self.sealed(seals.iter().map(|it| it.key.clone())));
    }

    fn sealed(&self, keys: impl Iterator<Item = Key>) -> Seals {
        let who = self.who();
        keys.map(|key| Arc::new(Seal::new(key, &who))).collect()
    }

    fn who(&self) -> MutexGuard<'_, Vec<Who>> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys, one at least.
    ///
    /// # Errors
    /// While no secret can be read.
    pub async fn seals(&self) -> Result<Seals, NoKeys> {
        let mut seals = self.seals.subscribe();
        let found = timeout(PATIENCE, seals.wait_for(|seals| !seals.is_empty())).await;
        match found {
            Ok(Ok(seals)) => Ok(Arc::clone(&seals)),
            Ok(Err(_)) | Err(_) => Err(NoKeys),
        }
    }

    /// What the store knows of a token; `None`: it does not answer.
    pub async fn ask(&self, seal: &Seal, whose: &Whose, digest: &KeyDigest) -> Option<Record> {
        let name = Name::new(&seal.key, digest.bytes());
        let told = self.store.look(&self.place(whose), &[name]).await.ok()?;
        told.first().copied()
    }

    /// There is something to tell.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// Does not end.
    pub async fn follow(&self, table: &Table, idle: Duration) {
        tokio::join!(self.keep_keys(), self.share(table, idle));
    }

    /// A secret may be changed while the gateway runs. Does not end.
    async fn keep_keys(&self) {
        loop {
            let keys = self.login.seals(PURPOSE).await;
            let now: Vec<_> =
                self.seals.borrow().iter().map(|seal| seal.key.id().to_owned()).collect();
            let same = keys.iter().map(Key::id).eq(now.iter().map(String::as_str));
            // Without a secret the former keys go on: it cannot be read just now.
            if !same && !keys.is_empty() {
                // Within it nobody else changes them: who may log in is who may now.
                self.seals.send_modify(|seals| *seals = self.sealed(keys.into_iter()));
            }
            let none = self.seals.borrow().is_empty();
            sleep(if none { NO_KEYS } else { KEYS }).await;
        }
    }

    async fn share(&self, table: &Table, idle: Duration) {
        let mut heard = self.store.listen();
        let mut duty = Duty::new(idle);
        loop {
            let next = duty.run(self, table).await;
            self.hear(&mut heard, table, &mut duty, next).await;
        }
    }

    /// Until there is something to do.
    async fn hear(
        &self,
        heard: &mut broadcast::Receiver<Heard>,
        table: &Table,
        duty: &mut Duty,
        until: Instant,
    ) {
        loop {
            tokio::select! {
                heard = Heard::next(heard) => match heard {
                    Heard::Said(message) => self.said(&message, table),
                    Heard::Gap => return duty.gap(),
                },
                () = self.news.notified(), if !duty.fails() => return,
                () = sleep_until(until) => return,
            }
        }
    }

    /// Another replica has revoked a token, or somebody says so.
    fn said(&self, message: &[u8], table: &Table) {
        let seals = Arc::clone(&self.seals.borrow());
        let opened = seals.iter().find_map(|seal| {
            let plain = seal.key.open(&self.store.channel, message)?;
            Some((duty::read(&plain)?, seal))
        });
        let Some((said, seal)) = opened else { return };
        let Some((principal, _)) = seal.caller(&said.whose) else { return };
        let now = Instant::now();
        let whose = (principal, Arc::clone(seal));
        if table.revoked_elsewhere(said.digest, whose, now + said.left, now) {
            tracing::info!("a token of a caller's was ended at another replica");
        }
    }

    fn place(&self, whose: &Whose) -> Place {
        Place::new(self.login.scope(), &String::from_utf8_lossy(whose))
    }
}

#[cfg(test)]
mod tests;
