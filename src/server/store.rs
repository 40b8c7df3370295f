//! The way to the store, with its password watched.
//! It never waits for the store: the gateway serves without.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    StartError,
    organisation::Common,
    tokens::{self, Joint},
};
use crate::{
    config::{self, Config, SecretKind, SecretSource},
    secret::Secret,
    store::{Attempt, Link, ReplicaId, token::Redis},
    telemetry::metrics::Metrics,
    token::issuer::{Login, Minted},
};

/// Connects in the background, if there is a store.
pub(super) fn link(config: &Config, common: &Common) -> Result<Option<Arc<Link>>, StartError> {
    let Some(store) = &config.store else { return Ok(None) };
    let Common { tasks, runtime, stop, metrics, .. } = common;
    let password = password(config, store, tasks, runtime, stop)?;
    if store.in_the_clear() {
        tracing::warn!(
            store = %store.servers,
            "the way to the store is not encrypted: what replicas share is sealed, the password is \
             not; use rediss://"
        );
    }
    Ok(Some(Link::spawn(store, password, metrics.clone(), tasks, runtime, stop)?))
}

/// One attempt to use it, for `check --live`; `None` without a store.
///
/// # Errors
/// When TLS has no usable roots, or Vault's client cannot be made.
pub async fn attempt(
    config: &Config,
    tasks: &TaskTracker,
    runtime: &Handle,
    stop: &CancellationToken,
) -> Result<Option<Attempt>, StartError> {
    let Some(store) = &config.store else { return Ok(None) };
    let password = password(config, store, tasks, runtime, stop)?;
    Ok(Some(Attempt::at(store, password).await?))
}

/// The token that replicas share, for each of `logins`; `None` where there is none, or no store.
///
/// # Errors
/// As for `attempt`.
pub async fn shared_tokens(
    config: &Config,
    logins: &[Arc<Login>],
    tasks: &TaskTracker,
    runtime: &Handle,
    stop: &CancellationToken,
) -> Result<Vec<Option<Minted>>, StartError> {
    let Some(store) = &config.store else { return Ok(vec![None; logins.len()]) };
    let password = password(config, store, tasks, runtime, stop)?;
    let link = Link::spawn(store, password, Metrics::default(), tasks, runtime, stop)?;
    let mut found = Vec::new();
    for login in logins {
        // It only looks: nobody counts it.
        let redis = Redis::new(Arc::clone(&link), ReplicaId::random());
        let joint = Joint::new(Arc::clone(login), redis, 0);
        found.push(joint.peek().await);
    }
    Ok(found)
}

fn password(
    config: &Config,
    store: &config::Store,
    tasks: &TaskTracker,
    runtime: &Handle,
    stop: &CancellationToken,
) -> Result<Option<Secret>, StartError> {
    let Some(source) = store.password.clone() else { return Ok(None) };
    let vault = match &source {
        SecretSource::Vault(_) => tokens::vault(config, tasks, runtime, stop)?,
        SecretSource::Variable { .. } | SecretSource::File(_) | SecretSource::Command(_) => None,
    };
    let (kind, stop) = (SecretKind::Word, stop.clone());
    Ok(Some(Secret::spawn(source, kind, vault.as_ref(), tasks, runtime, stop)))
}
