//! Promises of `freshness`, and a seeded simulation against a shadow model.

use proptest::prelude::*;

use super::*;
use crate::decide::t0;

const HOUR: Duration = Duration::from_secs(3600);
const MARGIN: Duration = Duration::from_secs(300);
/// An hour less the margin: when a refresh begins.
const EARLY: Duration = Duration::from_secs(3300);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// One token of a client of its own.
struct Alone {
    freshness: Freshness,
    renewals: Renewals,
}

impl std::ops::Deref for Alone {
    type Target = Freshness;

    fn deref(&self) -> &Freshness {
        &self.freshness
    }
}

impl std::ops::DerefMut for Alone {
    fn deref_mut(&mut self) -> &mut Freshness {
        &mut self.freshness
    }
}

impl Alone {
    fn new(margin: Duration) -> Self {
        Self { freshness: Freshness::new(margin), renewals: Renewals::default() }
    }

    fn rejected(&mut self, now: Instant, g: Generation, family: u64, worked: bool) -> Verdict {
        self.freshness.rejected(&mut self.renewals, now, g, family, worked)
    }

    fn fruitless(&mut self, now: Instant, g: Generation, family: u64, worked: bool) {
        self.freshness.fruitless(&mut self.renewals, now, g, family, worked);
    }

    fn inactive(&mut self, now: Instant, generation: Generation) -> bool {
        self.freshness.inactive(&mut self.renewals, now, generation)
    }

    fn cleared(&mut self, now: Instant, generation: Generation) -> bool {
        self.freshness.cleared(&mut self.renewals, now, generation)
    }

    fn recovered(&mut self) {
        self.renewals.recovered();
    }
}

fn fresh(now: Instant) -> (Alone, Generation) {
    let mut freshness = Alone::new(MARGIN);
    assert_eq!(freshness.task(now), Task::Fetch);
    let generation = freshness.fetched(now, HOUR, 0.0);
    (freshness, generation)
}

#[test]
fn a_token_is_used_until_it_expires_and_refreshed_before() {
    let t0 = t0();
    let (mut freshness, first) = fresh(t0);
    assert_eq!(freshness.step(t0), Step::Use(first));
    assert_eq!(freshness.task(t0), Task::SleepUntil(t0 + EARLY));
    assert_eq!(freshness.task(t0 + EARLY), Task::Fetch);
    assert_eq!(freshness.step(t0 + Duration::from_secs(3599)), Step::Use(first), "while fetching");
    assert_eq!(freshness.step(t0 + HOUR), Step::Wait, "expired: never used");
}

#[test]
fn a_valid_token_is_kept_while_refresh_fails() {
    let t0 = t0();
    let (mut freshness, first) = fresh(t0);
    let early = t0 + EARLY;
    assert_eq!(freshness.task(early), Task::Fetch);
    freshness.failed(early, Trouble::Permanent, None, 1.0);
    assert_eq!(freshness.step(early), Step::Use(first));
    assert!(matches!(freshness.step(t0 + HOUR), Step::Use(_) | Step::Wait | Step::Refuse { .. }));
    assert_ne!(freshness.step(t0 + HOUR), Step::Use(first));
}

#[test]
fn a_margin_of_more_than_the_life_is_clamped_to_half_of_it() {
    let t0 = t0();
    let mut freshness = Alone::new(MARGIN);
    freshness.task(t0);
    freshness.fetched(t0, seconds(2), 0.0);
    assert_eq!(freshness.task(t0), Task::SleepUntil(t0 + seconds(1)));
}

#[test]
fn a_straggler_of_an_old_generation_does_not_kill_the_successor() {
    let t0 = t0();
    let (mut freshness, first) = fresh(t0);
    assert_eq!(freshness.rejected(t0, first, 1, true), Verdict::Renew);
    assert_eq!(freshness.step(t0), Step::Wait);
    assert_eq!(freshness.task(t0), Task::Fetch);
    let second = freshness.fetched(t0, HOUR, 0.0);
    assert_eq!(freshness.rejected(t0, first, 1, true), Verdict::Renew);
    assert_eq!(freshness.step(t0), Step::Use(second));
}

#[test]
fn a_client_that_is_refused_whatever_the_token_does_not_double_every_call() {
    let t0 = t0();
    let (mut freshness, first) = fresh(t0);
    assert_eq!(freshness.rejected(t0, first, 1, false), Verdict::Renew);
    freshness.task(t0);
    let second = freshness.fetched(t0, HOUR, 0.0);
    freshness.fruitless(t0, second, 1, false);
    let half = t0 + Duration::from_millis(500);
    assert_eq!(freshness.rejected(half, second, 2, false), Verdict::PassOn);
    assert_eq!(freshness.step(half), Step::Use(second));
    assert_eq!(freshness.rejected(t0 + seconds(1), second, 2, false), Verdict::Renew);
}

#[test]
fn the_cool_down_doubles_while_renewing_does_not_help() {
    let (mut freshness, mut generation) = fresh(t0());
    let mut now = t0();
    let mut renewals = 0;
    let end = now + seconds(3600);
    while now < end {
        if freshness.rejected(now, generation, 1, false) == Verdict::Renew {
            renewals += 1;
            freshness.task(now);
            generation = freshness.fetched(now, HOUR, 0.0);
            freshness.fruitless(now, generation, 1, false);
        }
        now += seconds(1);
    }
    assert!(renewals <= 24, "{renewals} mints in an hour of refusals");
}

#[test]
fn one_bad_endpoint_does_not_keep_the_others_from_a_renewal() {
    let t0 = t0();
    let (mut freshness, first) = fresh(t0);
    let (bad, good) = (1, 2);
    freshness.rejected(t0, first, bad, true);
    freshness.task(t0);
    let second = freshness.fetched(t0, HOUR, 0.0);
    freshness.fruitless(t0, second, bad, true);
    assert_eq!(freshness.rejected(t0, second, bad, true), Verdict::PassOn);
    assert_eq!(freshness.rejected(t0, second, good, true), Verdict::Renew);
}

#[test]
fn a_hundred_bad_endpoints_do_not_cost_a_hundred_mints() {
    let t0 = t0();
    let (mut freshness, mut generation) = fresh(t0);
    let mut renewals = 0;
    for family in 0..100 {
        if freshness.rejected(t0, generation, family, true) == Verdict::Renew {
            renewals += 1;
            freshness.task(t0);
            generation = freshness.fetched(t0, HOUR, 0.0);
            freshness.fruitless(t0, generation, family, true);
        }
    }
    assert_eq!(renewals, 5);
    let later = t0 + seconds(10);
    assert_eq!(freshness.rejected(later, generation, 1000, true), Verdict::Renew);
}

#[test]
fn renewals_that_help_are_never_held_back() {
    let t0 = t0();
    let (mut freshness, mut generation) = fresh(t0);
    for family in 0..100 {
        assert_eq!(freshness.rejected(t0, generation, family, true), Verdict::Renew);
        freshness.task(t0);
        generation = freshness.fetched(t0, HOUR, 0.0);
        freshness.recovered();
    }
}

#[test]
fn the_servers_own_wish_is_honoured_when_longer_than_ours_and_capped() {
    let t0 = t0();
    for (wish, expected) in [(20, 20), (0, 1), (1_000_000, 60)] {
        let mut freshness = Alone::new(MARGIN);
        freshness.task(t0);
        freshness.failed(t0, Trouble::Throttled, Some(seconds(wish)), 0.0);
        let refuse = Step::Refuse { retry_at: t0 + seconds(expected), trouble: Trouble::Throttled };
        assert_eq!(freshness.step(t0), refuse);
    }
}

#[test]
fn a_dead_token_endpoint_sees_backoff_and_not_a_storm() {
    let t0 = t0();
    for (trouble, at_most) in
        [(Trouble::Transient, 40), (Trouble::Throttled, 18), (Trouble::Permanent, 8)]
    {
        let mut freshness = Alone::new(MARGIN);
        let (mut now, mut tries) = (t0, 0);
        while now < t0 + seconds(600) {
            match freshness.task(now) {
                Task::Fetch => {
                    tries += 1;
                    freshness.failed(now, trouble, None, 0.5);
                }
                Task::SleepUntil(next) => now = next,
            }
        }
        assert!(tries <= at_most + 6, "{trouble:?}: {tries} tries in ten minutes");
    }
}

#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Task,
    Fetched(u64),
    Failed(u8),
    Rejected { stale: bool, family: u64, worked: bool },
    Fruitless { family: u64, worked: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0u64..400).prop_map(Event::Pass),
        3 => Just(Event::Task),
        3 => (1u64..1000).prop_map(Event::Fetched),
        1 => (0u8..3).prop_map(Event::Failed),
        2 => (any::<bool>(), 0u64..5, any::<bool>())
            .prop_map(|(stale, family, worked)| Event::Rejected { stale, family, worked }),
        1 => (0u64..5, any::<bool>()).prop_map(|(family, worked)| Event::Fruitless { family, worked }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// The shadow model knows only three facts: which tokens were issued, when each ends, and which
    /// were rejected. Whatever happens, a token is used only if it is the newest, alive, unrejected;
    /// a fetch never starts while one runs; sleeping is never into the past.
    #[test]
    fn seeded_lives_agree_with_the_shadow_model(events in prop::collection::vec(event(), 1..300)) {
        let t0 = t0();
        let mut now = t0;
        let mut freshness = Alone::new(MARGIN);
        let mut newest: Option<(Generation, Instant, bool)> = None;
        let mut previous = Generation::default();
        let mut fetching = false;
        for event in events {
            match event {
                Event::Pass(secs) => now += seconds(secs),
                Event::Task if !fetching => match freshness.task(now) {
                    Task::Fetch => fetching = true,
                    Task::SleepUntil(at) => prop_assert!(at > now),
                },
                Event::Fetched(life) if fetching => {
                    let generation = freshness.fetched(now, seconds(life), 0.3);
                    if let Some((old, ..)) = newest {
                        prop_assert!(generation > old);
                        previous = old;
                    }
                    newest = Some((generation, now + seconds(life), false));
                    fetching = false;
                }
                Event::Failed(kind) if fetching => {
                    let trouble = [Trouble::Transient, Trouble::Throttled, Trouble::Permanent];
                    freshness.failed(now, trouble[usize::from(kind)], None, 0.3);
                    fetching = false;
                }
                Event::Rejected { stale, family, worked } => {
                    let Some((generation, ends, rejected)) = newest else { continue };
                    let signed = if stale { previous } else { generation };
                    let verdict = freshness.rejected(now, signed, family, worked);
                    if !stale && verdict == Verdict::Renew {
                        newest = Some((generation, ends, true));
                    }
                    if stale && previous != generation {
                        prop_assert_eq!(verdict, Verdict::Renew);
                    }
                    prop_assert!(!rejected || verdict == Verdict::Renew);
                }
                Event::Fruitless { family, worked } => {
                    if let Some((generation, ..)) = newest {
                        freshness.fruitless(now, generation, family, worked);
                    }
                }
                Event::Task | Event::Fetched(_) | Event::Failed(_) => {}
            }
            let usable = newest.filter(|&(_, ends, rejected)| now < ends && !rejected);
            match freshness.step(now) {
                Step::Use(generation) => {
                    prop_assert_eq!(Some(generation), usable.map(|(generation, ..)| generation));
                }
                Step::Wait => prop_assert!(usable.is_none()),
                Step::Refuse { retry_at, .. } => {
                    prop_assert!(usable.is_none() && !fetching && retry_at > now);
                }
            }
        }
    }
}

#[test]
fn what_a_check_found_dead_is_replaced_but_a_check_that_is_always_wrong_is_not_believed() {
    let t0 = t0();
    let (mut freshness, first) = fresh(t0);
    assert!(freshness.inactive(t0, first));
    assert_eq!(freshness.step(t0), Step::Wait);
    assert!(!freshness.inactive(t0, first), "it is gone already");
    let mut killed = 1;
    for minute in 0..600 {
        let now = t0 + seconds(minute * 60);
        freshness.task(now);
        let generation = freshness.fetched(now, HOUR, 0.0);
        assert!(!freshness.inactive(now, first), "a late verdict does not kill the successor");
        killed += u32::from(freshness.inactive(now, generation));
    }
    assert!(killed <= 2 + 6 + 10, "{killed} mints in ten hours");
    freshness.alive();
    let now = t0 + seconds(40_000);
    let generation = freshness.fetched(now, HOUR, 0.0);
    assert!(freshness.inactive(now, generation), "believed again");
}

#[test]
fn a_suspect_that_was_cleared_is_used_again_and_its_accuser_is_not_believed() {
    let t0 = t0();
    let (mut freshness, first) = fresh(t0);
    let (odd, other) = (1, 2);
    assert_eq!(freshness.rejected(t0, first, odd, true), Verdict::Renew);
    assert_eq!(freshness.suspect(t0), Some(first));
    assert_eq!(freshness.task(t0), Task::Fetch);
    assert!(freshness.cleared(t0, first));
    freshness.failed(t0, Trouble::Transient, None, 1.0);
    assert_eq!(freshness.step(t0), Step::Use(first));
    assert_eq!(freshness.rejected(t0, first, odd, true), Verdict::PassOn);
    assert_eq!(freshness.task(t0 + EARLY), Task::Fetch, "its renewal stays where it was");
    assert_eq!(freshness.rejected(t0, first, other, true), Verdict::Renew);
    assert!(!freshness.cleared(t0 + HOUR, first), "an expired one is not");
    assert_eq!(freshness.suspect(t0 + HOUR), None);
    freshness.fetched(t0, HOUR, 0.0);
    assert!(!freshness.cleared(t0, first), "nor one that was replaced");
}

#[test]
fn a_token_ages_while_the_machine_sleeps() {
    let t0 = t0();
    let (mut freshness, first) = fresh(t0);
    freshness.slept(Duration::from_secs(1800));
    assert_eq!(freshness.step(t0), Step::Use(first));
    assert_eq!(freshness.task(t0), Task::SleepUntil(t0 + seconds(1500)));
    freshness.slept(Duration::from_secs(1800));
    assert_eq!(freshness.step(t0), Step::Wait, "expired: never used");
    assert_eq!(freshness.task(t0), Task::Fetch);
}

#[test]
fn a_changed_secret_is_tried_at_once_but_changing_ones_make_no_storm() {
    let t0 = t0();
    let mut freshness = Alone::new(MARGIN);
    let (mut now, mut tries) = (t0, 0);
    while now < t0 + seconds(60) {
        if freshness.task(now) == Task::Fetch {
            tries += 1;
            freshness.failed(now, Trouble::Permanent, None, 1.0);
        }
        freshness.hurry(now);
        now += Duration::from_millis(100);
        if tries == 1 {
            assert_eq!(freshness.task(now), Task::Fetch, "the first change is tried at once");
            freshness.failed(now, Trouble::Permanent, None, 1.0);
            tries += 1;
        }
    }
    assert!(tries <= 8, "{tries} tries in a minute");

    let mut freshness = Alone::new(MARGIN);
    freshness.task(t0);
    freshness.failed(t0, Trouble::Throttled, Some(seconds(30)), 0.0);
    freshness.hurry(t0);
    assert_eq!(freshness.task(t0), Task::SleepUntil(t0 + seconds(30)), "not about the secret");
}
