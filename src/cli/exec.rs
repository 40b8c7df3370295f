//! `genesys-proxy exec`: a gateway for one command, for as long as it runs.
//! It never runs the command without a gateway that has logged in, and never hands it a secret of ours.

mod environment;
mod signals;

use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::anyhow;
use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rlimit::Resource;
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use tokio::process::{Child, Command};

use self::{environment::Secrets, signals::Signals};
use super::{
    Format, exit, live,
    serve::{LAST_LINES, announce, start},
};
use crate::{
    config::{Caller, Config, KeyDigest, Mode, Sources, load_for_one},
    decide::{callers::Terms, policy::Policy},
    server::{Server, inherited::Inherited},
    telemetry::{colours, log},
    token::{NoToken, issuer::MintError},
};

/// The one caller.
const CALLER: &str = "exec";
/// A login is over when the command is: one that waits for hours between two calls is no stranger.
const LOGIN_LIFE: Duration = Duration::from_hours(24 * 365);

const EXAMPLES: &str = "\
Examples:
  genesys-proxy exec -- python report.py > report.csv
  genesys-proxy exec --log info -- ./nightly.sh
  genesys-proxy exec -- sh -c 'curl -H \"X-Api-Key: $GENESYS_API_KEY\" \\
      $GENESYS_BASE_URL/api/v2/organizations/me'

The command gets GENESYS_BASE_URL, GENESYS_API_KEY, and a GENESYS_CLIENT_ID and
GENESYS_CLIENT_SECRET that log in at the gateway; the real ones are taken away.

Exit codes: the command's own, 128 and the signal that ended it, 127 when there is no such command,
126 when it cannot be executed. Before it starts: 78 wrong configuration or credentials, 69 cannot
listen, or Genesys Cloud cannot be reached.";

/// Run one command with a gateway of its own, which keeps the secret from it
///
/// The gateway listens on a random port of this machine, serves only those who have the command's
/// key, and ends with the command, after the calls that are under way. The command starts when the
/// gateway has logged in: with a wrong secret it does not run.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExecArgs {
    /// Configuration file [default: proxy.toml here, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Health listener; without it there is none
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// What is logged to stderr, instead of `telemetry.log` [default: warn]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look, instead of `telemetry.format`
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl ExecArgs {
    fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            listen: Some(vec!["127.0.0.1:0".to_owned()]),
            admin: Some(self.admin.clone().unwrap_or_default()),
            log: self.log.clone(),
            log_format: self.log_format.map(Format::of_lines),
            quiet: true,
            ..Sources::of_process()
        }
    }
}

/// Runs the command to its end; its exit code.
///
/// # Errors
/// When the system has no randomness, or signals cannot be received.
pub async fn run(args: ExecArgs) -> anyhow::Result<u8> {
    let (mut config, named) = match load_for_one(&args.sources()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprint!("{}", problems.render(colours::wanted(&io::stderr())));
            return Ok(exit::CONFIG);
        }
    };
    let secrets = Secrets::of(&config, named);
    let key = key()?;
    private(&mut config, &key);
    modest(&mut config);
    let output = log::init(&config.telemetry)?;
    // A log-in begins with the start: what ends it must be heard by then.
    let mut signals = Signals::new()?;
    let code = match start(config, Inherited::default(), &output).await {
        Ok(server) => beside(server, &args.command, &mut signals, (&secrets, &key)).await,
        Err(code) => Ok(code),
    };
    output.flush(LAST_LINES);
    code
}

/// For this run only: it is in the command's environment and nowhere else.
fn key() -> anyhow::Result<SecretString> {
    let mut random = Zeroizing::new([0; 32]);
    rand::fill(random.as_mut()).map_err(|_| anyhow!("the system has no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(random.as_ref()).into())
}

/// Nobody calls but who has the key, whatever the configuration says of callers: the port is open to
/// everybody on this machine.
fn private(config: &mut Config, key: &SecretString) {
    // No load balancer leads here.
    config.shutdown_linger = Duration::ZERO;
    config.access.mode = Mode::Key;
    config.access.login_life = LOGIN_LIFE;
    config.access.login_idle = LOGIN_LIFE;
    config.callers = vec![Caller {
        name: CALLER.to_owned(),
        networks: Vec::new(),
        key: Some(KeyDigest::of(key.expose_secret().as_bytes())),
        uids: Vec::new(),
        claims: std::collections::BTreeMap::new(),
        certificates: Vec::new(),
        terms: Terms::default(),
        policy: Policy::default(),
    }];
}

/// The command inherits our limit on open files, which is not ours to raise: connections beyond it
/// wait.
fn modest(config: &mut Config) {
    let Ok(limit) = Resource::NOFILE.get_soft() else { return };
    // A caller's connection and upstream's; the rest is listeners, replay files and the like.
    let room = usize::try_from(limit.saturating_sub(128) / 2).unwrap_or(usize::MAX);
    config.access.max_connections = config.access.max_connections.min(room.max(1));
}

/// The command's life, and the end of the gateway after it.
async fn beside(
    server: Server,
    command: &[OsString],
    signals: &mut Signals,
    (secrets, key): (&Secrets, &SecretString),
) -> anyhow::Result<u8> {
    announce(&server);
    let (Some(address), Some((program, arguments))) =
        (server.addresses.first(), command.split_first())
    else {
        return Ok(exit::USAGE);
    };
    let mut process = Command::new(program);
    process.args(arguments);
    secrets.changes(std::env::vars_os(), *address, key).apply(&mut process);
    let code = match logged_in(&server, signals).await {
        Err(code) => Ok(code),
        Ok(()) => match process.spawn() {
            Ok(child) => ended(child, signals).await.map(code),
            Err(error) => Ok(not_started(Path::new(program), &error)),
        },
    };
    // Its own children may still be calling.
    tokio::select! {
        clean = server.drain() => tracing::info!(clean, "drained"),
        signal = signals.asked_to_end() => tracing::warn!(?signal, "a signal: ending now"),
    }
    Ok(code?)
}

/// Without a token nothing that the command calls works: then it is not started, and this is the exit
/// code, as `token` has it.
async fn logged_in(server: &Server, signals: &mut Signals) -> Result<(), u8> {
    let hopeless = |error: &MintError| live::exit_code(error) == exit::CONFIG;
    let failures = tokio::select! {
        first = server.first_token(hopeless) => first,
        signal = signals.asked_to_end() => return Err(by_signal(signal.as_raw())),
    };
    let Err(failures) = failures else { return Ok(()) };
    for NoToken { client, error } in &failures {
        eprint!("{}", live::no_token_for(client, error));
    }
    let codes = failures.iter().map(|failure| live::exit_code(&failure.error));
    Err(codes.max().unwrap_or(exit::UNAVAILABLE))
}

/// Waits for the command, and hands it the signals that are for it.
async fn ended(mut child: Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            // The one that ended it is not left over, to cut short what comes after it.
            biased;
            signal = signals.next() => signals::pass(signal, &child),
            status = child.wait() => return status,
        }
    }
}

/// As shells say it.
fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal)) => by_signal(signal),
        (None, None) => u8::MAX,
    }
}

fn by_signal(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(u8::MAX).saturating_add(exit::BY_SIGNAL)
}

fn not_started(program: &Path, error: &io::Error) -> u8 {
    let program = program.display();
    if error.kind() == ErrorKind::NotFound {
        eprintln!("genesys-proxy: there is no command {program}: check its spelling and PATH");
        return exit::NOT_FOUND;
    }
    eprintln!("genesys-proxy: {program} cannot be executed: {error}");
    exit::NOT_EXECUTABLE
}
