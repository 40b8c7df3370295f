//! What a state is, and what one step makes of it: as the keeper and the follower do it.
//! It never chooses the order: the model does.

use super::super::*;
use crate::store::{
    memory::Slot,
    token::{Lock, News},
};

const LIFE: Duration = Duration::from_secs(1000);
const FRESH: Duration = Duration::from_secs(900);
const OLD: Duration = Duration::from_secs(300);
const LEASE: Duration = Duration::from_secs(40);
const DEAD: Duration = Duration::from_secs(3);
/// More rounds than anything takes that nothing disturbs.
const ROUNDS: usize = 30;

/// Why a token must be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// It is old. It works until then.
    Age,
    /// It is dead, and whoever uses it gets a 401.
    Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Has {
    pub(super) token: usize,
    /// 0: as far as we know, nobody else knows it.
    pub(super) serial: Serial,
    /// Nobody else can: its limit is all ours.
    pub(super) alone: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Work {
    pub(super) renewal: Renewal,
    pub(super) next: Do,
    /// What was held when it began.
    pub(super) before: Option<Has>,
    pub(super) ours: Option<usize>,
    pub(super) theirs: Option<Has>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Replica {
    pub(super) paused: bool,
    /// A replica that starts again is another one.
    pub(super) lives: u8,
    pub(super) has: Option<Has>,
    pub(super) given_up: Serial,
    pub(super) told: Serial,
    pub(super) work: Option<Work>,
}

/// What may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Faults {
    pub(super) crashes: u8,
    pub(super) pauses: u8,
    /// A step that the store did not do, or whose answer was lost.
    pub(super) cuts: u8,
    /// The store forgets everything, or fails over to an older copy.
    pub(super) losses: u8,
    pub(super) refusals: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) replicas: Vec<Replica>,
    pub(super) slot: Slot,
    pub(super) copy: Slot,
    pub(super) now: u64,
    /// The age of each token.
    pub(super) tokens: Vec<usize>,
    /// How often one was asked for in each age.
    pub(super) mints: Vec<u8>,
    pub(super) faults: Faults,
    /// What must never be seen.
    pub(super) wrong: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Whole,
    /// It was not done.
    Cut,
    /// It was done, and nobody knows.
    Unheard,
    /// The login says no.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    NextAge,
    Begin(usize),
    Step(usize, Answer),
    Watch(usize),
    /// A call of its own gets a 401.
    Met401(usize),
    Tell(usize),
    Crash(usize),
    Pause(usize),
    Resume(usize),
    /// The holder of the lock was silent for too long.
    Silence,
    Forget,
    FailOver,
}

pub(super) struct World {
    pub(super) replicas: usize,
    pub(super) events: Vec<Event>,
    pub(super) faults: Faults,
}

impl World {
    pub(super) fn age(state: &State) -> usize {
        state.mints.len() - 1
    }

    pub(super) fn revoked(&self, state: &State, token: usize) -> bool {
        let since = state.tokens[token];
        self.events[since..Self::age(state)].contains(&Event::Revoked)
    }

    pub(super) fn fresh(state: &State, token: usize) -> bool {
        state.tokens[token] == Self::age(state)
    }

    pub(super) fn left(state: &State, token: usize) -> Duration {
        if Self::fresh(state, token) { FRESH } else { OLD }
    }

    pub(super) fn me(state: &State, number: usize) -> Vec<u8> {
        vec![u8::try_from(number).unwrap(), state.replicas[number].lives]
    }

    pub(super) fn found(state: &State) -> (Found, Option<Has>) {
        let Some(token) = state.slot.sealed.first().map(|token| usize::from(*token)) else {
            return (Found::Nothing, None);
        };
        let (serial, given_up) = (state.slot.serial, !state.slot.gone.is_empty());
        let offered = Offered { serial, left: Self::left(state, token), life: LIFE, given_up };
        (Found::Token(offered), Some(Has { token, serial, alone: false }))
    }

    pub(super) fn held(state: &State, number: usize) -> Held {
        let replica = &state.replicas[number];
        let holding = match replica.has {
            None => Holding::Nothing,
            Some(Has { serial: 0, token, .. }) => {
                Holding::Private { left: Self::left(state, token) }
            }
            Some(Has { serial, .. }) => Holding::Shared { serial },
        };
        Held { holding, given_up: replica.given_up }
    }

    pub(super) fn due(state: &State, number: usize) -> bool {
        let replica = &state.replicas[number];
        replica.work.is_none() && replica.has.is_none_or(|has| !Self::fresh(state, has.token))
    }

    pub(super) fn refused(&self, state: &State, number: usize) -> bool {
        let has = state.replicas[number].has;
        has.is_some_and(|has| self.revoked(state, has.token))
    }

    pub(super) fn begin(state: &mut State, number: usize, (renewal, next): (Renewal, Do)) {
        let replica = &mut state.replicas[number];
        let ours = match renewal.aim {
            Aim::Renew | Aim::Share => None,
            Aim::Offer => replica.has.map(|has| has.token),
        };
        let before = replica.has;
        replica.work = Some(Work { renewal, next, before, ours, theirs: None });
    }

    /// One step of a renewal, as `token::shared` does it.
    pub(super) fn step(state: &mut State, number: usize, answer: Answer) {
        let Some(mut work) = state.replicas[number].work.take() else { return };
        let me = Self::me(state, number);
        let done = answer != Answer::Cut;
        let seen = match work.next {
            Do::Read => {
                let (found, has) = Self::found(state);
                work.theirs = has;
                Seen::Found(found)
            }
            Do::Take => {
                let lock =
                    if done { state.slot.take(state.now, &me, LEASE, DEAD) } else { Lock::Held };
                let (found, has) = Self::found(state);
                work.theirs = has;
                match lock {
                    Lock::Taken(fence) => Seen::Taken(fence, found),
                    Lock::Held => Seen::Held(found),
                }
            }
            Do::Wait => Seen::Waited,
            Do::Mint if answer == Answer::Refused => Seen::NotMinted,
            Do::Mint => {
                work.ours = Some(state.tokens.len());
                state.tokens.push(Self::age(state));
                *state.mints.last_mut().unwrap() += 1;
                Seen::Minted
            }
            Do::Publish(fence) => {
                let token = work.ours.unwrap();
                let sealed = [u8::try_from(token).unwrap()];
                let news = News { fence, left: LIFE, sealed: &sealed, message: b"" };
                let newest = state.slot.serial;
                let published = done && state.slot.publish(state.now, &me, news);
                if published && fence <= newest {
                    state.wrong = Some("an older fence has overwritten a newer one");
                }
                if published && state.copy == Slot::default() {
                    state.copy = state.slot.clone();
                }
                let (found, has) = Self::found(state);
                work.theirs = has;
                if published { Seen::Published } else { Seen::Lost(found) }
            }
            Do::Release(fence) => {
                if done {
                    state.slot.release(&me, fence);
                }
                Seen::Released
            }
            Do::End(_) => return,
        };
        let seen = match answer {
            Answer::Whole | Answer::Refused => seen,
            Answer::Cut | Answer::Unheard => Seen::Down,
        };
        work.next = work.renewal.after(seen, true);
        if let Do::End(end) = work.next {
            Self::end(state, number, &work, end);
        } else {
            state.replicas[number].work = Some(work);
        }
    }

    /// As `token::keep` installs what a renewal brings, and `token::shared::follow` an offer.
    pub(super) fn end(state: &mut State, number: usize, work: &Work, end: End) {
        let replica = &mut state.replicas[number];
        let ours = |serial, alone| work.ours.map(|token| Has { token, serial, alone });
        let in_need = work.renewal.aim == Aim::Renew;
        let new = match end {
            End::Adopted => work.theirs,
            End::Published(serial) => ours(serial, false),
            End::Private if in_need => ours(0, true),
            End::Unheard if in_need => ours(0, false),
            End::Private | End::Unheard | End::Nothing => None,
        };
        let Some(new) = new else { return };
        let serial = replica.has.map_or(0, |has| has.serial);
        match work.renewal.aim {
            Aim::Renew if replica.has != work.before && replica.has.is_some() => {
                if new.serial > serial {
                    replica.has = Some(new);
                }
            }
            Aim::Renew => replica.has = Some(new),
            // Only the token that it is about gets another number.
            Aim::Offer if end != End::Adopted => {
                if replica.has.is_some_and(|has| has.token == new.token) {
                    replica.has = Some(new);
                }
            }
            Aim::Offer | Aim::Share => Self::adopt(replica, new),
        }
    }

    pub(super) fn adopt(replica: &mut Replica, new: Has) {
        let serial = replica.has.map_or(0, |has| has.serial);
        if new.serial > serial && new.serial > replica.given_up {
            replica.has = Some(new);
        }
    }

    pub(super) fn watch(state: &mut State, number: usize) {
        let held = Self::held(state, number);
        let (found, has) = Self::found(state);
        let replica = &mut state.replicas[number];
        match watch(&held, found) {
            Watch::Adopt => Self::adopt(replica, has.unwrap()),
            Watch::LetGo(serial) => (replica.has, replica.given_up) = (None, serial),
            Watch::Offer if replica.work.is_none() => {
                Self::begin(state, number, Renewal::offer(held));
            }
            Watch::Share if replica.work.is_none() => {
                Self::begin(state, number, Renewal::share(held));
            }
            // They wait until no renewal is on its way.
            Watch::Keep | Watch::Offer | Watch::Share => {}
        }
    }

    pub(super) fn met_401(state: &mut State, number: usize) {
        let replica = &mut state.replicas[number];
        if let Some(has) = replica.has.take() {
            replica.given_up = replica.given_up.max(has.serial);
        }
    }

    pub(super) fn tell(state: &mut State, number: usize) {
        let replica = &mut state.replicas[number];
        replica.told = replica.given_up;
        state.slot.give_up(replica.told, b"gone");
    }

    /// A holder that runs is heard of every second.
    pub(super) fn silent(state: &State) -> bool {
        state.slot.lock.as_ref().is_some_and(|lock| {
            let beats = |replica: &Replica| {
                let fence = replica.work.as_ref().and_then(|work| work.renewal.fence());
                !replica.paused && fence == Some(lock.fence)
            };
            lock.beat == state.now && !state.replicas.iter().any(beats)
        })
    }

    pub(super) fn silence(state: &mut State) {
        if let Some(lock) = &mut state.slot.lock {
            lock.beat = 0;
        }
    }

    /// What one has alone no other replica has, nor the store.
    pub(super) fn alone_is_alone(state: &State) -> bool {
        let alone = state.replicas.iter().filter_map(|replica| replica.has);
        alone.filter(|has| has.alone).all(|own| {
            let owners = state.replicas.iter().filter_map(|replica| replica.has);
            let others = owners.filter(|has| has.token == own.token).count() - 1;
            let stored = Self::found(state).1.is_some_and(|has| has.token == own.token);
            others == 0 && !stored
        })
    }

    /// Every replica that runs signs with the same good token, which the store has too.
    pub(super) fn settled(state: &State) -> bool {
        let one = state.replicas[0].has;
        let good = one.is_some_and(|has| has.serial > 0 && Self::fresh(state, has.token));
        let same = state.replicas.iter().all(|r| r.has == one && r.work.is_none());
        // The lock of one who died in it ends with its lease, and is in nobody's way until then.
        let free = state.slot.lock.as_ref().is_none_or(|lock| lock.beat == 0);
        good && same && free && one == Self::found(state).1
    }

    /// What one replica does when it is its turn and nothing goes wrong.
    pub(super) fn go_on(&self, state: &mut State, number: usize, answer: Answer) {
        if self.refused(state, number) {
            Self::met_401(state, number);
        }
        let replica = &state.replicas[number];
        if answer == Answer::Whole && replica.given_up > replica.told {
            Self::tell(state, number);
        }
        if let Some(work) = &state.replicas[number].work {
            // Neither goes to the store.
            let far = !matches!(work.next, Do::Mint | Do::Wait);
            Self::step(state, number, if far { answer } else { Answer::Whole });
        } else if Self::due(state, number) {
            let held = Self::held(state, number);
            Self::begin(state, number, Renewal::new(held));
        } else if answer == Answer::Whole {
            Self::watch(state, number);
        }
    }

    /// With no more faults all ends well.
    pub(super) fn settles(&self, state: &State) -> bool {
        let mut state = state.clone();
        state.replicas.iter_mut().for_each(|replica| replica.paused = false);
        for _ in 0..ROUNDS {
            for number in 0..self.replicas {
                self.go_on(&mut state, number, Answer::Whole);
            }
            if Self::silent(&state) {
                Self::silence(&mut state);
            }
            if Self::settled(&state) {
                return true;
            }
        }
        false
    }

    /// Cut off from the store for good, each gets a token.
    pub(super) fn alone(&self, state: &State) -> bool {
        (0..self.replicas).all(|number| {
            let mut state = state.clone();
            for _ in 0..ROUNDS {
                self.go_on(&mut state, number, Answer::Cut);
            }
            state.replicas[number].has.is_some_and(|has| Self::fresh(&state, has.token))
        })
    }

    pub(super) fn spend(faults: &mut u8) -> bool {
        let left = *faults > 0;
        *faults = faults.saturating_sub(1);
        left
    }
}
