//! What workers are made from, and how one is.
//! It never starts anything: a worker is whole before its thread is there.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Inside, StartError, protocols};
use crate::{
    config::Origin,
    gateway::{Gateway, Shared, admit::Desk},
    server::{door::Hall, organisation::Organisation, places::Places, pulse::Beat, tls::Edge},
    telemetry::{
        access_log::{AccessLog, Observers},
        output::Output,
    },
    upstream::{
        connect::Connector,
        deadline::Deadlines,
        pool::{Pool, Warm},
    },
};

/// What every worker is made from.
#[derive(Clone)]
pub struct WorkerPlan {
    /// The first one, then the others.
    pub organisations: Vec<OrganisationPlan>,
    /// What TCP listeners show; `None`: they speak plain text.
    pub edge: Option<Arc<Edge>>,
    /// Where access lines go, if anywhere.
    pub log: Option<Output>,
    /// Where what ended badly is kept, and what a collector is told, if there is one.
    pub observers: Observers,
    /// The beginning of a drain.
    pub stop_accepting: CancellationToken,
}

/// What every worker knows of an organisation.
#[derive(Clone)]
pub struct OrganisationPlan {
    pub(super) shared: Arc<Shared>,
    /// Trust towards upstream.
    tls: ClientConfig,
    /// What `Host` leads to it on a shared listener.
    hosts: Vec<String>,
    /// Connections to the API that are kept ready.
    warm: Warm,
}

impl OrganisationPlan {
    /// Of one that was started.
    pub fn of(org: &Organisation) -> Self {
        let Organisation { shared, tls, hosts, .. } = org;
        Self {
            shared: Arc::clone(shared),
            tls: tls.clone(),
            hosts: hosts.clone(),
            warm: Warm::new(shared.config.upstream.warm_connections),
        }
    }
}

impl WorkerPlan {
    pub(super) fn build(
        self,
        places: Arc<Places>,
        connections: TaskTracker,
    ) -> Result<Inside, StartError> {
        let deadlines = Arc::<Deadlines>::default();
        let mut gateways = Vec::with_capacity(self.organisations.len());
        for org in &self.organisations {
            let to = (self.log.clone(), self.observers.clone());
            gateways.push(org.gateway(to, Arc::clone(&deadlines), connections.clone())?);
        }
        let first = &gateways.first().ok_or(StartError::NoClient)?.shared;
        let (cut, protocols) =
            (first.cut.clone(), protocols(&first.config, &connections, &deadlines));
        let hosts = self.organisations.iter().map(|org| org.hosts.clone());
        let all: Vec<_> = hosts.zip(gateways).collect();
        let hall = Hall::new(&all, protocols);
        Ok(Inside {
            hall: Arc::new(ArcSwap::from_pointee(hall)),
            deadlines,
            cut,
            ticker: Arc::default(),
            places,
            edge: self.edge,
            handshakes: Arc::default(),
            beat: Beat::default(),
            connections,
            stop_accepting: self.stop_accepting,
        })
    }
}

impl OrganisationPlan {
    /// A worker's own part of it.
    fn gateway(
        &self,
        (log, observers): (Option<Output>, Observers),
        deadlines: Arc<Deadlines>,
        tasks: TaskTracker,
    ) -> Result<Arc<Gateway>, StartError> {
        let config = &self.shared.config;
        let upstream = &config.upstream;
        let connector = Connector::new(
            &self.tls,
            upstream.http2,
            upstream.proxy.as_ref(),
            upstream.connect_timeout,
        );
        // Not the callers' tracker: an idle upstream connection must not hold up a drain.
        let links = TaskTracker::new();
        let pool = |origin: &Origin, warm| {
            Pool::new(origin.clone(), connector.clone(), upstream.http2, warm, links.clone())
        };
        let warm = self.warm.clone();
        let (api, apps) = (pool(&upstream.api, warm)?, pool(&upstream.apps, Warm::default())?);
        let names = self.shared.callers.names();
        let org = self.shared.name.clone();
        let limited = config.rate_limit.families.iter().map(|family| &family.rule);
        let tally = self.shared.metrics.worker(&names, limited);
        Ok(Arc::new(Gateway {
            desk: Desk::new(&self.shared.admission),
            shared: Arc::clone(&self.shared),
            api,
            apps,
            log: AccessLog::new(
                config.telemetry.format,
                org,
                names,
                (log, self.shared.audit.clone()),
                Observers { tally: Some(tally), ..observers },
            ),
            deadlines,
            tasks,
        }))
    }
}
