//! What a request says to us: any fields do, `Priority` is what the grammar of structured fields
//! makes of it, and a preference to wait is found among others and nowhere else.
#![no_main]

use std::fmt::Write as _;

use genesys_proxy::decide::{asked::Asked, urgency::Urgency};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sfv::{Dictionary, ListEntry, Parser, Version};

fuzz_target!(|input: (&[u8], &[u8], Vec<(u8, u64)>)| {
    let (priority, prefer, preferences) = input;
    let fields = |name: &'static str, value: &[u8]| {
        let mut fields = HeaderMap::new();
        HeaderValue::from_bytes(value)
            .is_ok_and(|value| !fields.append(name, value))
            .then_some(fields)
    };
    if let Some(fields) = fields("priority", priority) {
        let asked = Asked::of(&fields);
        assert!(asked.urgency.number() < Urgency::COUNT);
        if let Some(expected) = urgency(priority) {
            let default = Urgency::default().number();
            assert_eq!(asked.urgency.number(), expected.unwrap_or(default));
        }
    }
    if let Some(fields) = fields("prefer", prefer) {
        let _ = Asked::of(&fields);
    }
    let (line, wait) = written(&preferences);
    if let Some(fields) = fields("prefer", line.as_bytes()) {
        assert_eq!(Asked::of(&fields).wait, wait, "{line}");
    }
});

/// `u` of a `Priority` that is a dictionary; `None` when it is none, and may mean anything.
fn urgency(line: &[u8]) -> Option<Option<usize>> {
    let parser = Parser::new(line).with_version(Version::Rfc8941);
    let dictionary = parser.parse::<Dictionary>().ok()?;
    Some(match dictionary.get("u") {
        Some(ListEntry::Item(item)) => {
            let number = item.bare_item.as_integer().map(i64::from);
            number.and_then(|number| usize::try_from(number).ok()).filter(|number| *number < 8)
        }
        Some(ListEntry::InnerList(_)) | None => None,
    })
}

/// A `Prefer` line, and for how long it says to wait.
fn written(preferences: &[(u8, u64)]) -> (String, Option<u64>) {
    let (mut line, mut wait) = (String::new(), None);
    for (kind, number) in preferences.iter().take(20) {
        if !line.is_empty() {
            line.push_str([",", ", ", " ,\t"][usize::from(kind / 8 % 3)]);
        }
        let waits = matches!(kind % 8, 0..=2);
        let _ = match kind % 8 {
            0 => write!(line, "wait={number}"),
            1 => write!(line, "WAIT = \"{number}\""),
            2 => write!(line, "Wait={number} ; a=\"b;c,wait=1\""),
            3 => write!(line, "a=\"b, wait={number}\""),
            4 => write!(line, "a=\"\\\", wait={number}, \""),
            5 => write!(line, "waits={number}"),
            6 => write!(line, "a; wait={number}"),
            _ => write!(line, "respond-async"),
        };
        wait = wait.or(waits.then_some(*number));
    }
    (line, wait)
}
