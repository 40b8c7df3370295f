use bytes::Bytes;
use http::{HeaderMap, Response};

use super::*;
use crate::decide::saving::{Organisation, marks};

fn identity(target: &str) -> Identity {
    Identity::of(Organisation::new(0), target, &HeaderMap::new())
}

fn entry(begun: Begun, bytes: usize) -> Entry {
    let (parts, ()) = Response::new(()).into_parts();
    let whole = Arc::new(Whole::new(parts, None, Bytes::from(vec![0; bytes])));
    Entry { whole, begun, life: Duration::from_secs(10) }
}

fn begun() -> Begun {
    Begun { at: Instant::now(), writes: 0 }
}

#[tokio::test(start_paused = true)]
async fn an_answer_ages_from_its_question_and_is_never_good_at_the_end_of_its_life() {
    let entry = entry(begun(), 1);
    let after = |ms| entry.origin(entry.begun.at + Duration::from_millis(ms));
    assert_eq!(after(0), Some(Origin::Kept { age: 0, ttl: 10 }));
    assert_eq!(after(2_500), Some(Origin::Kept { age: 2, ttl: 7 }));
    assert_eq!(after(9_999), Some(Origin::Kept { age: 9, ttl: 0 }));
    assert_eq!(after(10_000), None);
}

#[tokio::test]
async fn whatever_is_put_in_the_memory_is_never_more_than_was_given() {
    const MEMORY: usize = 1 << 20;
    let kept = Kept::new(MEMORY);
    for number in 0..2_000_usize {
        let bytes = (number * 7_919) % (MEMORY / 16);
        kept.put(identity(&format!("/{number}")), entry(begun(), bytes));
        assert!(kept.bytes() <= MEMORY as u64, "{} after {number}", kept.bytes());
    }
    assert!(kept.bytes() > MEMORY as u64 / 2, "{} of it is used", kept.bytes());
    assert!(kept.count() > 10);
    // The largest that is shared fits, however the others are spread.
    kept.put(identity("/largest"), entry(begun(), MEMORY / 16));
    assert!(kept.get(&identity("/largest"), |_| true).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_asked_for_earlier_does_not_replace_a_later_one() {
    let (kept, early) = (Kept::new(1 << 20), begun());
    tokio::time::advance(Duration::from_secs(1)).await;
    let late = begun();
    kept.put(identity("/a"), entry(late, 2));
    kept.put(identity("/a"), entry(early, 1));
    kept.forget(&identity("/a"), early);
    let found = kept.get(&identity("/a"), |_| true).unwrap();
    assert_eq!(found.whole.body.len(), 2);
    kept.forget(&identity("/a"), late);
    assert!(kept.get(&identity("/a"), |_| true).is_none());
}

#[tokio::test]
async fn what_is_not_good_is_forgotten() {
    let kept = Kept::new(1 << 20);
    kept.put(identity("/a"), entry(begun(), 1));
    assert!(kept.get(&identity("/a"), |_| false).is_none());
    assert_eq!((kept.count(), kept.bytes()), (0, 0));
}

#[test]
fn a_write_outdates_what_was_begun_before_it_ended_and_nothing_later() {
    let (writes, here) = (Writes::default(), Organisation::new(0));
    let of = |path| marks(here, path);
    let before = writes.so_far();
    assert!(writes.none_since(before, &of("/a/b")));
    writes.note(&Write::of(here, &http::Method::PUT, "/a/b"));
    assert!(!writes.none_since(before, &of("/a/b")));
    assert!(!writes.none_since(before, &of("/a")));
    assert!(writes.none_since(before, &of("/c")));
    assert!(writes.none_since(writes.so_far(), &of("/a/b")));
    writes.note(&Write::Anything);
    assert!(!writes.none_since(before, &of("/c")));
    let before = writes.so_far();
    writes.note(&Write::Nothing);
    assert!(writes.none_since(before, &of("/c")));
}
