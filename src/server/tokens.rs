//! The tokens of all clients: each with its keeper, its budget and what it costs to check it.
//! It never starts more of them than was configured, and says so when that is more than one.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::StartError;
use crate::{
    config::{Config, IdentityProvider, OAuthClient, Verify},
    decide::{lanes::Lane, renewals::Renewals},
    gateway::admit::{Admission, Toll},
    secret::{Secret, VaultClient},
    token::{
        Keeping, Tokens,
        issuer::{Login, Network, Secrets, Unbuildable},
        pool::Pool,
        provider::Provider,
    },
    upstream::tls,
};

/// What all revocations together may take: whoever stops the gateway waits for it.
const REVOCATION: Duration = Duration::from_secs(5);

/// The clients, ready to log in; nothing is asked yet. Tasks watch their secrets until `stop`.
///
/// # Errors
/// When a certificate cannot be used, or the system has no roots.
pub fn logins(
    config: &Config,
    tasks: &TaskTracker,
    runtime: &Handle,
    stop: &CancellationToken,
) -> Result<Vec<Arc<Login>>, StartError> {
    let network = Network {
        connect_timeout: config.upstream.connect_timeout,
        proxy: config.upstream.proxy.as_ref(),
        tls: tls::client_config("upstream.ca_file", config.upstream.ca_file.as_deref())?,
        api: &config.upstream.api,
    };
    let vault = vault(config, tasks, runtime, stop)?;
    let login = |client: &OAuthClient| {
        let secrets = Secrets::of(&client.credentials, |source, kind| {
            Secret::spawn(source.clone(), kind, vault.as_ref(), tasks, runtime, stop.clone())
        });
        let login = Login::new(config.oauth.clone(), client.clone(), secrets, &network)?;
        Ok(Arc::new(login))
    };
    config.oauth.clients.iter().map(login).collect()
}

/// Vault's client, if there is one.
pub(super) fn vault(
    config: &Config,
    tasks: &TaskTracker,
    runtime: &Handle,
    stop: &CancellationToken,
) -> Result<Option<Arc<VaultClient>>, StartError> {
    let Some(vault) = &config.vault else { return Ok(None) };
    let tls = tls::client_config("vault.ca_file", vault.ca_file.as_deref())?;
    Ok(Some(VaultClient::spawn(vault, tls, tasks, runtime, stop.clone())?))
}

/// The identity provider whose tokens callers show.
pub(super) fn provider(
    jwt: &IdentityProvider,
    config: &Config,
    tasks: &TaskTracker,
    runtime: &Handle,
    stop: &CancellationToken,
) -> Result<Arc<Provider>, StartError> {
    let network = Network {
        connect_timeout: config.upstream.connect_timeout,
        proxy: config.upstream.proxy.as_ref().filter(|_| !jwt.direct),
        tls: tls::client_config("jwt.ca_file", jwt.ca_file.as_deref())?,
        api: &config.upstream.api,
    };
    let provider = Provider::spawn(jwt, &network, tasks, runtime, stop.clone());
    Ok(provider.map_err(Unbuildable::from)?)
}

/// Starts the keepers.
pub(super) fn start(
    config: &Config,
    logins: &[Arc<Login>],
    admission: &Arc<Admission>,
    keeping: &Keeping,
) -> Result<Pool, StartError> {
    let each = config.oauth.tokens as usize;
    let mut keepers = Vec::new();
    for issuer in logins {
        let renewals = Arc::new(Mutex::new(Renewals::new(config.oauth.tokens)));
        for _ in 0..each {
            let (lane, issuer) = (Lane::new(keepers.len()), Arc::clone(issuer));
            let tokens = match config.oauth.verify {
                // A look at the token is a call to the API like any other.
                Verify::Never | Verify::Genesys => {
                    let toll = Toll { admission: Arc::clone(admission), lane };
                    Tokens::spawn(issuer, toll, lane, &renewals, keeping)
                }
                Verify::Rfc7662 { .. } => Tokens::spawn(issuer, (), lane, &renewals, keeping),
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

/// Revokes every token in use; what fails is said, and the token ends by itself.
pub(super) async fn revoke(logins: &[Arc<Login>], tokens: &Pool, each: usize) {
    let tasks = TaskTracker::new();
    let now = Instant::now();
    for (number, tokens) in tokens.all().enumerate() {
        let login = number.checked_div(each).and_then(|client| logins.get(client));
        let (Some(login), Some(token)) = (login.cloned(), tokens.current(now)) else { continue };
        let generation = token.generation.number();
        tasks.spawn(async move {
            match login.revoke(&token.authorization).await {
                Ok(()) => tracing::info!(token = number, generation, "token revoked"),
                Err(why) => tracing::warn!(
                    token = number,
                    generation,
                    why,
                    "the token could not be revoked: it ends by itself"
                ),
            }
        });
    }
    tasks.close();
    if tokio::time::timeout(REVOCATION, tasks.wait()).await.is_err() {
        tracing::warn!("not every token could be revoked in time: the rest end by themselves");
    }
}
