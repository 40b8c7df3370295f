//! `genesys-proxy status`: a running gateway as a table, once or every second.
//! It never shows more than `/api/status` does, and sends a terminal nothing but text and its own colours.

mod ask;
mod table;

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use tokio::time::sleep;

use super::exit;
use crate::{
    config::{Sources, load},
    telemetry::colours,
};
use table::Style;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// To the corner, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show a running gateway: tokens, budget, who waits, the last errors
///
/// It asks the admin listener, as proxy.toml says where that is. Exit codes: 69 when nothing answers
/// there, 78 when the configuration does not say where that is: who may not read its secrets uses --admin.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    /// Configuration file [default: proxy.toml here, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where to ask, instead of `admin` of the configuration: `127.0.0.1:8081`
    #[arg(long, value_name = "ADDRESS", value_parser = host_and_port)]
    admin: Option<String>,
    /// Look again every second until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// What the gateway answers, as JSON
    #[arg(long, conflicts_with = "watch")]
    json: bool,
}

/// Where the table goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screen {
    /// One table takes the place of another.
    Terminal,
    /// They follow one another.
    File,
}

/// Writes to stdout; what is wrong, to stderr.
///
/// # Errors
/// When stdout cannot be written to.
pub async fn run(args: StatusArgs) -> io::Result<u8> {
    let admin = match address(&args) {
        Ok(admin) => admin,
        Err(wrong) => {
            eprint!("{wrong}");
            return Ok(exit::CONFIG);
        }
    };
    let mut out = io::stdout();
    let screen = if out.is_terminal() { Screen::Terminal } else { Screen::File };
    let style = if colours::wanted(&out) { Style::Coloured } else { Style::Plain };
    let shown = tokio::select! {
        shown = show(&args, &admin, (screen, style), &mut out) => shown,
        stopped = tokio::signal::ctrl_c() => stopped.map(|()| exit::OK),
    };
    match shown {
        // Whoever read has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(exit::OK),
        other => other,
    }
}

/// `localhost:8081`, `10.0.0.7:8081` or `[::1]:8081`.
fn host_and_port(text: &str) -> Result<String, &'static str> {
    let whole = text.rsplit_once(':').filter(|(host, port)| {
        let plain = !host.is_empty() && !host.contains(['/', ' ', '@']);
        let bracketed = host.starts_with('[') && host.ends_with(']');
        plain
            && (bracketed || !host.contains(':'))
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    whole.map(|_| text.to_owned()).ok_or("a host and a port, such as 127.0.0.1:8081 or [::1]:8081")
}

/// Where to ask, or what is wrong.
fn address(args: &StatusArgs) -> Result<String, String> {
    if let Some(admin) = &args.admin {
        return Ok(admin.clone());
    }
    let sources = Sources {
        file: args.config.clone(),
        // Nothing is listened on here.
        insecure_open_listener: true,
        ..Sources::of_process()
    };
    let config = load(&sources).map_err(|problems| {
        let problems = problems.render(colours::wanted(&io::stderr()));
        format!(
            "{problems}\nWho cannot read its secrets names the listener: --admin 127.0.0.1:8081\n"
        )
    })?;
    let Some(mut admin) = config.admin else {
        return Err("genesys-proxy: `admin` is \"\": there is no listener to ask; give it an \
                    address, or name one with --admin\n"
            .to_owned());
    };
    if admin.ip().is_unspecified() {
        let loopback: std::net::IpAddr = if admin.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        admin.set_ip(loopback);
    }
    Ok(admin.to_string())
}

async fn show(
    args: &StatusArgs,
    admin: &str,
    (screen, style): (Screen, Style),
    out: &mut impl Write,
) -> io::Result<u8> {
    let mut seen = false;
    loop {
        let text = match ask::status(admin).await {
            Ok(told) if args.json => format!("{}\n", told.json),
            Ok(told) => table::of(&told.status, style),
            // A gateway that is watched may be restarted.
            Err(why) if seen => format!("no answer from {admin}: {why}\n"),
            Err(why) => {
                eprintln!(
                    "genesys-proxy: no answer from {admin}: {why}; is the gateway running, and is \
                     that its `admin`?"
                );
                return Ok(exit::UNAVAILABLE);
            }
        };
        match (screen, seen) {
            (Screen::Terminal, _) if args.watch => out.write_all(CLEAR.as_bytes())?,
            (Screen::File, true) => writeln!(out)?,
            (Screen::Terminal | Screen::File, _) => {}
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        if !args.watch {
            return Ok(exit::OK);
        }
        seen = true;
        sleep(EVERY).await;
    }
}
