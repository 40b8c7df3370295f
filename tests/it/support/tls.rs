//! TLS in front of a plain server, and proxies that callers must ask first: bytes are passed on.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A listener that terminates TLS for somebody else; gone when dropped.
pub struct TlsFront {
    pub address: SocketAddr,
    /// The certificate authority, for `upstream.ca_file`.
    pub ca_file: PathBuf,
    /// Handshakes that succeeded.
    pub handshakes: Arc<AtomicUsize>,
    /// What ALPN chose, connection by connection.
    pub protocols: Arc<Mutex<Vec<String>>>,
    _dir: tempfile::TempDir,
    task: JoinHandle<()>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TlsFront {
    /// TLS with a certificate for `name` before `target`, offering `alpn`.
    pub async fn start(target: SocketAddr, name: &str, alpn: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (config, ca) = certified(name, alpn);
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, ca).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handshakes = Arc::new(AtomicUsize::new(0));
        let protocols = Arc::new(Mutex::new(Vec::new()));
        let (counted, noted) = (Arc::clone(&handshakes), Arc::clone(&protocols));
        let task = spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counted, noted) =
                    (acceptor.clone(), Arc::clone(&counted), Arc::clone(&noted));
                spawn(async move {
                    let Ok(mut tls) = acceptor.accept(stream).await else { return };
                    counted.fetch_add(1, Ordering::SeqCst);
                    let chosen = tls.get_ref().1.alpn_protocol().unwrap_or_default();
                    noted.lock().unwrap().push(String::from_utf8_lossy(chosen).into_owned());
                    let mut plain = TcpStream::connect(target).await.unwrap();
                    let _ = copy_bidirectional(&mut tls, &mut plain).await;
                });
            }
        });
        Self { address, ca_file, handshakes, protocols, _dir: dir, task }
    }

    /// `[upstream]` that trusts it.
    pub fn upstream(&self) -> String {
        format!(
            "[upstream]\napi_url = \"https://localhost:{}\"\nca_file = \"{}\"",
            self.address.port(),
            self.ca_file.display()
        )
    }
}

/// A server certificate for `name` under an authority of its own.
fn certified(name: &str, alpn: &[&str]) -> (ServerConfig, String) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    (config, ca_pem)
}

/// An HTTP proxy that knows CONNECT and remembers what it was asked; gone when dropped.
pub struct ConnectProxy {
    pub address: SocketAddr,
    /// Request line and `Proxy-Authorization` of each CONNECT.
    pub asked: Arc<Mutex<Vec<(String, String)>>>,
    task: JoinHandle<()>,
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ConnectProxy {
    /// Lets everybody through, whatever they say.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let task = spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn(tunnel(stream, Arc::clone(&noted)));
            }
        });
        Self { address, asked, task }
    }
}

async fn tunnel(stream: TcpStream, noted: Arc<Mutex<Vec<(String, String)>>>) {
    let mut stream = BufReader::new(stream);
    let (mut request, mut authorization, mut line) = (String::new(), String::new(), String::new());
    stream.read_line(&mut request).await.unwrap();
    while stream.read_line(&mut line).await.unwrap() > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("proxy-authorization")
        {
            value.trim().clone_into(&mut authorization);
        }
        line.clear();
    }
    let target = request.split(' ').nth(1).unwrap().to_owned();
    noted.lock().unwrap().push((request.trim().to_owned(), authorization));
    let mut far = TcpStream::connect(target.replace("localhost", "127.0.0.1")).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut far).await;
}

#[expect(clippy::disallowed_methods, reason = "aborted by the drop of its owner, or ends with it")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}
