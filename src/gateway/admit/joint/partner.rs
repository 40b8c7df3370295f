//! One replica among others: what it tells the store, and what follows from the answer.
//! It never waits for the store under a lock, and gives up what is too much before it says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{Books, Joint, STEPS, wants::wishes};
use crate::{
    decide::{
        callers::Principal,
        joint::{
            LEASE,
            ledger::{Ask, Opening, Told},
            part::{Cap, Claim, Part},
            rhythm::Rhythm,
            wish::{self, Wish},
        },
        lanes::Lane,
        turns::{Facts, LimitId},
    },
    gateway::admit::Admission,
    store::budget::{Answer, Word},
};

/// Of a store that never answered it is not known how many replicas there are: as many as most
/// companies run.
const GUESSED: usize = 4;

/// One replica among others.
pub(super) struct Partner<B> {
    admission: Arc<Admission>,
    books: B,
    parts: BTreeMap<LimitId, Part>,
    /// Limits that nobody here uses any longer: what was ours of them is the others'.
    left: Vec<(LimitId, u64)>,
    rhythm: Rhythm,
    call: u64,
    version: u64,
    connection: u64,
    /// When a new connection took the place of one that broke: the store may be another.
    settled: Option<Instant>,
    /// Replicas that there may be, this one included: a store that has just lost all knows of few.
    replicas: usize,
    /// The store is away since then.
    away: Option<Instant>,
    /// For how long the machine had slept, as it looked last.
    slept: Duration,
    /// The others are to look.
    tell: bool,
    /// Who called here lately, or waits.
    callers: BTreeSet<Principal>,
}

impl<B: Books> Partner<B> {
    pub(super) fn new(admission: Arc<Admission>, books: B) -> Self {
        Self {
            admission,
            books,
            parts: BTreeMap::new(),
            left: Vec::new(),
            rhythm: Rhythm::default(),
            call: 0,
            version: 0,
            connection: 0,
            settled: None,
            replicas: GUESSED,
            away: None,
            slept: Duration::ZERO,
            tell: true,
            callers: BTreeSet::new(),
        }
    }

    fn joint(&self) -> Option<&Joint> {
        self.admission.joint.get()
    }

    pub(super) async fn run(&mut self) {
        let admission = Arc::clone(&self.admission);
        let Some(joint) = admission.joint.get() else { return };
        let mut stir = joint.stir.subscribe();
        tokio::select! {
            () = joint.ends.cancelled() => return,
            () = self.has_token(joint) => {}
        }
        let mut stirred = true;
        loop {
            let now = Instant::now();
            let off = stirred || self.parts.values().any(Part::is_off);
            let next = Instant::from_std(self.rhythm.next(now.into_std(), off));
            if next > now {
                tokio::select! {
                    () = joint.ends.cancelled() => return self.leave().await,
                    () = sleep_until(next) => {}
                    _ = stir.changed() => { stirred = true; continue }
                    () = self.books.called() => { stirred = true; continue }
                }
            }
            stirred = false;
            self.sync().await;
        }
    }

    /// Before there is a token nothing leaves; and whether it is new, the store is to know. Of several
    /// clients another's may be there, and this one's come late or never: families are waited for.
    async fn has_token(&self, joint: &Joint) {
        let mut stir = joint.stir.subscribe();
        let mut until = None;
        loop {
            let (any, ours) = {
                let lanes = joint.lanes();
                let ours = |lane: &Lane| self.books.holds(LimitId::Lane(*lane));
                (!lanes.is_empty(), lanes.keys().any(ours))
            };
            if ours {
                return;
            }
            if any && *until.get_or_insert(Instant::now() + LEASE) <= Instant::now() {
                return;
            }
            let end = until.unwrap_or_else(|| Instant::now() + LEASE);
            tokio::select! {
                () = sleep_until(end) => {}
                _ = stir.changed() => {}
            }
        }
    }

    /// One question to the store, and what follows from its answer.
    async fn sync(&mut self) {
        let asked = Instant::now();
        self.look(asked);
        let (words, ids) = self.words(asked).await;
        let fresh = self.is_fresh(asked);
        let opening = Opening { seen: self.version, fresh, lease: LEASE };
        let before = self.caps();
        let answer = self.books.sync(opening, &words, std::mem::take(&mut self.tell)).await;
        if let Ok(answer) = answer {
            self.away = None;
            self.told(asked, answer, &words, &ids).await;
        } else {
            self.away.get_or_insert(asked);
            self.unheard();
        }
        self.apply();
        let now = Instant::now().into_std();
        let changed = before != self.caps();
        self.rhythm.asked(now, changed);
        self.tell |= changed || self.parts.values().any(Part::is_short);
    }

    fn caps(&self) -> Vec<(u64, usize)> {
        self.parts.values().map(|part| (part.cap().now, part.replicas())).collect()
    }

    /// The limits as they are now: new ones, and such as are this replica's alone.
    fn look(&mut self, now: Instant) {
        let slept = self.joint().map_or(self.slept, |joint| *joint.slept.borrow());
        let nap = slept.saturating_sub(std::mem::replace(&mut self.slept, slept));
        if !nap.is_zero() {
            self.parts.values_mut().for_each(|part| part.slept(nap));
        }
        let connection = self.books.connection();
        let before = std::mem::replace(&mut self.connection, connection);
        // The first one is none that broke.
        if before != connection && before > 0 {
            self.settled = Some(now);
            for part in self.parts.values_mut() {
                part.reconnected(now.into_std());
            }
        }
        let admission = Arc::clone(&self.admission);
        let mut state = admission.state();
        let (limits, window) = (state.limits(now.into_std()), state.lanes().window());
        let limits: BTreeMap<LimitId, Facts> =
            limits.into_iter().filter(|(id, _)| self.books.holds(*id)).collect();
        let (stay, go): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.parts).into_iter().partition(|(id, _)| match id {
                LimitId::Lane(_) => limits.contains_key(id),
                // Nobody can be told that it is theirs.
                LimitId::Rate(_) | LimitId::Crowd(_) => {
                    limits.contains_key(id) || self.away.is_some()
                }
            });
        self.parts = stay;
        for (id, part) in go.into_iter().filter(|(id, _)| !matches!(id, LimitId::Lane(_))) {
            // Before it is said, and before anybody uses it again.
            state.cap(id, Cap::nothing(part.limit()));
            self.left.push((id, part.limit()));
        }
        drop(state);
        for (id, facts) in &limits {
            if !self.parts.contains_key(id) {
                let part = self.part(facts.limit, window, now);
                self.parts.insert(*id, part);
            }
        }
    }

    /// Of a limit that has not been in use here.
    fn part(&self, limit: u64, window: Duration, now: Instant) -> Part {
        let mut part = Part::new(self.books.replica(), limit, window);
        if let Some(since) = self.settled {
            part.reconnected(since.into_std());
        }
        if let Some(since) = self.away {
            part.away(since.into_std());
            part.unheard(now.into_std(), self.replicas);
        }
        part
    }

    /// What is said of each limit, and of those that are left. What is given up is given up before.
    async fn words(&mut self, now: Instant) -> (Vec<Word>, Vec<LimitId>) {
        self.call += 1;
        let claims = self.claims(now);
        let window = self.admission.state().lanes().window();
        let keys = self.books.keys().await;
        let (mut words, mut ids) = (Vec::new(), Vec::new());
        for (id, (claim, wishes, Facts { limit, report, .. })) in claims {
            let ledger = self.books.ledger(id);
            let wishes = self.books.seal(&keys, &ledger, &wish::told(&wishes));
            let ask = Ask {
                call: self.call,
                claim: claim.has,
                want: claim.wants,
                inside: report.inside,
                sent: report.sent,
                wishes,
                leaves: false,
            };
            words.push(Word { ledger, limit, window, ask });
            ids.push(id);
        }
        for (id, limit) in self.left.drain(..) {
            // What does not arrive ends by itself.
            let ask = Ask::leaving(self.call);
            words.push(Word { ledger: self.books.ledger(id), limit, window, ask });
        }
        (words, ids)
    }

    fn claims(&mut self, now: Instant) -> BTreeMap<LimitId, (Claim, Vec<Wish>, Facts)> {
        let mut state = self.admission.state();
        let (mut limits, lately) = (state.limits(now.into_std()), state.lately(now.into_std()));
        self.callers = lately.keys().copied().collect();
        let mut claims = BTreeMap::new();
        for (id, part) in &mut self.parts {
            let Some(facts) = limits.remove(id) else { continue };
            self.callers.extend(facts.waiting.keys());
            let wishes = wishes(*id, &facts, &lately, &self.admission, &self.books);
            let before = part.cap();
            let claim = part.ask(now.into_std(), wishes.clone());
            self.tell |= part.cap() != before;
            // Under the lock under which it was counted what has left: in between nobody sends more.
            state.cap(*id, part.cap());
            claims.insert(*id, (claim, wishes, facts));
        }
        claims
    }

    async fn told(&mut self, asked: Instant, answer: Answer, words: &[Word], ids: &[LimitId]) {
        self.version = answer.version;
        let settled = self.settled.is_none_or(|since| since + LEASE <= asked);
        let knows_all = answer.whole && settled;
        for part in self.parts.values_mut() {
            part.whole(answer.whole);
        }
        let keys = self.books.keys().await;
        for ((id, word), told) in ids.iter().zip(words).zip(answer.told) {
            let Some(Told { cap, others }) = told else {
                // Something else speaks in its name.
                self.unheard_of(*id);
                continue;
            };
            let mut wishes = BTreeMap::new();
            for (name, other) in others.into_iter().filter(|(_, other)| other.lives) {
                let opened = self.books.open(&keys, &word.ledger, &name, &other.wishes);
                let read = opened.and_then(|opened| wish::read(&opened));
                // Of one that has another secret it is known what it holds.
                let caller = self.books.callers_of(&name);
                let unread = || vec![Wish { caller, weight: 1, calls: other.holds }];
                wishes.insert(name.clone(), read.unwrap_or_else(unread));
            }
            if let Some(part) = self.parts.get_mut(id) {
                part.told(asked.into_std(), cap, wishes);
            }
        }
        self.known();
        let heard = self.parts.values().map(Part::replicas).max().unwrap_or_default();
        self.replicas = if knows_all { heard } else { self.replicas.max(heard) };
    }

    fn unheard(&mut self) {
        let ids: Vec<LimitId> = self.parts.keys().copied().collect();
        for id in ids {
            self.unheard_of(id);
        }
    }

    fn unheard_of(&mut self, id: LimitId) {
        let (now, replicas) = (Instant::now().into_std(), self.replicas);
        if let Some(part) = self.parts.get_mut(&id) {
            part.unheard(now, replicas);
        }
    }

    /// What is ours now, and who else there is.
    fn apply(&self) {
        let mut state = self.admission.state();
        for (id, part) in &self.parts {
            state.cap(*id, part.cap());
        }
        drop(state);
        self.admission.wake.notify_one();
    }

    fn known(&self) {
        // Of several clients the first one's tell: its callers are all callers.
        let first = LimitId::Lane(Lane::FIRST);
        let Some(joint) = self.joint().filter(|_| self.books.holds(first)) else { return };
        if let Some(replicas) = self.parts.values().map(Part::replicas).max()
            && joint.heard.swap(replicas, Ordering::Relaxed) != replicas
        {
            tracing::info!(replicas, "replicas that share the budget");
        }
        // Of a token of its own nobody has a part elsewhere.
        let part = self.parts.get(&first);
        let worth = |who| part.map_or(1.0, |part| part.worth(self.books.caller(who)));
        let worths = self.callers.iter().map(|who| (*who, steps(worth(*who))));
        let worths: BTreeMap<Principal, u32> = worths.filter(|(_, worth)| *worth < STEPS).collect();
        if **joint.worths.load() != worths {
            joint.worths.store(Arc::new(worths));
            self.admission.state().weigh(|principal| self.admission.weight(principal));
        }
    }

    /// We made a token of this client a moment ago, and nothing was read yet: if there is nothing to read,
    /// there never was.
    fn is_fresh(&self, now: Instant) -> bool {
        self.version == 0
            && self.joint().is_some_and(|joint| {
                joint.lanes().iter().any(|(lane, made)| {
                    self.books.holds(LimitId::Lane(*lane))
                        && made.is_some_and(|made| now < made + LEASE)
                })
            })
    }

    /// The last word: what was sent counts to its end, and the rest is the others'.
    async fn leave(&mut self) {
        let (mut words, _) = self.words(Instant::now()).await;
        for Word { ask, .. } in &mut words {
            (ask.claim, ask.want, ask.inside, ask.leaves) = (0, 0, 0, true);
        }
        let opening = Opening { seen: self.version, fresh: false, lease: LEASE };
        // Without the store the others find out by themselves.
        let _ = self.books.sync(opening, &words, true).await;
    }
}

/// A part of one, in steps.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn steps(worth: f64) -> u32 {
    (worth * f64::from(STEPS)).round() as u32
}
