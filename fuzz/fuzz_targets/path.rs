//! Paths: one has one family however it is spelled, and none of its spellings gets past a rule that
//! speaks of it.
#![no_main]

use genesys_proxy::decide::{
    access::{Rule, denying},
    path::family,
};
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (path, ways) = input;
    let _ = family(path).key(&Method::GET);
    let _ = family(path).to_string();
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_~".contains(&byte));
    // What is longer than odd paths may be is refused for that.
    if !plain || !path.starts_with('/') || path.len() > 500 {
        return;
    }
    let Ok(rule) = Rule::parse(path) else { return };
    let rules = [rule];
    let (once, twice) = (spelled(path, ways, 1), spelled(path, ways, 2));
    for spelling in [path, &once, &twice] {
        assert!(denying(&rules, &Method::PUT, spelling).is_some(), "{spelling}");
    }
    // Encoded once, and no slash: RFC 3986 section 6.2.2.2 says that it is the same.
    if !once.contains("%2f") {
        assert_eq!(family(&once).key(&Method::GET), family(path).key(&Method::GET), "{once}");
    }
});

/// Each byte as `ways` has it: as it is, or encoded so many times.
fn spelled(path: &str, ways: &[u8], layers: usize) -> String {
    let mut ways = ways.iter().cycle();
    let mut out = String::from("/");
    for byte in path.bytes().skip(1) {
        match ways.next().copied().unwrap_or_default() % 4 {
            0 => {
                out.push('%');
                out.push_str(&"25".repeat(layers - 1));
                out.push_str(&format!("{byte:02x}"));
            }
            1 if byte == b'/' => out.push_str("/./"),
            1 => out.push(char::from(byte.to_ascii_uppercase())),
            _ => out.push(char::from(byte)),
        }
    }
    out
}
