//! Tokens of the gateway's own: issued, found again, revoked, here and with a store at every replica.
//! It never keeps a token, and never asks the store about one that is known here.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use tokio::time::Instant;

use super::{
    overdue::Overdue,
    seal::{Entitled, Seal, Who},
    sharing::{NoKeys, Sharing},
    table::Table,
};
use crate::{
    config::KeyDigest,
    decide::{
        callers::Principal,
        local_token::{Record, Ticket, Verdict, judge},
        offered::{TOKEN_PREFIX, TOKEN_RANDOM, sealed},
    },
};

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotIssued {
    /// The system has no randomness.
    NoRandomness,
    /// The key was changed while its caller logged in.
    Over,
}

/// All that are alive.
#[derive(Debug)]
pub struct Tokens {
    /// Who may have one, by which key.
    keys: RwLock<HashMap<Principal, KeyDigest>>,
    life: Duration,
    idle: Duration,
    table: Table,
    overdue: Overdue,
    sharing: Option<Sharing>,
}

impl Tokens {
    /// They live for `life`, and for `idle` without being used. Nobody may have one yet.
    pub fn new(life: Duration, idle: Duration, now: Instant) -> Self {
        let (table, overdue) = (Table::new(idle, now), Overdue::default());
        Self { keys: RwLock::default(), life, idle, table, overdue, sharing: None }
    }

    /// Other replicas know them, too.
    #[must_use]
    pub fn shared(self, sharing: Option<Sharing>) -> Self {
        Self { sharing, ..self }
    }

    /// How long a new one lives.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// A new one; of a caller that has logged in it is known from now on, of anybody else it says nothing.
    ///
    /// # Errors
    /// When it would be of a key that is over.
    pub async fn issue(
        &self,
        whose: Option<Entitled>,
        now: Instant,
    ) -> Result<SecretString, NotIssued> {
        let seal = match &self.sharing {
            // Without a key it is known here only.
            Some(sharing) => sharing.seals().await.ok().and_then(|all| all.first().cloned()),
            None => None,
        };
        let ticket = |seal: &Arc<Seal>| {
            let issued = since_1970();
            let ends = issued + self.life;
            Some(Ticket { whose: seal.whose(whose?.0)?, issued, ends })
        };
        let (token, seal) = match seal.and_then(|seal| Some((ticket(&seal)?, seal))) {
            Some((ticket, seal)) => (seal.write(&ticket), Some(seal)),
            None => (random().ok_or(NotIssued::NoRandomness)?, None),
        };
        match whose {
            Some(whose) if !self.keep(digest(&token), whose, seal, (now, now + self.life)) => {
                Err(NotIssued::Over)
            }
            Some(_) | None => Ok(token),
        }
    }

    /// One more, of a caller that has this key yet. Whether it is good.
    fn keep(
        &self,
        digest: KeyDigest,
        (principal, key): Entitled,
        seal: Option<Arc<Seal>>,
        (now, until): (Instant, Instant),
    ) -> bool {
        // Held until it is in the table: whoever takes the key away ends it there, or it is refused here.
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&principal) == Some(&key)
            && self.table.insert(digest, (principal, seal), until, now)
    }

    /// Whose it is, if it is known here; it counts as used now.
    pub fn find(&self, token: &str, now: Instant) -> Option<Principal> {
        self.table.find(&KeyDigest::of(token.as_bytes()), now)
    }

    /// Another replica may have issued it.
    pub fn may_be_elsewhere(&self, token: &str) -> bool {
        self.sharing.is_some() && sealed(token).is_some()
    }

    /// Whose it is, by what stands in it; the store may know that it is over. It is known from now on.
    ///
    /// # Errors
    /// While there is no secret to open it with.
    pub async fn look(&self, token: &str) -> Result<Option<Principal>, NoKeys> {
        let Some(sharing) = &self.sharing else { return Ok(None) };
        let digest = KeyDigest::of(token.as_bytes());
        let now = Instant::now();
        if self.table.knows_revoked(&digest, now) || self.overdue.has(&digest, now) {
            return Ok(None);
        }
        let seals = sharing.seals().await?;
        let read = |seal: &Arc<Seal>| Some((seal.read(token)?, Arc::clone(seal)));
        let Some((ticket, seal)) = seals.iter().find_map(read) else { return Ok(None) };
        let left = ticket.left(since_1970(), self.life);
        let (Some(whose), Some(left)) = (seal.caller(&ticket.whose), left) else {
            return Ok(None);
        };
        let until = Instant::now() + left;
        // Without the store it is what it says.
        let record = sharing.ask(&seal, &ticket.whose, &digest).await.unwrap_or(Record::Nothing);
        let now = Instant::now();
        let good = match judge(record, self.idle) {
            Verdict::Good => self.keep(digest, whose, Some(seal), (now, until)),
            Verdict::Idle => {
                self.overdue.add(digest, now);
                false
            }
            Verdict::Revoked => {
                self.table.revoked_elsewhere(digest, (whose.0, seal), until, now);
                false
            }
        };
        Ok(good.then_some(whose.0))
    }

    /// Ends one that is known here, everywhere. Whether it was alive.
    pub fn revoke(&self, token: &str) -> bool {
        let alive = self.table.revoke(&KeyDigest::of(token.as_bytes()));
        if let Some(sharing) = &self.sharing {
            sharing.wake();
        }
        alive
    }

    /// From now on these may log in; who has gone, or has another key, has no tokens any longer.
    pub fn follow_callers(&self, who: Vec<Who>) {
        let now: HashMap<_, _> = who.iter().map(|(principal, _, key)| (*principal, *key)).collect();
        // First: what is written under a key that is over is ended below.
        if let Some(sharing) = &self.sharing {
            sharing.serve(who);
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let over = keys.iter().filter(|(principal, key)| now.get(principal) != Some(key));
        let over: Vec<_> = over.map(|(principal, _)| *principal).collect();
        self.table.end(&over);
        *keys = now;
        drop(keys);
        if let Some(sharing) = &self.sharing {
            sharing.wake();
        }
    }

    /// Tells other replicas, and listens to them. Does not end, if there may be any.
    pub async fn follow(&self) {
        if let Some(sharing) = &self.sharing {
            sharing.follow(&self.table, self.idle).await;
        }
    }
}

fn digest(token: &SecretString) -> KeyDigest {
    KeyDigest::of(token.expose_secret().as_bytes())
}

fn random() -> Option<SecretString> {
    let mut random = Zeroizing::new([0; 32]);
    rand::fill(&mut *random).ok()?;
    let mut token = Zeroizing::new(String::with_capacity(TOKEN_PREFIX.len() + TOKEN_RANDOM));
    token.push_str(TOKEN_PREFIX);
    URL_SAFE_NO_PAD.encode_string(*random, &mut token);
    Some(token.as_str().into())
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::table::MOST, *};
    use crate::decide::offered::is_local;

    const BILLING: Principal = Principal::Named(0);
    const HOUR: Duration = Duration::from_secs(3600);

    const OTHER: Principal = Principal::Named(1);

    fn key(of: &str) -> KeyDigest {
        KeyDigest::of(of.as_bytes())
    }

    fn who(of_billing: &str) -> Vec<Who> {
        let other = (OTHER, "other".to_owned(), key("other"));
        vec![(BILLING, "billing".to_owned(), key(of_billing)), other]
    }

    fn tokens() -> (Tokens, Instant) {
        let now = Instant::now();
        let tokens = Tokens::new(24 * HOUR, HOUR, now);
        tokens.follow_callers(who("key"));
        (tokens, now)
    }

    async fn issue(tokens: &Tokens, principal: Principal, now: Instant) -> String {
        let whose = match principal {
            BILLING => Some((BILLING, key("key"))),
            OTHER => Some((OTHER, key("other"))),
            Principal::Named(_)
            | Principal::Address(_)
            | Principal::User(_)
            | Principal::Unknown => None,
        };
        tokens.issue(whose, now).await.unwrap().expose_secret().to_owned()
    }

    #[tokio::test]
    async fn a_key_that_changes_ends_its_tokens_and_those_that_are_on_their_way() {
        let (tokens, now) = tokens();
        let token = issue(&tokens, BILLING, now).await;
        let of_other = issue(&tokens, OTHER, now).await;
        tokens.follow_callers(who("new"));
        assert_eq!(tokens.find(&token, now), None);
        assert_eq!(tokens.find(&of_other, now), Some(OTHER));
        // Its form came before the change, its token would come after it.
        let late = tokens.issue(Some((BILLING, key("key"))), now).await;
        assert_eq!(late.unwrap_err(), NotIssued::Over);
        assert!(tokens.issue(Some((BILLING, key("new"))), now).await.is_ok());
        assert_eq!(tokens.table.count(), 2);
        tokens.follow_callers(Vec::new());
        assert_eq!((tokens.table.count(), tokens.find(&of_other, now)), (0, None));
    }

    #[tokio::test]
    async fn a_token_is_its_callers_until_it_ends_however_much_it_is_used() {
        let (tokens, begin) = tokens();
        let token = issue(&tokens, BILLING, begin).await;
        assert!(is_local(&token));
        let mut now = begin;
        while now + HOUR / 2 < begin + 24 * HOUR {
            now += HOUR / 2;
            assert_eq!(tokens.find(&token, now), Some(BILLING));
        }
        assert_eq!(tokens.find(&token, begin + 24 * HOUR), None);
    }

    #[tokio::test]
    async fn one_that_is_not_used_ends_sooner() {
        let (tokens, now) = tokens();
        let token = issue(&tokens, BILLING, now).await;
        assert_eq!(tokens.find(&token, now + HOUR), None);
    }

    #[tokio::test]
    async fn a_revoked_one_and_one_of_nobodys_are_unknown() {
        let (tokens, now) = tokens();
        let token = issue(&tokens, BILLING, now).await;
        assert!(tokens.revoke(&token) && !tokens.revoke(&token));
        assert_eq!(tokens.find(&token, now), None);
        let nobodys = issue(&tokens, Principal::Unknown, now).await;
        assert_eq!(tokens.find(&nobodys, now), None);
        assert_ne!(token, nobodys);
    }

    #[tokio::test]
    async fn of_a_token_only_its_digest_is_kept() {
        let (tokens, now) = tokens();
        let token = issue(&tokens, BILLING, now).await;
        let kept = format!("{tokens:?}");
        assert!(kept.contains("held") && !kept.contains(&token[TOKEN_PREFIX.len()..]), "{kept}");
    }

    #[tokio::test]
    async fn who_logs_in_for_each_call_pushes_out_its_own_and_nobody_elses() {
        let (tokens, now) = tokens();
        let other = issue(&tokens, OTHER, now).await;
        let first = issue(&tokens, BILLING, now).await;
        let mut last = String::new();
        for n in 0..2 * MOST as u64 {
            last = issue(&tokens, BILLING, now + Duration::from_millis(n + 1)).await;
            assert!(tokens.table.count() <= MOST);
        }
        let now = now + HOUR / 2;
        assert_eq!(tokens.find(&other, now), Some(OTHER));
        assert_eq!(tokens.find(&last, now), Some(BILLING));
        assert_eq!(tokens.find(&first, now), None);
    }

    #[tokio::test]
    async fn the_dead_make_room_first() {
        let (tokens, now) = tokens();
        for _ in 0..MOST {
            issue(&tokens, BILLING, now).await;
        }
        let living = issue(&tokens, BILLING, now + HOUR).await;
        assert_eq!(tokens.table.count(), 1);
        assert_eq!(tokens.find(&living, now + HOUR), Some(BILLING));
    }
}
