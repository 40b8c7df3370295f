//! `genesys-proxy token`: what a freshly minted token is.
//! It never prints the value, unless that was asked for with `--reveal`.

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    time::SystemTime,
};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{exit, live, serve::LAST_LINES};
use crate::{
    config::{Config, Sources, load},
    server::logins,
    token::issuer::{Issuer as _, Login, Minted},
};

/// Mint a token and say what it is: life, format, claims, scopes, fingerprint
///
/// A new token is minted; a running gateway keeps its own. The value is not shown unless asked for
/// with --reveal. With `oauth.revoke_on_exit` the token is revoked after it was looked at, unless
/// it was revealed.
#[derive(Debug, Clone, clap::Args)]
pub struct TokenArgs {
    /// Configuration file [default: proxy.toml here, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print the token itself, too: whoever sees it can use it until it expires
    #[arg(long)]
    reveal: bool,
}

impl TokenArgs {
    fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            // Nothing is listened on here.
            insecure_open_listener: true,
            ..Sources::of_process()
        }
    }
}

/// Writes to `out`; why it failed goes to `err`.
///
/// # Errors
/// When neither can be written to.
pub async fn run(
    args: TokenArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
    color: bool,
) -> io::Result<u8> {
    let config = match load(&args.sources()) {
        Ok(config) => config,
        Err(problems) => {
            err.write_all(problems.render(color).as_bytes())?;
            return Ok(exit::CONFIG);
        }
    };
    let warnings = live::warnings(&config)?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let logins = match logins(&config, &tasks, &Handle::current(), &stop) {
        Ok(logins) => logins,
        Err(error) => {
            writeln!(err, "genesys-proxy: {error}")?;
            return Ok(exit::CONFIG);
        }
    };
    let (mut code, mut told) = (exit::OK, false);
    for login in &logins {
        match login.mint().await {
            Ok(minted) => {
                // A block for each client.
                if std::mem::replace(&mut told, true) {
                    writeln!(out)?;
                }
                tell(&config, login, &minted, args.reveal, out)?;
                if config.oauth.revoke_on_exit && !args.reveal {
                    revoke(login, &minted, err).await?;
                }
            }
            Err(error) => {
                err.write_all(live::no_token_for(login.client(), &error).as_bytes())?;
                code = code.max(live::exit_code(&error));
            }
        }
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    warnings.flush(LAST_LINES);
    Ok(code)
}

fn tell(
    config: &Config,
    login: &Login,
    minted: &Minted,
    reveal: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut line = |name: &str, fact: &dyn Display| writeln!(out, "{name:<14}{fact}");
    line("client", &login.client().escape_debug())?;
    for (name, fact) in live::facts(&config.oauth, minted) {
        line(name, &fact)?;
    }
    if let Some(ends) = SystemTime::now().checked_add(minted.life) {
        line("expires", &humantime::format_rfc3339_seconds(ends))?;
    }
    if reveal {
        let value = minted.authorization.to_str().unwrap_or_default();
        line("value", &value.trim_start_matches("Bearer "))?;
    }
    Ok(())
}

async fn revoke(login: &Login, minted: &Minted, err: &mut dyn Write) -> io::Result<()> {
    match login.revoke(&minted.authorization).await {
        Ok(()) => Ok(()),
        Err(why) => writeln!(
            err,
            "genesys-proxy: the token is not revoked and lives until it expires: {why}"
        ),
    }
}
