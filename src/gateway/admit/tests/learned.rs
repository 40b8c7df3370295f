//! Families that upstream was seen to limit: however many there are said to be, they are bounded.

use super::*;

const PAUSE: Duration = Duration::from_secs(120);

/// The n-th of many paths that are no id's.
fn path(n: usize) -> String {
    let letter = |n: usize| char::from(b'k' + u8::try_from(n % 10).unwrap());
    format!("/api/v2/{}{}{}", letter(n / 100), letter(n / 10), letter(n))
}

/// Upstream says 429 to a call of this path.
fn limited(admission: &Arc<Admission>, permit: &Permit, path: &str, pause: Duration) {
    let until = (Instant::now() + pause).into_std();
    admission.limited(permit, (&Method::GET, path), until);
}

async fn goes(admission: &Arc<Admission>, path: &str) -> bool {
    let target = PathAndQuery::try_from(path).unwrap();
    let asking = Asking { target: &target, ..asking(within(1)) };
    admission.admit(Instant::now(), &asking, None).await.is_ok()
}

/// Gates that were learned: nobody waits, so each is named once.
fn learned(admission: &Arc<Admission>) -> usize {
    format!("{:?}", *admission.state()).matches("Learned(").count()
}

#[tokio::test(start_paused = true)]
async fn no_more_than_256_families_are_learned_and_one_more_is_the_tokens_if_it_can_be() {
    let admission = admission(1_000, 10);
    let mut permits = Vec::new();
    for _ in 0..300 {
        let permit = admission.admit(Instant::now(), &asking(within(1)), None).await;
        permits.push(permit.unwrap());
        permits.last_mut().unwrap().spend(Instant::now());
    }
    for (n, permit) in permits.iter().enumerate().take(256) {
        limited(&admission, permit, &path(n), PAUSE);
    }
    assert_eq!(learned(&admission), 256);
    for (n, permit) in permits.iter().enumerate().skip(256) {
        limited(&admission, permit, &path(n), PAUSE);
    }
    assert_eq!(learned(&admission), 256);
    assert!(goes(&admission, "/api/v2/users").await, "no token's window is as long as that");
    assert!(!goes(&admission, &path(0)).await && goes(&admission, &path(299)).await);
    limited(&admission, &permits[299], &path(299), PAUSE / 4);
    assert!(!goes(&admission, "/api/v2/users").await, "it may be the token's");
    tokio::time::advance(PAUSE).await;
    assert!(goes(&admission, &path(0)).await && goes(&admission, &path(299)).await);
    tokio::time::advance(Duration::from_secs(601)).await;
    assert!(goes(&admission, "/api/v2/users").await);
    assert_eq!(learned(&admission), 0, "what is over for long is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_spellings_and_ids_of_one_path_are_one_family() {
    let admission = admission(10_000, 10);
    for n in 0..1_000 {
        let dots = "/.".repeat(n % 10) + &"/".repeat(n / 10 % 10) + &"/x/..".repeat(n / 100);
        let permit = admission.admit(Instant::now(), &asking(within(1)), None).await.unwrap();
        limited(&admission, &permit, &format!("/api/v2{dots}/%75sers/{n}"), PAUSE);
    }
    assert_eq!(learned(&admission), 1);
    assert!(!goes(&admission, "/api/v2/users/7").await && goes(&admission, "/api/v2/users").await);
}
