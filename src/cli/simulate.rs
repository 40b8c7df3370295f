//! `genesys-proxy simulate`: the simulated Genesys Cloud as a program of its own.
//! It must never listen for anybody but this machine: its only secret is "demo".

use std::{io::Write, net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::simulator::{Options, Simulator, TokenFormat};

/// Run a simulated Genesys Cloud: login, API and uploads on one port, client id "demo", client
/// secret "demo".
///
/// For testing your own scripts against token expiry, storms of 401s and rate limits. Faults are
/// set with POST /_sim/faults, what it saw is at GET /_sim/state. POST /_sim/outsider uses up a part
/// of every token's limit, as another program with the same token would.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateArgs {
    /// Address to listen on; loopback only, port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,

    /// Calls one token may make in a window before it gets 429; 0 is no limit
    #[arg(long, value_name = "CALLS", default_value_t = 300)]
    pub requests_per_minute: u32,

    /// Length of that window, as in "500ms", "60s", "5m"
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub window: Duration,

    /// How long a token lives, as in "300s", "1h", "1day"; whole seconds
    #[arg(long, value_name = "DURATION", default_value = "86400s", value_parser = duration)]
    pub token_life: Duration,

    /// What access tokens look like: Genesys's are opaque, other servers give JWTs
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "opaque")]
    pub token_format: TokenFormat,
}

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// When the address is not loopback or cannot be bound, or stdout is closed.
pub async fn run(args: SimulateArgs) -> anyhow::Result<()> {
    let options = Options {
        requests_per_minute: args.requests_per_minute,
        window: args.window,
        token_life: args.token_life,
        token_format: args.token_format,
        ..Options::default()
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let simulator = Simulator::bind(args.listen, options)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    std::io::stdout().write_all(greeting(simulator.addr(), &args).as_bytes())?;
    simulator
        .serve(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
        .await;
    Ok(())
}

/// Where it listens, and what to try.
fn greeting(addr: SocketAddr, args: &SimulateArgs) -> String {
    let limit = match args.requests_per_minute {
        0 => "no rate limit".to_owned(),
        calls => format!("{calls} calls in {}", humantime::format_duration(args.window)),
    };
    let life = humantime::format_duration(args.token_life);
    format!(
        r#"Simulated Genesys Cloud on http://{addr}
Client id "demo", secret "demo". Each token: {limit}, lives {life}.

Log in:      curl -u demo:demo -d grant_type=client_credentials http://{addr}/oauth/token
Call:        curl -H "Authorization: Bearer TOKEN" "http://{addr}/api/v2/routing/queues?pageSize=5"
Revoke all:  curl -X POST http://{addr}/_sim/revoke
Share limit: curl http://{addr}/_sim/outsider -d '{{"calls": 100}}'
Break login: curl http://{addr}/_sim/faults -d '{{"token": {{"mode": "status:503", "times": 2}}}}'
Break calls: curl http://{addr}/_sim/faults -d '{{"api": [{{"match": "GET /api/v2/users*", "status": 429, "retry_after": "5"}}]}}'
Repair:      curl http://{addr}/_sim/faults -d '{{"clear": true}}'
What it saw: curl http://{addr}/_sim/state
"#
    )
}

/// A duration with a unit that is longer than nothing.
fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it as in \"500ms\", \"60s\", \"5m\"")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Root {
        #[command(flatten)]
        args: SimulateArgs,
    }

    #[test]
    fn the_defaults_are_genesyss() {
        let args = Root::parse_from(["simulate"]).args;
        let options = Options::default();
        assert_eq!(args.requests_per_minute, options.requests_per_minute);
        assert_eq!((args.window, args.token_life), (options.window, options.token_life));
        assert_eq!(args.token_format, options.token_format);
    }

    #[test]
    fn a_duration_needs_a_unit_and_some_length() {
        for text in ["60", "0s", "soon"] {
            assert!(Root::try_parse_from(["simulate", "--window", text]).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_listener_for_others_is_refused() {
        let args = Root::parse_from(["simulate", "--listen", "0.0.0.0:0"]).args;
        let error = format!("{:#}", run(args).await.unwrap_err());
        assert!(error.contains("loopback only"), "{error}");
    }

    #[test]
    fn the_greeting_names_the_port_that_was_taken() {
        let args = Root::parse_from(["simulate"]).args;
        let text = greeting(([127, 0, 0, 1], 4711).into(), &args);
        assert!(text.starts_with("Simulated Genesys Cloud on http://127.0.0.1:4711\n"), "{text}");
        assert!(text.contains("300 calls in 1m, lives 1day"), "{text}");
    }
}
