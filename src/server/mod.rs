//! The callers' side: listeners, workers, connections and the drain.
//! It never looks into a request: that is the gateway's.

mod answer_body;
pub mod clock;
pub mod connection;
pub mod listen;
pub mod places;
pub mod streams;
pub mod tls;
mod tokens;
pub mod wire;
pub mod worker;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin,
    config::{Config, Listen, Verify},
    gateway::{
        Shared, admit::Admission, guard::Hosts, identify::Callers, login, recover::Retries,
        saving::Saving,
    },
    secret,
    telemetry::output::Output,
    token::{
        Keeping, awake,
        issuer::{Login, Unbuildable},
    },
    upstream::{self, pool::Warm, replay::Memory},
};
use listen::Bound;
pub use tokens::logins;
use worker::{Worker, WorkerPlan};

/// What connections that are cut may take to end.
const CUT: Duration = Duration::from_secs(1);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As configured.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// No trust, no start.
    #[error(transparent)]
    Tls(#[from] upstream::tls::TlsError),
    /// Nothing to show callers.
    #[error(transparent)]
    Edge(#[from] tls::TlsSetup),
    /// The token endpoint's client.
    #[error(transparent)]
    Issuer(#[from] Unbuildable),
    /// Vault's client.
    #[error(transparent)]
    Vault(#[from] secret::Unbuildable),
    /// Nobody to log in as.
    #[error("no OAuth client is configured")]
    NoClient,
    /// A host name that cannot be a header.
    #[error("the upstream host cannot be used: {0}")]
    Upstream(#[from] http::Error),
    /// The system refuses threads.
    #[error("cannot start a worker: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running gateway.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, ports resolved.
    pub addresses: Vec<SocketAddr>,
    /// The admin listener's address, if there is one.
    pub admin: Option<SocketAddr>,
    shared: Arc<Shared>,
    logins: Vec<Arc<Login>>,
    workers: Vec<Worker>,
    stop_accepting: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts everything; the slow side runs on `runtime`, access lines go to `output`.
    pub async fn start(
        config: Config,
        runtime: &Handle,
        output: &Output,
    ) -> Result<Self, StartError> {
        let bound = Bound::all(&config.listen)?;
        let addresses = bound.addresses();
        let admin = match config.admin {
            Some(address) => Some(admin::Bound::new(address).await?),
            None => None,
        };
        let (stop, stop_accepting) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let ca_file = config.upstream.ca_file.as_deref();
        let tls = upstream::tls::client_config("upstream.ca_file", ca_file)?;
        let edge = config.tls.as_ref().map(tls::Edge::new).transpose()?;
        let lanes = config.oauth.clients.len() * config.oauth.tokens as usize;
        let provider = match &config.jwt {
            Some(jwt) => Some(tokens::provider(jwt, &config, &tasks, runtime, &stop)?),
            None => None,
        };
        let now = tokio::time::Instant::now();
        let local =
            login::tokens::Tokens::new(config.access.login_life, config.access.login_idle, now);
        let callers = Callers::new(&config.callers, config.access.mode, local, provider);
        let admission = Admission::spawn(
            config.rate_limit.clone(),
            (lanes, callers.granted().clone()),
            &tasks,
            runtime,
            stop.clone(),
        );
        let keeping = Keeping {
            verify_every: (config.oauth.verify != Verify::Never)
                .then_some(config.oauth.verify_every),
            ..Keeping::new(config.oauth.refresh_before, &tasks, runtime, stop.clone())
        };
        let logins = logins(&config, &tasks, runtime, &stop)?;
        let tokens = tokens::start(&config, &logins, &admission, &keeping)?;
        let shared = Arc::new(Shared {
            tokens,
            admission,
            metrics: keeping.metrics,
            retries: Retries::new(config.retry),
            saving: Saving::new(&config),
            memory: Memory::new(config.replay.memory_total),
            said: Arc::default(),
            hosts: Hosts::new(&addresses, &config.access.hosts),
            callers,
            tunnels: TaskTracker::new(),
            cut: CancellationToken::new(),
            config,
        });
        let (followed, until) = (Arc::clone(&shared), stop.clone());
        tasks.spawn_on(
            async move {
                let each = |nap| followed.tokens.all().for_each(|tokens| tokens.slept(nap));
                until.run_until_cancelled(awake::watch(each)).await;
            },
            runtime,
        );
        if let (Some(edge), Some(files)) = (&edge, &shared.config.tls) {
            let (watch, until) = (tls::watch(Arc::clone(edge), files.clone()), stop.clone());
            tasks.spawn_on(
                async move {
                    until.run_until_cancelled(watch).await;
                },
                runtime,
            );
        }
        let plan = WorkerPlan {
            shared: Arc::clone(&shared),
            tls,
            edge,
            warm: Warm::new(shared.config.upstream.warm_connections),
            log: shared.config.telemetry.access_log.then(|| output.clone()),
            stop_accepting: stop_accepting.clone(),
        };
        let workers = Worker::start_all(&plan, bound)?;
        let admin = admin.map(|bound| {
            let (address, draining) = (bound.address, stop_accepting.clone());
            bound.serve(Arc::clone(&shared), draining, &tasks, runtime, stop.clone());
            address
        });
        Ok(Self { addresses, admin, shared, logins, workers, stop_accepting, stop, tasks })
    }

    /// Stops accepting, lets what is in flight end within `shutdown_timeout`, then cuts the rest.
    /// Tells whether nothing had to be cut.
    pub async fn drain(self) -> bool {
        let patience = self.shared.config.shutdown_timeout;
        let deadline = tokio::time::Instant::now() + patience;
        let admission = &self.shared.admission;
        let (in_flight, waiting) = (admission.in_flight(), admission.waiting());
        tracing::info!(in_flight, waiting, "requests that have begun end first");
        self.stop_accepting.cancel();
        self.shared.tunnels.close();
        let (cut, shared) = (self.shared.cut.clone(), Arc::clone(&self.shared));
        let ended = || async {
            for worker in &self.workers {
                worker.idle().await;
            }
            shared.tunnels.wait().await;
        };
        let clean = tokio::time::timeout_at(deadline, ended()).await.is_ok();
        cut.cancel();
        if !clean {
            tracing::warn!(
                timeout = %humantime::format_duration(patience),
                "shutdown_timeout is over: open connections are cut"
            );
            // What was cut writes its access line as it ends; nothing is left to wait for longer.
            let _ = tokio::time::timeout(CUT, ended()).await;
        }
        let joined = tokio::task::spawn_blocking(move || {
            self.workers.into_iter().for_each(Worker::join);
        });
        if tokio::time::timeout(Duration::from_secs(5), joined).await.is_err() {
            tracing::error!("a worker did not end");
        }
        // The keepers end first, or they would renew what is revoked.
        let oauth = &shared.config.oauth;
        self.stop.cancel();
        if oauth.revoke_on_exit {
            tokens::revoke(&self.logins, &shared.tokens, oauth.tokens as usize).await;
        }
        self.tasks.close();
        self.tasks.wait().await;
        clean
    }

    /// Where callers connect over TCP, as URLs.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let scheme = if self.shared.config.tls.is_some() { "https" } else { "http" };
        self.addresses.iter().map(move |address| format!("{scheme}://{address}"))
    }

    /// The first place where callers connect, as a URL.
    pub fn url(&self) -> String {
        match (self.urls().next(), self.shared.config.listen.first()) {
            (Some(url), _) => url,
            (None, Some(Listen::Unix(path))) => format!("unix:{}", path.display()),
            (None, _) => String::new(),
        }
    }
}
