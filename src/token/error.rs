//! Why there is no token: precise enough to say whose fault it is, and what to do about it.
//! It never holds anything that an endpoint could have planted a secret in.

use std::{error::Error, fmt, io, time::Duration};

use crate::{decide::freshness::Trouble, telemetry::causes::causes};

/// What kind of failure a mint ended in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// 400 `invalid_client`: at Genesys, an id that nobody knows.
    UnknownClient,
    /// 401 `invalid_client`: at Genesys, a known id with another secret.
    WrongSecret,
    /// `unauthorized_client`, `unsupported_grant_type`, `invalid_grant`: not a client for
    /// client credentials.
    WrongGrant,
    /// `invalid_scope`
    BadScope,
    /// 403, `access_denied`: an address that is not allowed, a disabled client.
    Blocked,
    /// 429, or Genesys's 400 for it.
    Throttled,
    /// The host's name, or the outbound proxy's, does not resolve.
    Dns,
    /// No connection, or one that broke before an answer.
    Connect,
    /// No TLS.
    Tls(Handshake),
    /// No answer in time.
    Timeout,
    /// A 3xx, which is not followed.
    Redirect,
    /// Another status that is not 200.
    Status(u16),
    /// A 200 that brings no usable token.
    BadAnswer,
    /// The token lacks these scopes.
    MissingScope(Vec<String>),
    /// The client secret or private key cannot be read where it is kept.
    Secret,
    /// The server that keeps the client secret cannot be reached, or cannot serve now.
    SecretAway,
    /// What was read is no key that can sign.
    Key,
    /// The keys that sign tokens cannot be fetched, and none is known.
    Jwks,
    /// No key of the issuer signed the token.
    Signature,
    /// The token is another issuer's, or for another audience.
    Foreign,
}

/// Why there is no TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// Nobody trusted signed the certificate.
    Untrusted,
    /// The certificate is for another name.
    Misnamed,
    /// The certificate has ended, or has not begun.
    OutOfDate,
    /// No common protocol, no client certificate, no TLS at all.
    Broken,
}

impl Handshake {
    fn of(error: &rustls::Error) -> Self {
        use rustls::{CertificateError as Bad, Error};
        match error {
            Error::InvalidCertificate(Bad::UnknownIssuer) => Self::Untrusted,
            Error::InvalidCertificate(
                Bad::NotValidForName | Bad::NotValidForNameContext { .. },
            ) => Self::Misnamed,
            Error::InvalidCertificate(
                Bad::Expired
                | Bad::ExpiredContext { .. }
                | Bad::NotValidYet
                | Bad::NotValidYetContext { .. },
            ) => Self::OutOfDate,
            _ => Self::Broken,
        }
    }

    /// What somebody can do about it, whichever server it is.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Untrusted => {
                "add the root that signed its certificate to upstream.ca_file; a proxy that opens \
                 TLS has its own"
            }
            Self::Misnamed => {
                "check oauth.token_url, for the API upstream.api_url, and whether something in \
                 between opens TLS"
            }
            Self::OutOfDate => {
                "check this machine's clock, then tell who runs the server: its certificate has \
                 ended or not begun"
            }
            Self::Broken => {
                "check that the URL is that of a TLS port, oauth.client_cert, and what stands in \
                 between"
            }
        }
    }
}

impl Kind {
    /// How to go on. Permanent is what only a change of the configuration mends, here or there.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::UnknownClient
            | Self::WrongSecret
            | Self::WrongGrant
            | Self::BadScope
            | Self::Blocked
            | Self::MissingScope(_)
            | Self::Key
            | Self::Foreign => Trouble::Permanent,
            Self::Throttled => Trouble::Throttled,
            // A signature may be a key rotation under way, a secret may be a file being replaced.
            Self::Dns
            | Self::Connect
            | Self::Tls(_)
            | Self::Timeout
            | Self::Redirect
            | Self::Status(_)
            | Self::BadAnswer
            | Self::Secret
            | Self::SecretAway
            | Self::Jwks
            | Self::Signature => Trouble::Transient,
        }
    }

    /// What somebody can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::UnknownClient => {
                "check oauth.client_id and upstream.region: nobody knows this id there"
            }
            Self::WrongSecret => {
                "check oauth.client_secret: it was replaced, or belongs to another client"
            }
            Self::WrongGrant => {
                "give the client the grant type Client Credentials (Admin > Integrations > OAuth)"
            }
            Self::BadScope => "check oauth.scope: the client may not have one of these scopes",
            Self::Blocked => {
                "enable the client, or add this machine's public address to those it may be used \
                 from (Admin > Integrations > OAuth)"
            }
            Self::Throttled => "wait a minute; other programs may be minting with this client, too",
            Self::Dns => "check upstream.region, oauth.token_url, upstream.proxy and the resolver",
            Self::Connect => "check firewalls, upstream.proxy and oauth.token_url",
            Self::Tls(handshake) => handshake.advice(),
            Self::Timeout => "check firewalls and upstream.proxy, or raise oauth.timeout",
            Self::Redirect => "set oauth.token_url to where the token endpoint really is",
            Self::Status(404 | 405) => "check oauth.token_url: there is no token endpoint",
            Self::Status(400..=499) => {
                "check oauth.token_url, oauth.client_auth, oauth.scope and oauth.extra_params"
            }
            Self::Status(_) => "see the status page of the authorization server: it is in trouble",
            Self::BadAnswer => "check oauth.token_url, and what stands between it and here",
            Self::MissingScope(_) => {
                "grant the client these scopes, or take them out of oauth.required_scopes"
            }
            Self::Secret => "check where the secret is kept, and who may read it",
            Self::SecretAway => "check vault.address, firewalls, and that Vault runs unsealed",
            Self::Key => "give oauth.private_key an RSA or P-256 private key, as PEM or JWK",
            Self::Jwks => "check oauth.jwks_url, firewalls and upstream.proxy",
            Self::Signature => "check that oauth.jwks_url belongs to oauth.token_url's issuer",
            Self::Foreign => {
                "check oauth.expected_issuer, oauth.expected_audience and oauth.token_url"
            }
        }
    }

    /// The endpoint does not know this id with this secret: the other secret may be right.
    pub fn refuses_client(&self) -> bool {
        matches!(self, Self::UnknownClient | Self::WrongSecret)
    }

    /// What the network did, as far as the sources of an error tell.
    pub fn of_network(error: &(dyn Error + 'static)) -> Self {
        for cause in causes(error) {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::Tls(Handshake::of(tls));
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                match io.kind() {
                    io::ErrorKind::TimedOut => return Self::Timeout,
                    // tokio-rustls's word for a peer that hangs up in the handshake.
                    io::ErrorKind::UnexpectedEof if io.to_string().contains("tls handshake") => {
                        return Self::Tls(Handshake::Broken);
                    }
                    _ => {}
                }
            }
        }
        Self::Connect
    }
}

/// Why there is no token. Says nothing that the endpoint could have planted a secret in.
#[derive(Debug, Clone)]
pub struct MintError {
    /// For a diagnosis.
    pub kind: Kind,
    /// The endpoint's own wish.
    pub retry_after: Option<Duration>,
    /// For the log.
    pub why: String,
    /// What somebody can do about it.
    pub advice: &'static str,
}

impl MintError {
    /// Without a wish of the endpoint's.
    pub fn new(kind: Kind, why: impl Into<String>) -> Self {
        let advice = kind.advice();
        Self { kind, retry_after: None, why: why.into(), advice }
    }

    /// A token that had ended before it came.
    pub fn dead_on_arrival() -> Self {
        Self::new(Kind::BadAnswer, "the token had expired before it arrived")
    }

    /// The same, with what became of the client's other secret.
    pub(super) fn and_the_other(mut self, other: &Self) -> Self {
        self.why = format!("{}; the other secret: {}", self.why, other.why);
        self
    }

    /// How to go on.
    pub fn trouble(&self) -> Trouble {
        self.kind.trouble()
    }
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for MintError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_an_io_error_is_found() {
        let inner = rustls::Error::General("no".to_owned());
        let error = io::Error::other(io::Error::other(inner));
        assert_eq!(Kind::of_network(&error), Kind::Tls(Handshake::Broken));
        let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(Kind::of_network(&eof), Kind::Tls(Handshake::Broken));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(Kind::of_network(&reset), Kind::Connect);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_apart() {
        use rustls::CertificateError as Bad;
        for (bad, handshake, advice) in [
            (Bad::UnknownIssuer, Handshake::Untrusted, "upstream.ca_file"),
            (Bad::NotValidForName, Handshake::Misnamed, "oauth.token_url"),
            (Bad::Expired, Handshake::OutOfDate, "clock"),
            (Bad::NotValidYet, Handshake::OutOfDate, "clock"),
            (Bad::BadEncoding, Handshake::Broken, "TLS port"),
        ] {
            let error = io::Error::other(rustls::Error::InvalidCertificate(bad));
            let kind = Kind::of_network(&error);
            assert_eq!(kind, Kind::Tls(handshake));
            assert!(kind.advice().contains(advice), "{}", kind.advice());
        }
    }

    #[test]
    fn only_what_a_configuration_mends_is_permanent() {
        for kind in [Kind::UnknownClient, Kind::WrongSecret, Kind::BadScope, Kind::Blocked] {
            assert_eq!(kind.trouble(), Trouble::Permanent);
        }
        for kind in [Kind::BadAnswer, Kind::Dns, Kind::Status(503), Kind::Secret, Kind::SecretAway]
        {
            assert_eq!(kind.trouble(), Trouble::Transient);
        }
        assert_eq!(Kind::Throttled.trouble(), Trouble::Throttled);
    }
}
