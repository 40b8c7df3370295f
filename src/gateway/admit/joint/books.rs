//! The books of one client in the store.
//! It never writes a caller's name there, and seals what callers want under the client's secret. What
//! limits have been divided, into which parts, who reads the store may see; and who guesses a name, or
//! a family, whether it is the one.

use std::{ops::Range, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::{Mutex, broadcast};

use super::Books;
use crate::{
    config::Family,
    decide::{
        callers::Principal,
        joint::ledger::Opening,
        lanes::Lane,
        turns::{LimitId, gate::GateId},
    },
    store::{
        Down, Heard, Link, Scope,
        budget::{self, Answer, Speaker, Word},
        seal::Key,
    },
    telemetry::callers::{self, Name},
    token::issuer::Login,
};

/// What the keys for wishes are for.
const PURPOSE: &str = "budget";

/// One client's.
#[derive(Debug)]
pub struct InStore {
    link: Arc<Link>,
    login: Arc<Login>,
    replica: String,
    /// The lanes of its tokens.
    lanes: Range<usize>,
    names: Names,
    heard: Mutex<broadcast::Receiver<Heard>>,
}

/// What replicas of one configuration know alike.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Of `[[caller]]`s.
    pub callers: callers::Names,
    /// `rate_limit.families`, in their order.
    pub families: Vec<Family>,
}

impl InStore {
    /// Of the client that logs in by `login` and has these lanes.
    pub fn new(
        link: &Arc<Link>,
        login: &Arc<Login>,
        replica: &str,
        lanes: Range<usize>,
        names: Names,
    ) -> Self {
        Self {
            link: Arc::clone(link),
            login: Arc::clone(login),
            replica: replica.to_owned(),
            lanes,
            names,
            heard: Mutex::new(link.listen(&budget::channel(login.scope()))),
        }
    }

    fn scope(&self) -> &Scope {
        self.login.scope()
    }

    /// The same at all replicas of this client, and at those of no other.
    fn number(&self, parts: &[&[u8]]) -> u64 {
        let scope = self.scope().to_string();
        let whole = [&[scope.as_bytes()], parts].concat().join(&0);
        let digest = digest(&SHA256, &whole);
        digest.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes)
    }

    fn gate(&self, id: GateId) -> u64 {
        match id {
            GateId::Ceiling(principal) => self.caller(principal),
            GateId::Family(n) => {
                let family = self.names.families.get(usize::from(n));
                let rule = family.map(|family| family.rule.to_string()).unwrap_or_default();
                self.number(&[b"family", rule.as_bytes()])
            }
            GateId::Learned(family) => family,
        }
    }
}

impl Books for InStore {
    type Keys = Vec<Key>;

    async fn sync(&self, opening: Opening, words: &[Word], tell: bool) -> Result<Answer, Down> {
        let from = Speaker { scope: self.scope(), id: &self.replica, tell };
        budget::sync(&self.link, from, opening, words).await
    }

    fn connection(&self) -> u64 {
        self.link.connection()
    }

    async fn called(&self) {
        let mut heard = self.heard.lock().await;
        loop {
            match Heard::next(&mut heard).await {
                // Its own voice.
                Heard::Said(who) if *who == *self.replica.as_bytes() => {}
                Heard::Said(_) | Heard::Gap => return,
            }
        }
    }

    fn caller(&self, principal: Principal) -> u64 {
        match principal {
            Principal::Named(n) => {
                let name = match self.names.callers.of(Principal::Named(n)) {
                    Name::Given(name) => name,
                    Name::Address(_) | Name::User(_) | Name::None => "",
                };
                self.number(&[b"name", name.as_bytes()])
            }
            Principal::Address(address) => {
                self.number(&[b"address", address.to_string().as_bytes()])
            }
            Principal::User(id) => self.number(&[b"user", &id.to_be_bytes()]),
            Principal::Unknown => self.number(&[b"anybody"]),
        }
    }

    fn callers_of(&self, replica: &str) -> u64 {
        self.number(&[b"replica", replica.as_bytes()])
    }

    fn ledger(&self, id: LimitId) -> String {
        match id {
            LimitId::Lane(lane) => format!("budget:{}", lane.number() - self.lanes.start),
            LimitId::Rate(id) => format!("rate:{:016x}", self.gate(id)),
            LimitId::Crowd(id) => format!("crowd:{:016x}", self.gate(id)),
        }
    }

    fn replica(&self) -> &str {
        &self.replica
    }

    fn holds(&self, id: LimitId) -> bool {
        match id {
            LimitId::Lane(lane) => self.lanes.contains(&lane.number()),
            LimitId::Rate(_) | LimitId::Crowd(_) => self.lanes.contains(&Lane::default().number()),
        }
    }

    async fn keys(&self) -> Vec<Key> {
        self.login.seals(PURPOSE).await
    }

    fn seal(&self, keys: &Vec<Key>, ledger: &str, wishes: &[u8]) -> Vec<u8> {
        let context = context(ledger, &self.replica);
        // Without a secret nothing is told: the others see how much it holds.
        keys.first().map(|key| key.seal(&context, wishes)).unwrap_or_default()
    }

    fn open(&self, keys: &Vec<Key>, ledger: &str, from: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let context = context(ledger, from);
        keys.iter().find_map(|key| key.open(&context, sealed)).map(|opened| opened.to_vec())
    }
}

/// What is sealed for one place is nothing in another.
fn context(ledger: &str, replica: &str) -> String {
    format!("{ledger} {replica}")
}
