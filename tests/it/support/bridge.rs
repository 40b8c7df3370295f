//! TLS for callers that know nothing of it: what a raw caller says in plain text goes to the gateway
//! over TLS, byte by byte as it comes, and the other way round.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tokio_rustls::TlsConnector;

use super::front::Authority;

/// Before one gateway, as long as it lives.
pub struct Bridge {
    /// Where to say plain text.
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Bridge {
    /// To the gateway at `gateway`, which shows a certificate of `ca` for localhost.
    pub fn to(gateway: SocketAddr, ca: &Authority) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((mut plain, _)) = listener.accept().await {
                let connector = connector.clone();
                #[expect(clippy::disallowed_methods, reason = "it ends with the runtime")]
                tokio::spawn(async move {
                    let stream = TcpStream::connect(gateway).await.unwrap();
                    let name = ServerName::try_from("localhost").unwrap();
                    let mut tls = connector.connect(name, stream).await.unwrap();
                    // However it ends is the peers' business.
                    copy_bidirectional(&mut plain, &mut tls).await.ok();
                });
            }
        });
        Self { address, _runtime: runtime }
    }
}
