//! Being logged in at Vault: log in when something is read, renew before the end, again after a 403.
//! It never logs in twice for one read, nor while a token that Vault still knows is only denied.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vaultrs::api::{
    auth::{
        approle::requests::LoginWithApproleRequest,
        kubernetes::requests::LoginWithKubernetesRequest,
    },
    kv1::requests::GetSecretRequest,
    kv2::requests::ReadSecretRequest,
    token::requests::{LookupTokenSelfRequest, RenewTokenSelfRequest},
};

use super::{
    Answer, Auth, Raw, Wire,
    answer::{read_auth, read_lookup, read_secret, sendable},
};
use crate::{
    config::{KvEngine, VaultAuth, VaultSecret},
    decide::lease::{Grant, Lease, Next},
    secret::{Kind, Secret, Unreadable, file::Reading},
};

/// A token that ends within this and cannot be renewed is worth a warning.
const SOON: Duration = Duration::from_secs(32 * 86_400);

/// What is shown to get a login.
enum Proof {
    /// It is the login already.
    Token(Secret),
    AppRole {
        mount: String,
        role_id: String,
        secret_id: Option<Secret>,
    },
    Kubernetes {
        mount: String,
        role: String,
        jwt_file: Reading,
    },
}

struct Login {
    token: SecretString,
    lease: Lease,
}

/// What there is to ask with.
enum Held {
    Good(SecretString),
    /// Still good, and time to replace it.
    Ends(SecretString),
    Nothing,
}

pub(super) struct Session {
    wire: Wire,
    proof: Proof,
    login: Option<Login>,
    /// The log says already that the token ends.
    warned: bool,
}

impl Session {
    pub(super) fn new(
        wire: Wire,
        auth: &VaultAuth,
        tasks: &TaskTracker,
        runtime: &Handle,
        stop: &CancellationToken,
    ) -> Self {
        let secret = |source: &crate::config::SecretSource| {
            Secret::spawn(source.clone(), Kind::Word, None, tasks, runtime, stop.clone())
        };
        let proof = match auth {
            VaultAuth::Token(source) => Proof::Token(secret(source)),
            VaultAuth::AppRole { mount, role_id, secret_id } => Proof::AppRole {
                mount: mount.clone(),
                role_id: role_id.clone(),
                secret_id: secret_id.as_ref().map(secret),
            },
            VaultAuth::Kubernetes { mount, role, jwt_file } => Proof::Kubernetes {
                mount: mount.clone(),
                role: role.clone(),
                jwt_file: Reading::new(jwt_file.clone(), Kind::Word),
            },
        };
        Self { wire, proof, login: None, warned: false }
    }

    /// Until nobody can ask any more.
    pub(super) async fn serve(mut self, mut asked: mpsc::Receiver<(VaultSecret, Answer)>) {
        loop {
            let renewal = match self.login.as_ref().map(|login| login.lease.next()) {
                Some(Next::Renew(at)) => Some(Instant::from_std(at)),
                // Whoever reads next logs in.
                Some(Next::LogIn(_) | Next::Nothing) | None => None,
            };
            let due = async {
                match renewal {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ask = asked.recv() => match ask {
                    Some((secret, answer)) => {
                        // Whoever asked may have left.
                        answer.send(self.read(&secret).await).ok();
                    }
                    None => return,
                },
                () = due => self.renew().await,
                () = another(&self.proof) => (self.login, self.warned) = (None, false),
            }
        }
    }

    async fn read(&mut self, secret: &VaultSecret) -> Result<SecretString, Unreadable> {
        let (status, body) = match self.held() {
            Held::Good(token) => match self.ask_as(secret, &token).await? {
                Some(raw) => raw,
                None => self.ask_anew(secret).await?,
            },
            Held::Ends(token) => match self.log_in().await {
                Ok(token) => self.ask(secret, &token).await?,
                Err(why) => {
                    tracing::warn!(%why, "login at Vault fails: the former one is used until it ends");
                    self.ask_as(secret, &token).await?.ok_or(why)?
                }
            },
            Held::Nothing => self.ask_anew(secret).await?,
        };
        read_secret(status, &body, secret).map_err(|why| self.wire.refused(status, &why))
    }

    fn held(&self) -> Held {
        let now = Instant::now().into_std();
        match &self.login {
            Some(Login { token, lease }) if lease.good(now) => match lease.next() {
                Next::LogIn(at) if now >= at => Held::Ends(token.clone()),
                Next::LogIn(_) | Next::Renew(_) | Next::Nothing => Held::Good(token.clone()),
            },
            Some(_) | None => Held::Nothing,
        }
    }

    async fn ask_anew(&mut self, secret: &VaultSecret) -> Result<Raw, Unreadable> {
        let token = self.log_in().await?;
        self.ask(secret, &token).await
    }

    /// `None` when Vault does not know the token any more.
    async fn ask_as(
        &self,
        secret: &VaultSecret,
        token: &SecretString,
    ) -> Result<Option<Raw>, Unreadable> {
        let raw = self.ask(secret, token).await?;
        // 403 is both "you may not" and "I do not know you": a look at the token tells.
        Ok((raw.0 != 403 || self.known(token).await).then_some(raw))
    }

    async fn ask(&self, secret: &VaultSecret, token: &SecretString) -> Result<Raw, Unreadable> {
        let unaskable = || self.wire.told("cannot be asked for this path");
        match secret.engine {
            KvEngine::V1 => {
                let mut request = GetSecretRequest::builder();
                request.mount(&*secret.mount).path(&*secret.path);
                self.wire.call(request.build().map_err(|_| unaskable())?, Some(token)).await
            }
            KvEngine::V2 => {
                let mut request = ReadSecretRequest::builder();
                request.mount(&*secret.mount).path(&*secret.path);
                self.wire.call(request.build().map_err(|_| unaskable())?, Some(token)).await
            }
        }
    }

    /// Vault knows the token; when it cannot be asked, nothing is won by a login either.
    async fn known(&self, token: &SecretString) -> bool {
        match self.wire.call(LookupTokenSelfRequest {}, Some(token)).await {
            Ok((status, _)) => status != 403,
            Err(_) => true,
        }
    }

    /// The token of a new login. When it fails the old login stays, if there is one.
    async fn log_in(&mut self) -> Result<SecretString, Unreadable> {
        let asked = Instant::now().into_std();
        let Auth { token, grant } = match &mut self.proof {
            Proof::Token(source) => look_up(&self.wire, source).await?,
            Proof::AppRole { mount, role_id, secret_id } => {
                let secret_id = match secret_id {
                    Some(secret_id) => secret_id.fresh().await?,
                    None => SecretString::default(),
                };
                let request = LoginWithApproleRequest {
                    mount: mount.clone(),
                    role_id: role_id.clone(),
                    secret_id: secret_id.expose_secret().to_owned(),
                };
                let (status, body) = self.wire.call(request, None).await?;
                read_auth(status, &body).map_err(|why| self.wire.refused(status, &why))?
            }
            Proof::Kubernetes { mount, role, jwt_file } => {
                let jwt = jwt_file.read().await?;
                let request = LoginWithKubernetesRequest {
                    mount: mount.clone(),
                    role: role.clone(),
                    jwt: jwt.expose_secret().to_owned(),
                };
                let (status, body) = self.wire.call(request, None).await?;
                read_auth(status, &body).map_err(|why| self.wire.refused(status, &why))?
            }
        };
        tracing::info!(life = %life(grant), renewable = grant.renewable, "logged in at Vault");
        self.warn_of_the_end(grant);
        let lease = Lease::new(asked, grant);
        self.login = Some(Login { token: token.clone(), lease });
        Ok(token)
    }

    fn warn_of_the_end(&mut self, grant: Grant) {
        let Proof::Token(source) = &self.proof else { return };
        if grant.renewable || self.warned || grant.life.is_none_or(|life| life > SOON) {
            return;
        }
        self.warned = true;
        tracing::warn!(
            source = source.source(),
            ends_in = %life(grant),
            "the Vault token ends and cannot be renewed: replace it in time, or use one made with \
             vault token create -period=24h, or auth = \"approle\" or \"kubernetes\""
        );
    }

    async fn renew(&mut self) {
        let Some(login) = &mut self.login else { return };
        let asked = Instant::now().into_std();
        let request = RenewTokenSelfRequest { increment: None };
        match self.wire.call(request, Some(&login.token)).await {
            Ok((status, body)) => match read_auth(status, &body) {
                Ok(Auth { grant, .. }) => {
                    login.lease.renewed(asked, grant);
                    tracing::debug!(life = %life(grant), "login at Vault renewed");
                }
                Err(why) if (400..429).contains(&status) => {
                    login.lease.refused(asked);
                    let why = self.wire.told(&why);
                    tracing::info!(%why, "login at Vault not renewed: a new one comes with the next read");
                }
                Err(why) => {
                    login.lease.unanswered(asked);
                    let why = self.wire.told(&why);
                    tracing::warn!(%why, "login at Vault not renewed: tried again");
                }
            },
            Err(why) => {
                login.lease.unanswered(asked);
                tracing::warn!(%why, "login at Vault not renewed: tried again");
            }
        }
    }
}

/// How long somebody else's token lives. One that may not look itself up is used all the same.
async fn look_up(wire: &Wire, source: &Secret) -> Result<Auth, Unreadable> {
    let token = source.fresh().await?;
    if !sendable(token.expose_secret()) {
        let why = format!("{}: a Vault token has visible ASCII only", source.source());
        return Err(Unreadable::new(why));
    }
    let (status, body) = wire.call(LookupTokenSelfRequest {}, Some(&token)).await?;
    let grant = match status {
        403 => Grant { life: None, renewable: false },
        status => read_lookup(status, &body).map_err(|why| wire.refused(status, &why))?,
    };
    Ok(Auth { token, grant })
}

/// Somebody put another token in the place of the one that we use.
async fn another(proof: &Proof) {
    match proof {
        Proof::Token(source) => source.changed().await,
        // They are shown at a login only.
        Proof::AppRole { .. } | Proof::Kubernetes { .. } => std::future::pending().await,
    }
}

fn life(grant: Grant) -> String {
    grant
        .life
        .map_or_else(|| "no end".to_owned(), |life| humantime::format_duration(life).to_string())
}
