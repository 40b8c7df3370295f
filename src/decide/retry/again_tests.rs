//! The table of retries, row by row, and what holds for every call whatever upstream does.
//! It never waits: a call's whole life is a loop over answers.

use proptest::prelude::*;

use super::*;
use crate::decide::{
    retry_budget::{Share, take},
    t0,
};

const CAP: Duration = Duration::from_secs(180);
const NEW: History =
    History { renewed: false, moved: 0, requeued: 0, retried: 0, failing_since: None };

/// A call that may go twice, three times in all, within twelve seconds.
fn facts(now: Instant) -> Facts {
    let deadline = now + Duration::from_secs(12);
    Facts { idempotent: true, replayable: true, deadline, attempts: 3, dice: 0.0 }
}

fn answered(status: u16, seconds: Option<u64>) -> Outcome {
    Outcome::Answered { status, retry_after: seconds.map(Duration::from_secs) }
}

fn again(now: Instant, millis: u64, reason: Reason) -> Next {
    Next::Retry { at: now + Duration::from_millis(millis), reason }
}

#[test]
fn a_502_503_or_504_is_waited_out_as_it_says_or_for_three_seconds() {
    let now = t0();
    for (status, reason) in
        [(502, Reason::BadGateway), (503, Reason::Unavailable), (504, Reason::GatewayTimeout)]
    {
        let after = |seconds| next(answered(status, seconds), facts(now), NEW, now, CAP);
        assert_eq!(after(None), again(now, 3_000, reason));
        assert_eq!(after(Some(7)), again(now, 7_000, reason));
        assert_eq!(after(Some(0)), again(now, 1_000, reason), "0 must not make us spin");
        assert_eq!(after(Some(12)), again(now, 12_000, reason));
        for longer_than_the_caller_waits in [13, 1_000_000_000, u64::MAX] {
            assert_eq!(after(Some(longer_than_the_caller_waits)), Next::Answer);
        }
    }
    for status in [200, 400, 404, 408, 500, 501, 505, 507, 520] {
        assert_eq!(next(answered(status, Some(1)), facts(now), NEW, now, CAP), Next::Answer);
    }
}

#[test]
fn a_call_that_may_have_arrived_goes_again_only_if_it_may_run_twice() {
    let now = t0();
    let once = Facts { idempotent: false, ..facts(now) };
    for (outcome, twice, otherwise) in [
        (answered(503, Some(1)), again(now, 1_000, Reason::Unavailable), Next::Answer),
        (Outcome::Broken { reused: false }, again(now, 100, Reason::Broken), Next::Fail),
        (Outcome::Broken { reused: true }, Next::Again, Next::Fail),
        (Outcome::Silent, again(now, 100, Reason::Silent), Next::Fail),
        (Outcome::Hopeless, Next::Fail, Next::Fail),
    ] {
        assert_eq!(next(outcome, facts(now), NEW, now, CAP), twice, "{outcome:?}");
        assert_eq!(next(outcome, once, NEW, now, CAP), otherwise, "{outcome:?}");
    }
}

#[test]
fn what_never_left_goes_again_whatever_its_method() {
    let now = t0();
    let once = Facts { idempotent: false, ..facts(now) };
    let next = |outcome, history| next(outcome, once, history, now, CAP);
    assert_eq!(next(Outcome::Unreachable, NEW), again(now, 100, Reason::Unreachable));
    assert_eq!(next(Outcome::Unsent, NEW), Next::Again);
    let moved = History { moved: 3, ..NEW };
    assert_eq!(next(Outcome::Unsent, moved), again(now, 100, Reason::Unsent));
}

#[test]
fn a_broken_connection_is_replaced_soon_and_then_by_the_schedule() {
    let now = t0();
    let dice = |dice| next(Outcome::Unreachable, Facts { dice, ..facts(now) }, NEW, now, CAP);
    assert_eq!(dice(0.0), again(now, 100, Reason::Unreachable));
    assert_eq!(dice(0.5), again(now, 300, Reason::Unreachable));
    assert_eq!(dice(1.0), again(now, 500, Reason::Unreachable));
    let patient = Facts { deadline: now + Duration::from_secs(600), ..facts(now) };
    for (seconds, pause) in [(0, 3), (299, 3), (300, 9), (599, 9), (600, 27)] {
        let history = History { retried: 1, failing_since: Some(now), ..NEW };
        let later = now + Duration::from_secs(seconds);
        let patient = Facts { deadline: later + Duration::from_secs(60), ..patient };
        for (outcome, reason) in
            [(Outcome::Unreachable, Reason::Unreachable), (answered(502, None), Reason::BadGateway)]
        {
            let next = next(outcome, patient, history, later, CAP);
            assert_eq!(next, again(later, pause * 1_000, reason), "{seconds} s");
        }
    }
}

#[test]
fn attempts_count_the_first_and_a_body_that_is_gone_ends_it() {
    let now = t0();
    for (attempts, retried, goes) in
        [(1, 0, false), (2, 0, true), (2, 1, false), (3, 1, true), (3, 2, false), (10, 8, true)]
    {
        let (facts, history) = (Facts { attempts, ..facts(now) }, History { retried, ..NEW });
        let next = next(answered(503, None), facts, history, now, CAP);
        assert_eq!(next != Next::Answer, goes, "{attempts} {retried}");
    }
    let gone = Facts { replayable: false, ..facts(now) };
    assert_eq!(next(answered(503, None), gone, NEW, now, CAP), Next::Answer);
    assert_eq!(next(Outcome::Unreachable, gone, NEW, now, CAP), Next::Fail);
}

#[test]
fn a_key_vouches_for_post_and_patch_and_an_empty_one_for_nothing() {
    use http::Method;
    for method in [Method::POST, Method::PATCH] {
        assert!(
            keyed(&method, b"\"8e03978e-40d5-43dd-bc93-6894a57f9324\"") && keyed(&method, b"a")
        );
        assert!(!keyed(&method, b"") && !keyed(&method, b"  ") && !keyed(&method, b"\"\""));
    }
    assert!(!keyed(&Method::CONNECT, b"a"));
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (
            prop::sample::select(vec![200, 401, 429, 500, 502, 503, 504]),
            prop::option::of(prop::sample::select(vec![0, 1, 2, 20, u64::MAX])),
        )
            .prop_map(|(status, seconds)| answered(status, seconds)),
        any::<bool>().prop_map(|reused| Outcome::Broken { reused }),
        prop::sample::select(vec![
            Outcome::Unsent,
            Outcome::Unreachable,
            Outcome::Silent,
            Outcome::Hopeless
        ]),
    ]
}

/// Upstream may have carried the call out: it was sent, and nobody said that it was not processed.
fn may_have_arrived(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Answered { status, .. } => status != 401 && status != 429,
        Outcome::Broken { .. } | Outcome::Silent | Outcome::Hopeless => true,
        Outcome::Unsent | Outcome::Unreachable => false,
    }
}

proptest! {
    #[test]
    fn whatever_upstream_does_attempts_deliveries_and_budget_are_kept(
        calls in prop::collection::vec((any::<bool>(), prop::collection::vec(outcome(), 0..40)), 1..40),
        attempts in 1u32..=10,
        patience in 0u64..120,
        thousandths in 0u32..=1_000,
    ) {
        let share = Share::of(f64::from(thousandths) / 1_000.0);
        let (mut balance, mut first_tries, mut all_retries) = (share.floor(), 0, 0_u64);
        let mut now = t0();
        for (idempotent, outcomes) in calls {
            let deadline = now + Duration::from_secs(patience);
            let facts = Facts { idempotent, replayable: true, deadline, attempts, dice: 0.5 };
            let (mut history, mut arrived) = (NEW, 0);
            balance += share.per_call();
            first_tries += 1;
            for outcome in outcomes {
                arrived += u32::from(may_have_arrived(outcome));
                prop_assert!(idempotent || arrived <= 1, "delivered twice");
                match next(outcome, facts, history, now, CAP) {
                    Next::Retry { at, .. } => {
                        prop_assert!(at > now && at <= deadline);
                        let Some(left) = take(balance) else { break };
                        balance = left;
                        all_retries += 1;
                        history.retried += 1;
                        history.failing_since.get_or_insert(now);
                        now = at;
                    }
                    Next::Renew => history.renewed = true,
                    Next::Requeue { until } => {
                        history.requeued += 1;
                        now = until;
                    }
                    Next::Again => history.moved += 1,
                    Next::Answer | Next::Fruitless | Next::HandOn { .. } | Next::Fail => break,
                }
            }
            prop_assert!(history.retried < attempts);
            prop_assert!(all_retries * 1_000 <= 10_000 + u64::from(thousandths) * first_tries);
        }
    }
}
