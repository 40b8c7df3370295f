//! Shared values as nobody else can read or make them: sealed under a key of the client's secret.
//! It never opens what was sealed for another place, purpose or client, and never says why not.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
};
use secrecy::zeroize::Zeroizing;

use super::scope::{Scope, hex};

/// The first byte of everything sealed.
const VERSION: u8 = 1;
/// What a sealed value is longer than a plain one: version, nonce, tag.
pub const OVERHEAD: usize = 1 + NONCE_LEN + 16;
const KEY_BYTES: usize = 32;
/// In a key's name it takes 12 characters.
const ID_BYTES: usize = 6;
/// A name's digest: enough that no two meet, 32 characters.
const NAME_BYTES: usize = 16;

/// A key for one purpose of one client. Who has another secret has another key, and another `id`.
///
/// It is made anew for each secret, so a changed secret is another key from then on: what was sealed
/// before is read by those who still know the former one. A clone is the same key.
#[derive(Clone)]
pub struct Key(Arc<Parts>);

struct Parts {
    aead: RandomizedNonceKey,
    names: hmac::Key,
    id: String,
}

/// Without the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.0.id).finish()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Key {
    /// HKDF-SHA256 of the client's `secret`, with the scope and the purpose as its info. A purpose is a
    /// short word of ours, such as `token`.
    #[expect(clippy::missing_panics_doc, reason = "the sentences prove that it cannot")]
    pub fn derive(secret: &[u8], scope: &Scope, purpose: &str) -> Self {
        let whole = Salt::new(HKDF_SHA256, b"genesys-proxy store 1").extract(secret);
        let part = |use_: &str, length| {
            let scope = scope.to_string();
            let info = [scope.as_bytes(), b"\0", purpose.as_bytes(), b"\0", use_.as_bytes()];
            let mut bytes = Zeroizing::new(vec![0; length]);
            whole
                .expand(&info, Length(length))
                .and_then(|okm| okm.fill(&mut bytes))
                .expect("RFC 5869 gives up to 255 times 32 bytes");
            bytes
        };
        Self(Arc::new(Parts {
            aead: RandomizedNonceKey::new(&AES_256_GCM, &part("seal", KEY_BYTES))
                .expect("AES-256 takes 32 bytes"),
            names: hmac::Key::new(hmac::HMAC_SHA256, &part("names", KEY_BYTES)),
            id: hex(&part("id", ID_BYTES)),
        }))
    }

    /// Tells keys apart, and nothing else: it goes into the names of what is sealed under this key, so
    /// that replicas with different secrets never read or overwrite each other's values.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// A name that may be seen, of one that may not: a caller's, a token's.
    pub fn name(&self, plain: &[u8]) -> String {
        let digest = hmac::sign(&self.0.names, plain);
        hex(digest.as_ref().get(..NAME_BYTES).unwrap_or_default())
    }

    /// Seals `plain` for one place: `context` is the full name of the key or the channel it goes to,
    /// and what it is there. AES-256-GCM under a random nonce.
    #[expect(clippy::missing_panics_doc, reason = "the sentences prove that it cannot")]
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        // Grows no more: what is left behind by a buffer that does is plain text.
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&[0; NONCE_LEN]);
        sealed.extend_from_slice(plain);
        let (head, body) = sealed.split_at_mut(1 + NONCE_LEN);
        let (nonce, tag) = self
            .0
            .aead
            .seal_in_place_separate_tag(Aad::from(context.as_bytes()), body)
            .expect("it fails above 64 GiB, or without randomness, which aborts before");
        if let Some(place) = head.get_mut(1..) {
            place.copy_from_slice(nonce.as_ref());
        }
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// What was sealed under this key for this context; `None` for anything else.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (&VERSION, rest) = sealed.split_first()? else { return None };
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = Zeroizing::new(body.to_vec());
        let length =
            self.0.aead.open_in_place(nonce, Aad::from(context.as_bytes()), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: &str = "gp1:{00}:token:0";

    fn scope() -> Scope {
        Scope::new("https://login.example/oauth/token", "https://api.example", "an-id")
    }

    fn key() -> Key {
        Key::derive(b"a secret", &scope(), "token")
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_secret_at_the_same_place_and_nowhere_else() {
        let sealed = key().seal(HERE, b"a token");
        assert_eq!(sealed.len(), OVERHEAD + 7);
        let open = |key: Key, context| key.open(context, &sealed).map(|plain| plain.to_vec());
        assert_eq!(open(key(), HERE).as_deref(), Some(b"a token".as_slice()));
        let elsewhere = Scope::new("https://login.example/oauth/token", "https://api.example", "x");
        assert_eq!(open(Key::derive(b"another", &scope(), "token"), HERE), None);
        assert_eq!(open(Key::derive(b"a secret", &elsewhere, "token"), HERE), None);
        assert_eq!(open(Key::derive(b"a secret", &scope(), "login"), HERE), None);
        assert_eq!(open(key(), "gp1:{00}:token:1"), None);
    }

    #[test]
    fn nothing_is_readable_and_nothing_repeats() {
        let (one, other) = (key().seal(HERE, b"a token"), key().seal(HERE, b"a token"));
        assert_ne!(one, other);
        assert!(!one.windows(7).any(|bytes| bytes == b"a token"));
        assert!(!format!("{:?}", key()).contains("secret"));
    }

    #[test]
    fn ids_and_names_tell_keys_apart_and_nothing_else() {
        let other = Key::derive(b"another", &scope(), "token");
        assert_eq!(key().id(), key().id());
        assert_ne!(key().id(), other.id());
        assert_eq!(key().id().len(), 12);
        assert_eq!(key().name(b"billing"), key().name(b"billing"));
        assert_ne!(key().name(b"billing"), key().name(b"reports"));
        assert_ne!(key().name(b"billing"), other.name(b"billing"));
    }

    proptest! {
        #[test]
        fn one_changed_bit_or_a_cut_opens_nothing(at in 0usize..40, bit in 0u8..8, cut in 0usize..40) {
            let sealed = key().seal(HERE, b"some value");
            let mut bent = sealed.clone();
            let at = at % bent.len();
            bent[at] ^= 1 << bit;
            prop_assert!(key().open(HERE, &bent).is_none());
            prop_assert!(key().open(HERE, &sealed[..cut % sealed.len()]).is_none());
        }

        #[test]
        fn garbage_opens_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(key().open(HERE, &bytes).is_none());
        }
    }
}
