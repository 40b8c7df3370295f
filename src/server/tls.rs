//! TLS on the TCP listeners: what they show, whom they ask for a certificate, and what it says.
//! It never lets a failed handshake be seen by anybody else, and of those that strangers repeat it
//! logs one now and then.

mod watch;

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::CertificateDer,
    server::{Acceptor, NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use x509_parser::{extensions::GeneralName, prelude::FromDer, prelude::X509Certificate};

use super::handshakes::Line;
use crate::{
    config::{CertName, ListenTls, Shown, TlsFile, Unusable, read_credential},
    telemetry::{causes::innermost, seldom::Seldom},
};
pub use watch::{Seen, watch};

/// The first byte of a TLS handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// For whoever speaks HTTP to a port of HTTPS.
const HINT: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Content-Length: 43\r\nConnection: close\r\n\r\nThis port speaks TLS: write https:// here.\n";

/// Of all workers and listeners: it is strangers who cause it.
static NO_HANDSHAKE: Seldom = Seldom::new();

/// Why a connection does not speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum NoHandshake {
    /// It ended before its first byte: somebody looks which ports are open.
    #[error("it was closed without a byte")]
    Silent,
    /// Its caller speaks something else.
    #[error("it does not begin as TLS does")]
    NotTls,
    /// It was not done within `access.header_timeout`.
    #[error("it took longer than access.header_timeout")]
    Slow,
    /// It was over before it was this one's turn.
    #[error("its caller left while it waited for its turn")]
    Left,
    /// What rustls or the connection says.
    #[error("{}", innermost(.0))]
    Failed(#[from] io::Error),
}

impl NoHandshake {
    /// Says so, now and then.
    pub fn tell(&self, peer: SocketAddr) {
        let told = match self {
            Self::Silent => None,
            Self::NotTls | Self::Slow | Self::Left | Self::Failed(_) => {
                NO_HANDSHAKE.say(Instant::now())
            }
        };
        if let Some(left_out) = told {
            tracing::warn!(%peer, why = %self, left_out, "a TLS handshake of a caller's failed");
        } else {
            tracing::debug!(%peer, why = %self, "no TLS handshake");
        }
    }
}

/// Why listeners cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetup {
    /// A file is not what it was when the configuration was checked.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// rustls refuses the authorities.
    #[error("tls.client_ca: {0}")]
    ClientCa(#[from] VerifierBuilderError),
    /// rustls refuses its own defaults.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// What listeners show now. A new certificate is for the connections that come after it.
#[derive(Debug)]
pub struct Edge(ArcSwap<ServerConfig>);

/// The files' bytes.
type Bytes = (Vec<u8>, secrecy::zeroize::Zeroizing<Vec<u8>>, Option<Vec<u8>>);

impl Edge {
    /// From the files, and warns of what is wrong with a certificate that can be used all the same.
    ///
    /// What it has read is for [`watch()`]: a change since then is one.
    pub fn new(files: &ListenTls) -> Result<(Arc<Self>, Seen), TlsSetup> {
        let read = read(files)?;
        let shown = parse(&read)?;
        warn(&shown);
        Ok((Arc::new(Self(ArcSwap::from(server(&shown)?))), Seen::from(read)))
    }

    /// The next connection is shown this.
    fn show(&self, shown: &Shown) -> Result<(), TlsSetup> {
        self.0.store(server(shown)?);
        Ok(())
    }

    /// The handshake, within `patience`, its steps in turn with those of others.
    ///
    /// # Errors
    /// With the reason why there is none.
    pub async fn accept(
        &self,
        stream: TcpStream,
        patience: Duration,
        line: &Line,
    ) -> Result<Box<TlsStream<TcpStream>>, NoHandshake> {
        timeout(patience, self.shake_hands(stream, line)).await.unwrap_or(Err(NoHandshake::Slow))
    }

    async fn shake_hands(
        &self,
        mut stream: TcpStream,
        line: &Line,
    ) -> Result<Box<TlsStream<TcpStream>>, NoHandshake> {
        let mut first = [0];
        let Ok(1..) = stream.peek(&mut first).await else { return Err(NoHandshake::Silent) };
        let [first] = first;
        if first != HANDSHAKE {
            if first.is_ascii_uppercase() {
                // Read, or the close would be a reset that takes the hint with it. Best effort.
                let _ = stream.try_read(&mut [0; 4096]);
                stream.write_all(HINT).await?;
                stream.shutdown().await?;
            }
            return Err(NoHandshake::NotTls);
        }
        let config = self.0.load_full();
        let handshake = async {
            let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            // What comes now takes a signature.
            if has_left(&begun.io).await {
                return Err(NoHandshake::Left);
            }
            Ok(begun.into_stream(config).await?)
        };
        line.run(handshake).await.map(Box::new)
    }
}

/// The caller has closed its side, as far as the loop has heard. Later it may, and read on.
async fn has_left(stream: &TcpStream) -> bool {
    let mut ready = pin!(stream.ready(Interest::READABLE));
    poll_fn(|cx| match ready.as_mut().poll(cx) {
        Poll::Ready(Ok(ready)) => Poll::Ready(ready.is_read_closed()),
        Poll::Ready(Err(_)) => Poll::Ready(true),
        // Nothing is there to be read.
        Poll::Pending => Poll::Ready(false),
    })
    .await
}

fn server(shown: &Shown) -> Result<Arc<ServerConfig>, TlsSetup> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let pair = Arc::new(SingleCertAndKey::from(Arc::clone(&shown.pair)));
    let mut config = match &shown.client_ca {
        None => versions.with_no_client_auth().with_cert_resolver(pair),
        Some(roots) => {
            // Who shows none may have another credential.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider)
                .allow_unauthenticated()
                .build()?;
            let mut config = versions.with_client_cert_verifier(verifier).with_cert_resolver(pair);
            // A session that is resumed is not verified again: it would outlive its certificate.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(files: &ListenTls) -> Result<Bytes, Unusable> {
    let of = |file, path: &std::path::Path| {
        read_credential(path).map_err(|error| Unusable {
            file,
            what: format!("cannot read {}: {error}", path.display()),
            hint: "check the path and its permissions",
        })
    };
    let cert = of(TlsFile::Cert, &files.cert)?.to_vec();
    let key = of(TlsFile::Key, &files.key)?;
    let roots = files.client_ca.as_deref().map(|path| of(TlsFile::ClientCa, path)).transpose()?;
    Ok((cert, key, roots.map(|roots| roots.to_vec())))
}

fn parse((cert, key, roots): &Bytes) -> Result<Shown, Unusable> {
    Shown::parse(cert, key, roots.as_deref())
}

fn warn(shown: &Shown) {
    if let Some(wrong) = untimely(&shown.pair, SystemTime::now()) {
        tracing::warn!("tls.cert: {wrong}");
    }
}

/// What `check` should say of a certificate that can be used, and yet nobody would accept.
pub fn note(files: &ListenTls) -> Option<String> {
    let shown = parse(&read(files).ok()?).ok()?;
    untimely(&shown.pair, SystemTime::now()).map(|wrong| format!("tls.cert: {wrong}"))
}

/// The certificate is not valid now.
fn untimely(pair: &CertifiedKey, now: SystemTime) -> Option<String> {
    let (_, leaf) = X509Certificate::from_der(pair.end_entity_cert().ok()?).ok()?;
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let validity = leaf.validity();
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    if now > seconds(validity.not_after) {
        let ended = validity.not_after;
        Some(format!("the certificate expired on {ended}: callers will refuse it; renew it"))
    } else if now < seconds(validity.not_before) {
        let begins = validity.not_before;
        Some(format!("the certificate is not valid before {begins}: check it, and the clock"))
    } else {
        None
    }
}

/// When a certificate ends, in Unix time.
fn not_after(pair: &CertifiedKey) -> Option<u64> {
    let (_, leaf) = X509Certificate::from_der(pair.end_entity_cert().ok()?).ok()?;
    u64::try_from(leaf.validity().not_after.timestamp()).ok()
}

/// The names in the certificate that the caller has shown, which was verified; none without one.
pub fn names(stream: &TlsStream<TcpStream>) -> Vec<CertName> {
    let shown = stream.get_ref().1.peer_certificates();
    shown.and_then(|chain| chain.first()).map(names_in).unwrap_or_default()
}

/// What cannot be read is no name; of a certificate that is malformed there is none at all.
fn names_in(leaf: &CertificateDer<'_>) -> Vec<CertName> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(others) = leaf.subject_alternative_name() else { return Vec::new() };
    let common = leaf
        .subject()
        .iter_common_name()
        .filter_map(|name| name.as_str().ok())
        .map(|name| CertName::CommonName(name.to_owned()));
    let others = others.iter().flat_map(|others| &others.value.general_names);
    let others = others.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(CertName::Dns(name.to_ascii_lowercase())),
        GeneralName::URI(uri) => Some(CertName::Uri((*uri).to_owned())),
        _ => None,
    });
    common.chain(others).collect()
}

#[cfg(test)]
mod tests;
