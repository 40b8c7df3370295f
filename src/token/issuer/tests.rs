//! A client against servers on loopback: what each failure is called, and what is sent.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    runtime::Handle,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    config::{
        ClientAuth, ClientCert, Command, Origin, Scheme, SecretSource, Sources, Verify, load,
    },
    token::{
        answer::MAX_ANSWER,
        verify::{Alive, Check},
    },
};

const TOKEN: &str = r#"{"access_token":"abcdefgh","expires_in":3600}"#;

/// A server with one answer after the other, the last for ever; every connection is closed after
/// its answer.
struct Peer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    async fn start(answers: &[String], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (answers, seen) = (answers.to_vec(), Arc::clone(&peer.seen));
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => serve(stream, &answers, &seen).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, &answers, &seen).await;
                        }
                    }
                }
            }
        });
        peer
    }

    async fn answering(answers: &[String]) -> Self {
        Self::start(answers, None).await
    }

    fn url(&self) -> Url {
        format!("http://{}/oauth/token", self.address).parse().unwrap()
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve<S>(mut stream: S, answers: &[String], seen: &Mutex<Vec<String>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Vec::new();
    while !whole(&request) {
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let nth = {
        let mut seen = seen.lock().unwrap();
        seen.push(String::from_utf8(request).unwrap());
        seen.len() - 1
    };
    let answer = answers.get(nth).or(answers.last()).unwrap();
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn refused() -> String {
    answer("401 Unauthorized", r#"{"error":"invalid_client"}"#)
}

fn secret(value: &str) -> SecretSource {
    SecretSource::Variable { name: "A_SECRET".to_owned(), value: value.into() }
}

fn oauth(token_url: Url) -> OAuth {
    let env = [("GENESYS_CLIENT_ID", "id"), ("GENESYS_CLIENT_SECRET", "first")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut oauth =
        load(&Sources { env, dir: "/nonexistent".into(), ..Sources::default() }).unwrap().oauth;
    oauth.token_url = token_url;
    oauth.timeout = Duration::from_secs(5);
    oauth
}

fn rotating(token_url: Url, current: &str, next: &str) -> OAuth {
    let mut oauth = oauth(token_url);
    oauth.client_auth = ClientAuth::Body;
    oauth.clients[0].credentials =
        Credentials::Secret { current: secret(current), next: Some(secret(next)) };
    oauth
}

fn trusting(roots: &[&CertificateDer<'static>]) -> ClientConfig {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add((*root).clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth()
}

fn login_over(oauth: OAuth, tls: ClientConfig) -> Login {
    let api = Origin {
        scheme: if oauth.token_url.scheme() == "https" { Scheme::Https } else { Scheme::Http },
        host: oauth.token_url.host_str().unwrap().to_owned(),
        port: oauth.token_url.port().unwrap_or(1),
    };
    let network = Network { connect_timeout: Duration::from_secs(5), proxy: None, tls, api: &api };
    let client = oauth.clients[0].clone();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let secrets = Secrets::of(&client.credentials, |source, kind| {
        Secret::spawn(source.clone(), kind, None, &tasks, &Handle::current(), stop.clone())
    });
    Login::new(oauth, client, secrets, &network).unwrap()
}

fn login(oauth: OAuth) -> Login {
    login_over(oauth, trusting(&[]))
}

async fn failure(oauth: OAuth) -> MintError {
    login(oauth).mint().await.unwrap_err()
}

/// An authority, and a server certificate of its for a name.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A server with a certificate for `name`; it wants to see the client's when `mutual`.
    fn acceptor(&self, name: &str, mutual: bool) -> TlsAcceptor {
        let (certificate, key) = self.issue(name, ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(self.root()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            )
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = builder.with_single_cert(vec![certificate.der().clone()], key.into()).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn https(peer: &Peer) -> Url {
    format!("https://localhost:{}/oauth/token", peer.address.port()).parse().unwrap()
}

#[tokio::test]
async fn a_closed_port_is_a_connection_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = failure(oauth(format!("http://{address}/").parse().unwrap())).await;
    assert_eq!(error.kind, Kind::Connect, "{error}");
    assert!(error.why.starts_with(&format!("{address} cannot be reached")), "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_has_is_a_dns_failure() {
    let error = failure(oauth("https://nowhere.invalid/oauth/token".parse().unwrap())).await;
    assert_eq!(error.kind, Kind::Dns, "{error}");
    assert!(error.why.contains("nowhere.invalid"), "{error}");
}

#[tokio::test]
async fn strangers_and_wrong_names_are_tls_failures() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let answers = [answer("200 OK", TOKEN)];
    let good = Peer::start(&answers, Some(ours.acceptor("localhost", false))).await;
    let stranger = Peer::start(&answers, Some(theirs.acceptor("localhost", false))).await;
    let misnamed = Peer::start(&answers, Some(ours.acceptor("elsewhere", false))).await;
    let tls = trusting(&[&ours.root()]);
    assert!(login_over(oauth(https(&good)), tls.clone()).mint().await.is_ok());
    for (peer, says) in [(stranger, "UnknownIssuer"), (misnamed, "not valid for name")] {
        let error = login_over(oauth(https(&peer)), tls.clone()).mint().await.unwrap_err();
        assert!(matches!(error.kind, Kind::Tls(_)), "{error}");
        assert!(error.why.contains(says), "{error}");
    }
}

#[tokio::test]
async fn plain_text_where_tls_should_be_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let login = login(oauth(url.parse().unwrap()));
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (minted, _stream) = tokio::join!(login.mint(), peer);
    let error = minted.unwrap_err();
    assert!(matches!(error.kind, Kind::Tls(_)), "{error}");
}

#[tokio::test]
async fn a_hang_up_in_the_handshake_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let login = login(oauth(url.parse().unwrap()));
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = Vec::new();
        stream.read_buf(&mut hello).await.unwrap();
        stream.shutdown().await.unwrap();
        stream
    };
    let (minted, _stream) = tokio::join!(login.mint(), peer);
    let error = minted.unwrap_err();
    assert!(matches!(error.kind, Kind::Tls(_)), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
        let mut oauth = oauth(url.parse().unwrap());
        oauth.timeout = Duration::from_millis(200);
        let error = failure(oauth).await;
        assert_eq!(error.kind, Kind::Timeout, "{scheme} {error}");
    }
}

#[tokio::test]
async fn a_silence_in_the_middle_of_an_answer_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut oauth = oauth(format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap());
    oauth.timeout = Duration::from_millis(500);
    let login = login(oauth);
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !whole(&request) {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{").await.unwrap();
        stream
    };
    let (minted, _stream) = tokio::join!(login.mint(), peer);
    assert_eq!(minted.unwrap_err().kind, Kind::Timeout);
}

#[tokio::test]
async fn a_hang_up_is_told_from_an_answer_that_was_cut() {
    let peer = Peer::answering(&[String::new()]).await;
    let error = failure(oauth(peer.url())).await;
    assert_eq!(error.kind, Kind::Connect, "{error}");
    assert!(error.why.contains("broke off before it answered"), "{error}");

    let short = answer("200 OK", TOKEN).replace("Content-Length: ", "Content-Length: 1");
    let peer = Peer::answering(&[short]).await;
    let error = failure(oauth(peer.url())).await;
    assert_eq!(error.kind, Kind::BadAnswer, "{error}");
    assert!(error.why.contains("was cut before its end"), "{error}");

    let peer = Peer::answering(&[answer("200 OK", &"x".repeat(MAX_ANSWER + 1))]).await;
    assert!(failure(oauth(peer.url())).await.why.contains("larger than"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Peer::answering(&[answer("200 OK", TOKEN)]).await;
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        target.url()
    );
    let peer = Peer::answering(&[redirect]).await;
    assert_eq!(failure(oauth(peer.url())).await.kind, Kind::Redirect);
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn what_is_configured_besides_is_sent() {
    let peer = Peer::answering(&[answer("200 OK", TOKEN)]).await;
    let mut oauth = oauth(peer.url());
    oauth.extra_headers = vec![("x-tenant".parse().unwrap(), "ours".parse().unwrap())];
    oauth.scope = vec!["a".to_owned()];
    let minted = login(oauth).mint().await.unwrap();
    assert_eq!(minted.scopes.unwrap(), ["a"], "as asked, when nobody says otherwise");
    let [request] = <[String; 1]>::try_from(peer.seen()).unwrap();
    let head = request.to_ascii_lowercase();
    assert!(head.contains("\r\nx-tenant: ours\r\n"), "{request}");
    assert!(head.contains("\r\nauthorization: basic awq6zmlyc3q=\r\n"), "{request}");
    assert!(request.ends_with("grant_type=client_credentials&scope=a"), "{request}");
}

#[tokio::test]
async fn a_refused_secret_gives_way_to_the_next_within_one_mint() {
    let peer = Peer::answering(&[refused(), answer("200 OK", TOKEN)]).await;
    let login = login(rotating(peer.url(), "first", "second"));
    login.mint().await.unwrap();
    assert_eq!(login.live_secret(), Which::Next);
    login.mint().await.unwrap();
    let seen = peer.seen();
    assert_eq!(seen.len(), 3);
    for (request, secret) in seen.iter().zip(["first", "second", "second"]) {
        assert!(request.ends_with(&format!("client_secret={secret}")), "{request}");
    }
}

#[tokio::test]
async fn the_first_secret_comes_back_when_the_next_is_refused() {
    let peer =
        Peer::answering(&[refused(), answer("200 OK", TOKEN), refused(), answer("200 OK", TOKEN)])
            .await;
    let login = login(rotating(peer.url(), "first", "second"));
    login.mint().await.unwrap();
    login.mint().await.unwrap();
    assert_eq!(login.live_secret(), Which::Current);
}

#[tokio::test]
async fn two_refused_secrets_are_one_error_and_the_live_one_stays() {
    let peer = Peer::answering(&[refused()]).await;
    let login = login(rotating(peer.url(), "first", "second"));
    let error = login.mint().await.unwrap_err();
    assert_eq!(error.kind, Kind::WrongSecret);
    assert!(error.why.contains("with client_secret and with next_client_secret"), "{error}");
    assert_eq!((peer.seen().len(), login.live_secret()), (2, Which::Current));
}

#[tokio::test]
async fn a_first_secret_that_was_never_readable_gives_way_to_the_next() {
    let missing = || SecretSource::File("/does/not/exist".into());
    let unreadable = |peer: &Peer, next| {
        let mut oauth = rotating(peer.url(), "first", "second");
        oauth.clients[0].credentials = Credentials::Secret { current: missing(), next: Some(next) };
        login(oauth)
    };
    let peer = Peer::answering(&[answer("200 OK", TOKEN)]).await;
    let good = unreadable(&peer, secret("second"));
    good.mint().await.unwrap();
    assert!(peer.seen()[0].ends_with("client_secret=second"));
    assert_eq!(good.live_secret(), Which::Next);
    // Neither helps: both are named, and the one to mend is the first.
    let error = unreadable(&peer, missing()).mint().await.unwrap_err();
    assert_eq!(error.kind, Kind::Secret);
    assert!(error.why.contains("oauth.client_secret: cannot read"), "{error}");
    assert!(error.why.contains("the other secret: oauth.next_client_secret"), "{error}");
    let peer = Peer::answering(&[refused()]).await;
    let refused = unreadable(&peer, secret("second"));
    let error = refused.mint().await.unwrap_err();
    assert_eq!((error.kind.clone(), refused.live_secret()), (Kind::Secret, Which::Current));
    assert!(error.why.contains("cannot read /does/not/exist"), "{error}");
    // It is not to blame.
    let peer = Peer::answering(&[answer("503 Service Unavailable", "")]).await;
    let error = unreadable(&peer, secret("second")).mint().await.unwrap_err();
    assert_eq!(error.kind, Kind::Status(503));
}

#[tokio::test]
async fn the_same_secret_is_not_tried_twice_and_other_failures_are_not_its_fault() {
    let peer = Peer::answering(&[refused()]).await;
    login(rotating(peer.url(), "same", "same")).mint().await.unwrap_err();
    assert_eq!(peer.seen().len(), 1);
    let peer = Peer::answering(&[answer("503 Service Unavailable", "")]).await;
    let login = login(rotating(peer.url(), "first", "second"));
    assert_eq!(login.mint().await.unwrap_err().kind, Kind::Status(503));
    assert_eq!(peer.seen().len(), 1);
}

#[tokio::test]
async fn replicas_in_mid_rotation_have_a_key_in_common() {
    let url: Url = "http://127.0.0.1:1/oauth/token".parse().unwrap();
    let ids = async |oauth| {
        let keys = login(oauth).seals("token").await;
        keys.iter().map(|key| key.id().to_owned()).collect::<Vec<_>>()
    };
    let rotating_now = ids(rotating(url.clone(), "old", "new")).await;
    let before = ids(rotating(url.clone(), "old", "old")).await;
    let after = ids(rotating(url.clone(), "new", "new")).await;
    assert_eq!(rotating_now, [before.as_slice(), &after].concat());
    let elsewhere = "http://127.0.0.2:1/oauth/token".parse().unwrap();
    assert_ne!(ids(rotating(elsewhere, "old", "old")).await, before);
}

#[tokio::test]
async fn a_rotated_secret_is_taken_up_and_its_keys_are_those_of_who_never_had_the_former() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let in_file = || {
        let mut oauth = oauth("http://127.0.0.1:1/oauth/token".parse().unwrap());
        let current = SecretSource::File(file.clone());
        oauth.clients[0].credentials = Credentials::Secret { current, next: None };
        login(oauth)
    };
    let ids = async |login: &Login| {
        let keys = login.seals("budget").await;
        keys.iter().map(|key| key.id().to_owned()).collect::<Vec<_>>()
    };
    std::fs::write(&file, "the-former").unwrap();
    let login = in_file();
    let former = ids(&login).await;
    assert_eq!(former.len(), 1);
    std::fs::write(&file, "the-rotated").unwrap();
    login.fresh(Which::Current).await.unwrap();
    let rotated = ids(&login).await;
    assert_ne!(rotated, former);
    assert_eq!(rotated, ids(&in_file()).await);
}

#[tokio::test]
async fn a_refused_assertion_names_a_wrong_clock() {
    let wrong = refused().replace("\r\n\r\n", "\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\n");
    let peer = Peer::answering(&[wrong]).await;
    let mut oauth = oauth(peer.url());
    let login_with_basic = login(oauth.clone());
    let error = login_with_basic.mint().await.unwrap_err();
    assert!(!error.why.contains("clock"), "a password has no time: {error}");
    assert!(login_with_basic.skew().unwrap().worth_warning());
    oauth.client_auth = ClientAuth::ClientSecretJwt;
    let error = failure(oauth).await;
    assert!(error.why.contains("timedatectl set-ntp true"), "{error}");
}

#[tokio::test]
async fn a_key_that_cannot_sign_is_named_by_where_it_is() {
    let peer = Peer::answering(&[answer("200 OK", TOKEN)]).await;
    let mut oauth = oauth(peer.url());
    oauth.client_auth = ClientAuth::PrivateKeyJwt;
    oauth.clients[0].credentials = Credentials::PrivateKey { key: secret("S3CR3T"), key_id: None };
    let error = failure(oauth.clone()).await;
    assert_eq!(error.kind, Kind::Key);
    assert!(error.why.contains("variable A_SECRET, is neither PEM"), "{error}");
    assert!(!error.why.contains("S3CR3T") && peer.seen().is_empty());
    oauth.clients[0].credentials =
        Credentials::PrivateKey { key: SecretSource::File("/nowhere/key".into()), key_id: None };
    assert_eq!(failure(oauth).await.kind, Kind::Secret);
}

#[tokio::test]
async fn a_token_must_be_signed_when_keys_are_named() {
    let key = KeyPair::generate().unwrap();
    let private = jsonwebtoken::EncodingKey::from_ec_der(&key.serialize_der());
    let alg = jsonwebtoken::Algorithm::ES256;
    let public = jsonwebtoken::jwk::Jwk::from_encoding_key(&private, alg).unwrap();
    let claims = serde_json::json!({ "iss": "i", "scope": "a b" });
    let header = jsonwebtoken::Header::new(alg);
    let token = jsonwebtoken::encode(&header, &claims, &private).unwrap();
    let granted = serde_json::json!({ "access_token": token, "expires_in": 60 }).to_string();
    let jwks = serde_json::json!({ "keys": [public] }).to_string();

    let peer = Peer::answering(&[answer("200 OK", &granted)]).await;
    let issuer = Peer::answering(&[answer("500 Oops", ""), answer("200 OK", &jwks)]).await;
    let mut oauth = oauth(peer.url());
    oauth.jwks_url = Some(issuer.url());
    let with_keys = login(oauth.clone());
    let error = with_keys.mint().await.unwrap_err();
    assert_eq!(error.kind, Kind::Jwks);
    assert!(error.why.contains(" answered 500"), "{error}");
    for _ in 0..2 {
        let minted = with_keys.mint().await.unwrap();
        assert!(minted.verified);
        assert_eq!(minted.scopes.unwrap(), ["a", "b"]);
    }
    assert_eq!(issuer.seen().len(), 2, "known keys are kept");

    let opaque = Peer::answering(&[answer("200 OK", TOKEN)]).await;
    oauth.token_url = opaque.url();
    assert_eq!(failure(oauth).await.kind, Kind::Signature);
}

#[tokio::test]
async fn the_certificate_is_shown_to_the_authorization_server_alone() {
    let authority = Authority::new("ours");
    let (certificate, key) = authority.issue("client", ExtendedKeyUsagePurpose::ClientAuth);
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = ClientCert {
        cert: write("cert.pem", certificate.pem()),
        key: write("key.pem", key.serialize_pem()),
    };
    let acceptor = authority.acceptor("localhost", true);
    let peer = Peer::start(&[answer("200 OK", TOKEN)], Some(acceptor)).await;
    let tls = trusting(&[&authority.root()]);
    let mut oauth = oauth(https(&peer));
    oauth.client_auth = ClientAuth::TlsClientAuth;
    oauth.clients[0].credentials = Credentials::Certificate;
    let without = login_over(oauth.clone(), tls.clone()).mint().await.unwrap_err();
    assert!(matches!(without.kind, Kind::Tls(_)), "{without}");
    oauth.client_cert = Some(files.clone());
    let login = login_over(oauth.clone(), tls.clone());
    let minted = login.mint().await.unwrap();
    assert!(peer.seen()[0].ends_with("grant_type=client_credentials&client_id=id"));
    let error = login.revoke(&minted.authorization).await.unwrap_err();
    assert!(error.contains("no TLS with"), "the API does not see it: {error}");

    let other = write("other.pem", KeyPair::generate().unwrap().serialize_pem());
    for (files, says) in [
        (ClientCert { key: other, ..files.clone() }, "do not go together"),
        (ClientCert { key: "/nowhere".into(), ..files.clone() }, "cannot be read"),
        (ClientCert { key: files.cert.clone(), ..files.clone() }, "holds no private key"),
        (ClientCert { cert: files.key.clone(), ..files.clone() }, "holds no certificate"),
    ] {
        let error = certificate::showing(tls.clone(), &files).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn introspection_and_revocation_carry_the_clients_proof() {
    let peer = Peer::answering(&[
        answer("200 OK", r#"{"active":false}"#),
        answer("200 OK", ""),
        answer("400 Bad Request", r#"{"error":"unsupported_token_type"}"#),
    ])
    .await;
    let mut oauth = oauth(peer.url());
    oauth.client_auth = ClientAuth::Body;
    oauth.verify = Verify::Rfc7662 { introspect_url: peer.url().join("/introspect").unwrap() };
    oauth.revoke_url = Some(peer.url().join("/revoke").unwrap());
    let login = login(oauth);
    let token = http::HeaderValue::from_static("Bearer abcd");
    assert_eq!(login.check(&token).await, Alive::Inactive);
    assert_eq!(login.revoke(&token).await, Ok(()));
    assert!(login.revoke(&token).await.unwrap_err().contains("unsupported_token_type"));
    for (request, line) in peer.seen().iter().zip(["POST /introspect HTTP", "POST /revoke HTTP"]) {
        assert!(request.starts_with(line), "{request}");
        let form = "token=abcd&token_type_hint=access_token&client_id=id&client_secret=first";
        assert!(request.ends_with(form), "{request}");
    }
}

#[tokio::test]
async fn introspection_does_not_read_the_secret_anew() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo run >> \"$0\"; echo first";
    let (runs, program) = (dir.path().join("runs"), "sh".to_owned());
    let command = Command {
        program,
        arguments: ["-c", script, runs.to_str().unwrap()].map(str::to_owned).into(),
        field: None,
        usual_field: "client_secret",
        timeout: Duration::from_secs(20),
    };
    let peer = Peer::answering(&[answer("200 OK", r#"{"active":true}"#)]).await;
    let mut oauth = oauth(peer.url());
    oauth.client_auth = ClientAuth::Body;
    oauth.clients[0].credentials =
        Credentials::Secret { current: SecretSource::Command(command), next: None };
    oauth.verify = Verify::Rfc7662 { introspect_url: peer.url() };
    let login = login(oauth);
    let token = http::HeaderValue::from_static("Bearer abcd");
    // There is none at hand yet: it is waited for.
    assert_eq!(login.check(&token).await, Alive::Active);
    let before = std::fs::read_to_string(&runs).unwrap();
    for _ in 0..5 {
        assert_eq!(login.check(&token).await, Alive::Active);
    }
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), before);
    assert!(peer.seen().iter().all(|request| request.ends_with("client_secret=first")));
}

#[tokio::test]
async fn genesys_is_asked_with_the_token_itself() {
    let peer = Peer::answering(&[
        answer("200 OK", ""),
        refused(),
        answer("204 No Content", ""),
        refused(),
    ])
    .await;
    let mut oauth = oauth(peer.url());
    oauth.verify = Verify::Genesys;
    let login = login(oauth);
    let token = http::HeaderValue::from_static("Bearer abcd");
    // HEAD answers have no body: what the peer sends is cut off with the connection.
    assert_eq!(login.check(&token).await, Alive::Active);
    assert_eq!(login.check(&token).await, Alive::Inactive);
    assert_eq!(login.revoke(&token).await, Ok(()));
    assert_eq!(login.revoke(&token).await, Ok(()), "it had ended already");
    for (request, method) in peer.seen().iter().zip(["HEAD", "HEAD", "DELETE"]) {
        assert!(request.starts_with(&format!("{method} /api/v2/tokens/me HTTP")), "{request}");
        assert!(request.to_ascii_lowercase().contains("authorization: bearer abcd"), "{request}");
    }
}
