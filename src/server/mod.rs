//! The callers' side: listeners, workers, connections and the drain.
//! It never looks into a request: that is the gateway's.

mod answer_body;
mod budgets;
pub mod clock;
pub mod connection;
pub mod door;
pub mod handshakes;
pub mod inherited;
pub mod listen;
pub mod organisation;
pub mod places;
pub mod pulse;
mod store;
pub mod streams;
pub mod tls;
mod tokens;
pub mod wire;
pub mod worker;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::gateway::identify::TakesRestart;
use crate::{
    admin::{self, Admin},
    config::{self, Config, Listen},
    gateway::Shared,
    secret,
    store::Unbuildable as StoreUnbuildable,
    telemetry::{
        access_log::Observers,
        audit::{self, Audit},
        metrics::Metrics,
        output::Output,
        traces::{self, Traces},
    },
    token::{
        NoToken,
        issuer::{MintError, Unbuildable},
    },
    upstream::{self, replay::Memory},
};
use inherited::Inherited;
use listen::Bound;
use organisation::{Common, Organisation};
use pulse::Pulse;
pub use store::{attempt, shared_tokens};
pub use tokens::logins;
use worker::{OrganisationPlan, Worker, WorkerPlan};

/// What connections that are cut may take to end.
const CUT: Duration = Duration::from_secs(1);

/// What tasks that were told to stop may take to.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// What the last lines of the audit log may take to be written.
const LAST_RECORDS: Duration = Duration::from_secs(5);

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
    /// A socket that was handed over is not meant for this gateway.
    #[error(transparent)]
    Inherited(#[from] inherited::Unusable),
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
    /// The store's client.
    #[error(transparent)]
    Store(#[from] StoreUnbuildable),
    /// Nobody to log in as.
    #[error("no OAuth client is configured")]
    NoClient,
    /// A host name that cannot be a header.
    #[error("the upstream host cannot be used: {0}")]
    Upstream(#[from] http::Error),
    /// A gateway that cannot record calls begins none.
    #[error("the audit log {file} cannot be used: {source}")]
    Audit {
        /// As configured.
        file: String,
        /// What is wrong with it.
        source: audit::Unusable,
    },
    /// The exporter of traces.
    #[error(transparent)]
    Traces(#[from] traces::Unbuildable),
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
    pages: Option<Admin>,
    /// The first organisation's.
    config: Config,
    organisations: Vec<Organisation>,
    workers: Vec<Worker>,
    /// Somebody asked for a drain on the admin listener.
    asked_to_end: CancellationToken,
    /// Load balancers are to send nobody any longer.
    unready: CancellationToken,
    stop_accepting: CancellationToken,
    common: Common,
}

impl Server {
    /// Starts everything; the slow side runs on `runtime`, access lines go to `output`.
    /// Sockets that were `inherited` are taken for those of the same address.
    pub async fn start(
        config: Config,
        mut inherited: Inherited,
        runtime: &Handle,
        output: &Output,
    ) -> Result<Self, StartError> {
        let (mut config, others) = (config, Vec::new());
        let others = std::mem::replace(&mut config.organisations, others);
        let bound = Bound::all(
            &config.listen,
            others.iter().map(|org| &*org.config.listen),
            &mut inherited,
        )?;
        let addresses = bound.addresses();
        let admin = match config.admin {
            Some(address) => Some(admin::Bound::new(address, &mut inherited).await?),
            None => None,
        };
        inherited.is_used_up()?;
        let mut common = Common {
            metrics: Metrics::default(),
            traces: None,
            errors: Arc::default(),
            audit: config.audit.as_ref().map(record).transpose()?,
            store: None,
            memory: Memory::new(config.replay.memory_total),
            tunnels: TaskTracker::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: runtime.clone(),
            stop: CancellationToken::new(),
        };
        common.store = store::link(&config, &common)?;
        common.traces = config.telemetry.otlp.as_ref().map(|to| traces(to, &common)).transpose()?;
        let edge = config.tls.as_ref().map(tls::Edge::new).transpose()?;
        let edge = edge.zip(config.tls.clone()).map(|((edge, seen), files)| {
            common.spawn(tls::watch(Arc::clone(&edge), files, seen, common.metrics.clone()));
            edge
        });
        let first = Organisation::first(config.clone(), &bound.addresses_of(0), &common)?;
        let mut organisations = vec![first];
        for (number, org) in (1..).zip(others) {
            let addresses = bound.addresses_of(organisations.len());
            organisations.push(Organisation::another(number, org, &addresses, &common)?);
        }
        let [asked_to_end, unready, stop_accepting] = [(); 3].map(|()| CancellationToken::new());
        let plan = WorkerPlan {
            organisations: organisations.iter().map(OrganisationPlan::of).collect(),
            edge,
            log: config.telemetry.access_log.then(|| output.clone()),
            observers: Observers {
                tally: None,
                errors: Some(Arc::clone(&common.errors)),
                traces: common.traces.clone(),
            },
            stop_accepting: stop_accepting.clone(),
        };
        let workers = Worker::start_all(&plan, bound)?;
        let address = admin.as_ref().map(|bound| bound.address);
        let pages = admin.and_then(|bound| {
            bound.serve(shared(&organisations), (unready.clone(), asked_to_end.clone()), &common)
        });
        Ok(Self {
            addresses,
            admin: address,
            pages,
            config,
            organisations,
            workers,
            asked_to_end,
            unready,
            stop_accepting,
            common,
        })
    }

    /// Goes by `config` from now on, which differs in what takes effect at once only: calls under way end
    /// as they began, those that come next go by it.
    ///
    /// # Errors
    /// When it takes a restart. Nothing has changed then.
    pub fn renew(&mut self, mut config: Config) -> Result<(), TakesRestart> {
        let others = std::mem::take(&mut config.organisations);
        let first = (config.access.hosts.clone(), config.clone());
        let others = others.into_iter().map(|org| (org.hosts, org.config));
        let configs: Vec<_> = std::iter::once(first).chain(others).collect();
        // Before the first takes a name: all of them, or none.
        for (org, (_, config)) in self.organisations.iter().zip(&configs) {
            org.shared.callers.can_become(&config.callers)?;
        }
        let next = self.organisations.iter().zip(configs).map(|(org, (hosts, config))| {
            let shared = org.next(config, &hosts)?;
            Ok((shared, hosts))
        });
        let next = next.collect::<Result<Vec<_>, TakesRestart>>()?;
        for (org, (shared, hosts)) in self.organisations.iter_mut().zip(&next) {
            org.turn(Arc::clone(shared), hosts.clone());
        }
        for worker in &self.workers {
            worker.renew(&next);
        }
        if let Some(pages) = &self.pages {
            pages.renew(shared(&self.organisations));
        }
        self.config = config;
        Ok(())
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.common.metrics
    }

    /// Waits for a token of the organisation at the top, as a call would; why there is none, as soon as
    /// `hopeless` says so of every client.
    pub async fn first_token(
        &self,
        hopeless: impl Fn(&MintError) -> bool,
    ) -> Result<(), Vec<NoToken>> {
        let Some(first) = self.organisations.first() else { return Ok(()) };
        let deadline = tokio::time::Instant::now() + self.config.rate_limit.max_wait;
        first.shared.tokens.first(hopeless, deadline).await
    }

    /// Resolves when a drain is asked for on the admin listener.
    pub fn asked_to_end(&self) -> impl Future<Output = ()> + Send + use<> {
        self.asked_to_end.clone().cancelled_owned()
    }

    /// Whether its workers move.
    pub fn pulse(&self) -> Pulse {
        Pulse::of(self.workers.iter().map(Worker::beat))
    }

    /// Says that it is not ready, takes callers for `shutdown_linger` more, stops accepting, lets what is
    /// in flight end within `shutdown_timeout`, then cuts the rest. Tells whether nothing had to be cut.
    pub async fn drain(self) -> bool {
        self.unready.cancel();
        let linger = self.config.shutdown_linger;
        if !linger.is_zero() {
            tracing::info!(
                shutdown_linger = %humantime::format_duration(linger),
                "not ready any longer: connections are taken until load balancers have noticed"
            );
            tokio::time::sleep(linger).await;
        }
        let patience = self.config.shutdown_timeout;
        let deadline = tokio::time::Instant::now() + patience;
        let admissions = || self.organisations.iter().map(|org| &org.shared.admission);
        let in_flight: usize = admissions().map(|admission| admission.in_flight()).sum();
        let waiting: usize = admissions().map(|admission| admission.waiting()).sum();
        tracing::info!(in_flight, waiting, "requests that have begun end first");
        self.stop_accepting.cancel();
        let Common { tunnels, cut, tasks, stop, .. } = &self.common;
        tunnels.close();
        let ended = || async {
            for worker in &self.workers {
                worker.idle().await;
            }
            tunnels.wait().await;
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
        // Together: where the store does not answer each waits for as long as it may.
        let parting = TaskTracker::new();
        for org in &self.organisations {
            parting.spawn(org.part());
        }
        parting.close();
        parting.wait().await;
        stop.cancel();
        for org in &self.organisations {
            org.revoke().await;
        }
        tasks.close();
        if tokio::time::timeout(LAST_TASKS, tasks.wait()).await.is_err() {
            tracing::error!(left = tasks.len(), "tasks did not end");
        }
        if let Some(audit) = self.common.audit.clone() {
            let ended = tokio::task::spawn_blocking(move || audit.end(LAST_RECORDS));
            // It says itself what goes wrong.
            let _ = ended.await;
        }
        clean
    }

    /// Where callers connect over TCP, as URLs.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let scheme = if self.config.tls.is_some() { "https" } else { "http" };
        self.addresses.iter().map(move |address| format!("{scheme}://{address}"))
    }

    /// The first place where callers connect, as a URL.
    pub fn url(&self) -> String {
        match (self.urls().next(), self.config.listen.first()) {
            (Some(url), _) => url,
            (None, Some(Listen::Unix(path))) => format!("unix:{}", path.display()),
            (None, _) => String::new(),
        }
    }
}

fn shared(organisations: &[Organisation]) -> Arc<[Arc<Shared>]> {
    organisations.iter().map(|org| Arc::clone(&org.shared)).collect()
}

fn traces(to: &config::Otlp, common: &Common) -> Result<Arc<Traces>, StartError> {
    let tls = upstream::tls::client_config("telemetry.otlp_ca_file", to.ca_file.as_deref())?;
    let traces = Traces::new(to.sampling, common.metrics.process.clone());
    let exporter = traces::Exporter::new(&to.endpoint, tls, Arc::clone(&traces))?;
    // It ends by itself, with what is left.
    common.tasks.spawn_on(exporter.run(common.stop.clone()), &common.runtime);
    Ok(traces)
}

fn record(config: &config::Audit) -> Result<Audit, StartError> {
    let refused = |source| StartError::Audit { file: config.file.display().to_string(), source };
    Audit::start(config).map_err(refused)
}
