//! `genesys-proxy demo`: the gateway before a simulated Genesys Cloud, in one process.
//! It never needs a credential, a file or the network.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    exit,
    serve::{LAST_LINES, Signals},
};
use crate::{
    config::{Config, Sources, load},
    server::{Server, StartError, inherited::Inherited},
    simulator::{Options, Simulator},
    telemetry::{log, output::Output},
};

/// A limit small enough to be met by hand: calls in `WINDOW`.
const CALLS: u32 = 60;
const WINDOW: Duration = Duration::from_secs(4);
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Arguments of `demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Where the gateway listens [default: 127.0.0.1:8080, or a free port if that is taken]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// Runs both until SIGINT or SIGTERM.
///
/// # Errors
/// When an address cannot be listened on, or stdout is closed.
pub async fn run(args: DemoArgs) -> anyhow::Result<u8> {
    let options = Options { requests_per_minute: CALLS, window: WINDOW, ..Options::default() };
    let simulator = Simulator::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options)
        .await
        .context("the simulator cannot listen")?;
    let genesys = simulator.addr();
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let simulated = simulator.serve(stop.clone().cancelled_owned());
    let gateway = async {
        let (server, output) = start(&args, genesys).await?;
        let greeting = greeting(&server.url(), server.admin, genesys);
        std::io::stdout().write_all(greeting.as_bytes())?;
        signals.next().await;
        server.drain().await;
        output.flush(LAST_LINES);
        stop.cancel();
        Ok(exit::OK)
    };
    // Whichever fails first ends the other.
    let ((), code) = tokio::join!(simulated, async {
        let code = Box::pin(gateway).await;
        stop.cancel();
        code
    });
    code
}

async fn start(args: &DemoArgs, genesys: SocketAddr) -> anyhow::Result<(Server, Output)> {
    let usual = args.listen.unwrap_or(USUAL);
    let config = config(usual, genesys)?;
    let output = log::init(&config.telemetry)?;
    let server =
        match Server::start(config, Inherited::default(), &Handle::current(), &output).await {
            Err(StartError::Listen { .. }) if args.listen.is_none() => {
                let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                Server::start(
                    self::config(free, genesys)?,
                    Inherited::default(),
                    &Handle::current(),
                    &output,
                )
                .await?
            }
            started => started?,
        };
    Ok((server, output))
}

/// The same checks as any configuration, from variables of our own making.
fn config(listen: SocketAddr, genesys: SocketAddr) -> anyhow::Result<Config> {
    let env = [
        ("GENESYS_CLIENT_ID", "demo".to_owned()),
        ("GENESYS_CLIENT_SECRET", "demo".to_owned()),
        ("GENESYS_PROXY__UPSTREAM__API_URL", format!("http://{genesys}")),
        ("GENESYS_PROXY__RATE_LIMIT__REQUESTS_PER_MINUTE", CALLS.to_string()),
        ("GENESYS_PROXY__RATE_LIMIT__WINDOW", format!("{}s", WINDOW.as_secs())),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let sources = Sources {
        listen: Some(vec![listen.to_string()]),
        // Whichever port is free: the usual one may be a gateway's that is at work.
        admin: Some("127.0.0.1:0".to_owned()),
        env,
        // Nobody's proxy.toml or .env.
        dir: PathBuf::from("/nonexistent"),
        ..Sources::default()
    };
    Ok(load(&sources)?)
}

fn greeting(gateway: &str, admin: Option<SocketAddr>, genesys: SocketAddr) -> String {
    let dashboard =
        admin.map_or_else(String::new, |at| format!("\nIts dashboard is on http://{at}/\n"));
    format!(
        r#"The gateway is on {gateway}, a simulated Genesys Cloud behind it on http://{genesys}
({CALLS} calls in {} s for each token).
{dashboard}
In another terminal:

1. A plain call, without credentials:
   curl {gateway}/api/v2/organizations/me

2. Every token revoked, and the next call still answered:
   curl -s -X POST http://{genesys}/_sim/revoke && curl "{gateway}/api/v2/users?pageSize=2"

3. More calls than the limit allows, and no 429:
   seq 150 | xargs -P 8 -I{{}} curl -s -o /dev/null -w '%{{http_code}}\n' {gateway}/api/v2/routing/queues | sort | uniq -c

Ctrl-C ends it.
"#,
        WINDOW.as_secs()
    )
}
