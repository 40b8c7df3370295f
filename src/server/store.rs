//! The way to the store, with its password watched.
//! It never waits for the store: the gateway serves without.

use std::sync::Arc;

use super::{StartError, organisation::Common, tokens};
use crate::{
    config::{Config, SecretKind, SecretSource},
    secret::Secret,
    store::Link,
};

/// Connects in the background, if there is a store.
pub(super) fn link(config: &Config, common: &Common) -> Result<Option<Arc<Link>>, StartError> {
    let Some(store) = &config.store else { return Ok(None) };
    let Common { tasks, runtime, stop, metrics, .. } = common;
    // Without an own client the password of a store in Vault would need that of a login.
    let vault = match &store.password {
        Some(SecretSource::Vault(_)) => tokens::vault(config, tasks, runtime, stop)?,
        Some(SecretSource::Variable { .. } | SecretSource::File(_) | SecretSource::Command(_))
        | None => None,
    };
    let password = store.password.clone().map(|source| {
        Secret::spawn(source, SecretKind::Word, vault.as_ref(), tasks, runtime, stop.clone())
    });
    if store.in_the_clear() {
        tracing::warn!(
            store = %store.servers,
            "the way to the store is not encrypted: what replicas share is sealed, the password is \
             not; use rediss://"
        );
    }
    Ok(Some(Link::spawn(store, password, metrics.clone(), tasks, runtime, stop)?))
}
