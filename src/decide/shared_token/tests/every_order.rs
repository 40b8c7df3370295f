//! All replicas and the store together, in every order of their steps, with everything that may go
//! wrong between them: stateright goes through all states.
//!
//! A replica here is `Renewal` and `watch`, the store is `store::memory::Slot`; both are what runs.
//! Times are two facts: which tokens are of the present age, and that a holder who does not run may be
//! silent for too long at any moment.

use stateright::{Checker, Model, Property};

use super::*;
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
enum Event {
    /// It is old. It works until then.
    Age,
    /// It is dead, and whoever uses it gets a 401.
    Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Has {
    token: usize,
    /// 0: nobody else knows it.
    serial: Serial,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Work {
    renewal: Renewal,
    next: Do,
    /// What was held when it began.
    before: Option<Has>,
    ours: Option<usize>,
    theirs: Option<Has>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Replica {
    paused: bool,
    /// A replica that starts again is another one.
    lives: u8,
    has: Option<Has>,
    given_up: Serial,
    told: Serial,
    work: Option<Work>,
}

/// What may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Faults {
    crashes: u8,
    pauses: u8,
    /// A step that the store did not do, or whose answer was lost.
    cuts: u8,
    /// The store forgets everything, or fails over to an older copy.
    losses: u8,
    refusals: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    replicas: Vec<Replica>,
    slot: Slot,
    copy: Slot,
    now: u64,
    /// The age of each token.
    tokens: Vec<usize>,
    /// How often one was asked for in each age.
    mints: Vec<u8>,
    faults: Faults,
    /// What must never be seen.
    wrong: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Whole,
    /// It was not done.
    Cut,
    /// It was done, and nobody knows.
    Unheard,
    /// The login says no.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
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

struct World {
    replicas: usize,
    events: Vec<Event>,
    faults: Faults,
}

impl World {
    fn age(state: &State) -> usize {
        state.mints.len() - 1
    }

    fn revoked(&self, state: &State, token: usize) -> bool {
        let since = state.tokens[token];
        self.events[since..Self::age(state)].contains(&Revoked)
    }

    fn fresh(state: &State, token: usize) -> bool {
        state.tokens[token] == Self::age(state)
    }

    fn left(state: &State, token: usize) -> Duration {
        if Self::fresh(state, token) { FRESH } else { OLD }
    }

    fn me(state: &State, number: usize) -> Vec<u8> {
        vec![u8::try_from(number).unwrap(), state.replicas[number].lives]
    }

    fn found(state: &State) -> (Found, Option<Has>) {
        let Some(token) = state.slot.sealed.first().map(|token| usize::from(*token)) else {
            return (Found::Nothing, None);
        };
        let (serial, given_up) = (state.slot.serial, !state.slot.gone.is_empty());
        let offered = Offered { serial, left: Self::left(state, token), life: LIFE, given_up };
        (Found::Token(offered), Some(Has { token, serial }))
    }

    fn held(state: &State, number: usize) -> Held {
        let replica = &state.replicas[number];
        let holding = match replica.has {
            None => Holding::Nothing,
            Some(Has { serial: 0, token }) => Holding::Private { left: Self::left(state, token) },
            Some(Has { serial, .. }) => Holding::Shared { serial },
        };
        Held { holding, given_up: replica.given_up }
    }

    fn due(state: &State, number: usize) -> bool {
        let replica = &state.replicas[number];
        replica.work.is_none() && replica.has.is_none_or(|has| !Self::fresh(state, has.token))
    }

    fn refused(&self, state: &State, number: usize) -> bool {
        let has = state.replicas[number].has;
        has.is_some_and(|has| self.revoked(state, has.token))
    }

    fn begin(state: &mut State, number: usize, (renewal, next): (Renewal, Do)) {
        let replica = &mut state.replicas[number];
        let ours = match renewal.aim {
            Aim::Renew => None,
            Aim::Offer => replica.has.map(|has| has.token),
        };
        let before = replica.has;
        replica.work = Some(Work { renewal, next, before, ours, theirs: None });
    }

    /// One step of a renewal, as `token::shared` does it.
    fn step(state: &mut State, number: usize, answer: Answer) {
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
    fn end(state: &mut State, number: usize, work: &Work, end: End) {
        let replica = &mut state.replicas[number];
        let ours = |serial| work.ours.map(|token| Has { token, serial });
        let new = match end {
            End::Adopted => work.theirs,
            End::Published(serial) => ours(serial),
            End::Private if work.renewal.aim == Aim::Renew => ours(0),
            End::Private | End::Nothing => None,
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
            Aim::Offer => Self::adopt(replica, new),
        }
    }

    fn adopt(replica: &mut Replica, new: Has) {
        let serial = replica.has.map_or(0, |has| has.serial);
        if new.serial > serial && new.serial > replica.given_up {
            replica.has = Some(new);
        }
    }

    fn watch(state: &mut State, number: usize) {
        let held = Self::held(state, number);
        let (found, has) = Self::found(state);
        let replica = &mut state.replicas[number];
        match watch(&held, found) {
            Watch::Keep => {}
            Watch::Adopt => Self::adopt(replica, has.unwrap()),
            Watch::LetGo(serial) => (replica.has, replica.given_up) = (None, serial),
            Watch::Offer if replica.work.is_none() => {
                Self::begin(state, number, Renewal::offer(held));
            }
            Watch::Offer => {}
        }
    }

    fn met_401(state: &mut State, number: usize) {
        let replica = &mut state.replicas[number];
        if let Some(has) = replica.has.take() {
            replica.given_up = replica.given_up.max(has.serial);
        }
    }

    fn tell(state: &mut State, number: usize) {
        let replica = &mut state.replicas[number];
        replica.told = replica.given_up;
        state.slot.give_up(replica.told, b"gone");
    }

    /// A holder that runs is heard of every second.
    fn silent(state: &State) -> bool {
        state.slot.lock.as_ref().is_some_and(|lock| {
            let beats = |replica: &Replica| {
                let fence = replica.work.as_ref().and_then(|work| work.renewal.fence());
                !replica.paused && fence == Some(lock.fence)
            };
            lock.beat == state.now && !state.replicas.iter().any(beats)
        })
    }

    fn silence(state: &mut State) {
        if let Some(lock) = &mut state.slot.lock {
            lock.beat = 0;
        }
    }

    /// Every replica that runs signs with the same good token, which the store has too.
    fn settled(state: &State) -> bool {
        let one = state.replicas[0].has;
        let good = one.is_some_and(|has| has.serial > 0 && Self::fresh(state, has.token));
        let same = state.replicas.iter().all(|r| r.has == one && r.work.is_none());
        // The lock of one who died in it ends with its lease, and is in nobody's way until then.
        let free = state.slot.lock.as_ref().is_none_or(|lock| lock.beat == 0);
        good && same && free && one == Self::found(state).1
    }

    /// What one replica does when it is its turn and nothing goes wrong.
    fn go_on(&self, state: &mut State, number: usize, answer: Answer) {
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
    fn settles(&self, state: &State) -> bool {
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
    fn alone(&self, state: &State) -> bool {
        (0..self.replicas).all(|number| {
            let mut state = state.clone();
            for _ in 0..ROUNDS {
                self.go_on(&mut state, number, Answer::Cut);
            }
            state.replicas[number].has.is_some_and(|has| Self::fresh(&state, has.token))
        })
    }

    fn spend(faults: &mut u8) -> bool {
        let left = *faults > 0;
        *faults = faults.saturating_sub(1);
        left
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            replicas: vec![Replica::default(); self.replicas],
            slot: Slot::default(),
            copy: Slot::default(),
            now: 10_000,
            tokens: Vec::new(),
            mints: vec![0],
            faults: self.faults,
            wrong: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let left = state.faults;
        // The next age begins when all have seen this one: two at once are one.
        if Self::age(state) < self.events.len() && Self::settled(state) {
            actions.push(Action::NextAge);
        }
        for (number, replica) in state.replicas.iter().enumerate() {
            if replica.paused {
                actions.push(Action::Resume(number));
                continue;
            }
            if let Some(work) = &replica.work {
                actions.push(Action::Step(number, Answer::Whole));
                if work.next == Do::Mint {
                    actions.extend(
                        (left.refusals > 0).then_some(Action::Step(number, Answer::Refused)),
                    );
                } else if left.cuts > 0 && work.next != Do::Wait {
                    actions.push(Action::Step(number, Answer::Cut));
                    actions.push(Action::Step(number, Answer::Unheard));
                }
            }
            if self.refused(state, number) {
                actions.push(Action::Met401(number));
            } else if Self::due(state, number) {
                actions.push(Action::Begin(number));
            }
            actions.push(Action::Watch(number));
            if replica.given_up > replica.told {
                actions.push(Action::Tell(number));
            }
            if left.crashes > 0 {
                actions.push(Action::Crash(number));
            }
            if left.pauses > 0 && replica.work.is_some() {
                actions.push(Action::Pause(number));
            }
        }
        if Self::silent(state) {
            actions.push(Action::Silence);
        }
        if left.losses > 0 && state.slot != Slot::default() {
            actions.extend([Action::Forget, Action::FailOver]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::NextAge => state.mints.push(0),
            Action::Begin(number) => {
                let held = Self::held(&state, number);
                Self::begin(&mut state, number, Renewal::new(held));
            }
            Action::Step(number, answer) => {
                match answer {
                    Answer::Whole => {}
                    Answer::Cut | Answer::Unheard => assert!(Self::spend(&mut state.faults.cuts)),
                    Answer::Refused => assert!(Self::spend(&mut state.faults.refusals)),
                }
                Self::step(&mut state, number, answer);
            }
            Action::Watch(number) => Self::watch(&mut state, number),
            Action::Met401(number) => Self::met_401(&mut state, number),
            Action::Tell(number) => Self::tell(&mut state, number),
            Action::Crash(number) => {
                assert!(Self::spend(&mut state.faults.crashes));
                let lives = state.replicas[number].lives + 1;
                state.replicas[number] = Replica { lives, ..Replica::default() };
            }
            Action::Pause(number) => {
                assert!(Self::spend(&mut state.faults.pauses));
                state.replicas[number].paused = true;
            }
            Action::Resume(number) => state.replicas[number].paused = false,
            Action::Silence => Self::silence(&mut state),
            Action::Forget | Action::FailOver => {
                assert!(Self::spend(&mut state.faults.losses));
                state.slot = match action {
                    Action::FailOver => state.copy.clone(),
                    _ => Slot::default(),
                };
                // Fences are milliseconds: the clock is ahead of those that were lost.
                state.now += 1_000;
                if let Some(lock) = &mut state.slot.lock {
                    lock.beat = state.now;
                }
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one mint an age", |world: &Self, state: &State| {
                let spent = |of: fn(&Faults) -> u8| of(&world.faults) - of(&state.faults);
                // Who dies with a token in hand takes it along; so does one that seems dead.
                let more = spent(|f| f.crashes) + spent(|f| f.pauses);
                // A store that is out of reach, or forgets, keeps nobody from asking.
                let free = spent(|f| f.cuts) + spent(|f| f.losses) > 0;
                free || state.mints.iter().all(|mints| *mints <= 1 + more)
            }),
            Property::always("nothing goes wrong", |_: &Self, state: &State| state.wrong.is_none()),
            Property::always("all end with the newest token", |world: &Self, state: &State| {
                world.settles(state)
            }),
            Property::always("who is cut off has a token", |world: &Self, state: &State| {
                world.alone(state)
            }),
            Property::sometimes("all ages are gone through", |world: &Self, state: &State| {
                Self::age(state) == world.events.len() && Self::settled(state)
            }),
        ]
    }
}

fn check(world: World) -> usize {
    let checker = world.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

use Event::{Age, Revoked};

#[test]
fn two_replicas_of_which_one_dies_and_one_is_stopped_for_a_while() {
    let faults = Faults { crashes: 1, pauses: 1, ..Faults::default() };
    let states = check(World { replicas: 2, events: vec![Age, Revoked], faults });
    assert!(states > 1_000, "{states}");
}

#[test]
fn two_replicas_through_two_ages_with_a_login_that_refuses_once() {
    let faults = Faults { refusals: 1, ..Faults::default() };
    let states = check(World { replicas: 2, events: vec![Age, Revoked], faults });
    assert!(states > 1_000, "{states}");
}

#[test]
fn two_replicas_with_a_store_that_is_cut_off_and_loses_what_it_had() {
    let faults = Faults { cuts: 1, losses: 1, ..Faults::default() };
    let states = check(World { replicas: 2, events: vec![Revoked], faults });
    assert!(states > 1_000, "{states}");
}

#[test]
fn three_replicas_of_which_one_dies() {
    let faults = Faults { crashes: 1, ..Faults::default() };
    let states = check(World { replicas: 3, events: vec![Revoked], faults });
    assert!(states > 1_000, "{states}");
}

#[test]
fn three_replicas_whose_token_ages() {
    let states = check(World { replicas: 3, events: vec![Age], faults: Faults::default() });
    assert!(states > 1_000, "{states}");
}
