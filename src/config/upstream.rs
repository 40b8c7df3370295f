//! Where calls go, and over what.
//! It never names a path: pagination URIs are relative to the root.

use std::{fmt, path::PathBuf, time::Duration};

use secrecy::SecretString;

/// Plain text or TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text: accepted for loopback hosts only.
    Http,
    /// TLS.
    Https,
}

/// Scheme, host and port of an upstream: never a path (pagination URIs are relative to the root).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Plain text or TLS.
    pub scheme: Scheme,
    /// Host name or address, an IPv6 address without brackets.
    pub host: String,
    /// Port, the scheme's own when the URL names none.
    pub port: u16,
}

/// HTTP version towards upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2 {
    /// ALPN decides.
    Auto,
    /// HTTP/1.1 only.
    Never,
    /// HTTP/2 by prior knowledge.
    Always,
}

/// `[upstream]`
#[derive(Debug, Clone)]
pub struct Upstream {
    /// `api.<domain>`: everything but what the two below take.
    pub api: Origin,
    /// `login.<domain>`: where tokens are minted.
    pub login: Origin,
    /// `apps.<domain>`: takes `/uploads/**`.
    pub apps: Origin,
    /// Extra trusted roots (PEM), besides the system's.
    pub ca_file: Option<PathBuf>,
    /// HTTP version.
    pub http2: Http2,
    /// TCP and TLS handshakes together.
    pub connect_timeout: Duration,
    /// To the first byte of the answer.
    pub response_timeout: Duration,
    /// Between two pieces of a body, either way.
    pub idle_timeout: Duration,
    /// Connections to `api` that each worker keeps ready.
    pub warm_connections: usize,
    /// Outbound HTTP proxy (CONNECT). May hold credentials: never logged.
    pub proxy: Option<OutboundProxy>,
}

/// `upstream.proxy`: a URL that may carry credentials.
#[derive(Clone)]
pub struct OutboundProxy {
    /// `http://host:port`, without credentials.
    pub origin: Origin,
    /// From the URL's userinfo, percent-decoded.
    pub credentials: Option<(String, SecretString)>,
}

impl fmt::Debug for OutboundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundProxy").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Origin {
    /// `Host` as upstream expects it: no port when it is the scheme's own.
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}
