//! The command line: one file a subcommand.
//! It never takes a secret as an argument: process lists are public.

pub mod audit;
pub mod check;
pub mod demo;
pub mod exec;
pub mod exit;
mod live;
pub mod serve;
pub mod simulate;
pub mod token;

use std::{io::IsTerminal, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::config::{LogFormat, Sources};

const EXAMPLES: &str = "\
Start in a minute:
  genesys-proxy demo
      no credentials needed: the gateway and a simulated Genesys Cloud in one process

  export GENESYS_CLIENT_ID=… GENESYS_CLIENT_SECRET=… GENESYS_REGION=eu-central-1
  genesys-proxy
  curl http://127.0.0.1:8080/api/v2/organizations/me

  genesys-proxy exec -- python report.py
      a gateway for one command only, which never sees the secret

Configuration: proxy.toml in this directory, or --config; without a file the three variables
above do. Any key can be overridden: GENESYS_PROXY__RATE_LIMIT__MAX_WAIT=5s.

Exit codes: 0 done, 1 an audit log is not what was written, 2 wrong arguments, 66 a file cannot be
read, 69 a server cannot be reached, 78 wrong configuration or credentials.";

/// An authenticating reverse proxy for Genesys Cloud
///
/// Point an app's base URL at it: it signs every call, keeps the token alive, and keeps the caller
/// away from 401s and 429s.
#[derive(Debug, Parser)]
#[command(name = "genesys-proxy", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ConfigArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (what happens without a subcommand, too)
    Serve(ConfigArgs),
    /// Try it: the gateway and a simulated Genesys Cloud, no credentials needed
    Demo(demo::DemoArgs),
    Exec(exec::ExecArgs),
    Simulate(simulate::SimulateArgs),
    Check(check::CheckArgs),
    Token(token::TokenArgs),
    Audit(audit::AuditArgs),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: proxy.toml here, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where callers connect, instead of `listen`: `127.0.0.1:8080` or `unix:/path`; repeatable
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Health listener, instead of `admin`; "" turns it off
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// How log lines look, instead of `telemetry.format`
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
    /// Allow `listen` addresses beyond this machine: whoever reaches the port uses your credentials
    #[arg(long)]
    insecure_open_listener: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object a line
    Json,
}

impl Format {
    fn of_lines(self) -> LogFormat {
        match self {
            Self::Text => LogFormat::Text,
            Self::Json => LogFormat::Json,
        }
    }
}

impl ConfigArgs {
    fn sources(self) -> Sources {
        Sources {
            file: self.config,
            listen: (!self.listen.is_empty()).then_some(self.listen),
            admin: self.admin,
            log_format: self.log_format.map(Format::of_lines),
            insecure_open_listener: self.insecure_open_listener,
            ..Sources::of_process()
        }
    }
}

impl Cli {
    /// Does what was asked; the exit code.
    ///
    /// # Errors
    /// When the system refuses something that no configuration explains.
    pub async fn run(self) -> anyhow::Result<u8> {
        keep_to_oneself();
        match self.command.unwrap_or(Command::Serve(self.serve)) {
            Command::Serve(args) => Box::pin(serve::run(args.sources())).await,
            Command::Demo(args) => Box::pin(demo::run(args)).await,
            Command::Exec(args) => Box::pin(exec::run(args)).await,
            Command::Simulate(args) => simulate::run(args).await.map(|()| exit::OK),
            Command::Check(args) => {
                let mut stdout = std::io::stdout();
                let color = stdout.is_terminal();
                Ok(check::run(args, &mut stdout, color).await?)
            }
            Command::Token(args) => {
                let mut stderr = std::io::stderr();
                let color = stderr.is_terminal();
                Ok(token::run(args, &mut std::io::stdout(), &mut stderr, color).await?)
            }
            Command::Audit(args) => Ok(audit::run(args, &mut std::io::stdout())?),
        }
    }
}

/// No other process of this user reads the secrets in our memory or environment (`/proc/PID`), and
/// no core file has them. Root still may.
fn keep_to_oneself() {
    #[cfg(target_os = "linux")]
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("genesys-proxy: programs of this user can read this process's memory: {error}");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_its_help_names_what_a_stranger_needs() {
        Cli::command().debug_assert();
        let help = Cli::command().render_help().to_string();
        for word in [
            "serve",
            "demo",
            "exec",
            "simulate",
            "check",
            "token",
            "audit",
            "GENESYS_CLIENT_SECRET",
            "Exit codes",
        ] {
            assert!(help.contains(word), "{word}");
        }
    }
}
