//! The keys under which a client's replicas share values: they come from what it logs in with.
//! It never keeps one: a changed secret is another key from the next look on.

use secrecy::{ExposeSecret as _, zeroize::Zeroizing};

use super::issuer::Login;
use crate::{
    decide::rotation::Which,
    store::{Scope, seal::Key},
};

impl Login {
    /// Whose values they are.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The keys for one purpose, by the secrets as last read: first the one to write under, then the
    /// other one while a secret is being rotated. Empty while no secret can be read.
    ///
    /// Replicas change over one after the other. One that has both secrets writes under both and
    /// reads either, so those that have only one of them share through it.
    pub async fn seals(&self, purpose: &str) -> Vec<Key> {
        let live = self.live_secret();
        let mut keys: Vec<Key> = Vec::new();
        for which in [live, live.other()] {
            if let Some(secret) = self.material(which).await {
                let key = Key::derive(&secret, &self.scope, purpose);
                if keys.iter().all(|known| known.id() != key.id()) {
                    keys.push(key);
                }
            }
        }
        keys
    }

    async fn material(&self, which: Which) -> Option<Zeroizing<Vec<u8>>> {
        if self.has_secret(which) {
            let secret = self.at_hand(which).await.ok()?;
            return Some(Zeroizing::new(secret.expose_secret().as_bytes().to_vec()));
        }
        match (which, &self.oauth.client_cert) {
            // `tls_client_auth`: the certificate's key is all there is.
            (Which::Current, Some(files)) => {
                tokio::fs::read(&files.key).await.ok().map(Zeroizing::new)
            }
            (Which::Current, None) | (Which::Next, _) => None,
        }
    }
}
