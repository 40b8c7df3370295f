//! `genesys-proxy completions SHELL`: what a shell completes.
//! It never writes into a shell's own files: where it goes is the user's to say.

use std::io::{self, Write};

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::Cli;

/// Print what a shell needs to complete this command line
///
/// For bash: genesys-proxy completions bash > /etc/bash_completion.d/genesys-proxy
#[derive(Debug, Clone, clap::Args)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Writes to `out`.
///
/// # Errors
/// When it cannot be written to.
pub fn run(args: &CompletionsArgs, out: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    // It would panic where nobody reads.
    let mut script = Vec::new();
    generate(args.shell, &mut command, name, &mut script);
    out.write_all(&script)
}
