//! `genesys-proxy man`: the manual page, with every subcommand.
//! It never says anything that `--help` does not.

use std::io::{self, Write};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;

/// Writes to `out`: the page of the whole, then each subcommand's options.
///
/// # Errors
/// When it cannot be written to.
pub fn run(out: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let whole = Man::new(command.clone());
    whole.render_title(out)?;
    whole.render_name_section(out)?;
    whole.render_synopsis_section(out)?;
    whole.render_description_section(out)?;
    // Not `render`: it refers to a page of each subcommand's own, and there are none.
    whole.render_options_section(out)?;
    let seen = |one: &&Command| one.get_name() != "help" && !one.is_hide_set();
    for one in command.get_subcommands().filter(seen) {
        let man = Man::new(one.clone());
        writeln!(out, ".SH \"GENESYS\\-PROXY {}\"", one.get_name().to_uppercase())?;
        // Its sections are parts of this one.
        let mut part = Vec::new();
        man.render_synopsis_section(&mut part)?;
        man.render_description_section(&mut part)?;
        man.render_options_section(&mut part)?;
        let part = String::from_utf8_lossy(&part).replace(".SH ", ".SS ");
        out.write_all(part.as_bytes())?;
    }
    whole.render_version_section(out)
}
