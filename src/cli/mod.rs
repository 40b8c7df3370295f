//! The command line: one file a subcommand.
//! It never takes a secret as an argument: process lists are public.

pub mod audit;
pub mod check;
pub mod completions;
pub mod demo;
pub mod exec;
pub mod exit;
mod live;
pub mod man;
mod reload;
pub mod serve;
pub mod simulate;
pub mod status;
mod systemd;
pub mod token;

use std::{io, path::PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::{
    config::{LogFormat, Sources},
    telemetry::colours,
};

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
    Status(status::StatusArgs),
    Audit(audit::AuditArgs),
    Completions(completions::CompletionsArgs),
    /// Print the manual page: genesys-proxy man | man -l -
    Man,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Args)]
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

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
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

impl Command {
    /// Where its configuration file is named, if it reads one.
    fn config(&mut self) -> Option<&mut Option<PathBuf>> {
        match self {
            Self::Serve(args) => Some(&mut args.config),
            Self::Exec(args) => Some(&mut args.config),
            Self::Check(args) => Some(&mut args.config.config),
            Self::Token(args) => Some(&mut args.config),
            Self::Status(args) => Some(&mut args.config),
            Self::Demo(_)
            | Self::Simulate(_)
            | Self::Audit(_)
            | Self::Completions(_)
            | Self::Man => None,
        }
    }
}

impl Cli {
    /// The subcommand, with a `--config` that stands before it. Other options of `serve` stand after
    /// it: which subcommand they are for must be plain.
    fn asked(self) -> Result<Command, clap::Error> {
        let wrong = |what| Self::command().error(ErrorKind::ArgumentConflict, what);
        let ConfigArgs { config, .. } = self.serve.clone();
        let Some(mut command) = self.command else { return Ok(Command::Serve(self.serve)) };
        if self.serve != (ConfigArgs { config: config.clone(), ..ConfigArgs::default() }) {
            return Err(wrong("of the options only --config stands before a subcommand, too"));
        }
        match (command.config(), config) {
            (_, None) => {}
            (None, Some(_)) => return Err(wrong("this subcommand reads no --config")),
            (Some(Some(_)), Some(_)) => return Err(wrong("--config is there twice")),
            (Some(place), given) => *place = given,
        }
        Ok(command)
    }

    /// Does what was asked; the exit code.
    ///
    /// # Errors
    /// When the system refuses something that no configuration explains.
    pub async fn run(self) -> anyhow::Result<u8> {
        keep_to_oneself();
        let command = match self.asked() {
            Ok(command) => command,
            Err(error) => {
                // Nobody is left to tell when stderr is gone.
                let _ = error.print();
                return Ok(exit::USAGE);
            }
        };
        match command {
            Command::Serve(args) => Box::pin(serve::run(args.sources())).await,
            Command::Demo(args) => Box::pin(demo::run(args)).await,
            Command::Exec(args) => Box::pin(exec::run(args)).await,
            Command::Simulate(args) => simulate::run(args).await.map(|()| exit::OK),
            Command::Check(args) => {
                let mut stdout = io::stdout();
                let color = colours::wanted(&stdout);
                Ok(check::run(args, &mut stdout, color).await?)
            }
            Command::Token(args) => {
                let mut stderr = io::stderr();
                let color = colours::wanted(&stderr);
                Ok(token::run(args, &mut io::stdout(), &mut stderr, color).await?)
            }
            Command::Status(args) => Ok(status::run(args).await?),
            Command::Completions(args) => {
                read_or_not(completions::run(&args, &mut io::stdout()))?;
                Ok(exit::OK)
            }
            Command::Man => {
                read_or_not(man::run(&mut io::stdout()))?;
                Ok(exit::OK)
            }
            Command::Audit(args) => Ok(audit::run(args, &mut io::stdout())?),
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

/// Whoever reads may have seen enough (`| head`).
fn read_or_not(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration file of what was asked; else what is wrong.
    fn file(words: &str) -> Result<Option<PathBuf>, String> {
        let words = ["genesys-proxy"].into_iter().chain(words.split(' '));
        let asked = Cli::try_parse_from(words).and_then(Cli::asked);
        let mut command = asked.map_err(|error| error.kind().to_string())?;
        Ok(command.config().and_then(Option::take))
    }

    #[test]
    fn the_configuration_file_may_be_named_before_or_after_the_subcommand() {
        for command in ["serve", "check", "check --live", "token", "status", "exec"] {
            let rest = if command == "exec" { " -- true" } else { "" };
            for words in [
                format!("--config a.toml {command}{rest}"),
                format!("{command} --config a.toml{rest}"),
            ] {
                assert_eq!(file(&words), Ok(Some("a.toml".into())), "{words}");
            }
            assert!(file(&format!("--config a.toml {command} --config b.toml{rest}")).is_err());
        }
        assert_eq!(file("--config a.toml"), Ok(Some("a.toml".into())));
        for words in ["--config a.toml demo", "--listen 127.0.0.1:1 serve", "--admin= check"] {
            let wrong = file(words).unwrap_err();
            assert_eq!(wrong, ErrorKind::ArgumentConflict.to_string(), "{words}");
        }
    }

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
            "status",
            "audit",
            "completions",
            "man",
            "GENESYS_CLIENT_SECRET",
            "Exit codes",
        ] {
            assert!(help.contains(word), "{word}");
        }
    }
}
