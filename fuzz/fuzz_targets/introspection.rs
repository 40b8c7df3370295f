//! Answers of an introspection endpoint: no panic, and only a 200 is a verdict.
#![no_main]

use genesys_proxy::token::verify::{Alive, read_introspection};
use http::StatusCode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    let status = StatusCode::from_u16(status % 900 + 100).unwrap_or(StatusCode::OK);
    match read_introspection(status, body) {
        Alive::Active | Alive::Inactive => assert_eq!(status, StatusCode::OK),
        Alive::Unknown(why) => assert!(why.len() < 200),
    }
    let _ = read_introspection(StatusCode::OK, body);
});
