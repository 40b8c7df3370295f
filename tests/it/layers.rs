//! The arrows of `src/lib.rs`, read from the `use crate::` lines.

use std::{fs, path::Path};

/// What each room may name of ours. `config` types, `telemetry` and itself go without saying.
const ARROWS: &[(&str, &[&str])] = &[
    ("admin", &["gateway", "server", "store", "token"]),
    ("cli", &["admin", "decide", "secret", "server", "simulator", "store", "token", "upstream"]),
    ("config", &["decide"]),
    ("decide", &[]),
    ("gateway", &["decide", "store", "token", "upstream"]),
    ("secret", &["decide"]),
    ("server", &["admin", "decide", "gateway", "secret", "store", "token", "upstream"]),
    ("simulator", &[]),
    ("store", &["decide", "secret"]),
    ("telemetry", &["decide"]),
    ("token", &["decide", "secret", "store"]),
    ("upstream", &["decide"]),
];

/// Crates that only some files may name.
const CRATES: &[(&str, &[&str])] = &[
    ("redis::", &["src/store"]),
    (
        "reqwest::",
        &[
            "src/token/issuer.rs",
            "src/token/provider.rs",
            "src/token/wire.rs",
            "src/token/verify.rs",
            "src/secret/vault.rs",
            "src/telemetry/traces/export.rs",
            "src/simulator/",
        ],
    ),
    ("opentelemetry", &["src/telemetry/traces/"]),
    (
        "jsonwebtoken::",
        &[
            "src/token/claims.rs",
            "src/token/client_auth",
            "src/token/keys.rs",
            "src/gateway/identify.rs",
            "src/simulator/",
        ],
    ),
];

/// What `decide` must not name: runtimes, clocks, dice, locks, logs.
const NOT_IN_DECIDE: &[&str] =
    &["tokio", "hyper", "fastrand", "tracing", "std::sync", "std::fs", "std::net", "std::env"];

fn files(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// Without tests, which may name anything.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.contains("/tests/")
}

/// The rooms that a file names, one by one or in a `use crate::{…}` list.
fn named(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(list) = rest.strip_prefix('{') else {
            rooms.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => rooms.push(word(std::mem::take(&mut item).trim())),
                _ => {}
            }
            if depth == 0 && c != ',' {
                item.push(c);
            }
        }
        rooms.push(word(item.trim()));
    }
    rooms
}

#[test]
fn every_room_names_only_what_its_arrow_allows() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let mut parts = name.split('/').skip(1);
        let room = parts.next().unwrap().trim_end_matches(".rs").to_owned();
        if is_test(&name) || matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(arrow, _)| *arrow == room)
            .unwrap_or_else(|| panic!("{room} has no arrow: add it to ARROWS and to src/lib.rs"));
        for other in named(code(&text)) {
            let known = ARROWS.iter().any(|(arrow, _)| *arrow == other);
            let free = other == room || matches!(other.as_str(), "config" | "telemetry");
            if known && !free && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{name} names {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn side_crates_stay_where_they_belong() {
    for (name, text) in sources().iter().filter(|(name, _)| !is_test(name)) {
        for (krate, homes) in CRATES {
            let home = homes.iter().any(|home| name.starts_with(home));
            assert!(home || !code(text).contains(krate), "{name} names {krate}");
        }
    }
}

#[test]
fn decisions_have_no_runtime_clock_dice_lock_or_log() {
    for (name, text) in sources().iter().filter(|(name, _)| name.starts_with("src/decide")) {
        if is_test(name) {
            continue;
        }
        for word in NOT_IN_DECIDE {
            let used = code(text).lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//") && line.contains(&format!("{word}::"))
            });
            assert!(!used, "{name} uses {word}");
        }
        assert!(!code(text).contains("Instant::now"), "{name} reads the clock");
    }
}
