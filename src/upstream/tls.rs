//! Whom upstream connections trust: the system's roots and `upstream.ca_file`.
//! It never offers a way to skip verification.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is no PEM.
    #[error("upstream.ca_file: {0}")]
    CaFile(String),
    /// Nothing would be trusted.
    #[error(
        "no trusted roots: install the system's CA certificates (Debian: ca-certificates) or set \
         upstream.ca_file"
    )]
    NoRoots,
    /// rustls refuses its own defaults.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 on aws-lc-rs, sessions resumed, no ALPN yet.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    // What the system cannot read is skipped; an empty result is refused below.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let certificates = CertificateDer::pem_file_iter(path)
            .map_err(|error| TlsError::CaFile(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| TlsError::CaFile(e.to_string()))?;
            roots.add(certificate).map_err(|error| TlsError::CaFile(error.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(trusting(roots)?)
}

pub(super) fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
