//! `[tls]`: what TCP listeners show and whom they trust, from the text of PEM files.
//! It never reads a file, and never quotes a key.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

/// The files of `[tls]`.
#[derive(Debug, Clone)]
pub struct ListenTls {
    /// The certificate, then its chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who may issue certificates of callers; `None`: callers are not asked for one.
    pub client_ca: Option<PathBuf>,
}

/// What is in them.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The certificate with its key.
    pub pair: Arc<CertifiedKey>,
    /// Issuers of callers' certificates.
    pub client_ca: Option<Arc<RootCertStore>>,
}

/// One of the three files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// `tls.cert`
    Cert,
    /// `tls.key`
    Key,
    /// `tls.client_ca`
    ClientCa,
}

/// What is wrong with a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}; {hint}")]
pub struct Unusable {
    /// Which one.
    pub file: TlsFile,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
}

/// As the configuration names it.
impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cert => "tls.cert",
            Self::Key => "tls.key",
            Self::ClientCa => "tls.client_ca",
        })
    }
}

impl Shown {
    /// From the files' bytes.
    pub fn parse(cert: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, Unusable> {
        let pair = pair(certificates(TlsFile::Cert, cert)?, key)?;
        Ok(Self { pair: Arc::new(pair), client_ca: client_ca.map(roots).transpose()? })
    }
}

fn certificates(file: TlsFile, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let all =
        CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| {
            let what = format!("a certificate cannot be read: {error}");
            Unusable { file, what, hint: "export it again, as PEM" }
        })?;
    if all.is_empty() {
        return Err(Unusable {
            file,
            what: "no certificate in this file".to_owned(),
            hint: "it should be PEM: a block that starts with -----BEGIN CERTIFICATE-----",
        });
    }
    Ok(all)
}

fn pair(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<CertifiedKey, Unusable> {
    let wrong = |what: &str, hint| Unusable { file: TlsFile::Key, what: what.to_owned(), hint };
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        wrong(
            "no private key in this file",
            "it should be PEM that is not encrypted: -----BEGIN PRIVATE KEY-----",
        )
    })?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(
        |error| match error {
            rustls::Error::InconsistentKeys(_) => wrong(
                "the key does not fit the certificate of `tls.cert`",
                "name the two files of one pair; in `tls.cert` the certificate itself comes first",
            ),
            rustls::Error::InvalidCertificate(_) => Unusable {
                file: TlsFile::Cert,
                what: format!("the certificate cannot be used: {error}"),
                hint: "export it again, as PEM",
            },
            _ => {
                wrong("this kind of key cannot be used", "take an RSA, P-256, P-384 or Ed25519 key")
            }
        },
    )
}

fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsFile::ClientCa, pem)? {
        roots.add(certificate).map_err(|error| Unusable {
            file: TlsFile::ClientCa,
            what: format!("a certificate cannot be used: {error}"),
            hint: "it should hold the certificates of issuers, as PEM",
        })?;
    }
    Ok(Arc::new(roots))
}
