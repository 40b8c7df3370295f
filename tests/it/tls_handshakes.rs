//! What a handshake with the gateway may be: of which version, and by whose certificate. Who shows
//! one is judged at each handshake anew (threats T41, T42).

use std::sync::Arc;

use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::support::{
    edge::Files,
    front::Authority,
    raw::{Line, Stage, ok},
};

fn answers(line: &mut Line) {
    while line.request().is_some() {
        line.send(&ok("{}"));
    }
}

/// A caller of one version who believes `ca`, and shows a certificate of `issuer` for "billing".
fn caller(
    version: &'static SupportedProtocolVersion,
    ca: &Authority,
    issuer: &Authority,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let (key, cert) = issuer.issue_to("billing", Vec::new());
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![cert], key);
    Arc::new(config.unwrap())
}

/// The status of one call on a connection of its own, how its handshake went and in which version;
/// `None` when the gateway has ended it.
async fn call(
    stage: &Stage,
    config: &Arc<ClientConfig>,
) -> Option<(u16, HandshakeKind, ProtocolVersion)> {
    let tcp = TcpStream::connect(stage.gateway().address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.ok()?;
    let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tls.write_all(head).await.ok()?;
    let mut answer = Vec::new();
    // To the end: a session comes behind the handshake.
    tls.read_to_end(&mut answer).await.ok()?;
    let status = std::str::from_utf8(answer.get(9..12)?).unwrap().parse().unwrap();
    let (_, session) = tls.get_ref();
    Some((status, session.handshake_kind()?, session.protocol_version()?))
}

const VERSIONS: [(&SupportedProtocolVersion, ProtocolVersion); 2] =
    [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)];

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_in_both_versions_but_never_where_certificates_are_asked_for() {
    let (ca, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&ca);
    for (settings, again) in
        [(files.toml(), HandshakeKind::Resumed), (files.toml_asking(&clients), HandshakeKind::Full)]
    {
        let stage = Stage::with(&settings, answers);
        for (version, spoken) in VERSIONS {
            let caller = caller(version, &ca, &clients);
            assert_eq!(call(&stage, &caller).await, Some((200, HandshakeKind::Full, spoken)));
            assert_eq!(call(&stage, &caller).await, Some((200, again, spoken)), "{settings}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_certificate_and_one_that_is_over_end_the_connection() {
    let (ca, clients, late) = (Authority::new(), Authority::new(), Authority::late());
    let files = Files::of(&ca);
    let asking = files.toml_asking(&clients);
    files.write("clients.pem", &format!("{}{}", clients.pem(), late.pem()));
    let stage = Stage::with(&asking, answers);
    for (version, _) in VERSIONS {
        assert!(call(&stage, &caller(version, &ca, &clients)).await.is_some());
        for (what, issuer) in [("it is over", &late), ("a stranger's", &Authority::new())] {
            let caller = caller(version, &ca, issuer);
            assert_eq!(call(&stage, &caller).await, None, "{what}");
        }
    }
    assert_eq!(stage.peer.requests().len(), 2);
}
