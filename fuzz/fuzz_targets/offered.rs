//! What callers show to say who they are: any field is a credential of one kind, nothing or
//! nobody's, and a token of ours has one shape only.
#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use genesys_proxy::decide::{
    asked::Asked,
    offered::{Login, Offered, TOKEN_PREFIX, is_local},
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret as _;

fuzz_target!(|input: (&[u8], Option<&[u8]>, bool)| {
    let (authorization, key, twice) = input;
    let mut fields = HeaderMap::new();
    let Ok(value) = HeaderValue::from_bytes(authorization) else { return };
    fields.append(AUTHORIZATION, value.clone());
    if twice {
        fields.append(AUTHORIZATION, value.clone());
    }
    if let Some(key) = key.and_then(|key| HeaderValue::from_bytes(key).ok()) {
        fields.append("x-api-key", key);
    }
    let asked = Asked::of(&fields);
    match Offered::of(&asked) {
        Offered::Key(_) => assert!(fields.contains_key("x-api-key")),
        Offered::Login(login) => {
            assert!(!twice && !login.name.contains(':'));
            let whole = format!("{}:{}", login.name, login.key.expose_secret());
            let again = Login::basic(&STANDARD.encode(&whole)).expect("what was read is written");
            assert_eq!((&again.name, again.key.expose_secret()), (&login.name, login.key.expose_secret()));
            let _ = login.form_decoded();
        }
        Offered::Local(token) => {
            assert!(!twice && is_local(token) && token.starts_with(TOKEN_PREFIX));
            assert!(token.len() == TOKEN_PREFIX.len() + 43 && token.bytes().all(|b| b.is_ascii_graphic()));
        }
        Offered::Jwt(token) => {
            assert!(!twice && !is_local(token) && token.matches('.').count() == 2);
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)));
        }
        Offered::Nothing => assert!(!twice && !fields.contains_key("x-api-key")),
        Offered::Nobodys => {}
    }
});
