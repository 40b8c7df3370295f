//! The keys under which a client's replicas share values: they come from what it logs in with.
//! It never keeps one of a secret that was changed: the next look, for whatever purpose, drops them all.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, zeroize::Zeroizing};

use super::issuer::Login;
use crate::{
    decide::rotation::Which,
    store::{Scope, seal::Key},
};

/// The keys that were made: a budget's books want theirs several times a second.
#[derive(Default)]
pub(super) struct Made {
    current: Mutex<OfSecret>,
    next: Mutex<OfSecret>,
}

/// Those of one of the two secrets, as it was read last.
#[derive(Default)]
struct OfSecret {
    /// Tells it from its successor. A secret is not kept for that.
    digest: Vec<u8>,
    /// By their purposes, which are few.
    keys: HashMap<String, Key>,
}

impl Made {
    fn of(&self, which: Which) -> &Mutex<OfSecret> {
        match which {
            Which::Current => &self.current,
            Which::Next => &self.next,
        }
    }

    /// The key of `secret` for a purpose, which is derived once.
    fn key(&self, which: Which, secret: &[u8], purpose: &str, derive: impl FnOnce() -> Key) -> Key {
        let digest = digest(&SHA256, secret);
        let mut made = self.of(which).lock().unwrap_or_else(PoisonError::into_inner);
        if made.digest != digest.as_ref() {
            *made = OfSecret { digest: digest.as_ref().to_vec(), keys: HashMap::new() };
        }
        made.keys.entry(purpose.to_owned()).or_insert_with(derive).clone()
    }

    /// There is no such secret now.
    fn forget(&self, which: Which) {
        *self.of(which).lock().unwrap_or_else(PoisonError::into_inner) = OfSecret::default();
    }
}

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
            let Some(secret) = self.material(which).await else {
                self.made.forget(which);
                continue;
            };
            let derive = || Key::derive(&secret, &self.scope, purpose);
            let key = self.made.key(which, &secret, purpose, derive);
            if keys.iter().all(|known| known.id() != key.id()) {
                keys.push(key);
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How many keys are derived when these secrets are asked for one after the other.
    fn derived(asked: &[(Which, &str, &str)]) -> usize {
        let (made, count) = (Made::default(), Cell::new(0));
        let scope = Scope::new("https://login.example/oauth/token", "https://api.example", "an-id");
        for (which, secret, purpose) in asked {
            let derive = || Key::derive(secret.as_bytes(), &scope, purpose);
            let key = made.key(*which, secret.as_bytes(), purpose, || {
                count.set(count.get() + 1);
                derive()
            });
            assert_eq!(key.id(), derive().id(), "it is the key of {secret} for {purpose}");
        }
        count.get()
    }

    #[test]
    fn a_key_is_derived_once_for_each_purpose_of_a_secret() {
        let asked = [(Which::Current, "a", "budget"), (Which::Current, "a", "login")];
        assert_eq!(derived(&[asked, asked, asked].concat()), 2);
        let rotating = [(Which::Current, "a", "budget"), (Which::Next, "b", "budget")];
        assert_eq!(derived(&[rotating, rotating].concat()), 2);
    }

    #[test]
    fn with_a_changed_secret_no_key_of_the_former_one_is_kept_for_whatever_purpose() {
        let of = |secret| (Which::Current, secret, "budget");
        assert_eq!(derived(&[of("a"), of("b"), of("a")]), 3);
        let another = (Which::Current, "a", "login");
        assert_eq!(derived(&[another, of("a"), of("b"), another]), 4);
    }
}
