//! `docs/configuration.md` is the schema: each key once, where it belongs, with the default that counts.

use std::collections::BTreeMap;

use super::sources::shipped;
use crate::config::file::{Key, SECTIONS};

const REFERENCE: &str = include_str!("../../../docs/configuration.md");

/// A row of its tables.
#[derive(Debug)]
struct Row {
    name: &'static str,
    default: &'static str,
    text: &'static str,
}

/// What stands between bars, but for those that are written out.
fn cells(line: &'static str) -> Vec<&'static str> {
    let bars = line.match_indices('|').map(|(at, _)| at);
    let bars: Vec<_> = bars.filter(|at| !line[..*at].ends_with('\\')).collect();
    let ends = bars.iter().copied().chain([line.len()]);
    let starts = std::iter::once(0).chain(bars.iter().map(|at| at + 1));
    starts.zip(ends).map(|(start, end)| line[start..end].trim()).collect()
}

/// The rows of each section, in their order.
fn rows() -> BTreeMap<&'static str, Vec<Row>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let (mut section, mut table) = (None, false);
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading.strip_prefix("`[").and_then(|name| name.strip_suffix("]`"));
            // `[orgs.NAME]`
            let name = name.map(|name| name.split('.').next().unwrap());
            section = if heading == "Top level" { Some("") } else { name };
            table = false;
        }
        table = line.starts_with("| key | kind | default |") || table && line.starts_with('|');
        let (Some(section), true) = (section, table) else { continue };
        let cells: Vec<_> = cells(line);
        let [_, name, _, default, text, ..] = cells[..] else { continue };
        if let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
            all.entry(section).or_default().push(Row { name, default, text });
        }
    }
    all
}

/// What `proxy.toml` has, which says what no file says.
fn defaults() -> BTreeMap<Key, String> {
    let mut section = "";
    let mut all = BTreeMap::new();
    for line in shipped().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((name, value)) = line.trim_start_matches("# ").split_once(" = ")
            && let Some(key) = Key::find(section, name)
        {
            let value = value.split(" #").next().unwrap().trim();
            all.entry(key).or_insert_with(|| value.to_owned());
        }
    }
    all
}

#[test]
fn each_key_stands_once_where_it_belongs_and_no_other_does() {
    let rows = rows();
    for (section, keys) in SECTIONS {
        let told = rows.get(section).map(Vec::as_slice).unwrap_or_default();
        let mut told: Vec<_> = told.iter().map(|row| row.name).collect();
        let mut keys = keys.to_vec();
        told.sort_unstable();
        keys.sort_unstable();
        assert_eq!(told, keys, "[{section}]");
    }
}

#[test]
fn each_key_says_what_it_does() {
    for row in rows().values().flatten() {
        assert!(row.text.len() > 10, "{row:?}");
    }
}

#[test]
fn each_default_that_is_a_value_is_the_one_that_counts() {
    let defaults = defaults();
    let value = |text: &str| toml::from_str::<toml::Table>(&format!("x = {text}")).ok();
    let mut compared = 0;
    for (section, row) in
        rows().iter().flat_map(|(name, all)| all.iter().map(move |row| (name, row)))
    {
        let literal = row.default.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
        let Some(told) = literal.and_then(value) else { continue };
        // The keys of a caller are held to theirs where callers are tested.
        let Some(key) = Key::find(section, row.name) else { continue };
        let counts = defaults.get(&key).and_then(|text| value(text));
        assert_eq!(Some(told), counts, "{key}: {:?}", defaults.get(&key));
        compared += 1;
    }
    assert!(compared > 60, "{compared}");
}
