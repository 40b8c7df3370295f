//! How a simulated Genesys Cloud is set up before it starts.
//! It must never change afterwards: what changes while it runs belongs to `faults`.

use std::time::Duration;

use secrecy::SecretString;

/// What the simulated organisation grants. The defaults are Genesys Cloud's, with one client
/// `demo` whose secret is `demo`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Calls one token may make in a window; 0 is no limit. Default 300.
    pub requests_per_minute: u32,
    /// The fixed window of that limit; it starts with a token's first call in it. Default 60 s.
    pub window: Duration,
    /// How long a new token lives, as `expires_in` says in whole seconds. Default 86,400 s.
    pub token_life: Duration,
    /// What access tokens look like. Default opaque.
    pub token_format: TokenFormat,
    /// The clients that may log in.
    pub clients: Vec<Client>,
    /// Tokens that one client may ask for in 60 s; 0 is no limit, the default, because Genesys
    /// does not publish its number. Beyond it, login answers Genesys's 400 "rate limit exceeded".
    pub mints_per_minute: u32,
    /// The scope a token gets when the client names none. Default `*`.
    pub scope: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests_per_minute: 300,
            window: Duration::from_mins(1),
            token_life: Duration::from_hours(24),
            token_format: TokenFormat::Opaque,
            clients: vec![Client::new("demo", "demo")],
            mints_per_minute: 0,
            scope: "*".to_owned(),
        }
    }
}

/// What an access token looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TokenFormat {
    /// A random string, as Genesys Cloud gives.
    Opaque,
    /// A JWT signed with RS256 under a key made at start, published at `/oauth/jwks`.
    Jwt,
}

/// Someone who may log in.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client id, as sent before form-encoding.
    pub id: String,
    /// The client secret, as sent before form-encoding.
    pub secret: SecretString,
    /// PEM of the RSA or EC public key that the client's assertions (`private_key_jwt`) are
    /// verified with, when it has one.
    pub public_key: Option<String>,
}

impl Client {
    /// A client with this id and secret.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { id: id.into(), secret: SecretString::from(secret.into()), public_key: None }
    }
}
