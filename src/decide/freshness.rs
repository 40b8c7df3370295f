//! A token ages: use it, wait for the next one, or refuse; and when to fetch.
//! It never fetches, and never hands out a generation that expired or was rejected.

use std::time::{Duration, Instant};

use super::{backoff::Backoff, renewals::Renewals};

/// Which token a request was signed with. It keeps a late 401 from killing the successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(u64);

impl Generation {
    /// As a number, for logs.
    pub fn number(self) -> u64 {
        self.0
    }

    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What kind of failure a mint ended in; each has its own pace of retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Unreachable, slow, garbage: the next try may work.
    Transient,
    /// 429, or Genesys's 400 "rate limit exceeded": back off further.
    Throttled,
    /// `invalid_client` and its kin: nothing changes until the configuration does.
    Permanent,
}

impl Trouble {
    fn backoff(self) -> Backoff {
        let (floor, first, cap) = match self {
            Self::Transient => (100, 1_000, 30_000),
            Self::Throttled => (1_000, 5_000, 60_000),
            Self::Permanent => (15_000, 30_000, 300_000),
        };
        Backoff {
            floor: Duration::from_millis(floor),
            first: Duration::from_millis(first),
            cap: Duration::from_millis(cap),
        }
    }
}

/// What a request does about its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sign with this generation.
    Use(Generation),
    /// One is being fetched, or about to be.
    Wait,
    /// No usable token, and no try before `retry_at`.
    Refuse {
        /// When the next mint starts.
        retry_at: Instant,
        /// Why the last one failed.
        trouble: Trouble,
    },
}

/// What the one task that mints does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Fetch now; `fetched` or `failed` must follow.
    Fetch,
    /// Nothing before this moment, unless a rejection comes first.
    SleepUntil(Instant),
}

/// What a 401 means for the request that got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its token is dead or already replaced: take a newer one and replay.
    Renew,
    /// Renewing was tried and did not help: the 401 is the caller's.
    PassOn,
}

/// A secret that changes at each read must not turn a back-off into a storm.
const BETWEEN_HURRIES: Duration = Duration::from_secs(10);

/// So many tokens in a row a check may find dead; beyond that, it is asked whether it can be right.
const BELIEVED: u32 = 2;
const DISTRUST: Backoff = Backoff {
    floor: Duration::from_secs(60),
    first: Duration::from_secs(60),
    cap: Duration::from_secs(3600),
};

/// Shares of the refresh margin that jitter may take off, so that replicas do not mint in step.
const REFRESH_JITTER: f64 = 0.1;

/// The state of one token.
#[derive(Debug)]
pub struct Freshness {
    refresh_before: Duration,
    generation: Generation,
    /// `None`: no token, or the current one was rejected.
    expires_at: Option<Instant>,
    refresh_at: Option<Instant>,
    fetching: bool,
    failures: u32,
    trouble: Option<(Trouble, Instant)>,
    /// When a changed secret last cut a back-off short.
    hurried: Option<Instant>,
    /// A secret changed while a fetch with the former one was on its way.
    outdated: bool,
    /// Tokens in a row that a check found dead and none found alive.
    dead: u32,
    /// Until then checks are not believed.
    distrusted_until: Option<Instant>,
    /// What was given up because of a 401, and which family said so: it may be good after all.
    suspect: Option<Suspect>,
    /// When the current one was taken over from another replica, if it was.
    adopted: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    expires_at: Instant,
    refresh_at: Option<Instant>,
    /// `None`: another replica said so.
    family: Option<u64>,
    /// It was looked at, and that told nothing.
    unclear: bool,
}

impl Freshness {
    /// No token yet; the first `task` is to fetch.
    pub fn new(refresh_before: Duration) -> Self {
        Self {
            refresh_before,
            generation: Generation::default(),
            expires_at: None,
            refresh_at: None,
            fetching: false,
            failures: 0,
            trouble: None,
            hurried: None,
            outdated: false,
            dead: 0,
            distrusted_until: None,
            suspect: None,
            adopted: None,
        }
    }

    /// What a request does now.
    pub fn step(&self, now: Instant) -> Step {
        if self.expires_at.is_some_and(|end| now < end) {
            return Step::Use(self.generation);
        }
        // One that was given up is being looked at: it may be back in a moment.
        let looking =
            self.suspect.is_some_and(|suspect| !suspect.unclear && now < suspect.expires_at);
        match self.trouble {
            Some((trouble, retry_at)) if !self.fetching && !looking && now < retry_at => {
                Step::Refuse { retry_at, trouble }
            }
            Some(_) | None => Step::Wait,
        }
    }

    /// What the minting task does now. After `Fetch` a fetch counts as running.
    pub fn task(&mut self, now: Instant) -> Task {
        let usable = self.expires_at.is_some_and(|end| now < end);
        let wanted_at = if usable { self.refresh_at.unwrap_or(now) } else { now };
        let allowed_at = self.trouble.map_or(now, |(_, retry_at)| retry_at);
        let start_at = wanted_at.max(allowed_at);
        if start_at > now {
            return Task::SleepUntil(start_at);
        }
        self.fetching = true;
        Task::Fetch
    }

    /// A token came, good for `life` from now.
    pub fn fetched(&mut self, now: Instant, life: Duration, dice: f64) -> Generation {
        // A margin of at least the life would refresh at once, for ever: half a life is the most.
        let margin = self.refresh_before.min(life / 2);
        let jitter = margin.mul_f64(REFRESH_JITTER * dice.clamp(0.0, 1.0));
        self.generation = self.generation.next();
        self.expires_at = Some(now + life);
        self.refresh_at = Some(now + life.saturating_sub(margin) + jitter);
        self.fetching = false;
        self.failures = 0;
        self.trouble = None;
        self.suspect = None;
        self.outdated = false;
        self.adopted = None;
        self.generation
    }

    /// The token that just came is another replica's, which had reason to ask for it.
    pub fn adopted(&mut self, now: Instant) {
        self.adopted = Some(now);
    }

    /// The fetch failed. `retry_after` is the server's own wish, honoured when longer than ours.
    pub fn failed(
        &mut self,
        now: Instant,
        trouble: Trouble,
        retry_after: Option<Duration>,
        dice: f64,
    ) {
        self.fetching = false;
        self.failures = self.failures.saturating_add(1);
        let backoff = trouble.backoff();
        let ours = backoff.delay(self.failures, dice);
        let wait = retry_after.map_or(ours, |theirs| ours.max(theirs.min(backoff.cap)));
        self.trouble = Some((trouble, now + wait));
        if std::mem::take(&mut self.outdated) && trouble == Trouble::Permanent {
            self.hurry(now);
        }
    }

    /// Somebody wants the next token now. The one in use stays until it is there.
    pub fn renew(&mut self, now: Instant) {
        self.refresh_at = self.refresh_at.map(|at| at.min(now));
        if !self.fetching {
            self.hurry(now);
        }
    }

    /// A request signed with `generation` got a 401 from path family `family`; `worked` tells
    /// whether that generation ever got another answer.
    pub fn rejected(
        &mut self,
        renewals: &mut Renewals,
        now: Instant,
        generation: Generation,
        family: u64,
        worked: bool,
    ) -> Verdict {
        if generation != self.generation || self.expires_at.is_none() {
            return Verdict::Renew;
        }
        let tried = self.adopted.is_some_and(|since| renewals.tried(now, family, since));
        if tried || !renewals.grant(now, family, worked) {
            return Verdict::PassOn;
        }
        self.give_up(Some(family));
        Verdict::Renew
    }

    /// Another replica has given `generation` up and asks for the next one: a suspect here too. It is
    /// that replica's renewal, so none of ours is spent on it.
    pub fn doubted(&mut self, generation: Generation) -> bool {
        let current = generation == self.generation && self.expires_at.is_some();
        if current {
            self.give_up(None);
        }
        current
    }

    fn give_up(&mut self, family: Option<u64>) {
        let refresh_at = self.refresh_at;
        let suspect = |expires_at| Suspect { expires_at, refresh_at, family, unclear: false };
        self.suspect = self.expires_at.take().map(suspect);
    }

    /// The fetch brought nothing newer than what came meanwhile.
    pub fn kept(&mut self) {
        self.fetching = false;
        self.failures = 0;
        self.trouble = None;
        self.outdated = false;
    }

    /// The replay, signed with a fresh `generation`, got a 401 too: renewing did not help.
    pub fn fruitless(
        &self,
        renewals: &mut Renewals,
        now: Instant,
        generation: Generation,
        family: u64,
        worked: bool,
    ) {
        if generation == self.generation {
            renewals.fruitless(now, family, worked);
        }
    }

    /// A check found `generation` dead. It is given up, unless it has been replaced, or checks have
    /// killed too many in a row: then it is they that are wrong.
    pub fn inactive(
        &mut self,
        renewals: &mut Renewals,
        now: Instant,
        generation: Generation,
    ) -> bool {
        let distrusted = self.distrusts_checks(now);
        let current = generation == self.generation && self.expires_at.is_some();
        if distrusted || !current || !renewals.force(now) {
            return false;
        }
        self.expires_at = None;
        self.dead = self.dead.saturating_add(1);
        if self.dead >= BELIEVED {
            let again = DISTRUST.delay(self.dead + 1 - BELIEVED, 1.0);
            self.distrusted_until = Some(now + again);
        }
        true
    }

    /// A check found the token alive: checks can be believed.
    pub fn alive(&mut self) {
        self.dead = 0;
        self.distrusted_until = None;
    }

    /// Which generation was given up because of a 401 and could still be alive.
    pub fn suspect(&self, now: Instant) -> Option<Generation> {
        self.suspect.filter(|suspect| now < suspect.expires_at).map(|_| self.generation)
    }

    /// A look at the suspect told nothing, or that it is dead. Whoever waits for it is told so.
    pub fn not_cleared(&mut self, dead: bool) {
        match &mut self.suspect {
            Some(_) if dead => self.suspect = None,
            Some(suspect) => suspect.unclear = true,
            None => {}
        }
    }

    /// Checks were wrong too often: what they call dead may be alive.
    pub fn distrusts_checks(&self, now: Instant) -> bool {
        self.distrusted_until.is_some_and(|until| now < until)
    }

    /// A check found the suspect alive: it is used again, and the family that refused it is to
    /// blame. Its renewal goes on at the pace of its failures.
    pub fn cleared(
        &mut self,
        renewals: &mut Renewals,
        now: Instant,
        generation: Generation,
    ) -> bool {
        if self.suspect(now) != Some(generation) {
            return false;
        }
        let Some(suspect) = self.suspect.take() else { return false };
        self.expires_at = Some(suspect.expires_at);
        self.refresh_at = suspect.refresh_at;
        // At least until a token can be had again: the next 401 of it would be another gap.
        let not_before = self.trouble.map_or(now, |(_, retry_at)| retry_at);
        if let Some(family) = suspect.family {
            renewals.blame(now, family, not_before);
        }
        true
    }

    /// The machine slept for so long without its clock: the token aged all the same.
    pub fn slept(&mut self, slept: Duration) {
        let earlier = |at: Instant| at.checked_sub(slept).unwrap_or(at);
        self.expires_at = self.expires_at.map(earlier);
        self.refresh_at = self.refresh_at.map(earlier);
        self.suspect = None;
        if let Some((_, retry_at)) = &mut self.trouble {
            *retry_at = earlier(*retry_at);
        }
    }

    /// A secret changed that the last failure may have been about: the next try is now, or a little
    /// later when one was made for the same reason a moment ago. Throttling is not about a secret.
    pub fn hurry(&mut self, now: Instant) {
        // The first fetch of all reads the secret for the first time, which is no change.
        self.outdated |= self.fetching && (self.failures > 0 || self.generation.0 > 0);
        let earliest = self.hurried.map_or(now, |at| now.max(at + BETWEEN_HURRIES));
        match &mut self.trouble {
            Some((Trouble::Transient | Trouble::Permanent, retry_at))
                if !self.fetching && earliest < *retry_at =>
            {
                *retry_at = earliest;
                self.hurried = Some(earliest);
            }
            Some(_) | None => {}
        }
    }

    /// The newest token there has been.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// When the current token ends, if there is one.
    pub fn expires_at(&self) -> Option<Instant> {
        self.expires_at
    }
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
