//! Arbitrary files and variables: `load` answers, and its report can be drawn.
//! It never lets one panic, and never lets a secret through.

use proptest::prelude::*;

use super::World;
use crate::config::file::{Key, SECTIONS};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_file_panics(text in "\\PC*", lines in prop::collection::vec(line(), 0..12)) {
        for text in [text, lines.join("\n"), lines.join("\r\n")] {
            if let Err(problems) = World::new().toml(&text).load() {
                prop_assert!(problems.render(true).contains("in the configuration"));
                prop_assert!(!problems.render(false).contains("hunter2"));
            }
        }
    }

    #[test]
    fn no_variable_panics(key in prop::sample::select(Key::all().collect::<Vec<_>>()), value in "\\PC*") {
        if let Err(problems) = World::new().env(&key.variable(), &value).load() {
            prop_assert!(problems.render(false).contains("in the configuration"));
        }
    }
}

/// Lines that are nearly right: they reach further than arbitrary text does.
fn line() -> impl Strategy<Value = String> {
    let keys: Vec<&str> = Key::all().map(|key| key.1).collect();
    let sections: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).collect();
    let values = ["''", "'hunter", "[", "[1, 'a']", "{ env = 1 }", "{", "5", "-1", "true", "'5s'"]
        .map(str::to_owned);
    let value = prop_oneof![prop::sample::select(values.to_vec()), "\\PC{0,12}"];
    prop_oneof![
        prop::sample::select(sections).prop_map(|section| format!("[{section}]")),
        (prop::sample::select(keys), value).prop_map(|(key, value)| format!("{key} = {value}")),
        Just("client_secret = 'hunter2'".to_owned()),
        Just("client_secret = \"\"\"hunter2".to_owned()),
        Just("proxy = 'http://a:hunter2@b".to_owned()),
        "\\PC{0,20}",
    ]
}
