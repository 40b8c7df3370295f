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
    store::{Link, ReplicaId, token::Redis},
    token::{
        Keeping, Share, Tokens,
        issuer::{Issuer, Login, Network, Secrets, Unbuildable},
        pool::Pool,
        provider::Provider,
        shared::Shared,
        verify::Check,
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

/// A token that replicas share.
pub(super) type Joint = Shared<Login, Redis>;

/// Starts the keepers; with a store, what they share it by, in the same order.
pub(super) fn start(
    config: &Config,
    logins: &[Arc<Login>],
    admission: &Arc<Admission>,
    store: Option<&Arc<Link>>,
    keeping: &Keeping,
) -> Result<(Pool, Vec<Arc<Joint>>), StartError> {
    let each = config.oauth.tokens as usize;
    let (mut keepers, mut joints) = (Vec::new(), Vec::new());
    for issuer in logins {
        let renewals = Arc::new(Mutex::new(Renewals::new(config.oauth.tokens)));
        // Who asks whether another replica lives is not to find another of its own tokens.
        let life = ReplicaId::random();
        for number in 0..each {
            let lane = Lane::new(keepers.len());
            let begin = Begin { config, admission, lane, renewals: &renewals, keeping };
            let tokens = match store {
                None => begin.tokens(issuer),
                Some(link) => {
                    let redis = Redis::new(Arc::clone(link), life.clone());
                    let joint = Arc::new(Shared::new(Arc::clone(issuer), redis, number));
                    let tokens = begin.tokens(&joint);
                    let (followed, heard) = (Arc::clone(&tokens), Arc::clone(&joint));
                    keeping.spawn(async move { heard.follow(&followed).await });
                    if number == 0 {
                        let lives = Arc::clone(&joint);
                        keeping.spawn(async move { lives.attend().await });
                    }
                    joints.push(joint);
                    tokens
                }
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
    Ok((Pool::new(first, keepers.collect()), joints))
}

/// What the keeper of one token needs.
struct Begin<'a> {
    config: &'a Config,
    admission: &'a Arc<Admission>,
    lane: Lane,
    renewals: &'a Arc<Mutex<Renewals>>,
    keeping: &'a Keeping,
}

impl Begin<'_> {
    fn tokens<I: Issuer + Check>(&self, issuer: &Arc<I>) -> Arc<Tokens> {
        let (issuer, lane) = (Arc::clone(issuer), self.lane);
        match self.config.oauth.verify {
            // A look at the token is a call to the API like any other.
            Verify::Never | Verify::Genesys => {
                let toll = Toll { admission: Arc::clone(self.admission), lane };
                Tokens::spawn(issuer, toll, lane, self.renewals, self.keeping)
            }
            Verify::Rfc7662 { .. } => Tokens::spawn(issuer, (), lane, self.renewals, self.keeping),
        }
    }
}

/// Revokes every token in use, unless another replica uses it too; what fails is said, and the token
/// ends by itself.
pub(super) async fn revoke(
    logins: &[Arc<Login>],
    tokens: &Pool,
    joints: &[Arc<Joint>],
    each: usize,
) {
    let tasks = TaskTracker::new();
    let now = Instant::now();
    for (number, tokens) in tokens.all().enumerate() {
        let login = number.checked_div(each).and_then(|client| logins.get(client));
        let (Some(login), Some(token)) = (login.cloned(), tokens.current(now)) else { continue };
        let generation = token.generation.number();
        let joint = joints.get(number).filter(|_| token.share != Share::Private).cloned();
        tasks.spawn(async move {
            if let Some(joint) = &joint {
                if !joint.last_alive().await {
                    tracing::info!(token = number, "token not revoked: other replicas use it");
                    return;
                }
                joint.withdraw(&token).await;
            }
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
