//! Nothing can be done to a chain's inside that its check does not find.

use proptest::prelude::*;

use super::{
    Chain, Hash, Head, LONGEST, Line, Seal,
    check::{Break, Check},
};

fn seals() -> [Seal; 2] {
    [Seal::Plain, Seal::keyed(b"a key that only the gateway has")]
}

/// A chain of these, a line each.
fn chain(told: &[String], seal: &Seal) -> Vec<Vec<u8>> {
    let mut head = Head::START;
    let line = |told: &String| {
        let mut line = Vec::new();
        head = head.append(told.as_bytes(), seal, &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        line
    };
    told.iter().map(line).collect()
}

/// How many lines pass, and what is wrong with the next.
fn check(lines: &[Vec<u8>], seal: &Seal) -> (u64, Option<Break>) {
    let mut check = Check::new(seal.clone(), Vec::new());
    let wrong = lines.iter().find_map(|line| check.next(line).err());
    (check.lines, wrong)
}

fn told() -> impl Strategy<Value = Vec<String>> {
    // As long as there is something to be told; a comma and quotes may be in it.
    prop::collection::vec("[ -~]{1,80}", 3..12)
}

/// `printf %s '{"seq":1,"a":1,"prev":"000…0"' | sha256sum`
#[test]
fn a_lines_hash_can_be_made_with_sha256sum() {
    let mut line = Vec::new();
    let head = Head::START.append(b"\"a\":1", &Seal::Plain, &mut line);
    let zeros = "0".repeat(64);
    let hash = "68b0eed178ee6df443df12715e07cc2dfa46ece6191eec1d02767d5ccb8c3bcb";
    assert_eq!(head.hash.to_string(), hash);
    let expected = format!("{{\"seq\":1,\"a\":1,\"prev\":\"{zeros}\",\"hash\":\"{hash}\"}}\n");
    assert_eq!(String::from_utf8(line).unwrap(), expected);
    assert_eq!(Hash::parse(hash.as_bytes()), Some(head.hash));
    let mut keyed = Vec::new();
    let head = Head::START.append(b"\"a\":1", &Seal::keyed(b"key"), &mut keyed);
    assert_eq!(
        head.hash.to_string(),
        "8b5b03b2b28ab72a8aa6cb0644fa3e22a12ea37c983a76c72c5b781a1adf38c6"
    );
}

#[test]
fn what_has_not_the_form_of_a_line_is_none() {
    let [line] = &chain(&["\"a\":1".to_owned()], &Seal::Plain)[..] else { panic!() };
    let good = String::from_utf8(line.clone()).unwrap();
    assert!(Line::read(good.as_bytes()).is_some());
    let long = format!("{{\"seq\":1,{}", " ".repeat(LONGEST)) + &good[9..];
    for bad in [
        String::new(),
        "{}".to_owned(),
        good[1..].to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good} "),
        good.replace("{\"seq\":1,", "{\"seq\":0,"),
        good.replace("{\"seq\":1,", "{\"seq\":01,"),
        good.replace("{\"seq\":1,", "{\"seq\":+1,"),
        good.replace("{\"seq\":1,", "{\"seq\":18446744073709551616,"),
        good.replace("prev", "prew"),
        good.replace("\"hash\":\"", "\"hash\":\"A").replace("\"}", "}"),
        long,
    ] {
        assert!(Line::read(bad.as_bytes()).is_none(), "{bad}");
    }
    let upper = good.split_at(good.len() - 66);
    let upper = format!("{}{}", upper.0, upper.1.to_uppercase());
    assert!(Line::read(upper.as_bytes()).is_none(), "one line has one spelling");
}

#[test]
fn what_the_log_says_of_itself_is_counted() {
    let told = |kind: &str, more: &str| {
        format!("\"time\":\"2026-11-23T08:00:00.000Z\",\"kind\":\"{kind}\"{more}")
    };
    let lines = chain(
        &[
            told("started", ""),
            told("call", ",\"path\":\"/\\u0022kind\\u0022:\\u0022stopped\\u0022\""),
            told("started", ",\"cut\":7"),
            told("lost", ",\"lost\":41,\"decision\":\"refused\""),
            told("stopped", ""),
            told("started", ""),
            told("lost", ",\"lost\":1"),
            "\"time\":\"\u{1b}[2J\",\"kind\":\"call\"".to_owned(),
        ],
        &Seal::Plain,
    );
    let mut check = Check::new(Seal::Plain, Vec::new());
    for line in &lines[..7] {
        check.next(line).unwrap();
    }
    assert_eq!((check.lines, check.first_seq), (7, 1));
    assert_eq!((check.starts, check.crashes, check.lost), (3, 1, 42));
    assert_eq!(check.first.as_deref(), Some("2026-11-23T08:00:00.000Z"));
    check.next(&lines[7]).unwrap();
    assert_eq!(check.last, None, "no time, and nothing for a terminal");
}

#[test]
fn a_chain_may_be_shown_from_its_middle_on() {
    let lines = chain(&["a", "b", "c"].map(str::to_owned), &Seal::Plain);
    let mut check = Check::new(Seal::Plain, Vec::new());
    for line in &lines[1..] {
        check.next(line).unwrap();
    }
    assert_eq!((check.lines, check.first_seq), (2, 2));
    // But the first line of all has nothing before it.
    let mut forged = Vec::new();
    let other = Head { hash: check.head().unwrap().hash, ..Head::START };
    let _ = other.append(b"a", &Seal::Plain, &mut forged);
    forged.pop();
    assert_eq!(Check::new(Seal::Plain, Vec::new()).next(&forged), Err(Break::Unlinked));
}

/// Each line names its chain, so that lines of several gateways can be put together and told apart.
#[test]
fn a_line_names_its_chain_and_another_chains_is_not_the_next() {
    let ours = Head { chain: Some(Chain::new(*b"\x01our own")), ..Head::START };
    let line = |head: Head| {
        let mut line = Vec::new();
        let head = head.append(b"\"a\":1", &Seal::Plain, &mut line);
        line.pop();
        (head, line)
    };
    let (head, first) = line(ours);
    assert!(first.starts_with(b"{\"seq\":1,\"chain\":\"016f7572206f776e\",\"a\":1,\"prev\":"));
    let read = Line::read(&first).unwrap();
    assert_eq!((read.chain, read.told), (ours.chain, &b"\"a\":1"[..]));
    let theirs = Head { chain: Some(Chain::new(*b"anothers")), ..head };
    // What an older version wrote names none, before and after.
    let silent = Head { chain: None, ..head };
    for (next, passes) in [(head, Ok(())), (theirs, Err(Break::Foreign)), (silent, Ok(()))] {
        let mut check = Check::new(Seal::Plain, Vec::new());
        check.next(&first).unwrap();
        assert_eq!(check.next(&line(next).1), passes);
    }
    let (old, without) = line(Head::START);
    let mut check = Check::new(Seal::Plain, Vec::new());
    check.next(&without).unwrap();
    assert_eq!(check.next(&line(Head { chain: ours.chain, ..old }).1), Ok(()));
    assert_eq!(check.head().unwrap().chain, ours.chain);
}

/// Who can write the file can make an unkeyed chain anew; with a key that shows.
#[test]
fn a_chain_that_was_written_anew_shows_only_with_a_key_or_an_anchor() {
    let told: Vec<_> = ["a", "b", "c"].map(str::to_owned).into();
    let forged = chain(&["a", "B", "c"].map(str::to_owned), &Seal::Plain);
    assert_eq!(check(&forged, &Seal::Plain), (3, None));
    for seal in seals() {
        let anchor = Line::read(&chain(&told, &seal)[2]).unwrap().hash;
        let mut anchored = Check::new(Seal::Plain, vec![anchor]);
        for line in &forged {
            anchored.next(line).unwrap();
        }
        assert_eq!(anchored.wanted, [anchor]);
    }
    assert_eq!(check(&forged, &seals()[1]), (0, Some(Break::Changed)));
}

proptest! {
    #[test]
    fn an_untouched_chain_is_whole(told in told()) {
        for seal in seals() {
            let lines = chain(&told, &seal);
            prop_assert_eq!(check(&lines, &seal), (lines.len() as u64, None));
            for (line, told) in lines.iter().zip(&told) {
                prop_assert_eq!(Line::read(line).unwrap().told, told.as_bytes());
            }
        }
    }

    #[test]
    fn any_changed_byte_is_found_in_its_line(
        told in told(), line in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        for seal in seals() {
            let mut lines = chain(&told, &seal);
            let line = line.index(lines.len());
            let at = at.index(lines[line].len());
            lines[line][at] ^= flip;
            let (passed, wrong) = check(&lines, &seal);
            prop_assert!(wrong.is_some());
            prop_assert_eq!(passed, line as u64);
        }
    }

    #[test]
    fn a_line_taken_out_moved_doubled_or_put_in_is_found(
        told in told(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), forged in "[ -~]{1,80}",
    ) {
        for seal in seals() {
            let lines = chain(&told, &seal);
            let (from, to) = (from.index(lines.len() - 1), to.index(lines.len()));
            let mut out = lines.clone();
            out.remove(from);
            // Without its first line a chain begins later, and says so.
            let begins = if from == 0 { 2 } else { 1 };
            let (_, wrong) = check(&out, &seal);
            prop_assert!(wrong.is_some() || begins == 2);
            let mut moved = lines.clone();
            moved.swap(from, to);
            prop_assert!(from == to || check(&moved, &seal).1.is_some());
            let mut doubled = lines.clone();
            doubled.insert(to, lines[from].clone());
            prop_assert!(check(&doubled, &seal).1.is_some());
            // By who has the key, even: with any number.
            let before = if from == 0 { Head::START } else { Line::read(&lines[from - 1]).unwrap().head() };
            for seq in [before.seq, before.seq.saturating_sub(1)] {
                let mut line = Vec::new();
                let _ = Head { seq, ..before }.append(forged.as_bytes(), &seal, &mut line);
                line.pop();
                let mut put_in = lines.clone();
                put_in.insert(from, line.clone());
                prop_assert!(check(&put_in, &seal).1.is_some());
                let mut replaced = lines.clone();
                replaced[from].clone_from(&line);
                prop_assert!(line == lines[from] || check(&replaced, &seal).1.is_some());
            }
        }
    }

    /// What a chain cannot show: its end is where somebody says it is.
    #[test]
    fn an_end_that_was_cut_off_is_found_by_the_anchor_alone(told in told(), left in any::<prop::sample::Index>()) {
        for seal in seals() {
            let lines = chain(&told, &seal);
            let left = left.index(lines.len() - 1) + 1;
            let anchor = Line::read(lines.last().unwrap()).unwrap().hash;
            for (count, found) in [(left, false), (lines.len(), true)] {
                let mut check = Check::new(seal.clone(), vec![anchor]);
                for line in &lines[..count] {
                    prop_assert_eq!(check.next(line), Ok(()));
                }
                prop_assert_eq!(check.wanted.is_empty(), found);
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,200}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let _ = Check::new(Seal::Plain, Vec::new()).next(bytes);
        }
    }
}
