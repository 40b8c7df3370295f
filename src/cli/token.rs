//! `genesys-proxy token`: what the token that replicas share is, or a freshly minted one.
//! It never prints the value, unless that was asked for with `--reveal`.

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{exit, live, serve::LAST_LINES};
use crate::{
    config::{Config, Sources, load},
    server::{logins, shared_tokens},
    token::issuer::{Issuer as _, Login, Minted, Share},
};

/// Say what the token is: life, format, claims, scopes, fingerprint
///
/// With a store, the token that the replicas share now; else a new one is minted, and a running
/// gateway keeps its own. The value is not shown unless asked for
/// with --reveal. With `oauth.revoke_on_exit` a new token is revoked after it was looked
/// at, unless it was revealed.
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
    let shared = match shared_tokens(&config, &logins, &tasks, &Handle::current(), &stop).await {
        Ok(shared) => shared,
        Err(error) => {
            writeln!(err, "genesys-proxy: {error}")?;
            return Ok(exit::CONFIG);
        }
    };
    let (mut code, mut told) = (exit::OK, false);
    for (login, shared) in logins.iter().zip(shared) {
        let minted = match shared {
            Some(shared) => Ok(shared),
            None => login.mint().await,
        };
        match minted {
            Ok(minted) => {
                // A block for each client.
                if std::mem::replace(&mut told, true) {
                    writeln!(out)?;
                }
                tell(&config, login, &minted, args.reveal, out)?;
                let ours = minted.share == Share::Private;
                if config.oauth.revoke_on_exit && ours && !args.reveal {
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
    match minted.share {
        Share::Private | Share::Unheard => {}
        Share::Published(_) | Share::Adopted(_) => line("shared", &"replicas sign with it")?,
    }
    let age = minted.born.map_or(Duration::ZERO, |born| born.elapsed());
    if let Some(ends) = SystemTime::now().checked_add(minted.life.saturating_sub(age)) {
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
