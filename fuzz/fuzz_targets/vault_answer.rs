//! Vault's answers: no panic, what becomes a token can be sent, and no error repeats a value.
#![no_main]

use genesys_proxy::{
    config::{KvEngine, VaultSecret},
    secret::{read_auth, read_secret},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    for status in [status % 900 + 100, 200] {
        for engine in [KvEngine::V1, KvEngine::V2] {
            let secret = VaultSecret {
                engine,
                mount: "secret".to_owned(),
                path: "genesys".to_owned(),
                field: "client_secret".to_owned(),
            };
            if read_secret(status, body, &secret).is_ok() {
                assert_eq!(status, 200);
            }
        }
        if let Ok(auth) = read_auth(status, body) {
            assert_eq!(status, 200);
            assert!(auth.grant.life.is_none_or(|life| !life.is_zero()));
        }
    }
    // Whatever surrounds it: a value is not a name, and only names are told.
    let mut planted = br#"{"data":{"other":"S3CR3T S3CR3T","x":"#.to_vec();
    planted.extend_from_slice(body);
    let secret = VaultSecret {
        engine: KvEngine::V1,
        mount: "secret".to_owned(),
        path: "genesys".to_owned(),
        field: "client_secret".to_owned(),
    };
    if let Err(error) = read_secret(200, &planted, &secret) {
        assert!(!error.contains("S3CR3T S3CR3T"));
    }
});
