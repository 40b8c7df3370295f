//! Sets of keys and tokens to verify with them: no panic, bounded, and never an HMAC.
#![no_main]

use genesys_proxy::token::{claims, keys::KeySet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (token, body) = input;
    if let Ok(keys) = KeySet::read(body) {
        assert!((1..=100).contains(&keys.len()));
        if keys.signed(token) {
            let alg = claims::read(token).expect("what is signed can be read").alg;
            assert!(["RS", "PS", "ES", "Ed"].iter().any(|family| alg.starts_with(family)));
        }
    }
});
