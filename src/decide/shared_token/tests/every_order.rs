//! All replicas and the store together, in every order of their steps, with everything that may go
//! wrong between them: stateright goes through all states.
//!
//! A replica here is `Renewal` and `watch`, the store is `store::memory::Slot`; both are what runs.
//! Times are two facts: which tokens are of the present age, and that a holder who does not run may be
//! silent for too long at any moment.

mod world;

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::*;
use crate::store::memory::Slot;
use world::{Action, Answer, Event, Faults, Replica, State, World};

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
            Property::always("what one has alone nobody else has", |_: &Self, state: &State| {
                World::alone_is_alone(state)
            }),
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
    // What is wrong may have no end of states.
    let checker = world.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
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
