//! What replicas tell one another of the tokens that their callers logged in for: revocations and uses.
//! It never holds a token or a caller's name, and forgets both with the token's end.

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast;

use super::{Down, Heard, Link, Scope, Script, script::script, seal::Key};
use crate::decide::local_token::Record;

/// Tokens in one step of the store, which serves nobody else meanwhile.
pub const AT_ONCE: usize = 200;

/// Where one caller's tokens are told of.
#[derive(Debug)]
pub struct Place {
    revoked: String,
    used: String,
}

impl Place {
    /// `whose` is a keyed digest, in hex.
    pub fn new(scope: &Scope, whose: &str) -> Self {
        Self {
            revoked: scope.name(&format!("logins:revoked:{whose}")),
            used: scope.name(&format!("logins:used:{whose}")),
        }
    }
}

/// A token as the store knows it: who can list one of its two names does not know the other one.
#[derive(Debug)]
pub struct Name {
    revoked: String,
    used: String,
}

impl Name {
    /// Under this key, of a token's digest.
    pub fn new(key: &Key, digest: &[u8]) -> Self {
        let name = |what: &[u8]| key.name(&[what, b"\0", digest].concat());
        Self { revoked: name(b"revoked"), used: name(b"used") }
    }
}

/// Revoked, and what to say of it.
#[derive(Debug)]
pub struct Revoked {
    /// Which.
    pub name: Name,
    /// It would have lived so long.
    pub left: Duration,
    /// For the others.
    pub message: Vec<u8>,
}

/// Used.
#[derive(Debug)]
pub struct Used {
    /// Which.
    pub name: Name,
    /// So long ago.
    pub ago: Duration,
    /// It lives so long.
    pub left: Duration,
}

/// One client's callers.
#[derive(Debug)]
pub struct Logins {
    link: Arc<Link>,
    /// Where revocations are told.
    pub channel: String,
    revoke: Script,
    used: Script,
    look: Script,
}

impl Logins {
    /// Nothing is asked yet.
    pub fn new(link: Arc<Link>, scope: &Scope) -> Self {
        Self {
            link,
            channel: scope.name("logins"),
            revoke: script!("logins", "revoke"),
            used: script!("logins", "used"),
            look: script!("logins", "look"),
        }
    }

    /// Tells of revocations, of one caller's and [`AT_ONCE`] at most.
    ///
    /// # Errors
    /// When the store cannot be reached, is slow, or refuses.
    pub async fn revoked(&self, place: &Place, all: &[Revoked]) -> Result<(), Down> {
        let left: Vec<_> = all.iter().map(|one| ms(one.left)).collect();
        let mut args = vec![self.channel.as_bytes()];
        for (one, left) in all.iter().zip(&left) {
            args.extend([one.name.revoked.as_bytes(), left.as_bytes(), &one.message]);
        }
        self.link.run::<u8>(&self.revoke, &[&place.revoked], &args).await.map(drop)
    }

    /// Tells of uses, of one caller's and [`AT_ONCE`] at most.
    ///
    /// # Errors
    /// When the store cannot be reached, is slow, or refuses.
    pub async fn used(&self, place: &Place, all: &[Used]) -> Result<(), Down> {
        let left = ms(all.iter().map(|one| one.left).max().unwrap_or_default());
        let ago: Vec<_> = all.iter().map(|one| ms(one.ago)).collect();
        let mut args = vec![left.as_bytes()];
        for (one, ago) in all.iter().zip(&ago) {
            args.extend([one.name.used.as_bytes(), ago.as_bytes()]);
        }
        self.link.run::<u8>(&self.used, &[&place.used], &args).await.map(drop)
    }

    /// What is known of each, of one caller's and [`AT_ONCE`] at most.
    ///
    /// # Errors
    /// When the store cannot be reached, is slow, or refuses.
    pub async fn look(&self, place: &Place, names: &[Name]) -> Result<Vec<Record>, Down> {
        let args: Vec<_> =
            names.iter().flat_map(|name| [name.revoked.as_bytes(), name.used.as_bytes()]).collect();
        let keys = [place.revoked.as_str(), &place.used];
        let told: Vec<i64> = self.link.run(&self.look, &keys, &args).await?;
        Ok(told.into_iter().map(record).collect())
    }

    /// What others revoke from now on.
    pub fn listen(&self) -> broadcast::Receiver<Heard> {
        self.link.listen(&self.channel)
    }
}

fn record(told: i64) -> Record {
    match (told, u64::try_from(told)) {
        (-2, _) => Record::Revoked,
        (_, Ok(ago)) => Record::Used(Duration::from_millis(ago)),
        (_, Err(_)) => Record::Nothing,
    }
}

fn ms(time: Duration) -> String {
    // PEXPIRE takes no zero.
    time.as_millis().max(1).to_string()
}
