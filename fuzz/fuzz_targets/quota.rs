//! What answers say of quotas, in any words: no panic, the scarcest of what is said counts whatever
//! the order, and a budget that believes it is never bolder for it, nor stopped for good.
#![no_main]

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use genesys_proxy::decide::{
    budget::{Allowance, Budget},
    quota::{Heard, Quota, speaks_of_quota},
};
use http::{HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

const LIMIT: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);

fuzz_target!(|input: (u32, u8, &[u8])| {
    let (unix, used, text) = input;
    let mut lines = Vec::new();
    for line in text.split(|&byte| byte == b'\n').take(50) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 1..])) {
            lines.push((name, value));
        }
    }
    let mut heard = Heard::default();
    for (name, value) in &lines {
        let before = heard;
        heard.hear(name.as_str(), value);
        assert!(heard == before || speaks_of_quota(name.as_str()), "{name}");
    }
    let Some(quota) = heard.quota(unix.into()) else { return };
    of_policies(&lines, quota);
    believed(quota, u32::from(used) % (LIMIT + 1));
});

/// Policies alone may come in any order.
fn of_policies(lines: &[(HeaderName, HeaderValue)], quota: Quota) {
    let policies = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        !["limit", "remaining", "reset"].iter().any(|word| text.contains(word))
    };
    if lines.iter().all(|(name, value)| name == "ratelimit" && policies(value)) {
        let mut back = Heard::default();
        lines.iter().rev().for_each(|(name, value)| back.hear(name.as_str(), value));
        assert_eq!(back.quota(0).map(|back| back.remaining), Some(quota.remaining));
        assert_eq!(back, {
            let mut heard = Heard::default();
            lines.iter().for_each(|(name, value)| heard.hear(name.as_str(), value));
            heard
        });
    }
}

fn believed(quota: Quota, used: u32) {
    let allowance =
        Allowance { limit: NonZeroU32::new(LIMIT), window: WINDOW, even: false, reserve: 0 };
    let mut now = Instant::now();
    let mut budget = Budget::new(allowance, now);
    for _ in 0..used {
        assert!(budget.take(now, true).is_ok());
        budget.leave(1, now);
    }
    budget.told(&quota, used.into(), now);
    let places = |budget: &mut Budget, now| {
        (0..=LIMIT).take_while(|_| budget.take(now, true).is_ok()).count()
    };
    let left = places(&mut budget, now);
    assert!(left <= (LIMIT - used) as usize, "bolder: {left}");
    let said = usize::try_from(quota.remaining).unwrap_or(usize::MAX);
    let over = quota.reset.is_some_and(|reset| reset.is_zero());
    assert!(left <= said || over, "{left} after {quota:?}");
    budget.give_back(u32::try_from(left).unwrap_or_default(), now);
    now += WINDOW * 50;
    assert_eq!(places(&mut budget, now), LIMIT as usize, "stopped for good by {quota:?}");
}
