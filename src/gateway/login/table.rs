//! The tokens of the gateway's own that are known here: whose each is, until when, and which were revoked.
//! It never keeps a token, only its digest, and never outgrows its bound.
//!
//! A lock, and not a copy that is swapped: a table of ten thousand is not copied for each login,
//! and a reader holds the lock for one look.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::seal::Seal;
use crate::{
    config::KeyDigest,
    decide::{callers::Principal, local_token::worth_telling},
};

/// Tokens at once, of all callers together.
pub const MOST: usize = 10_000;
/// So many go at once when there is no more room, so that not each login looks through all.
const GO: usize = MOST / 10;

/// One that is alive, or was revoked before its end.
#[derive(Debug)]
struct Held {
    principal: Principal,
    until: Instant,
    /// When it was used last, in milliseconds since `begin`.
    used: AtomicU64,
    /// It was revoked: other replicas may ask.
    revoked: bool,
    shared: Option<Shared>,
}

/// Of one that other replicas can know.
#[derive(Debug)]
struct Shared {
    seal: Arc<Seal>,
    /// The use that the others were told of, as `used`; `u64::MAX`: none yet.
    told: AtomicU64,
    /// They were told that it was revoked.
    told_revoked: AtomicBool,
}

/// One that the others are told of, or are asked about.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which.
    pub digest: KeyDigest,
    /// Whose.
    pub principal: Principal,
    /// Under which they know it.
    pub seal: Arc<Seal>,
    /// How long it lives yet.
    pub left: Duration,
    /// When it was used, in milliseconds since the table's begin.
    pub used: u64,
}

/// All that are known.
#[derive(Debug)]
pub struct Table {
    begin: Instant,
    idle: Duration,
    held: RwLock<HashMap<KeyDigest, Held>>,
}

impl Table {
    /// Its tokens live for `idle` without being used.
    pub fn new(idle: Duration, now: Instant) -> Self {
        Self { begin: now, idle, held: RwLock::default() }
    }

    /// One more, used now; under a seal others know it, too. Whether it is good: it may have been revoked
    /// meanwhile.
    pub fn insert(
        &self,
        digest: KeyDigest,
        (principal, seal): (Principal, Option<Arc<Seal>>),
        until: Instant,
        now: Instant,
    ) -> bool {
        let mut all = self.write();
        if all.get(&digest).is_some_and(|held| held.revoked && now < held.until) {
            return false;
        }
        self.put(&mut all, digest, self.held(principal, seal, until, now), now);
        true
    }

    /// Whose it is; it counts as used now.
    pub fn find(&self, digest: &KeyDigest, now: Instant) -> Option<Principal> {
        let all = self.read();
        let held = all.get(digest).filter(|held| !held.revoked && self.lives(held, now))?;
        held.used.store(self.millis(now), Ordering::Relaxed);
        Some(held.principal)
    }

    /// It was revoked, and would not be over yet.
    pub fn knows_revoked(&self, digest: &KeyDigest, now: Instant) -> bool {
        self.read().get(digest).is_some_and(|held| held.revoked && self.lives(held, now))
    }

    /// Ends it. Whether it was alive.
    pub fn revoke(&self, digest: &KeyDigest) -> bool {
        let mut all = self.write();
        match all.get_mut(digest) {
            // The others are to be told.
            Some(held) if held.shared.is_some() => !std::mem::replace(&mut held.revoked, true),
            Some(_) | None => all.remove(digest).is_some(),
        }
    }

    /// Ends all of these callers.
    pub fn end(&self, whose: &[Principal]) {
        self.write().retain(|_, held| {
            let over = whose.contains(&held.principal);
            held.revoked |= over;
            // The others are to be told.
            !over || held.shared.is_some()
        });
    }

    /// Another replica has ended it. Whether that is news.
    pub fn revoked_elsewhere(
        &self,
        digest: KeyDigest,
        (principal, seal): (Principal, Arc<Seal>),
        until: Instant,
        now: Instant,
    ) -> bool {
        let mut all = self.write();
        if all.get(&digest).is_some_and(|held| held.revoked) {
            return false;
        }
        let held = Held { revoked: true, ..self.held(principal, Some(seal), until, now) };
        if let Some(shared) = &held.shared {
            shared.told_revoked.store(true, Ordering::Relaxed);
        }
        self.put(&mut all, digest, held, now);
        true
    }

    /// Those that others can know and that are good, as far as this replica knows.
    pub fn good(&self, now: Instant) -> Vec<Entry> {
        self.those(now, |held, _| !held.revoked)
    }

    /// Those whose last use is worth telling.
    pub fn used(&self, now: Instant) -> Vec<Entry> {
        self.those(now, |held, shared| {
            let used = Duration::from_millis(held.used.load(Ordering::Relaxed));
            let told = shared.told.load(Ordering::Relaxed);
            let told = (told != u64::MAX).then(|| Duration::from_millis(told));
            !held.revoked && worth_telling(used, told, self.idle)
        })
    }

    /// Those that the others were not told of as revoked.
    pub fn revoked(&self, now: Instant) -> Vec<Entry> {
        self.those(now, |held, shared| held.revoked && !shared.told_revoked.load(Ordering::Relaxed))
    }

    /// The others know of these uses.
    pub fn told_used(&self, told: &[Entry]) {
        self.told(told, |shared, entry| shared.told.store(entry.used, Ordering::Relaxed));
    }

    /// The others know that these were revoked.
    pub fn told_revoked(&self, told: &[Entry]) {
        self.told(told, |shared, _| shared.told_revoked.store(true, Ordering::Relaxed));
    }

    /// The store may have forgotten: every revocation is told again.
    pub fn tell_again(&self) {
        for shared in self.read().values().filter_map(|held| held.shared.as_ref()) {
            shared.told_revoked.store(false, Ordering::Relaxed);
        }
    }

    /// How long ago that use was.
    pub fn ago(&self, entry: &Entry, now: Instant) -> Duration {
        Duration::from_millis(self.millis(now).saturating_sub(entry.used))
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.read().len()
    }

    fn told(&self, told: &[Entry], mark: impl Fn(&Shared, &Entry)) {
        let all = self.read();
        for entry in told {
            if let Some(shared) = all.get(&entry.digest).and_then(|held| held.shared.as_ref()) {
                mark(shared, entry);
            }
        }
    }

    fn those(&self, now: Instant, which: impl Fn(&Held, &Shared) -> bool) -> Vec<Entry> {
        let entry = |(digest, held): (&KeyDigest, &Held)| {
            let shared = held.shared.as_ref()?;
            let left = held.until.saturating_duration_since(now);
            (!left.is_zero() && which(held, shared)).then(|| Entry {
                digest: *digest,
                principal: held.principal,
                seal: Arc::clone(&shared.seal),
                left,
                used: held.used.load(Ordering::Relaxed),
            })
        };
        self.read().iter().filter_map(entry).collect()
    }

    fn held(
        &self,
        principal: Principal,
        seal: Option<Arc<Seal>>,
        until: Instant,
        now: Instant,
    ) -> Held {
        let shared = seal.map(|seal| Shared {
            seal,
            told: AtomicU64::new(u64::MAX),
            told_revoked: AtomicBool::new(false),
        });
        let used = AtomicU64::new(self.millis(now));
        Held { principal, until, used, revoked: false, shared }
    }

    fn put(&self, all: &mut HashMap<KeyDigest, Held>, digest: KeyDigest, held: Held, now: Instant) {
        if all.len() >= MOST {
            self.make_room(all, now);
        }
        all.insert(digest, held);
    }

    fn lives(&self, held: &Held, now: Instant) -> bool {
        let quiet = self.millis(now).saturating_sub(held.used.load(Ordering::Relaxed));
        now < held.until && (held.revoked || Duration::from_millis(quiet) < self.idle)
    }

    /// The dead go; then those of the caller with the most that were used least lately: who logs in
    /// for each call does it to itself.
    fn make_room(&self, all: &mut HashMap<KeyDigest, Held>, now: Instant) {
        all.retain(|_, held| self.lives(held, now));
        while all.len() > MOST - GO {
            let mut counts: HashMap<Principal, usize> = HashMap::new();
            for held in all.values() {
                *counts.entry(held.principal).or_default() += 1;
            }
            let Some((most, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
                return;
            };
            let mut used: Vec<u64> = all
                .values()
                .filter(|held| held.principal == most)
                .map(|held| held.used.load(Ordering::Relaxed))
                .collect();
            used.sort_unstable();
            let go = (all.len() - (MOST - GO)).min(count.div_ceil(2));
            let Some(last) = used.get(go.saturating_sub(1)).copied() else { return };
            let mut left = go;
            all.retain(|_, held| {
                let goes =
                    left > 0 && held.principal == most && held.used.load(Ordering::Relaxed) <= last;
                left -= usize::from(goes);
                !goes
            });
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<KeyDigest, Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<KeyDigest, Held>> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.begin).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Scope, seal::Key};

    const BILLING: Principal = Principal::Named(0);
    const HOUR: Duration = Duration::from_secs(3600);

    fn seal() -> Arc<Seal> {
        let scope = Scope::new("https://login.example/oauth/token", "https://api.example", "id");
        let billing = (BILLING, "billing".to_owned(), KeyDigest::of(b"key"));
        Arc::new(Seal::new(Key::derive(b"secret", &scope, "login"), &[billing]))
    }

    fn digest(n: usize) -> KeyDigest {
        KeyDigest::of(&n.to_be_bytes())
    }

    /// With token 1, which others can know.
    fn table() -> (Table, Instant) {
        let now = Instant::now();
        let table = Table::new(HOUR, now);
        assert!(table.insert(digest(1), (BILLING, Some(seal())), now + 24 * HOUR, now));
        (table, now)
    }

    fn which(entries: &[Entry]) -> Vec<KeyDigest> {
        entries.iter().map(|entry| entry.digest).collect()
    }

    #[test]
    fn a_revoked_one_stays_revoked_whatever_the_store_said_meanwhile() {
        let (table, now) = table();
        assert!(table.revoke(&digest(1)) && !table.revoke(&digest(1)));
        assert!(!table.insert(digest(1), (BILLING, Some(seal())), now + HOUR, now));
        assert_eq!(table.find(&digest(1), now), None);
        // Longer than one lives without being used.
        assert!(table.knows_revoked(&digest(1), now + 23 * HOUR));
        assert!(!table.knows_revoked(&digest(1), now + 24 * HOUR));
    }

    #[test]
    fn a_revocation_is_told_until_it_was_and_again_when_the_store_may_have_lost_it() {
        let (table, now) = table();
        assert!(table.revoked(now).is_empty());
        table.revoke(&digest(1));
        let told = table.revoked(now);
        assert_eq!(which(&told), [digest(1)]);
        assert_eq!(which(&table.revoked(now)), [digest(1)], "nobody was told");
        table.told_revoked(&told);
        assert!(table.revoked(now).is_empty() && table.good(now).is_empty());
        table.tell_again();
        assert_eq!(which(&table.revoked(now)), [digest(1)]);
        assert!(table.revoked(now + 24 * HOUR).is_empty(), "it is over");
    }

    #[test]
    fn what_another_has_revoked_is_news_once_and_not_told_on() {
        let (table, now) = table();
        for (number, seen) in [(1, "here"), (2, "nowhere")] {
            let end =
                || table.revoked_elsewhere(digest(number), (BILLING, seal()), now + HOUR, now);
            assert!(end() && !end(), "{seen}");
            assert_eq!(table.find(&digest(number), now), None, "{seen}");
        }
        assert!(table.revoked(now).is_empty());
    }

    #[test]
    fn one_that_was_idle_here_and_used_elsewhere_is_good_again_and_that_is_told() {
        let (table, begin) = table();
        table.told_used(&table.used(begin));
        let now = begin + HOUR;
        assert_eq!(table.find(&digest(1), now), None);
        assert!(table.insert(digest(1), (BILLING, Some(seal())), begin + 24 * HOUR, now));
        assert_eq!(table.find(&digest(1), now + HOUR / 2), Some(BILLING));
        assert_eq!(which(&table.used(now + HOUR / 2)), [digest(1)]);
    }

    #[test]
    fn a_use_is_told_when_a_tenth_of_the_idle_time_has_passed_since_the_last() {
        let (table, begin) = table();
        let told = table.used(begin);
        assert_eq!(which(&told), [digest(1)], "that it was issued");
        table.told_used(&told);
        for (minutes, tells) in [(5, false), (6, true)] {
            let now = begin + Duration::from_secs(60 * minutes);
            table.find(&digest(1), now);
            assert_eq!(!table.used(now).is_empty(), tells, "{minutes}");
        }
        let entries = table.used(begin + HOUR);
        assert_eq!(table.ago(&entries[0], begin + HOUR), HOUR / 10 * 9);
    }

    #[test]
    fn who_revokes_for_ever_pushes_out_its_own_and_nobody_elses() {
        let (table, now) = table();
        let (other, seal) = (Principal::Named(1), seal());
        assert!(table.insert(digest(0), (other, None), now + HOUR, now));
        for n in 2..MOST + MOST / 2 {
            table.insert(digest(n), (BILLING, Some(Arc::clone(&seal))), now + HOUR, now);
            table.revoke(&digest(n));
            assert!(table.count() <= MOST);
        }
        assert_eq!(table.find(&digest(0), now), Some(other));
    }
}
