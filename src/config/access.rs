//! Who may call, what proves it, and the limits of a connection.
//! It never holds a caller: those have tables of their own.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use url::Url;

use crate::decide::access::Rule;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Whoever reaches a listener: these are on loopback addresses and unix sockets then.
    Open,
    /// Callers that prove to be one of the configuration's.
    Key,
}

/// `access.max_connections_per_address`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerAddress {
    /// `None`: as many as there may be at all.
    pub most: Option<NonZeroUsize>,
    /// Callers on this machine are held to it, too.
    pub loopback: bool,
}

/// `[access]`
#[derive(Debug, Clone)]
pub struct Access {
    /// Who may call.
    pub mode: Mode,
    /// How long a token of `/oauth/token` lives.
    pub login_life: Duration,
    /// How long it lives without being used.
    pub login_idle: Duration,
    /// Accepted `Host` values besides the listen addresses, lower case, no port; an IPv6 address
    /// without brackets.
    pub hosts: Vec<String>,
    /// Web pages that may call: origins as a browser writes them.
    pub origins: Vec<HeaderValue>,
    /// What every request must carry, and no page of another site can add.
    pub require_header: Option<HeaderName>,
    /// Calls that are refused whoever asks.
    pub deny: Vec<Rule>,
    /// Open connections at once.
    pub max_connections: usize,
    /// Those of one address.
    pub max_connections_per_address: PerAddress,
    /// For a request's whole head.
    pub header_timeout: Duration,
    /// Between two reads of a request's body.
    pub body_timeout: Duration,
    /// Of an idle connection.
    pub keep_alive: Duration,
    /// Of a request's head, in bytes.
    pub max_header_bytes: usize,
    /// Fields in a request's head.
    pub max_headers: usize,
    /// Of a request's path and query, in bytes.
    pub max_uri_bytes: usize,
}

/// `[jwt]`: an identity provider whose tokens callers may show.
#[derive(Debug, Clone)]
pub struct IdentityProvider {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// What must be among their `aud`: this gateway.
    pub audience: String,
    /// Where its public keys are (RFC 7517).
    pub jwks_url: Url,
    /// A file with a bearer token for that address, read each time.
    pub jwks_token_file: Option<PathBuf>,
    /// That address is not reached through `upstream.proxy`.
    pub direct: bool,
    /// More trusted roots (PEM) for that address, besides the system's.
    pub ca_file: Option<PathBuf>,
}
