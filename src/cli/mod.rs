//! The command line: one file a subcommand.
//! It must never decide what a subcommand does.

pub mod simulate;
