//! What is to be told and asked now: revocations first, then uses, then what others may have revoked.
//! It never forgets what it could not tell.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{
    super::table::{Entry, Table},
    Sharing,
};
use crate::{
    config::KeyDigest,
    decide::{
        backoff::Backoff,
        local_token::{Record, Whose, look_every},
    },
    store::{
        Down,
        logins::{AT_ONCE, Name, Revoked, Used},
        seal::Key,
    },
};

/// After something could not be told. A store that is back says so before most of these are over.
const AGAIN: Backoff = Backoff {
    floor: Duration::from_millis(200),
    first: Duration::from_millis(400),
    cap: Duration::from_secs(5),
};
/// How often everything is asked and told anew: the store may have lost it, or a message.
const ANEW: Duration = Duration::from_secs(60);
/// No token lives longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What is due, and when.
#[derive(Debug)]
pub struct Duty {
    look: Duration,
    /// When everything is asked and told anew.
    anew: Instant,
    /// In a row.
    failures: u32,
}

/// A revocation, as it is said.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Which.
    pub digest: KeyDigest,
    /// Whose.
    pub whose: Whose,
    /// It would have lived so long.
    pub left: Duration,
}

impl Duty {
    /// Everything is due.
    pub fn new(idle: Duration) -> Self {
        Self { look: look_every(idle), anew: Instant::now(), failures: 0 }
    }

    /// Messages may have been missed; and they arrive again, so that what fails now need not for long.
    pub fn gap(&mut self) {
        (self.anew, self.failures) = (Instant::now(), 0);
    }

    /// The last time something could not be told: more of it would not be, either.
    pub fn fails(&self) -> bool {
        self.failures > 0
    }

    /// Does what is due; when there is more.
    pub async fn run(&mut self, sharing: &Sharing, table: &Table) -> Instant {
        let begun = Instant::now();
        let anew = begun >= self.anew;
        if anew {
            table.tell_again();
        }
        let told = tell(sharing, table, anew).await;
        Instant::now() + self.rest(told.is_ok(), begun, fastrand::f64())
    }

    /// How long there is nothing to do after what was `begun` then.
    fn rest(&mut self, told: bool, begun: Instant, dice: f64) -> Duration {
        if !told {
            self.failures = self.failures.saturating_add(1);
            return AGAIN.delay(self.failures, dice);
        }
        self.failures = 0;
        if begun >= self.anew {
            self.anew = begun + ANEW;
        }
        self.look.min(self.anew.saturating_duration_since(begun))
    }
}

async fn tell(sharing: &Sharing, table: &Table, anew: bool) -> Result<(), Down> {
    for batch in batches(table.revoked(Instant::now())) {
        let Batch { whose, key, entries: batch } = batch;
        let message = |entry: &Entry| {
            let plain = write(&entry.digest, &whose, entry.left);
            key.seal(&sharing.store.channel, &plain)
        };
        let revoked = |entry: &Entry| Revoked {
            name: name(entry),
            left: entry.left,
            message: message(entry),
        };
        let all: Vec<_> = batch.iter().map(revoked).collect();
        sharing.store.revoked(&sharing.place(&whose), &all).await?;
        table.told_revoked(&batch);
    }
    for Batch { whose, entries: batch, .. } in batches(table.used(Instant::now())) {
        let now = Instant::now();
        let used = |entry: &Entry| Used {
            name: name(entry),
            ago: table.ago(entry, now),
            left: entry.left,
        };
        let all: Vec<_> = batch.iter().map(used).collect();
        sharing.store.used(&sharing.place(&whose), &all).await?;
        table.told_used(&batch);
    }
    if !anew {
        return Ok(());
    }
    for Batch { whose, entries: batch, .. } in batches(table.good(Instant::now())) {
        let names: Vec<_> = batch.iter().map(name).collect();
        let found = sharing.store.look(&sharing.place(&whose), &names).await?;
        let now = Instant::now();
        for (entry, record) in batch.into_iter().zip(found) {
            let Entry { digest, principal, seal, left, .. } = entry;
            let ended = record == Record::Revoked;
            if ended && table.revoked_elsewhere(digest, (principal, seal), now + left, now) {
                tracing::info!("a token of a caller's was ended at another replica");
            }
        }
    }
    Ok(())
}

/// What is told at once.
pub(super) struct Batch {
    pub(super) whose: Whose,
    key: Key,
    pub(super) entries: Vec<Entry>,
}

/// Of one caller each, as it was called when they were issued, under one key, and not too many.
pub(super) fn batches(entries: Vec<Entry>) -> Vec<Batch> {
    let mut groups: HashMap<(Whose, String), (Key, Vec<Entry>)> = HashMap::new();
    for entry in entries {
        let Some(whose) = entry.seal.whose(entry.principal) else { continue };
        let key = &entry.seal.key;
        let group = groups.entry((whose, key.id().to_owned()));
        group.or_insert_with(|| (key.clone(), Vec::new())).1.push(entry);
    }
    let cut = |((whose, _), (key, group)): (_, (Key, Vec<Entry>))| {
        let batch =
            |entries: &[Entry]| Batch { whose, key: key.clone(), entries: entries.to_vec() };
        group.chunks(AT_ONCE).map(batch).collect::<Vec<_>>()
    };
    groups.into_iter().flat_map(cut).collect()
}

fn name(entry: &Entry) -> Name {
    Name::new(&entry.seal.key, entry.digest.bytes())
}

fn write(digest: &KeyDigest, whose: &Whose, left: Duration) -> Vec<u8> {
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).to_be_bytes();
    [digest.bytes().as_slice(), whose, &left].concat()
}

/// What was said.
pub fn read(plain: &[u8]) -> Option<Said> {
    let (digest, rest) = plain.split_first_chunk()?;
    let (whose, rest) = rest.split_first_chunk()?;
    let (left, []) = rest.split_first_chunk()? else { return None };
    let left = Duration::from_millis(u64::from_be_bytes(*left)).min(LONGEST);
    Some(Said { digest: KeyDigest::new(*digest), whose: *whose, left })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_told_is_tried_less_and_less_often_until_the_store_is_heard_again() {
        let (mut duty, begun) = (Duty::new(Duration::from_secs(3600)), Instant::now());
        let failed = |duty: &mut Duty| duty.rest(false, begun, 1.0).as_millis();
        let rests = [(); 6].map(|()| failed(&mut duty));
        assert_eq!(rests, [400, 800, 1600, 3200, 5000, 5000]);
        duty.gap();
        assert_eq!((duty.fails(), failed(&mut duty)), (false, 400));
        assert!(duty.fails());
        let told = duty.rest(true, begun, 1.0);
        assert_eq!((duty.fails(), told), (false, look_every(Duration::from_secs(3600))));
    }

    #[test]
    fn what_is_said_is_read_as_it_was_written_and_no_longer_than_a_token_lives() {
        let digest = KeyDigest::of(b"token");
        let said = |left| read(&write(&digest, &[b'a'; 32], left)).unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(said(hour), Said { digest, whose: [b'a'; 32], left: hour });
        assert_eq!(said(48 * hour).left, 24 * hour);
        let whole = write(&digest, &[b'a'; 32], hour);
        assert_eq!(read(&whole[1..]), None);
        assert_eq!(read(&[&whole[..], b"x"].concat()), None);
    }
}
