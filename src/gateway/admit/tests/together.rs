//! Limits hold together, to the call: a large allowance in the hands of several workers, a family's
//! limit, and a caller's ceiling.

use std::collections::VecDeque;

use super::*;
use crate::{
    config::Family as Named,
    decide::{access::Rule, turns::gate::Limit},
};

const MINUTE: Duration = Duration::from_secs(60);
const FAMILY: u32 = 300;
const CEILING: u32 = 200;

/// With a limit that is cut into slices, unless calls have gates to pass.
fn limited(families: Vec<Named>, ceiling: u32) -> Arc<Admission> {
    let limit = RateLimit { families, ..rate_limit(LARGE, 10) };
    let capped = Terms { requests_per_minute: NonZeroU32::new(ceiling), ..Terms::default() };
    spawn_for(limit, Granted::new([capped]))
}

/// Calls of the last minute, and the most that there ever were in one.
#[derive(Default)]
struct Window {
    sent: VecDeque<Instant>,
    most: usize,
}

impl Window {
    fn count(&mut self, now: Instant) {
        self.sent.push_back(now);
        while self.sent.front().is_some_and(|at| now - *at >= MINUTE) {
            self.sent.pop_front();
        }
        self.most = self.most.max(self.sent.len());
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_large_allowance_a_family_and_a_caller_have_theirs_and_all_have_it_to_the_call() {
    let rule = Rule::parse("GET /api/v2/queues/*").unwrap();
    let limit = Limit { requests_per_minute: NonZeroU32::new(FAMILY), concurrent: None };
    let admission = limited(vec![Named { rule, limit }], CEILING);
    let desks: Vec<_> = (0..4).map(|_| Desk::new(&admission)).collect();
    let targets = ["/api/v2/users", "/api/v2/queues/7", "//api/v2/%71ueues/8"];
    let targets = targets.map(PathAndQuery::from_static);
    let mut dice = fastrand::Rng::with_seed(7);
    let [mut all, mut family, mut capped] = [(); 3].map(|()| Window::default());
    for _ in 0..80_000 {
        let (kind, of_capped) = (dice.usize(..20), dice.u32(..20) == 0);
        let target = targets.get(kind).unwrap_or(&targets[0]);
        let principal = if of_capped { Principal::Named(0) } else { Principal::Unknown };
        let now = Instant::now();
        let asker = Asker { principal, urgency: Urgency::default() };
        let asking = Asking { asker, target, ..asking(now) };
        match desks[dice.usize(..desks.len())].admit(now, &asking).await {
            Ok(permit) if dice.u32(..100) == 0 => drop(permit),
            Ok(mut permit) => {
                permit.spend(now);
                all.count(now);
                if target != &targets[0] {
                    family.count(now);
                }
                if of_capped {
                    capped.count(now);
                }
            }
            Err(_) => {}
        }
        // Three times what there is room for.
        tokio::time::advance(Duration::from_micros(dice.u64(..4_000))).await;
    }
    let most = [all.most, family.most, capped.most];
    assert_eq!(most, [LARGE as usize, FAMILY as usize, CEILING as usize]);
}

#[tokio::test(start_paused = true)]
async fn a_family_that_is_found_to_be_limited_is_held_up_for_those_with_a_slice_too() {
    let admission = admission(LARGE, 10);
    let desks: Vec<_> = (0..4).map(|_| Desk::new(&admission)).collect();
    for desk in &desks {
        leave(desk).await.unwrap();
    }
    let now = Instant::now();
    let mut permit = desks[0].admit(now, &asking(now)).await.unwrap();
    permit.spend(now);
    let until = now + Duration::from_secs(90);
    let family = (&Method::GET, TARGET.path());
    admission.limited(&permit, family, until.into_std());
    for desk in &desks {
        assert!(leave(desk).await.is_err());
    }
    // All others have what is left, and what desks had in hand.
    let other = PathAndQuery::from_static("/api/v2/groups");
    let mut sent = desks.len() + 1;
    loop {
        let desk = &desks[sent % desks.len()];
        let Ok(mut permit) = desk.admit(now, &Asking { target: &other, ..asking(now) }).await
        else {
            break;
        };
        permit.spend(now);
        sent += 1;
    }
    assert_eq!(sent, LARGE as usize);
    sleep_until(until).await;
    assert!(leave(&desks[1]).await.is_ok());
}
