//! Whose call it is: by what it shows, or else by where its connection comes from.
//! It never lets a credential that is wrong pass for none, where callers must be known.
//!
//! The address is looked up once a connection, the credential of each request.

mod connected;
mod networks;
mod renewed;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::SystemTime,
};

use quick_cache::sync::Cache;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use tokio::{sync::Semaphore, time::Instant};

use super::login::{seal::Entitled, sharing::NoKeys, tokens::Tokens};
use crate::{
    config::{Caller, CertName, KeyDigest, Mode},
    decide::{
        asked::Asked,
        callers::{Granted, Peer, Principal, Terms},
        failure::Failure,
        offered::{Login, Offered, is_local},
        policy::Policy,
    },
    telemetry::{
        callers::{Name, Names},
        seldom::Seldom,
    },
    token::provider::{Distrust, Provider},
};

pub use connected::Connected;
use networks::Networks;
pub use renewed::TakesRestart;

/// Nothing was shown.
const SHOW: &str = "This gateway serves callers that it knows: send your key in X-Api-Key, or log in \
                    at /oauth/token";
/// Something was, and it is nobody's.
const WRONG: &str = "No caller of this gateway has these credentials";
/// A token of ours that is over.
pub const TOKEN_UNKNOWN: &str = "The token is over or was revoked: log in again at /oauth/token";
/// A token of the identity provider's that is not to be believed.
const DISTRUSTED: &str =
    "The token is not one of the identity provider's for this gateway, or it is over";
/// One that is, of nobody here.
const NO_CALLER: &str = "The token is good, and of no caller that this gateway knows";

/// Strangers whose forms may be awaited at once.
const ASKED_AT_ONCE: usize = 256;
/// Verified tokens that are not verified again for each call.
const REMEMBERED: usize = 1000;

/// Everybody who calls, as the configuration tells them apart, and what each is granted.
#[derive(Debug)]
pub struct Callers {
    mode: Mode,
    names: Names,
    granted: Granted,
    /// By the places of the names; `None`: a reload took it away.
    policies: Vec<Option<Policy>>,
    keys: HashMap<KeyDigest, Principal>,
    by_name: HashMap<String, (KeyDigest, Principal)>,
    certificates: HashMap<CertName, Principal>,
    networks: Networks,
    users: HashMap<u32, Principal>,
    claims: Vec<(BTreeMap<String, String>, Principal)>,
    verified: Cache<KeyDigest, (Principal, SystemTime)>,
    /// Who is logging in, nobody known yet: what these hold is bounded.
    pub asked: Semaphore,
    /// Tokens that are not taken: it is strangers who cause it.
    refused: Seldom,
    /// The tokens that callers got here.
    pub tokens: Arc<Tokens>,
    provider: Option<Arc<Provider>>,
}

/// Whose call it is, or what is to be found out first.
#[derive(Debug)]
pub enum Identity<'a> {
    /// It is this one's.
    Known(Principal),
    /// A token that the identity provider must have signed, or another replica have issued.
    Unverified(&'a str),
}

impl Callers {
    /// Of a configuration: no two have a name, a network, a user or a key in common.
    pub fn new(
        callers: &[Caller],
        mode: Mode,
        tokens: Tokens,
        provider: Option<Arc<Provider>>,
    ) -> Self {
        let names = Names::new(callers.iter().map(|caller| caller.name.clone()));
        let all = Self::with((callers, mode), names, Arc::new(tokens), provider);
        all.tokens.follow_callers(all.may_log_in());
        all
    }

    fn with(
        (callers, mode): (&[Caller], Mode),
        names: Names,
        tokens: Arc<Tokens>,
        provider: Option<Arc<Provider>>,
    ) -> Self {
        let by_name: HashMap<&str, &Caller> =
            callers.iter().map(|caller| (&*caller.name, caller)).collect();
        let places: Vec<_> = names.all().map(|name| by_name.get(name).copied()).collect();
        let numbered = || {
            let all = (0..).map(Principal::Named).zip(&places);
            all.filter_map(|(principal, caller)| Some((principal, (*caller)?)))
        };
        let key = |(principal, caller): (_, &Caller)| caller.key.map(|key| (key, principal));
        let login = |(principal, caller): (_, &Caller)| {
            caller.key.map(|key| (caller.name.clone(), (key, principal)))
        };
        Self {
            mode,
            granted: Granted::new(
                places.iter().map(|place| place.map_or_else(Terms::default, |it| it.terms)),
            ),
            policies: places.iter().map(|place| place.map(|it| it.policy.clone())).collect(),
            keys: numbered().filter_map(key).collect(),
            by_name: numbered().filter_map(login).collect(),
            certificates: each(numbered(), |caller| &caller.certificates).collect(),
            networks: each(numbered(), |caller| &caller.networks).collect(),
            users: each(numbered(), |caller| &caller.uids).collect(),
            claims: numbered()
                .filter(|(_, caller)| !caller.claims.is_empty())
                .map(|(principal, caller)| (caller.claims.clone(), principal))
                .collect(),
            verified: Cache::new(REMEMBERED),
            asked: Semaphore::new(ASKED_AT_ONCE),
            refused: Seldom::new(),
            tokens,
            provider,
            names,
        }
    }

    /// It has not been taken away.
    fn serves(&self, principal: Principal) -> bool {
        match principal {
            Principal::Named(number) => {
                self.policies.get(usize::from(number)).is_some_and(Option::is_some)
            }
            Principal::Address(_) | Principal::User(_) | Principal::Unknown => true,
        }
    }

    /// Who has connected, as far as the connection itself tells.
    pub fn connected(&self, connected: &Connected) -> Principal {
        match connected.peer {
            Peer::Address(address) => {
                self.certified(&connected.certificate).unwrap_or_else(|| self.at(address))
            }
            Peer::User(uid) => self.users.get(&uid).copied().unwrap_or(Principal::User(uid)),
            Peer::Unknown => Principal::Unknown,
        }
    }

    fn at(&self, address: IpAddr) -> Principal {
        self.networks.of(address).unwrap_or_else(|| Principal::at(address))
    }

    /// Who has shown a certificate with these names. One with the names of two callers is nobody's:
    /// which of them is meant is not ours to guess.
    fn certified(&self, names: &[CertName]) -> Option<Principal> {
        let mut owners = names.iter().filter_map(|name| self.certificates.get(name).copied());
        let owner = owners.next()?;
        owners.all(|other| other == owner).then_some(owner)
    }

    /// Whoever reaches a listener may call.
    pub fn open(&self) -> bool {
        self.mode == Mode::Open
    }

    /// Whose call this is, on a connection of `connected`. Where callers need not be known, a
    /// credential that is nobody's is as good as none: legacy apps send what they always did.
    ///
    /// # Errors
    /// When nobody knows, and callers must be known.
    pub fn identify<'a>(
        &self,
        connected: Principal,
        asked: &'a Asked,
    ) -> Result<Identity<'a>, Failure> {
        if self.open() && self.by_name.is_empty() && self.claims.is_empty() {
            return Ok(Identity::Known(connected));
        }
        let (found, wrong) = match Offered::of(asked) {
            Offered::Nothing => (None, None),
            Offered::Key(key) => {
                (self.keys.get(&KeyDigest::of(key.as_bytes())).copied(), Some(WRONG))
            }
            Offered::Login(login) => (self.login(&login), Some(WRONG)),
            Offered::Local(token) => match self.tokens.find(token, Instant::now()) {
                None if self.tokens.may_be_elsewhere(token) => {
                    return Ok(Identity::Unverified(token));
                }
                found => (found.filter(|whose| self.serves(*whose)), Some(TOKEN_UNKNOWN)),
            },
            Offered::Jwt(token) if !self.claims.is_empty() => match self.remembered(token) {
                Some(principal) => (Some(principal), None),
                None => return Ok(Identity::Unverified(token)),
            },
            Offered::Jwt(_) | Offered::Nobodys => (None, Some(WRONG)),
        };
        match found {
            Some(principal) => Ok(Identity::Known(principal)),
            None => self.without(connected, wrong).map(Identity::Known),
        }
    }

    /// Whose call it is without a credential that helps; `wrong` says what came instead.
    fn without(
        &self,
        connected: Principal,
        wrong: Option<&'static str>,
    ) -> Result<Principal, Failure> {
        match (self.mode, connected, wrong) {
            (Mode::Open, _, _) | (Mode::Key, Principal::Named(_), None) => Ok(connected),
            (Mode::Key, _, Some(wrong)) => Err(Failure::CallerUnknown(wrong)),
            (Mode::Key, _, None) => Err(Failure::CallerUnknown(SHOW)),
        }
    }

    /// Whose a name and a key are: both must be right.
    pub fn login(&self, login: &Login) -> Option<Principal> {
        self.entitled(login).map(|(principal, _)| principal)
    }

    /// The same, with the key.
    pub fn entitled(&self, login: &Login) -> Option<Entitled> {
        let matches = |login: &Login| {
            let (key, principal) = self.by_name.get(&login.name)?;
            let right = *key == KeyDigest::of(login.key.expose_secret().as_bytes());
            right.then_some((*principal, *key))
        };
        // OAuth clients encode both first, everybody else does not.
        matches(login).or_else(|| matches(&login.form_decoded()))
    }

    fn remembered(&self, token: &str) -> Option<Principal> {
        let (principal, until) = self.verified.get(&KeyDigest::of(token.as_bytes()))?;
        (SystemTime::now() < until).then_some(principal)
    }

    /// Whose token of ours this is. One that was never seen here may take a look into the store.
    ///
    /// # Errors
    /// While there is nothing to open it with, and callers must be known.
    pub async fn local(&self, token: &str) -> Result<Option<Principal>, Failure> {
        let served = |found: Option<Principal>| found.filter(|whose| self.serves(*whose));
        let found = self.tokens.find(token, Instant::now());
        if found.is_some() || !self.tokens.may_be_elsewhere(token) {
            return Ok(served(found));
        }
        match self.tokens.look(token).await {
            Ok(found) => Ok(served(found)),
            Err(NoKeys) if self.open() => Ok(None),
            Err(NoKeys) => Err(Failure::KeysUnavailable),
        }
    }

    /// Whose token this is, as its provider or another replica says. It may take a fetch of keys, or a
    /// look into the store.
    ///
    /// # Errors
    /// When it is not to be believed or is nobody's, and callers must be known.
    pub async fn verify(&self, connected: Principal, token: &str) -> Result<Principal, Failure> {
        if is_local(token) {
            let found = self.local(token).await?;
            return found.map_or_else(|| self.without(connected, Some(TOKEN_UNKNOWN)), Ok);
        }
        let Some(provider) = &self.provider else { return self.without(connected, Some(WRONG)) };
        let verified = match provider.verify(token).await {
            Ok(verified) => verified,
            Err(distrust) => {
                self.tell(distrust.word());
                return match distrust {
                    Distrust::NoKeys if !self.open() => Err(Failure::KeysUnavailable),
                    Distrust::Crowd if !self.open() => Err(Failure::CallersCrowd),
                    Distrust::NoKeys
                    | Distrust::Crowd
                    | Distrust::Malformed
                    | Distrust::UnknownKey
                    | Distrust::BadSignature
                    | Distrust::Issuer
                    | Distrust::Audience
                    | Distrust::Expired
                    | Distrust::Early => self.without(connected, Some(DISTRUSTED)),
                };
            }
        };
        let whose = |(claims, _): &&(BTreeMap<String, String>, Principal)| {
            claims.iter().all(|(name, value)| says(&verified.claims, name, value))
        };
        let Some((_, principal)) = self.claims.iter().find(whose) else {
            self.tell("no caller has its claims");
            return self.without(connected, Some(NO_CALLER));
        };
        let digest = KeyDigest::of(token.as_bytes());
        self.verified.insert(digest, (*principal, verified.until));
        Ok(*principal)
    }

    /// Why a token is not taken, now and then. Where callers need not be known nothing is refused
    /// for it, and legacy apps send what they always did.
    fn tell(&self, why: &'static str) {
        let told = if self.open() { None } else { self.refused.say(Instant::now()) };
        if let Some(left_out) = told {
            tracing::warn!(why, left_out, "a caller's token is refused");
        } else {
            tracing::debug!(why, "a caller's token is not taken");
        }
    }

    /// `X-Api-Key` is for us, and for nobody else to see.
    pub fn have_keys(&self) -> bool {
        !self.open() || !self.keys.is_empty()
    }

    /// The identity provider's keys cannot be fetched.
    pub fn keys_away(&self) -> bool {
        self.provider.as_ref().is_some_and(|provider| provider.away())
    }

    /// What each is granted.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// What one may call; `None`: everything.
    pub fn policy(&self, principal: Principal) -> Option<&Policy> {
        match principal {
            Principal::Named(number) => {
                let policy = self.policies.get(usize::from(number))?.as_ref();
                policy.filter(|policy| !policy.is_empty())
            }
            Principal::Address(_) | Principal::User(_) | Principal::Unknown => None,
        }
    }

    /// The `[[caller]]` of this name.
    pub fn named(&self, name: &str) -> Option<Principal> {
        self.names.find(name).filter(|principal| self.serves(*principal))
    }

    /// What logs and people call a caller.
    pub fn name(&self, principal: Principal) -> Name<'_> {
        self.names.of(principal)
    }

    /// All names, for the log.
    pub fn names(&self) -> Names {
        self.names.clone()
    }
}

/// Each of some things that callers have, and whose it is.
fn each<'c, T: Clone + 'c>(
    callers: impl Iterator<Item = (Principal, &'c Caller)>,
    things: impl Fn(&'c Caller) -> &'c Vec<T>,
) -> impl Iterator<Item = (T, Principal)> {
    callers.flat_map(move |(principal, caller)| {
        things(caller).iter().map(move |thing| (thing.clone(), principal))
    })
}

/// A claim is this text, or a list with it.
fn says(claims: &Map<String, Value>, name: &str, value: &str) -> bool {
    match claims.get(name) {
        Some(Value::String(text)) => text == value,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(value)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

#[cfg(test)]
mod tests;
