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
    #[error("{key}, {path}: {why}")]
    CaFile {
        /// `upstream.ca_file`, or another section's.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing would be trusted.
    #[error(
        "no trusted roots: install the system's CA certificates (Debian: ca-certificates) or set \
         {key}"
    )]
    NoRoots {
        /// The key that could name some.
        key: &'static str,
    },
    /// rustls refuses its own defaults.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 on aws-lc-rs, sessions resumed, no ALPN yet. `key` names `ca_file` in errors.
pub fn client_config(key: &'static str, ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    // What the system cannot read is skipped; an empty result is refused below.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let wrong = |why: String| TlsError::CaFile { key, path: path.display().to_string(), why };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
            let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
            roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots { key });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_of_roots_is_named_with_its_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(file.path(), bad).unwrap();
        let missing = Path::new("/does/not/exist");
        for (key, path) in [("upstream.ca_file", file.path()), ("vault.ca_file", missing)] {
            let error = client_config(key, Some(path)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key}, {}: ", path.display())), "{error}");
        }
    }
}
