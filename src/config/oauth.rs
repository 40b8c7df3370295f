//! `[oauth]` and `[vault]` after every check: who we are, and where and how the token is got.
//! It never holds a secret that a file, a command or Vault keeps: those are read when they are needed.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use url::Url;

use super::credential::Kind as SecretKind;

/// How the client proves who it is (RFC 6749 section 2.3, RFC 7523 section 2.2, RFC 8705 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// HTTP Basic, id and secret form-encoded first.
    Basic,
    /// `client_id` and `client_secret` in the form.
    Body,
    /// An assertion signed with the secret (HS256).
    ClientSecretJwt,
    /// An assertion signed with a private key (RS256 or ES256, whichever the key is for).
    PrivateKeyJwt,
    /// The certificate of the TLS connection, and `client_id` in the form.
    TlsClientAuth,
}

/// Where a client id was read from, so that it can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// It stands in the file; a client id only.
    Literal,
    /// This environment variable.
    Variable(String),
    /// This file, less one newline at its end.
    File(PathBuf),
}

/// `variable GENESYS_CLIENT_ID`
impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str("the configuration file"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// Where a secret is, and how it is read again.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// An environment variable, which cannot change while the process runs.
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretString,
    },
    /// This file, less one newline at its end. A systemd credential is one, too.
    File(PathBuf),
    /// What this program prints.
    Command(Command),
    /// A field of a secret in Vault.
    Vault(VaultSecret),
}

/// `variable GENESYS_CLIENT_SECRET`; never the value, and of a command only the program's name, as
/// an argument may be a secret too.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { name, .. } => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Command(command) => write!(f, "command {}", command.program),
            Self::Vault(secret) => write!(f, "Vault {secret}"),
        }
    }
}

/// `{ command = ["pass", "show", "genesys"], field = "client_secret", timeout = "10s" }`
#[derive(Clone)]
pub struct Command {
    /// The program: a path, or a name looked up in `PATH`. No shell is involved.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Of the JSON object it prints; without it, what it prints is the secret, unless that is a
    /// JSON object with the key's own name.
    pub field: Option<String>,
    /// The name looked for in an unasked-for JSON object: `client_secret`.
    pub usual_field: &'static str,
    /// After this the program is killed.
    pub timeout: Duration,
}

/// Without the arguments.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("program", &self.program).finish_non_exhaustive()
    }
}

/// `{ vault = "secret/data/genesys#client_secret" }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultSecret {
    /// Which KV engine it is in.
    pub engine: KvEngine,
    /// Where the engine is mounted.
    pub mount: String,
    /// The secret's path in the engine, without v2's `data/`.
    pub path: String,
    /// Which of its fields.
    pub field: String,
}

/// `secret/data/genesys#client_secret`
impl fmt::Display for VaultSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = match self.engine {
            KvEngine::V1 => "",
            KvEngine::V2 => "data/",
        };
        write!(f, "{}/{data}{}#{}", self.mount, self.path, self.field)
    }
}

/// The two versions of Vault's key-value engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvEngine {
    /// No versions: `kv/genesys`.
    V1,
    /// With versions: `secret/data/genesys`.
    V2,
}

/// `[vault]`: given when a source names Vault.
#[derive(Debug, Clone)]
pub struct Vault {
    /// `https`, or `http` on loopback.
    pub address: Url,
    /// Vault Enterprise's namespace.
    pub namespace: Option<String>,
    /// How the gateway logs in.
    pub auth: VaultAuth,
    /// Extra trusted roots (PEM), besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Of one request.
    pub timeout: Duration,
}

/// How the gateway logs in at Vault.
#[derive(Debug, Clone)]
pub enum VaultAuth {
    /// A token made by somebody else; renewed while Vault lets it.
    Token(SecretSource),
    /// A role id and a secret id.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role's id.
        role_id: String,
        /// The role's secret id; none when the role asks for none.
        secret_id: Option<SecretSource>,
    },
    /// The pod's service account.
    Kubernetes {
        /// Where the method is mounted.
        mount: String,
        /// The role's name.
        role: String,
        /// The service account's token, read anew at every login.
        jwt_file: PathBuf,
    },
}

/// What proves who a client is.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A secret, and the one that follows it in a rotation.
    Secret {
        /// `client_secret`
        current: SecretSource,
        /// `next_client_secret`: tried when the first is refused.
        next: Option<SecretSource>,
    },
    /// A key, PEM or JWK.
    PrivateKey {
        /// `private_key`
        key: SecretSource,
        /// `key_id`: the assertion's `kid`, when the key does not say.
        key_id: Option<String>,
    },
    /// The certificate alone.
    Certificate,
}

impl Credentials {
    /// What the source must hold.
    pub fn kind(&self) -> SecretKind {
        match self {
            Self::PrivateKey { .. } => SecretKind::PrivateKey,
            Self::Secret { .. } | Self::Certificate => SecretKind::Word,
        }
    }

    /// Where the secret or key is; `None` for a certificate.
    pub fn source(&self) -> Option<&SecretSource> {
        match self {
            Self::Secret { current, .. } => Some(current),
            Self::PrivateKey { key, .. } => Some(key),
            Self::Certificate => None,
        }
    }
}

/// One OAuth client: `client_id` and its kin in `[oauth]`, or one `[[oauth.client]]`.
#[derive(Debug, Clone)]
pub struct OAuthClient {
    /// Client id.
    pub id: String,
    /// Where the id came from.
    pub id_source: CredentialSource,
    /// What proves it.
    pub credentials: Credentials,
}

/// A client certificate for the connections to the token endpoint and its kin (RFC 8705).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// The chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// What happens to a token that lacks a required scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingScope {
    /// It is used, and what is missing is logged by name.
    Warn,
    /// It is not used.
    Refuse,
}

/// How tokens are checked while they live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    /// Not at all: a 401 tells.
    Never,
    /// `HEAD <api_url>/api/v2/tokens/me`
    Genesys,
    /// Introspection (RFC 7662).
    Rfc7662 {
        /// The introspection endpoint.
        introspect_url: Url,
    },
}

/// `[oauth]`
#[derive(Debug, Clone)]
pub struct OAuth {
    /// Who we are. At least one; each has `tokens` tokens of its own.
    pub clients: Vec<OAuthClient>,
    /// Where tokens are minted; `https`, or `http` on loopback.
    pub token_url: Url,
    /// Of one token request, first byte to last.
    pub timeout: Duration,
    /// How the clients authenticate.
    pub client_auth: ClientAuth,
    /// `aud` of assertions; the URL they are sent to when `None`.
    pub assertion_audience: Option<String>,
    /// Shown on the TLS connection to the token endpoint, introspection and revocation.
    pub client_cert: Option<ClientCert>,
    /// Omitted from the request when empty.
    pub scope: Vec<String>,
    /// Further form parameters, for example `audience`.
    pub extra_params: BTreeMap<String, String>,
    /// Further header fields of token requests. Sensitive: they may hold keys.
    pub extra_headers: Vec<(HeaderName, HeaderValue)>,
    /// How long before expiry the next token is fetched.
    pub refresh_before: Duration,
    /// What a token must carry.
    pub required_scopes: Vec<String>,
    /// What happens when it does not.
    pub on_missing_scope: MissingScope,
    /// Where the keys are that sign tokens; given, every token must be a JWT signed with one.
    pub jwks_url: Option<Url>,
    /// The `iss` that a token must have.
    pub expected_issuer: Option<String>,
    /// An `aud` that a token must have.
    pub expected_audience: Option<String>,
    /// How tokens are checked while they live.
    pub verify: Verify,
    /// How often, jittered.
    pub verify_every: Duration,
    /// Tokens of each client, each with its own budget.
    pub tokens: u32,
    /// Tokens are revoked when the gateway ends.
    pub revoke_on_exit: bool,
    /// Where (RFC 7009); `DELETE <api_url>/api/v2/tokens/me` when `None`.
    pub revoke_url: Option<Url>,
}
