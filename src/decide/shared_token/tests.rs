//! Single answers; `every_order` has all of them together.

mod every_order;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn token(serial: Serial) -> Offered {
    Offered { serial, left: SECOND * 100, life: SECOND * 200, given_up: false }
}

fn shared(serial: Serial) -> Held {
    Held { holding: Holding::Shared { serial }, given_up: 0 }
}

fn renewing(held: Held, seen: &[Seen]) -> Do {
    let (mut renewal, first) = Renewal::new(held);
    seen.iter().fold(first, |_, seen| renewal.after(*seen, true))
}

#[test]
fn only_a_newer_token_that_lasts_and_was_not_given_up_replaces_ours() {
    let adopts = |held: &Held, offered| watch(held, Found::Token(offered)) == Watch::Adopt;
    assert!(adopts(&shared(7), token(8)));
    assert!(!adopts(&shared(7), token(7)) && !adopts(&shared(7), token(6)));
    assert!(!adopts(&shared(7), Offered { given_up: true, ..token(8) }));
    assert!(!adopts(&shared(7), Offered { left: SECOND * 9, ..token(8) }), "it ends on the way");
    assert!(!adopts(&Held { given_up: 8, ..shared(7) }, token(8)));
    let short = Offered { left: SECOND * 2, life: SECOND * 6, ..token(8) };
    assert!(adopts(&shared(7), short), "a short life is not a reason to ask for another");
}

#[test]
fn what_the_store_has_lost_is_offered_and_what_is_doubtful_is_not() {
    for found in [Found::Nothing, Found::Unreadable, Found::Token(token(6))] {
        assert_eq!(watch(&shared(7), found), Watch::Offer);
        assert_eq!(watch(&Held { given_up: 7, ..shared(7) }, found), Watch::Keep);
        let none = Held { holding: Holding::Nothing, given_up: 9 };
        assert_eq!(watch(&none, found), Watch::Keep);
    }
    let private = Held { holding: Holding::Private { left: SECOND * 500 }, given_up: 0 };
    assert_eq!(watch(&private, Found::Nothing), Watch::Share, "calls under it were counted");
    let young = Offered { left: SECOND * 101, ..token(1) };
    assert_eq!(watch(&private, Found::Token(young)), Watch::Adopt, "so that all have one");
    let replaced = Offered { left: SECOND * 300, life: SECOND * 86_400, ..token(1) };
    let fresh = Held { holding: Holding::Private { left: SECOND * 86_000 }, given_up: 0 };
    assert_eq!(watch(&fresh, Found::Token(replaced)), Watch::Share, "it would be due at once");
}

#[test]
fn a_token_that_another_gave_up_is_let_go_once() {
    let found = Found::Token(Offered { given_up: true, ..token(7) });
    assert_eq!(watch(&shared(7), found), Watch::LetGo(7));
    assert_eq!(watch(&Held { given_up: 7, ..shared(7) }, found), Watch::Keep, "found good since");
    assert_eq!(watch(&shared(8), found), Watch::Offer);
}

#[test]
fn a_store_that_fails_at_any_step_leaves_a_token_of_our_own() {
    let held = Held { holding: Holding::Nothing, given_up: 0 };
    let nothing = Seen::Found(Found::Nothing);
    let taken = Seen::Taken(5, Found::Nothing);
    assert_eq!(renewing(held, &[Seen::Down]), Do::Mint);
    assert_eq!(renewing(held, &[nothing, Seen::Down]), Do::Mint);
    assert_eq!(renewing(held, &[nothing, Seen::Down, Seen::Minted]), Do::End(End::Private));
    let lost = [nothing, taken, Seen::Minted, Seen::Down];
    assert_eq!(renewing(held, &lost), Do::End(End::Unheard), "the others may have it");
    let refused = [nothing, taken, Seen::Minted, Seen::Lost(Found::Nothing)];
    assert_eq!(renewing(held, &refused), Do::End(End::Private));
}

#[test]
fn who_waits_longer_than_any_lease_asks_alone() {
    let (mut renewal, _) = Renewal::new(shared(1));
    assert_eq!(renewal.after(Seen::Found(Found::Nothing), true), Do::Take);
    assert_eq!(renewal.after(Seen::Held(Found::Nothing), true), Do::Wait);
    assert_eq!(renewal.after(Seen::Waited, false), Do::Take);
    assert_eq!(renewal.after(Seen::Held(Found::Nothing), false), Do::Mint);
}

#[test]
fn a_lock_is_let_go_when_there_is_nothing_to_publish() {
    let taken = |found| [Seen::Found(Found::Nothing), Seen::Taken(5, found)];
    let [read, took] = taken(Found::Token(token(4)));
    assert_eq!(renewing(shared(1), &[read, took]), Do::Release(5));
    assert_eq!(renewing(shared(1), &[read, took, Seen::Released]), Do::End(End::Adopted));
    let [read, took] = taken(Found::Nothing);
    assert_eq!(renewing(shared(1), &[read, took, Seen::NotMinted]), Do::Release(5));
    let all = [read, took, Seen::NotMinted, Seen::Down];
    assert_eq!(renewing(shared(1), &all), Do::End(End::Nothing));
}

#[test]
fn a_token_for_all_is_asked_for_under_the_lock_or_not_at_all() {
    let held = Held { holding: Holding::Private { left: SECOND * 500 }, given_up: 0 };
    let sharing = |seen: &[Seen]| {
        let (mut renewal, first) = Renewal::share(held);
        seen.iter().fold(first, |_, seen| renewal.after(*seen, true))
    };
    let taken = Seen::Taken(5, Found::Nothing);
    assert_eq!(sharing(&[taken, Seen::Minted, Seen::Published]), Do::End(End::Published(5)));
    assert_eq!(sharing(&[Seen::Down]), Do::End(End::Nothing), "a store that takes no writes");
    assert_eq!(sharing(&[Seen::Held(Found::Nothing)]), Do::End(End::Nothing), "another is at it");
    assert_eq!(sharing(&[taken, Seen::NotMinted]), Do::Release(5));
}
