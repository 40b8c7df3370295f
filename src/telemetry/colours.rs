//! Whether whoever reads wants colours.
//! It never colours what goes into a file or a pipe.

use std::{ffi::OsStr, io::IsTerminal};

/// A terminal that can show them, whose user has not said no: `NO_COLOR` (<https://no-color.org>) is
/// not empty, or `TERM` is `dumb`.
pub fn wanted(stream: &impl IsTerminal) -> bool {
    let said = |name| std::env::var_os(name);
    stream.is_terminal() && fit(said("NO_COLOR").as_deref(), said("TERM").as_deref())
}

fn fit(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_said_no_gets_none() {
        for (no_color, term, expected) in [
            (None, None, true),
            (None, Some("xterm-256color"), true),
            (Some(""), Some("xterm"), true),
            (Some("1"), Some("xterm"), false),
            (Some("0"), None, false),
            (None, Some("dumb"), false),
        ] {
            let found = fit(no_color.map(OsStr::new), term.map(OsStr::new));
            assert_eq!(found, expected, "{no_color:?} {term:?}");
        }
    }
}
