//! `genesys-proxy serve`: from the configuration to the end of the drain.
//! It never starts half: a port in use or a missing root ends it before the first request.

use std::time::Duration;

use rustix::process::Signal;
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};

use super::{
    exit,
    reload::{Reloading, Why},
    systemd,
};
use crate::{
    config::{Config, Given, Sources, load_to_renew},
    server::{Server, StartError, inherited::Inherited},
    telemetry::{audit::Unusable, colours, log, output::Output, panics},
};

/// What the last lines may take to be written: a stderr that nobody reads must not hang the end.
pub(super) const LAST_LINES: Duration = Duration::from_secs(2);

/// Runs until SIGINT or SIGTERM, then drains. A second signal ends the drain.
///
/// # Errors
/// When signals cannot be received.
pub async fn run(sources: Sources) -> anyhow::Result<u8> {
    // Before there is a secret.
    let no_core = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0);
    // As early, as it changes the environment.
    let inherited = Inherited::of_process();
    let loaded = load_to_renew(&sources);
    let reloading = |(config, given): (Config, Given)| {
        let reloading = Reloading::new(&sources, config.clone(), given);
        (config, reloading)
    };
    let loaded = loaded.map(reloading);
    // The variables are zeroed.
    drop(sources);
    let (config, reloading) = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprint!("{}", problems.render(colours::wanted(&std::io::stderr())));
            return Ok(exit::CONFIG);
        }
    };
    let output = log::init(&config.telemetry)?;
    panics::tell(output.clone());
    if let Err(error) = no_core {
        tracing::warn!(%error, "a crash may leave a core file, and secrets in it");
    }
    let code = match inherited {
        Ok(inherited) => Box::pin(gateway(config, inherited, reloading, &output)).await,
        Err(error) => {
            eprintln!("genesys-proxy: {error}");
            Ok(exit::CONFIG)
        }
    };
    output.flush(LAST_LINES);
    code
}

async fn gateway(
    config: Config,
    inherited: Inherited,
    mut reloading: Reloading,
    output: &Output,
) -> anyhow::Result<u8> {
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    descriptors(config.access.max_connections);
    let in_the_clear: Vec<_> = config.in_the_clear().collect();
    let warned = config.clone();
    let mut server = match start(config, inherited, output).await {
        Ok(server) => server,
        Err(code) => return Ok(code),
    };
    for address in in_the_clear {
        tracing::warn!(%address, "callers' keys come unencrypted: write [tls], or keep the network private");
    }
    warn_of_admin_key(&warned);
    announce(&server);
    systemd::ready(&server.url());
    // Not in the drain: its workers end, and `TimeoutStopSec=` watches over that.
    let mut watchdog = Box::pin(systemd::watch(server.pulse()));
    let mut asked_to_end = Box::pin(server.asked_to_end());
    let mut next = None;
    let signal = loop {
        let step = async {
            match next {
                None => tokio::select! {
                    _ = hangup.recv() => Some(Why::Hangup),
                    why = reloading.changed() => Some(why),
                },
                // It may wait for files: whoever ends the gateway does not.
                Some(why) => {
                    reloading.reload(why, &mut server).await;
                    None
                }
            }
        };
        next = tokio::select! {
            signal = signals.next() => break Some(signal),
            () = &mut asked_to_end => break None,
            next = step => next,
            never = &mut watchdog => match never {},
        };
    };
    drop(watchdog);
    systemd::stopping();
    let why = signal.unwrap_or("POST /api/drain");
    tracing::info!(why, "draining: no new connections, requests in flight end");
    let impatient = async {
        if signal.is_none() {
            // Who asked for the drain may be followed by whoever ends all processes alike.
            signals.next().await;
        }
        signals.next().await
    };
    tokio::select! {
        clean = server.drain() => tracing::info!(clean, "drained"),
        signal = impatient => tracing::warn!(signal, "a second signal: ending now"),
    }
    Ok(exit::OK)
}

/// Who has the admin key can do more than call.
pub(super) fn warn_of_admin_key(config: &Config) {
    if let Some(address) = config.admin_key_in_the_clear() {
        tracing::warn!(%address, "the admin key comes unencrypted: keep that network private");
    }
}

/// Starts it, or says why not; then the exit code.
pub(super) async fn start(
    config: Config,
    inherited: Inherited,
    output: &Output,
) -> Result<Server, u8> {
    outlive_full_files(&config).map_err(|error| {
        eprintln!("genesys-proxy: {error}");
        exit::UNAVAILABLE
    })?;
    Server::start(config, inherited, &Handle::current(), output).await.map_err(|error| {
        eprintln!("genesys-proxy: {error}");
        match error {
            StartError::Thread(_)
            | StartError::Listen { .. }
            | StartError::Audit { source: Unusable::Taken, .. } => exit::UNAVAILABLE,
            StartError::Audit { .. }
            | StartError::Inherited(_)
            | StartError::Tls(_)
            | StartError::Edge(_)
            | StartError::Issuer(_)
            | StartError::Vault(_)
            | StartError::Store(_)
            | StartError::Traces(_)
            | StartError::NoClient
            | StartError::Upstream(_) => exit::CONFIG,
        }
    })
}

/// As many descriptors as the system lets this process have; says so if that is too few.
fn descriptors(max_connections: usize) {
    // A caller's connection and upstream's; the rest is listeners, replay files and the like.
    let wanted = (max_connections as u64).saturating_mul(2).saturating_add(128);
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < wanted => tracing::warn!(
            limit,
            wanted,
            max_connections,
            "too few open files for access.max_connections: raise the hard limit (ulimit -n, \
             LimitNOFILE=) or lower access.max_connections"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit on open files cannot be raised"),
    }
}

/// A limit on file sizes (`ulimit -f`) is to the audit log what a full disk is; left alone, SIGXFSZ
/// ends the process.
fn outlive_full_files(config: &Config) -> std::io::Result<()> {
    if config.audit.is_some() {
        // It is handled from now on, by nobody.
        drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    }
    Ok(())
}

/// Where it listens: what scripts wait for.
pub(super) fn announce(server: &Server) {
    for url in server.urls() {
        tracing::info!("listening on {url}");
    }
    if server.addresses.is_empty() {
        tracing::info!("listening on {}", server.url());
    }
    if let Some(admin) = server.admin {
        tracing::info!("health on http://{admin}/readyz");
        tracing::info!("dashboard on http://{admin}/");
    }
}

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
