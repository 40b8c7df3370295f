//! Access tokens that may be JWTs: no panic, and what is read as one has all its parts.
#![no_main]

use std::time::Duration;

use genesys_proxy::token::{answer::read_answer, claims};
use http::StatusCode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|token: &str| {
    if let Some(claims) = claims::read(token) {
        assert_eq!(token.split('.').count(), 3);
        assert!(claims.life().is_none_or(|life| life >= Duration::from_secs(1)));
    }
    let token = token.replace(['"', '\\'], "");
    let answer = format!("{{\"access_token\":\"{token}\",\"expires_in\":60}}");
    if let Ok(minted) = read_answer(StatusCode::OK, None, answer.as_bytes()) {
        assert!(minted.life <= Duration::from_secs(60), "the shorter life counts");
        assert_eq!(minted.claims, claims::read(&token));
    }
});
