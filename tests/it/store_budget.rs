//! The script that keeps the caps, on a real Redis, next to the rules that it was written from.

use std::{cell::Cell, collections::BTreeMap, sync::Arc, time::Duration};

use genesys_proxy::{
    config,
    decide::joint::ledger::{Age, Ask, Ledger, Opening, Told},
    store::{
        Link, Scope,
        budget::{self, Answer, Speaker, Word},
    },
    telemetry::metrics::Metrics,
};
use tokio::runtime::Handle;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::support::{gateway::PATIENCE, redis::Redis};

const LIMIT: u64 = 100;
const WINDOW: Duration = Duration::from_millis(40);
const LEASE: Duration = Duration::from_millis(25);

/// As in the tests of the rules.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    fn ask(&mut self, call: u64) -> Ask {
        let sent = (0..self.below(4))
            .map(|_| (Duration::from_millis(self.below(50)), self.below(50)))
            .collect();
        Ask {
            call: call.saturating_sub(2 * u64::from(self.below(10) == 0)),
            claim: self.below(40),
            want: self.below(130),
            inside: self.below(10),
            sent,
            wishes: (0..self.below(40)).map(|_| u8::try_from(self.below(256)).unwrap()).collect(),
            leaves: self.below(15) == 0,
        }
    }
}

/// A link that ends with the guard.
fn link(url: &str) -> (Arc<Link>, DropGuard) {
    let config = config::Store::of_url(url).unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let handle = Handle::current();
    let link = Link::spawn(&config, None, Metrics::default(), &tasks, &handle, &stop).unwrap();
    (link, stop.drop_guard())
}

fn from<'a>(scope: &'a Scope, id: &'a str) -> Speaker<'a> {
    Speaker { scope, id, tell: false }
}

fn word(ledger: &str, ask: Ask) -> Word {
    Word { ledger: ledger.to_owned(), limit: LIMIT, window: WINDOW, ask }
}

#[tokio::test]
async fn the_script_does_what_the_rules_say() {
    let redis = Redis::start();
    let (link, _stop) = link(&redis.url());
    let scope = Scope::new("https://login", "https://api", "id");
    let (mut dice, mut age) = (Dice(0x5eed), Age::default());
    let mut ledgers: BTreeMap<&str, Ledger> = BTreeMap::new();
    let mut version = 0;
    for call in 1..2_000 {
        let id = ["a", "b", "c", "d"][usize::try_from(dice.below(4)).unwrap()];
        let seen = match dice.below(40) {
            0 => version + 3,
            // About where versions begin anew.
            1 => 999_999_999_990 + dice.below(20),
            _ => version,
        };
        let opening = Opening { seen, fresh: dice.below(2) == 0, lease: LEASE };
        let named = if dice.below(2) == 0 { &["one"][..] } else { &["one", "two"][..] };
        let words: Vec<Word> = named.iter().map(|name| word(name, dice.ask(call))).collect();
        // One call's number is that of all its words.
        let number = words[0].ask.call;
        let words: Vec<Word> = words
            .into_iter()
            .map(|word| Word { ask: Ask { call: number, ..word.ask }, ..word })
            .collect();
        let answer = budget::sync(&link, from(&scope, id), opening, &words).await.unwrap();
        // The rules at the time that the store's clock showed.
        let moment = age.open(opening, answer.now);
        assert_eq!((answer.version, answer.whole), (age.version, moment.whole), "call {call}");
        for (word, told) in words.iter().zip(&answer.told) {
            let name = named.iter().find(|name| **name == word.ledger).unwrap();
            let ledger = ledgers.entry(name).or_insert_with(|| Ledger::new(LIMIT, WINDOW));
            let expected: Option<Told> = ledger.sync(id, &word.ask, moment);
            assert_eq!(*told, expected, "call {call}, {name}");
        }
        version = answer.version;
    }
    assert_eq!(redis.without_an_end(), [""; 0]);
}

#[tokio::test]
async fn whatever_somebody_else_writes_there_is_cut_to_what_can_be() {
    let redis = Redis::start();
    let (link, _stop) = link(&redis.url());
    let scope = Scope::new("https://login", "https://api", "id");
    let opening = Opening { seen: 0, fresh: true, lease: LEASE };
    let ask = |call| Ask {
        call,
        claim: 0,
        want: LIMIT,
        inside: 0,
        sent: Vec::new(),
        wishes: Vec::new(),
        leaves: false,
    };
    let (call, seen) = (Cell::new(0), Cell::new(0));
    let said = async || -> Answer {
        call.set(call.get() + 1);
        let words = [word("one", ask(call.get()))];
        let opening = Opening { seen: seen.get(), ..opening };
        let answer = budget::sync(&link, from(&scope, "5e1f"), opening, &words).await.unwrap();
        // As replicas do: what it was told is what it has seen.
        seen.set(answer.version);
        answer
    };
    // At first nobody takes more: what was thrown away may have stood for somebody.
    let heals = async || {
        let cap = |answer: &Answer| answer.told[0].as_ref().unwrap().cap;
        assert_eq!(cap(&said().await), 0);
        let healed = async { while cap(&said().await) != LIMIT {} };
        tokio::time::timeout(PATIENCE, healed).await.expect("it heals");
    };
    let key = scope.name("one");
    let entry = |fields: &str| -> i64 {
        let add =
            format!("return redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack({{{fields}}}))");
        redis.ask(&["EVAL", &add, "1", &key, "07e4"])
    };
    for poison in ["", "x", "\u{1}", "\u{90}", &"y".repeat(20_000)] {
        redis.ask::<i64>(&["HSET", &key, "07e4", poison]);
    }
    heals().await;
    for fields in [
        "1, 60, 0, 1e308, '', ''",
        "1, 0/0, 0, 1, '', ''",
        "1e300, 60, 0, 1, '', ''",
        "1, -60, 0, 1, '', ''",
        "1, 0, 1e308, 1, '', ''",
        "1, 0, 0, 1, '99999999999999:60', ''",
        "1, 0, 0, 1, {}, ''",
    ] {
        assert_eq!(entry(fields), 1, "{fields}");
        heals().await;
    }
    // What is an entry, and claims more than there is, has all until it ends, and no more.
    for fields in [
        "1, 0, 9007199254740991, NOW, '', ''",
        "1, 9007199254740991, 0, NOW, '', ''",
        "1, 0, 0, NOW, string.format('%.0f:9007199254740991', NOW), ''",
        "1, 0, 0, NOW, string.format('%.0f:', NOW) .. string.rep('9', 400), ''",
    ] {
        let soon = "(redis.call('TIME')[1] * 1000 + 1500)";
        let lease = Duration::from_secs(2);
        assert_eq!(entry(&fields.replace("NOW", soon)), 1, "{fields}");
        let words = [Word { window: lease, ..word("one", ask(call.get() + 1)) }];
        let long = Opening { seen: seen.get(), lease, ..opening };
        let answer = budget::sync(&link, from(&scope, "0b5e"), long, &words).await.unwrap();
        assert_eq!(answer.told[0].as_ref().unwrap().others["07e4"].holds, LIMIT, "{fields}");
        redis.ask::<i64>(&["DEL", &key]);
    }
    redis.ask::<i64>(&["HSET", &key, "no name of ours", "x"]);
    heals().await;
    // More replicas than there can be: what is there is nobody's.
    for n in 0..1_100 {
        redis.ask::<i64>(&["HSET", &key, &format!("{n:x}"), "x"]);
    }
    heals().await;
    assert_eq!(redis.ask::<i64>(&["HLEN", &key]), 1);
    redis.ask::<String>(&["SET", &key, "no hash"]);
    heals().await;
    for number in [
        "never",
        "nan",
        "inf",
        "-7",
        "1e308",
        "9007199254740991",
        "9007199254740990",
        "1000000000000",
        "999999999999",
        "999999999990",
    ] {
        redis.ask::<i64>(&["HSET", &scope.name("age"), "since", number, "version", number]);
        let healed = async { while !said().await.whole {} };
        tokio::time::timeout(PATIENCE, healed).await.expect("it heals");
    }
    redis.ask::<String>(&["SET", &scope.name("age"), "no hash"]);
    assert!(said().await.version > 0);
}
