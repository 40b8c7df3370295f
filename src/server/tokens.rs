//! The tokens of all clients: each with its keeper, its budget and what it costs to check it.
//! It never starts more of them than was configured, and says so when that is more than one.

use std::sync::Arc;

use rustls::ClientConfig;

use super::StartError;
use crate::{
    config::{Config, SecretKind, SecretSource, Verify},
    decide::lanes::Lane,
    gateway::admit::{Admission, Toll},
    secret::{Secret, VaultClient},
    token::{Keeping, Tokens, issuer::HttpIssuer, pool::Pool},
    upstream::tls,
};

/// Starts the keepers.
pub(super) fn start(
    config: &Config,
    admission: &Arc<Admission>,
    tls: &ClientConfig,
    keeping: &Keeping,
) -> Result<Pool, StartError> {
    let each = config.oauth.tokens as usize;
    let sources = Sources::new(config, keeping)?;
    let mut keepers = Vec::new();
    for client in &config.oauth.clients {
        let issuer = Arc::new(HttpIssuer::new(
            config.oauth.clone(),
            client.clone(),
            config.upstream.connect_timeout,
            config.upstream.proxy.as_ref(),
            tls.clone(),
            client.credentials.source().map(|s| sources.secret(s, client.credentials.kind())),
        )?);
        for _ in 0..each {
            let (lane, issuer) = (Lane::new(keepers.len()), Arc::clone(&issuer));
            let tokens = match config.oauth.verify {
                // It is a call to the API like any other.
                Verify::Genesys => {
                    let toll = Toll { admission: Arc::clone(admission), lane };
                    Tokens::spawn(issuer, toll, lane, keeping)
                }
                Verify::Never | Verify::Rfc7662 { .. } => Tokens::spawn(issuer, (), lane, keeping),
            };
            let (followed, budget) = (Arc::clone(&tokens), Arc::clone(admission));
            keeping.spawn(async move { budget.follow(lane, &followed).await });
            keepers.push(tokens);
        }
    }
    if keepers.len() > 1 {
        tracing::warn!(
            tokens = keepers.len(),
            clients = config.oauth.clients.len(),
            "several tokens: Genesys advises one, and may shut down clients that cause instability; \
             each has a limit of its own"
        );
    }
    let mut keepers = keepers.into_iter();
    let first = keepers.next().ok_or(StartError::NoClient)?;
    Ok(Pool::new(first, keepers.collect()))
}

/// Where secrets are read, by tasks that end with the keepers.
struct Sources<'k> {
    vault: Option<Arc<VaultClient>>,
    keeping: &'k Keeping,
}

impl<'k> Sources<'k> {
    fn new(config: &Config, keeping: &'k Keeping) -> Result<Self, StartError> {
        let Keeping { tasks, runtime, stop, .. } = keeping;
        let vault = match &config.vault {
            Some(vault) => {
                let tls = tls::client_config(vault.ca_file.as_deref())?;
                Some(VaultClient::spawn(vault, tls, tasks, runtime, stop.clone())?)
            }
            None => None,
        };
        Ok(Self { vault, keeping })
    }

    fn secret(&self, source: &SecretSource, kind: SecretKind) -> Secret {
        let Keeping { tasks, runtime, stop, .. } = self.keeping;
        Secret::spawn(source.clone(), kind, self.vault.as_ref(), tasks, runtime, stop.clone())
    }
}
