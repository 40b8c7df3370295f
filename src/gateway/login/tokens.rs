//! Tokens of the gateway's own: issued, found again, revoked, here and with a store at every replica.
//! It never keeps a token, and never asks the store about one that is known here.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use tokio::time::Instant;

use super::{
    overdue::Overdue,
    seal::{Seal, Who},
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

/// All that are alive.
#[derive(Debug)]
pub struct Tokens {
    life: Duration,
    idle: Duration,
    table: Table,
    overdue: Overdue,
    sharing: Option<Sharing>,
}

impl Tokens {
    /// They live for `life`, and for `idle` without being used.
    pub fn new(life: Duration, idle: Duration, now: Instant) -> Self {
        let (table, overdue) = (Table::new(idle, now), Overdue::default());
        Self { life, idle, table, overdue, sharing: None }
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

    /// A new one; of a named caller it is known from now on, of anybody else it says nothing.
    /// `None` when the system has no randomness.
    pub async fn issue(&self, principal: Principal, now: Instant) -> Option<SecretString> {
        let seal = match &self.sharing {
            // Without a key it is known here only.
            Some(sharing) => sharing.seals().await.ok().and_then(|all| all.first().cloned()),
            None => None,
        };
        let ticket = |seal: &Arc<Seal>| {
            let issued = since_1970();
            let ends = issued + self.life;
            Some(Ticket { whose: seal.whose(principal)?, issued, ends })
        };
        let (token, seal) = match seal.and_then(|seal| Some((ticket(&seal)?, seal))) {
            Some((ticket, seal)) => (seal.write(&ticket), Some(seal)),
            None => (random()?, None),
        };
        if let Principal::Named(_) = principal {
            self.table.insert(digest(&token), (principal, seal), now + self.life, now);
        }
        Some(token)
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
        let (Some(principal), Some(left)) = (seal.caller(&ticket.whose), left) else {
            return Ok(None);
        };
        let until = Instant::now() + left;
        // Without the store it is what it says.
        let record = sharing.ask(&seal, &ticket.whose, &digest).await.unwrap_or(Record::Nothing);
        let now = Instant::now();
        let good = match judge(record, self.idle) {
            Verdict::Good => self.table.insert(digest, (principal, Some(seal)), until, now),
            Verdict::Idle => {
                self.overdue.add(digest, now);
                false
            }
            Verdict::Revoked => {
                self.table.revoked_elsewhere(digest, (principal, seal), until, now);
                false
            }
        };
        Ok(good.then_some(principal))
    }

    /// Ends one that is known here, everywhere. Whether it was alive.
    pub fn revoke(&self, token: &str) -> bool {
        let alive = self.table.revoke(&KeyDigest::of(token.as_bytes()));
        if let Some(sharing) = &self.sharing {
            sharing.wake();
        }
        alive
    }

    /// The callers have changed: who may log in, and whose tokens are over.
    pub fn follow_callers(&self, who: Vec<Who>, ended: &[Principal]) {
        self.table.end(ended);
        if let Some(sharing) = &self.sharing {
            sharing.serve(who);
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

    fn tokens() -> (Tokens, Instant) {
        let now = Instant::now();
        (Tokens::new(24 * HOUR, HOUR, now), now)
    }

    async fn issue(tokens: &Tokens, principal: Principal, now: Instant) -> String {
        tokens.issue(principal, now).await.unwrap().expose_secret().to_owned()
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
        let other = issue(&tokens, Principal::Named(1), now).await;
        let first = issue(&tokens, BILLING, now).await;
        let mut last = String::new();
        for n in 0..2 * MOST as u64 {
            last = issue(&tokens, BILLING, now + Duration::from_millis(n + 1)).await;
            assert!(tokens.table.count() <= MOST);
        }
        let now = now + HOUR / 2;
        assert_eq!(tokens.find(&other, now), Some(Principal::Named(1)));
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
