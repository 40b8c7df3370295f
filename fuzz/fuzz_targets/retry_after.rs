//! `Retry-After`, seconds or a date, at any time of the clock: no panic.
#![no_main]

use std::time::{Duration, SystemTime};

use genesys_proxy::decide::retry::retry_after;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u32, &[u8])| {
    let (clock, value) = input;
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(clock.into());
    let wait = retry_after(value, wall);
    let digits = std::str::from_utf8(value).ok().map(str::trim).filter(|text| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
    });
    assert!(digits.is_none() || wait.is_some());
});
