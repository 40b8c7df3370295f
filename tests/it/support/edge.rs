//! What a gateway shows over TLS, in files of one test, and callers who look at it.
//! It never outlives its test: the files go with it.

use std::fs;

use reqwest::{Certificate, Client, ClientBuilder, Identity};

use super::{front::Authority, gateway::PATIENCE};

/// A directory with what `[tls]` names.
pub struct Files(tempfile::TempDir);

impl Files {
    /// A certificate of `ca` for localhost, and nobody who may issue callers' certificates.
    pub fn of(ca: &Authority) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.show(ca);
        files
    }

    /// The same again, with a new key.
    pub fn show(&self, ca: &Authority) {
        let (key, cert) = ca.issue("localhost");
        self.write("key.pem", &key);
        self.write("cert.pem", &cert);
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// One `section.key = value` a line.
    pub fn toml(&self) -> String {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        format!("tls.cert = {cert:?}\ntls.key = {key:?}\n")
    }

    /// The same, with `clients` for whoever issues callers' certificates.
    pub fn toml_asking(&self, clients: &Authority) -> String {
        self.write("clients.pem", &clients.pem());
        format!("{}tls.client_ca = {:?}\n", self.toml(), self.path("clients.pem"))
    }
}

/// A caller who believes `ca` alone.
pub fn trusting(ca: &Authority) -> ClientBuilder {
    let root = Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    Client::builder().no_proxy().timeout(PATIENCE).tls_certs_only([root])
}

/// With a certificate of `issuer` for `subject`.
pub fn showing(ca: &Authority, issuer: &Authority, subject: &str) -> Client {
    let (key, cert) = issuer.issue_to(subject, Vec::new());
    let identity = Identity::from_pem(format!("{cert}{key}").as_bytes()).unwrap();
    trusting(ca).identity(identity).build().unwrap()
}
