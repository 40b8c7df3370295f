//! One organisation at work: its tokens, budget, line, answers and callers.
//! It never has a part of another's: what they share is in [`Common`], and nothing else is.

use std::{net::SocketAddr, sync::Arc};

use rustls::ClientConfig;
use tokio::{runtime::Handle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Span;

use super::{
    StartError, budgets,
    tokens::{self, Joint, logins},
};
use crate::{
    config::{self, Config, Verify},
    decide::saving as saved,
    gateway::{
        Shared,
        admit::Admission,
        guard::Guard,
        identify::{Callers, TakesRestart},
        login::{sharing::Sharing, tokens::Tokens},
        recover::Retries,
        saving::Saving,
    },
    store::Link,
    telemetry::{audit::Audit, errors::Errors, metrics::Metrics, traces::Traces},
    token::{Keeping, awake, issuer::Login},
    upstream::{replay::Memory, tls},
};

/// What is the whole process's.
#[derive(Debug)]
pub struct Common {
    /// One audit log for all, if there is one.
    pub audit: Option<Audit>,
    /// What replicas share, if there are others.
    pub store: Option<Arc<Link>>,
    /// One page for all.
    pub metrics: Metrics,
    /// What a collector is told of, if there is one.
    pub traces: Option<Arc<Traces>>,
    /// What ended badly, of all.
    pub errors: Arc<Errors>,
    /// Of all replay copies: one machine has one memory.
    pub memory: Arc<Memory>,
    /// Tunnels, which a drain waits for.
    pub tunnels: TaskTracker,
    /// The end of a drain.
    pub cut: CancellationToken,
    /// Everything on the slow side.
    pub tasks: TaskTracker,
    /// Where it runs.
    pub runtime: Handle,
    /// Its end.
    pub stop: CancellationToken,
}

impl Common {
    /// A task that ends with the gateway.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let task = async move {
            stop.run_until_cancelled(task).await;
        };
        self.tasks.spawn_on(task, &self.runtime);
    }
}

/// An organisation that has been started.
#[derive(Debug)]
pub struct Organisation {
    number: u32,
    /// Where it listens.
    addresses: Vec<SocketAddr>,
    /// What all workers share of it.
    pub shared: Arc<Shared>,
    /// Trust towards its upstream.
    pub tls: ClientConfig,
    /// What `Host` leads to it on a shared listener.
    pub hosts: Vec<String>,
    logins: Vec<Arc<Login>>,
    joints: Vec<Arc<Joint>>,
}

impl Organisation {
    /// The one at the top of the configuration; it listens on `addresses`.
    pub fn first(
        config: Config,
        addresses: &[SocketAddr],
        common: &Common,
    ) -> Result<Self, StartError> {
        let guard = Guard::new(addresses, &config.access.hosts, &config.access);
        let started = Self::start((0, None), config, guard, common)?;
        Ok(Self { addresses: addresses.to_vec(), ..started })
    }

    /// One of `[orgs.NAME]`, numbered from 1.
    pub fn another(
        number: u32,
        org: config::Organisation,
        addresses: &[SocketAddr],
        common: &Common,
    ) -> Result<Self, StartError> {
        let guard = Guard::new(addresses, &org.hosts, &org.config.access);
        let started = Self::start((number, Some(&org.name)), org.config, guard, common)?;
        Ok(Self { hosts: org.hosts, addresses: addresses.to_vec(), ..started })
    }

    /// Starts its keepers and its pacer.
    fn start(
        (number, name): (u32, Option<&str>),
        config: Config,
        guard: Guard,
        common: &Common,
    ) -> Result<Self, StartError> {
        let Common { tasks, runtime, stop, .. } = common;
        let span = name.map_or_else(Span::none, |name| tracing::error_span!("org", name));
        let _entered = span.enter();
        let ca_file = config.upstream.ca_file.as_deref();
        let tls = tls::client_config("upstream.ca_file", ca_file)?;
        let provider = match &config.jwt {
            Some(jwt) if config.callers.iter().any(|caller| !caller.claims.is_empty()) => {
                Some(tokens::provider(jwt, &config, tasks, runtime, stop)?)
            }
            Some(_) | None => None,
        };
        let access = &config.access;
        let logins = logins(&config, tasks, runtime, stop)?;
        let sharing = common
            .store
            .as_ref()
            .zip(logins.first())
            .map(|(link, login)| Sharing::new(Arc::clone(login), Arc::clone(link)));
        let local = Tokens::new(access.login_life, access.login_idle, Instant::now());
        let callers = Callers::new(&config.callers, access.mode, local.shared(sharing), provider);
        let lanes = config.oauth.clients.len() * config.oauth.tokens as usize;
        let admission = Admission::spawn(
            config.rate_limit.clone(),
            (lanes, callers.granted().clone()),
            tasks,
            runtime,
            stop.clone(),
        );
        if common.store.is_some() {
            admission.share();
        }
        let metrics = Arc::new(match name {
            Some(name) => common.metrics.of_organisation(name),
            None => common.metrics.clone(),
        });
        let keeping = Keeping {
            verify_every: (config.oauth.verify != Verify::Never)
                .then_some(config.oauth.verify_every),
            metrics: Arc::clone(&metrics),
            ..Keeping::new(config.oauth.refresh_before, tasks, runtime, stop.clone())
        };
        let (tokens, joints) =
            tokens::start(&config, &logins, &admission, common.store.as_ref(), &keeping)?;
        if let Some(link) = &common.store {
            budgets::meet((&config, callers.names(), &logins), &admission, link, common);
        }
        let shared = Arc::new(Shared {
            name: name.map(Into::into),
            tokens,
            admission,
            metrics,
            retries: Arc::new(Retries::new(config.retry)),
            saving: Saving::new(&config, saved::Organisation::new(number)),
            memory: Arc::clone(&common.memory),
            said: Arc::default(),
            audit: common.audit.clone(),
            guard,
            callers,
            tunnels: common.tunnels.clone(),
            cut: common.cut.clone(),
            config,
        });
        let (tokens, budget) = (shared.tokens.clone(), Arc::clone(&shared.admission));
        let told = Arc::clone(&shared.callers.tokens);
        keeping.spawn(async move { told.follow().await });
        keeping.spawn(async move {
            awake::watch(|nap| {
                tokens.all().for_each(|tokens| tokens.slept(nap));
                budget.slept(nap);
            })
            .await;
        });
        let (hosts, addresses) = (Vec::new(), Vec::new());
        Ok(Self { number, addresses, shared, tls, hosts, logins, joints })
    }

    /// What workers are to share once `config` counts; nothing has changed yet.
    ///
    /// # Errors
    /// When callers cannot follow without a restart.
    pub fn next(&self, config: Config, hosts: &[String]) -> Result<Arc<Shared>, TakesRestart> {
        let was = &self.shared;
        let callers = was.callers.renewed(&config.callers, config.access.mode)?;
        let saving = if config.saving == was.config.saving {
            was.saving.clone()
        } else {
            Saving::new(&config, saved::Organisation::new(self.number))
        };
        let retries = if config.retry == was.config.retry {
            Arc::clone(&was.retries)
        } else {
            Arc::new(Retries::new(config.retry))
        };
        Ok(Arc::new(Shared {
            name: was.name.clone(),
            tokens: was.tokens.clone(),
            admission: Arc::clone(&was.admission),
            metrics: Arc::clone(&was.metrics),
            retries,
            saving,
            memory: Arc::clone(&was.memory),
            said: Arc::clone(&was.said),
            audit: was.audit.clone(),
            guard: Guard::new(&self.addresses, hosts, &config.access),
            callers,
            tunnels: was.tunnels.clone(),
            cut: was.cut.clone(),
            config,
        }))
    }

    /// From now on this counts. Workers have it next: whoever has a key that is new to them can log in.
    pub fn turn(&mut self, shared: Arc<Shared>, hosts: Vec<String>) {
        self.shared = shared;
        self.hosts = hosts;
        let Shared { admission, callers, config, .. } = &*self.shared;
        admission.regrant(callers.granted().clone());
        admission.retune(&config.rate_limit);
        callers.tokens.follow_callers(callers.may_log_in());
    }

    /// Tells the other replicas that it goes: what it had of the budgets is theirs.
    pub fn part(&self) -> impl Future<Output = ()> + Send + use<> {
        let admission = Arc::clone(&self.shared.admission);
        async move { admission.part().await }
    }

    /// Revokes its tokens, if that is configured. Its keepers have ended, or they would renew them.
    pub async fn revoke(&self) {
        let oauth = &self.shared.config.oauth;
        if oauth.revoke_on_exit {
            let each = oauth.tokens as usize;
            tokens::revoke(&self.logins, &self.shared.tokens, &self.joints, each).await;
        }
    }
}
