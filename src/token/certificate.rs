//! The client certificate for connections to the authorization server (RFC 8705).
//! It never lets it be seen on connections to the API.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::config::ClientCert;

/// Why the certificate cannot be shown: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// `oauth.client_cert`
    #[error("oauth.client_cert, {path}: {why}")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// `oauth.client_key`
    #[error("oauth.client_key, {path}: {why}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong. Says nothing of its contents.
        why: &'static str,
    },
    /// Both are readable, and do not belong together.
    #[error("oauth.client_cert and oauth.client_key do not go together, or cannot be used: {0}")]
    Pair(#[from] rustls::Error),
}

/// The same trust with a certificate to show. Read once: a new one is used after a restart.
pub fn showing(mut tls: ClientConfig, files: &ClientCert) -> Result<ClientConfig, BadCertificate> {
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| BadCertificate::Key {
        path: files.key.display().to_string(),
        why: match error {
            rustls::pki_types::pem::Error::Io(_) => "cannot be read",
            _ => "holds no private key in PEM that is not encrypted",
        },
    })?;
    let pair = CertifiedKey::from_der(chain, key, tls.crypto_provider())?;
    tls.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair));
    // Sessions of its own: one begun without the certificate must not be resumed for it, nor the
    // other way round.
    tls.resumption = Resumption::in_memory_sessions(8);
    Ok(tls)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadCertificate> {
    let wrong = |why: String| BadCertificate::Certificate { path: path.display().to_string(), why };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() { Err(wrong("holds no certificate in PEM".to_owned())) } else { Ok(chain) }
}
