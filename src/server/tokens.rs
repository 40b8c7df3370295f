//! The tokens of all clients: each with its keeper, its budget and what it costs to check it.
//! It never starts more of them than was configured, and says so when that is more than one.

use std::sync::Arc;

use rustls::ClientConfig;

use super::StartError;
use crate::{
    config::{Config, Verify},
    decide::lanes::Lane,
    gateway::admit::{Admission, Toll},
    token::{
        Keeping, Tokens,
        issuer::{Login, Network, Secrets},
        pool::Pool,
    },
};

/// Starts the keepers.
pub(super) fn start(
    config: &Config,
    admission: &Arc<Admission>,
    tls: &ClientConfig,
    keeping: &Keeping,
) -> Result<Pool, StartError> {
    let each = config.oauth.tokens as usize;
    let mut keepers = Vec::new();
    for client in &config.oauth.clients {
        let network = Network {
            connect_timeout: config.upstream.connect_timeout,
            proxy: config.upstream.proxy.as_ref(),
            tls: tls.clone(),
            api: &config.upstream.api,
        };
        let secrets = Secrets::of(&client.credentials);
        let login = Login::new(config.oauth.clone(), client.clone(), secrets, &network)?;
        let issuer = Arc::new(login);
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
