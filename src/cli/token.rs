//! `genesys-proxy token`: what a freshly minted token is.
//! It never prints the value, unless that was asked for with `--reveal`.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ConfigArgs, exit, live, serve::LAST_LINES};
use crate::{
    config::{Config, load},
    server::logins,
    token::issuer::{Issuer as _, Login},
};

/// Mint a token and say what it is: life, format, claims, scopes, fingerprint
#[derive(Debug, Clone, clap::Args)]
pub struct TokenArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the token itself, too: whoever sees it can use it until it expires
    #[arg(long)]
    reveal: bool,
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
    let config = match load(&args.config.sources()) {
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
    let mut code = exit::OK;
    for login in &logins {
        code = code.max(one(&config, login, args.reveal, out, err).await?);
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    warnings.flush(LAST_LINES);
    Ok(code)
}

async fn one(
    config: &Config,
    login: &Login,
    reveal: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let minted = match login.mint().await {
        Ok(minted) => minted,
        Err(error) => {
            writeln!(err, "genesys-proxy: {}: no token: {error}", login.client())?;
            writeln!(err, "  {}", error.kind.advice())?;
            return Ok(live::exit_code(&error));
        }
    };
    writeln!(out, "{:<14}{}", "client", login.client())?;
    for (name, fact) in live::facts(&minted) {
        writeln!(out, "{name:<14}{fact}")?;
    }
    if let Some(ends) = SystemTime::now().checked_add(minted.life) {
        writeln!(out, "{:<14}{}", "expires", humantime::format_rfc3339_seconds(ends))?;
    }
    if reveal {
        let value = minted.authorization.to_str().unwrap_or_default();
        writeln!(out, "{:<14}{}", "value", value.trim_start_matches("Bearer "))?;
    } else if config.oauth.revoke_on_exit
        && let Err(why) = login.revoke(&minted.authorization).await
    {
        writeln!(err, "genesys-proxy: the token could not be revoked: {why}")?;
    }
    Ok(exit::OK)
}
