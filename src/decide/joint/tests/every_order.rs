//! All replicas and the store together, in every order of their steps, with what may go wrong between
//! them: stateright goes through all states.
//!
//! A replica here is `Part`, the store `Age` and `Ledger`; all are what runs, and `budget.lua` is
//! compared with the ledger elsewhere. Time goes in leases, a window is two of them, and each replica
//! asks at least once in each: it is heard less often than in truth, so more can go wrong. Limits are
//! two or three calls. A call may leave whenever the cap leaves room for it, and in each state all
//! that could leave are counted. Runs end after so many leases as stand in each test.
//!
//! What may come on top of the limit is what `docs/replicas.md` says, and no more:
//! - what one sends that is cut off, once its part is kept no longer, until the store is back and has
//!   answered it: not more than an even part;
//! - the same of one that never was answered, after a lease: one part of as many as are guessed;
//! - after the store lost something, what those had sent, or send, who were gone, stood still or were
//!   cut off before they told it again;
//! - after a fail-over, for a window, what the store had not heard that those have who run.
//!
//! Left out are a store that loses something in the first lease of a token (who never was answered
//! believes then that there was nothing), one that goes away before all have heard of a new replica
//! (they do not agree on what is even), calls that have a place while their replica stands still, and
//! a clock of the store that jumps. What partners do with answers that come too late is not run here:
//! they are dropped with their question.

mod choices;
mod losses;
mod promises;
mod talk;
mod world;

use stateright::{Checker, DiscoveryClassification, HasDiscoveries, Model, Property};

use choices::{Action, All, Faults, NONE, World, spend};
use world::{Mode, Replica, State};

impl Model for World {
    type State = All;
    type Action = Action;

    fn init_states(&self) -> Vec<All> {
        let mut state = State::new(self.begin, self.limit, self.replicas, self.slots);
        for replica in state.replicas.iter_mut().skip(self.wants) {
            replica.wants = false;
        }
        vec![All { state, left: self.faults }]
    }

    fn actions(&self, all: &All, actions: &mut Vec<Action>) {
        let All { state, left } = all;
        let mut may = |when: bool, action| actions.extend(when.then_some(action));
        // Whoever has an answer hears it: what others do meanwhile is nothing to it.
        let hears = |replica: &Replica| replica.mode == Mode::Runs && replica.is_answered();
        if let Some(number) = state.replicas.iter().position(hears) {
            may(true, Action::Hear(number));
            may(left.lost > 0, Action::Lose(number));
            may(left.stops > 0, Action::Stop(number));
            let asked = state.replicas[number].asking.as_ref().map(|asking| asking.at);
            return may(asked < Some(state.now), Action::GiveUp(number));
        }
        may(self.may_tick(state), Action::Tick);
        may(left.aways > 0 && !state.away && state.all_know(), Action::GoAway);
        may(state.away, Action::ComeBack);
        // Of a token that has just been made there was nothing before.
        let old = state.now > 0;
        may(left.flushes > 0 && old, Action::Flush);
        may(left.fail_overs > 0 && old && state.copy.is_none(), Action::Copy);
        may(state.copy.is_some(), Action::FailOver);
        if !state.away {
            actions.extend((0..state.messages.len()).map(Action::Arrive));
        }
        for number in 0..state.replicas.len() {
            self.actions_of(number, all, actions);
        }
    }

    fn next_state(&self, before: &All, action: Action) -> Option<All> {
        let All { mut state, mut left } = before.clone();
        match action {
            Action::Tick => state.tick(),
            Action::Ask(number) => state.asks(number),
            Action::Arrive(message) => state.arrives(message),
            Action::Hear(number) => state.hears(number),
            Action::GiveUp(number) => {
                let waited = state.replicas[number].asking.as_ref();
                if waited.is_none_or(|asking| asking.at == state.now) {
                    spend(&mut left.late);
                }
                state.gives_up(number);
            }
            Action::Lose(number) => {
                spend(&mut left.lost);
                state.loses(number);
            }
            Action::Take(number) => state.takes(number),
            Action::Leave(number) => state.leaves(number),
            Action::Send(number) => {
                state.takes(number);
                state.leaves(number);
            }
            Action::Wish(_)
            | Action::Kill(_)
            | Action::Term(_)
            | Action::Join(_)
            | Action::Cut(_)
            | Action::Mend(_)
            | Action::Stop(_)
            | Action::Wake(_)
            | Action::GoAway
            | Action::ComeBack
            | Action::Flush
            | Action::Copy
            | Action::FailOver => Self::fault(&mut state, &mut left, action),
        }
        Some(All { state, left })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no window has more than the limit", |_: &Self, all: &All| {
                all.state.is_within()
            }),
            Property::always("who is cut off for long has an even part", |_: &Self, all: &All| {
                all.state.is_even_alone()
            }),
            // Every other state comes to one like these when time goes on.
            Property::always("nothing is stuck", |_: &Self, all: &All| {
                all.state.replicas.iter().any(|replica| replica.asks > 0) || all.state.settles()
            }),
            Property::sometimes("all time passes", |world: &Self, all: &All| {
                all.state.now == world.ticks
            }),
        ]
    }
}

/// How many states there are.
fn check(world: World) -> usize {
    let checker = world.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    for (broken, path) in checker.discoveries() {
        let class = checker.discovery_classification(broken);
        let wrong = matches!(class, DiscoveryClassification::Counterexample);
        assert!(!wrong, "{broken}: {:?}", path.into_actions());
    }
    checker.assert_properties();
    checker.unique_state_count()
}

#[test]
fn two_replicas_whose_callers_change_their_minds() {
    let states = check(World::new(3, Faults { wishes: 2, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn calls_that_have_a_place_and_leave_later() {
    let states = check(World { places: true, ..World::new(2, Faults { wishes: 2, ..NONE }) });
    assert!(states > 10_000, "{states}");
}

#[test]
fn three_replicas() {
    let states = check(World { replicas: 3, slots: 3, limit: 3, ..World::new(1, NONE) });
    assert!(states > 10_000, "{states}");
}

#[test]
fn a_question_or_an_answer_that_is_lost_and_one_that_comes_late() {
    let states = check(World::new(2, Faults { lost: 1, late: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn a_question_that_comes_leases_late() {
    let states = check(World::new(4, Faults { late: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn one_is_killed_and_another_takes_its_place() {
    let states = check(World::new(5, Faults { kills: 1, joins: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn one_goes_and_another_takes_its_place() {
    let states = check(World::new(3, Faults { terms: 1, joins: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn one_goes_whose_question_comes_after_it() {
    let states = check(World::new(2, Faults { terms: 1, late: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn one_is_cut_off_for_however_long() {
    let states = check(World::new(8, Faults { cuts: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn one_stands_still_for_however_long() {
    let states = check(World::new(6, Faults { stops: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn the_store_is_away_for_however_long() {
    let states = check(World::new(8, Faults { aways: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn the_store_forgets_all_and_one_is_killed() {
    let states = check(World::new(3, Faults { flushes: 1, kills: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn the_store_forgets_all_and_one_is_cut_off() {
    let states = check(World::new(3, Faults { flushes: 1, cuts: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn the_store_fails_over() {
    let states = check(World::new(3, Faults { fail_overs: 1, ..NONE }));
    assert!(states > 10_000, "{states}");
}

#[test]
fn the_store_fails_over_and_one_joins() {
    let states =
        check(World { replicas: 1, ..World::new(2, Faults { fail_overs: 1, joins: 1, ..NONE }) });
    assert!(states > 10_000, "{states}");
}
