//! Tokens that say themselves whose they are, to those who have the client's secret.
//! It never says so to anybody else, and never opens one of another client.

use std::{collections::HashMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{SecretString, zeroize::Zeroizing};

use crate::{
    config::KeyDigest,
    decide::{
        callers::Principal,
        local_token::{TICKET_BYTES, Ticket, Whose},
        offered::{TOKEN_PREFIX, TOKEN_SEALED, sealed},
    },
    store::seal::{Key, OVERHEAD},
};

/// What a ticket is sealed for.
const CONTEXT: &str = "a token of /oauth/token";

/// Who may log in: the name and the key that it has.
pub type Who = (Principal, String, KeyDigest);

/// Who has logged in, and by which key: a token ends with it.
pub type Entitled = (Principal, KeyDigest);

/// A key, and what each caller is called under it.
pub struct Seal {
    /// The key.
    pub key: Key,
    callers: HashMap<Whose, Entitled>,
    names: HashMap<Principal, Whose>,
}

/// Without the names.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seal").field(&self.key).finish()
    }
}

impl Seal {
    /// Callers are told by their names, as replicas may have them in another order, and by their keys: a
    /// token ends with the key that it was got with.
    pub fn new(key: Key, callers: &[Who]) -> Self {
        let whose = |(principal, name, digest): &Who| {
            let plain = [digest.bytes().as_slice(), name.as_bytes()].concat();
            let whose = key.name(&plain).into_bytes().try_into().ok()?;
            Some((whose, (*principal, *digest)))
        };
        let callers: HashMap<Whose, Entitled> = callers.iter().filter_map(whose).collect();
        let names = callers.iter().map(|(whose, (principal, _))| (*principal, *whose)).collect();
        Self { key, callers, names }
    }

    /// What a caller is called.
    pub fn whose(&self, principal: Principal) -> Option<Whose> {
        self.names.get(&principal).copied()
    }

    /// Who is called so, and has which key.
    pub fn caller(&self, whose: &Whose) -> Option<Entitled> {
        self.callers.get(whose).copied()
    }

    /// The token.
    pub fn write(&self, ticket: &Ticket) -> SecretString {
        let bytes = Zeroizing::new(ticket.write());
        let bytes = Zeroizing::new(self.key.seal(CONTEXT, &*bytes));
        let mut token = Zeroizing::new(String::with_capacity(TOKEN_PREFIX.len() + TOKEN_SEALED));
        token.push_str(TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(&*bytes, &mut token);
        token.as_str().into()
    }

    /// What stands in a token.
    pub fn read(&self, token: &str) -> Option<Ticket> {
        let mut bytes = [0; OVERHEAD + TICKET_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(sealed(token)?, &mut bytes).ok()?;
        Ticket::read(&self.key.open(CONTEXT, bytes.get(..length)?)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::{decide::offered::is_local, store::Scope};

    fn seal(secret: &[u8], id: &str, callers: &[(&str, &str)]) -> Seal {
        let scope = Scope::new("https://login.example/oauth/token", "https://api.example", id);
        let who = |(number, (name, key)): (u16, &(&str, &str))| {
            (Principal::Named(number), (*name).to_owned(), KeyDigest::of(key.as_bytes()))
        };
        let who: Vec<_> = (0..).zip(callers).map(who).collect();
        Seal::new(Key::derive(secret, &scope, "login"), &who)
    }

    fn of_billing(seal: &Seal) -> String {
        let whose = seal.whose(Principal::Named(0)).unwrap();
        let [issued, ends] = [1, 2].map(Duration::from_secs);
        seal.write(&Ticket { whose, issued, ends }).expose_secret().to_owned()
    }

    /// Whose it is there.
    fn caller(seal: &Seal, token: &str) -> Option<Principal> {
        seal.caller(&seal.read(token)?.whose).map(|(principal, _)| principal)
    }

    const BOTH: [(&str, &str); 2] = [("billing", "k1"), ("reports", "k2")];

    #[test]
    fn a_token_is_its_callers_wherever_the_secret_is_whatever_number_that_has_there() {
        let token = of_billing(&seal(b"s", "id", &BOTH));
        assert!(is_local(&token));
        assert_eq!(token.len(), TOKEN_PREFIX.len() + TOKEN_SEALED);
        let turned = seal(b"s", "id", &[BOTH[1], BOTH[0]]);
        assert_eq!(caller(&turned, &token), Some(Principal::Named(1)));
        assert_ne!(of_billing(&turned), of_billing(&turned));
    }

    #[test]
    fn it_is_nobodys_under_another_secret_or_client_or_caller_or_key() {
        let token = of_billing(&seal(b"s", "id", &BOTH));
        assert!(seal(b"x", "id", &BOTH).read(&token).is_none());
        assert!(seal(b"s", "other", &BOTH).read(&token).is_none());
        assert_eq!(caller(&seal(b"s", "id", &[BOTH[1]]), &token), None);
        assert_eq!(caller(&seal(b"s", "id", &[("billing", "new")]), &token), None);
    }

    #[test]
    fn one_changed_character_makes_it_nobodys() {
        let seal = seal(b"s", "id", &BOTH);
        let token = of_billing(&seal);
        for at in TOKEN_PREFIX.len()..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(seal.read(str::from_utf8(&bytes).unwrap()).is_none(), "{at}");
        }
        assert!(seal.read(&token[..token.len() - 1]).is_none());
    }
}
