//! Answers of the token endpoint: no panic, and what becomes a token is one.
#![no_main]

use std::time::Duration;

use genesys_proxy::token::answer::read_answer;
use http::StatusCode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    let status = StatusCode::from_u16(status % 900 + 100).unwrap_or(StatusCode::OK);
    for status in [status, StatusCode::OK] {
        if let Ok(minted) = read_answer(status, None, body) {
            assert_eq!(status, StatusCode::OK);
            let token = minted.authorization.to_str().expect("a token is visible ASCII");
            let token = token.strip_prefix("Bearer ").expect("a bearer token");
            assert!(token.len() >= 4 && token.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(minted.authorization.is_sensitive());
            assert!(minted.life >= Duration::from_secs(1));
            assert!(minted.life <= Duration::from_secs(450 * 86_400));
        }
    }
});
