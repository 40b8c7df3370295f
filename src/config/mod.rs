//! What the operator decided, checked: every value here is usable as it stands.
//! It never reads a file or the environment after start-up; `load` does that once.

mod access;
mod caller;
mod check;
mod credential;
mod env;
mod file;
mod left_out;
mod listen_tls;
mod load;
mod nearest;
mod oauth;
mod origin;
mod read;
mod redact;
mod region;
mod renew;
mod report;
mod store;
mod tables;
mod units;
mod upstream;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::decide::{access::Rule, turns::gate::Limit};

pub(crate) use self::credential::{
    CREDENTIALS_DIRECTORY, MAX_BYTES, read as read_credential, unusable, without_newline,
};
pub(crate) use self::units::{show_duration, show_size};
pub use self::{
    access::{Access, IdentityProvider, Mode, PerAddress},
    caller::{Caller, CertName, KeyDigest},
    check::{log_filter, read_audit_key},
    credential::Kind as SecretKind,
    env::Variables,
    left_out::Named,
    listen_tls::{ListenTls, Shown, TlsFile, Unusable},
    load::{Sources, load, load_for_one, load_to_renew},
    oauth::{
        ClientAuth, ClientCert, Command, CredentialSource, Credentials, KvEngine, MissingScope,
        OAuth, OAuthClient, SecretSource, Vault, VaultAuth, VaultSecret, Verify,
    },
    renew::{Changes, Given},
    report::{Place, Problem, Problems},
    store::{HostPort, Servers, Store},
    upstream::{Http2, Origin, OutboundProxy, Scheme, Upstream},
};

/// The whole configuration after every check has passed.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where callers connect. At least one.
    pub listen: Vec<Listen>,
    /// Health listener; `None` turns it off.
    pub admin: Option<SocketAddr>,
    /// Of the key that actions on the admin listener take; `None`: there are none.
    pub admin_key: Option<KeyDigest>,
    /// How long connections are taken after the gateway has said that it is not ready.
    pub shutdown_linger: Duration,
    /// How long a drain may take before open connections are cut.
    pub shutdown_timeout: Duration,
    /// Where calls go.
    pub upstream: Upstream,
    /// How the token is got.
    pub oauth: OAuth,
    /// Where secrets in Vault are; `None` when none is.
    pub vault: Option<Vault>,
    /// How much of a request body is kept for a replay.
    pub replay: Replay,
    /// How fast calls may leave.
    pub rate_limit: RateLimit,
    /// How often a call is sent when Genesys Cloud is in trouble.
    pub retry: Retry,
    /// Which answers do for more than one call.
    pub saving: Saving,
    /// Who may connect, and the limits of a connection.
    pub access: Access,
    /// Whose tokens callers may show; `None`: nobody's.
    pub jwt: Option<IdentityProvider>,
    /// Where each call is recorded; `None`: nowhere.
    pub audit: Option<Audit>,
    /// What replicas share; `None`: this one is alone.
    pub store: Option<Store>,
    /// What is logged.
    pub telemetry: Telemetry,
    /// What TCP listeners show; `None`: they speak plain text.
    pub tls: Option<ListenTls>,
    /// Who calls, in the file's order: at most 1000.
    pub callers: Vec<Caller>,
    /// Further organisations; this one is "default".
    pub organisations: Vec<Organisation>,
}

/// `[orgs.NAME]`: another organisation behind the same gateway.
#[derive(Debug, Clone)]
pub struct Organisation {
    /// A plain word in lower case, not "default".
    pub name: String,
    /// `Host` values that choose it, as in [`Access::hosts`]. Nobody else has one of them.
    pub hosts: Vec<String>,
    /// All that it is run with: its own `listen` (none: it is chosen by `Host`), upstream, login,
    /// limits, retries, savings and callers; the rest is the gateway's.
    pub config: Config,
}

/// A place where callers connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket, written `unix:/path`.
    Unix(PathBuf),
}

/// `[replay]`, all in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Replay {
    /// Of one body in memory; above goes to an unlinked temporary file.
    pub memory_per_request: usize,
    /// Of one body at all; above is not replayable.
    pub per_request: u64,
    /// Of all bodies in memory.
    pub memory_total: usize,
}

/// How calls are spread over the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// As they come, while there are places.
    Burst,
    /// Evenly: a batch leaves room for whoever comes after it.
    Even,
}

/// One of `rate_limit.families`: calls that Genesys limits below the token.
#[derive(Debug, Clone)]
pub struct Family {
    /// Which calls.
    pub rule: Rule,
    /// How many of them.
    pub limit: Limit,
}

/// `[rate_limit]`
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// Calls per `window` and token; `None`: no limit of our own.
    pub requests_per_minute: Option<NonZeroU32>,
    /// What the limit is counted over.
    pub window: Duration,
    /// How calls are spread over it.
    pub pacing: Pacing,
    /// Of `requests_per_minute`: places for calls with an urgency below 3 (RFC 9218).
    pub reserve: u32,
    /// How long a caller waits for its turn at most.
    pub max_wait: Duration,
    /// How many may wait at once.
    pub max_queue: usize,
    /// A longer `Retry-After` is handed on at once.
    pub max_retry_after: Duration,
    /// Limits of single path families.
    pub families: Vec<Family>,
}

/// `[retry]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// How often one call is sent after 502, 503, 504 and connection failures, the first included.
    pub attempts: u32,
    /// Retries as a share of first tries, from 0 to 1.
    pub budget: f64,
}

/// `[saving]`: nothing, unless the operator names paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saving {
    /// Identical calls in flight are sent once.
    pub coalesce: Vec<Rule>,
    /// Those are, too, and their answers are kept for a while. The first that matches counts.
    pub cache: Vec<Cached>,
    /// Of all kept answers, in bytes; as much again of answers on their way to several callers.
    pub memory: usize,
}

/// One of `saving.cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Of which calls.
    pub rule: Rule,
    /// How old a kept answer may become.
    pub life: Duration,
}

/// What happens to calls that cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They are not made.
    Refuse,
    /// They are made, and counted.
    Continue,
}

/// `[audit]`
#[derive(Debug, Clone)]
pub struct Audit {
    /// The log.
    pub file: PathBuf,
    /// What happens when it cannot be written.
    pub on_failure: OnFailure,
    /// How long a line may wait to be safe from a power cut; zero: for nothing.
    pub sync: Duration,
    /// A file that would be larger is put aside, in bytes.
    pub max_size: Option<u64>,
    /// What the chain is sealed with.
    pub key: Option<SecretString>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[telemetry]`
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// A `tracing` filter: `info`, or `genesys_proxy=debug,warn`.
    pub log: String,
    /// How log lines look.
    pub format: LogFormat,
    /// One line a request.
    pub access_log: bool,
    /// Who gets traces, if anybody does.
    pub otlp: Option<Otlp>,
}

/// A collector of traces.
#[derive(Debug, Clone)]
pub struct Otlp {
    /// `/v1/traces` is added to it.
    pub endpoint: url::Url,
    /// Of the traces that begin here, the share that it gets.
    pub sampling: f64,
    /// Roots besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl Config {
    /// The key that actions take crosses a network that others may listen on: the admin listener speaks
    /// plain HTTP.
    pub fn admin_key_in_the_clear(&self) -> Option<SocketAddr> {
        self.admin.filter(|at| self.admin_key.is_some() && !at.ip().to_canonical().is_loopback())
    }

    /// Callers' keys cross a network that others may listen on: the addresses where they would.
    pub fn in_the_clear(&self) -> impl Iterator<Item = SocketAddr> {
        let all = self.organisations.iter().flat_map(|org| &org.config.listen);
        let keyed = self.access.mode == Mode::Key && self.tls.is_none();
        self.listen.iter().chain(all).filter_map(move |listen| match listen {
            Listen::Tcp(address) if keyed && !address.ip().to_canonical().is_loopback() => {
                Some(*address)
            }
            Listen::Tcp(_) | Listen::Unix(_) => None,
        })
    }
}
