//! What the program prints for shells and for `man` is what they take, and names every subcommand.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

const COMMANDS: [&str; 9] =
    ["serve", "demo", "exec", "simulate", "check", "token", "status", "audit", "completions"];

fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"));
    // No configuration is needed for it.
    let output = command.args(arguments).env_clear().output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_shell_gets_a_script_with_every_subcommand_and_bash_understands_its_own() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(printed(&["completions", "bash"]).as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn the_manual_page_has_a_section_for_every_subcommand() {
    let page = printed(&["man"]);
    assert!(page.contains(".TH genesys-proxy 1"), "{page}");
    for command in COMMANDS {
        let section = format!(".SH \"GENESYS\\-PROXY {}\"", command.to_uppercase());
        assert!(page.contains(&section), "{section}");
    }
    assert!(page.contains("\\-\\-watch"), "{page}");
    assert!(!page.contains("(1)"), "it refers to a page that there is not: {page}");
}
