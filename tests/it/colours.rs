//! Colours are for terminals, and for those alone who want any there.

use std::{io::Write as _, process::Command};

use crate::support::terminal::Terminal;

const ESCAPE: char = '\x1b';

fn program(arguments: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"));
    command.args(arguments).current_dir(std::env::temp_dir()).env_clear();
    command.envs(env.iter().copied());
    command
}

/// What a user says, and whether colours follow.
const SAID: [(&[(&str, &str)], bool); 4] = [
    (&[("TERM", "xterm-256color")], true),
    (&[("TERM", "xterm"), ("NO_COLOR", "")], true),
    (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
    (&[("TERM", "dumb")], false),
];

#[test]
fn a_report_of_problems_has_them_on_a_terminal_that_wants_them() {
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(b"[upstream]\nregoin = \"x\"\n").unwrap();
    let config = config.path().to_str().unwrap();
    for arguments in [
        &["check", "--config", config][..],
        &["serve", "--config", config],
        &["token", "--config", config],
        &["status", "--config", config],
        &["exec", "--config", config, "--", "true"],
    ] {
        for (env, coloured) in SAID {
            let shown = Terminal::start(program(arguments, env)).end();
            assert!(shown.contains("regoin"), "{arguments:?}: {shown}");
            assert_eq!(shown.contains(ESCAPE), coloured, "{arguments:?} {env:?}: {shown}");
        }
        let output = program(arguments, SAID[0].0).output().unwrap();
        let piped = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(piped.contains("regoin") && !piped.contains(ESCAPE), "{arguments:?}: {piped}");
    }
}

#[test]
fn log_lines_have_them_on_a_terminal_that_wants_them() {
    for (env, coloured) in SAID {
        let mut demo = Terminal::start(program(&["demo", "--listen", "127.0.0.1:0"], env));
        let shown = demo.until("token minted");
        assert!(shown.contains("token minted"), "{shown}");
        assert_eq!(shown.contains(ESCAPE), coloured, "{env:?}: {shown}");
    }
}
