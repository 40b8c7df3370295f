//! What stands between a gateway and a far upstream: TLS, and an outbound proxy.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{
    HandshakeKind,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A certificate authority of one test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
    /// What it issues for fronts and callers has ended.
    late: bool,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two of one name would be taken for each other.
        let name = format!("authority {:x}", fastrand::u64(..));
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), issuer.pem()).unwrap();
        Self { issuer, file, late: false }
    }

    /// One whose servers and callers forgot to renew.
    pub fn late() -> Self {
        Self { late: true, ..Self::new() }
    }

    /// Its certificate, for `upstream.ca_file`.
    pub fn path(&self) -> &str {
        self.file.path().to_str().unwrap()
    }

    /// Its certificate itself (PEM).
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A key and its certificate for `name`, both PEM.
    pub fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (key.serialize_pem(), certificate.pem())
    }

    /// The same with a subject, for a caller that shows it.
    pub fn issue_to(&self, subject: &str, names: Vec<SanType>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.subject_alt_names = names;
        self.end(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (key.serialize_pem(), certificate.pem())
    }

    fn end(&self, params: &mut CertificateParams) {
        if self.late {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
    }

    fn acceptor(&self, name: &str, alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        self.end(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// TLS before a plain server: every byte of HTTP passes as it is.
pub struct Front {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    resumed: AtomicUsize,
    alpn: Mutex<Vec<String>>,
}

impl Front {
    /// Shows a certificate for `name`, and offers these protocols.
    pub async fn new(server: SocketAddr, ca: &Authority, name: &str, alpn: &[&str]) -> Self {
        let (acceptor, seen) = (ca.acceptor(name, alpn), Arc::new(Seen::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, counts) = (listener.local_addr().unwrap(), Arc::clone(&seen));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut pipes = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&counts));
                seen.connections.fetch_add(1, Ordering::Relaxed);
                pipes.spawn(async move {
                    let Ok(tls) = acceptor.accept(stream).await else { return };
                    seen.handshakes.fetch_add(1, Ordering::Relaxed);
                    if tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                        seen.resumed.fetch_add(1, Ordering::Relaxed);
                    }
                    let alpn = tls.get_ref().1.alpn_protocol().unwrap_or_default();
                    seen.alpn.lock().unwrap().push(String::from_utf8_lossy(alpn).into_owned());
                    pipe(tls, server).await;
                });
            }
        });
        Self { address, seen, _serving: serving }
    }

    /// TCP connections so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// TLS handshakes that were completed.
    pub fn handshakes(&self) -> usize {
        self.seen.handshakes.load(Ordering::Relaxed)
    }

    /// Those that went on with an earlier session.
    pub fn resumed(&self) -> usize {
        self.seen.resumed.load(Ordering::Relaxed)
    }

    /// What was agreed on, a handshake each; "" for nothing.
    pub fn alpn(&self) -> Vec<String> {
        self.seen.alpn.lock().unwrap().clone()
    }
}

async fn pipe(mut stream: impl AsyncRead + AsyncWrite + Unpin, server: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // However it ends is the peers' business.
    copy_bidirectional(&mut stream, &mut server).await.ok();
}

/// An outbound proxy that knows CONNECT, and where every name leads.
pub struct ConnectProxy {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<Vec<String>>>>,
    _serving: JoinSet<()>,
}

impl ConnectProxy {
    /// Tunnels to `server` whatever is asked for; without `authorization`, when one is wanted, 407.
    pub async fn new(server: SocketAddr, authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::default());
        let seen: Arc<Mutex<Vec<Vec<String>>>> = Arc::clone(&heads);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tunnels.spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut head = Vec::new();
                    loop {
                        let mut line = String::new();
                        if stream.read_line(&mut line).await.unwrap_or_default() <= 2 {
                            break;
                        }
                        head.push(line.trim_end().to_owned());
                    }
                    let let_in = authorization.is_none_or(|wanted| {
                        head.iter().any(|line| {
                            line.split_once(": ").is_some_and(|(name, value)| {
                                name.eq_ignore_ascii_case("proxy-authorization") && value == wanted
                            })
                        })
                    });
                    seen.lock().unwrap().push(head);
                    let answer = if let_in {
                        "HTTP/1.1 200 Connection established\r\n\r\n"
                    } else {
                        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
                    };
                    if stream.write_all(answer.as_bytes()).await.is_ok() && let_in {
                        pipe(stream, server).await;
                    }
                });
            }
        });
        Self { address, heads, _serving: serving }
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<Vec<String>> {
        self.heads.lock().unwrap().clone()
    }
}
