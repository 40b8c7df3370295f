//! What nothing that the program emits may hold: what the tests plant, and whatever looks like a
//! credential.
//! It never judges what callers and upstream say to each other: only what the program says itself.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::raw::{SECRET, TOKEN};

/// Every planted value begins so.
const MARK: &str = "pLaNtEd-";

/// A secret, key, cookie, body or query value of a test, which may be seen nowhere.
pub fn planted(what: &str) -> String {
    format!("{MARK}{what}-7f3a91c2d4")
}

/// Words that every test may plant; no line of a log has another reason to hold one.
const WORDS: [&str; 6] = [MARK, TOKEN, SECRET, "tHe-kEy-of-", "S3cret", "hush-hush"];

/// As long as a local token's random part is the shortest run that is taken for a token of the
/// simulator's: 86 characters of base64url.
const LONG: usize = 64;

/// The first line of a text that gives something away, and why it does.
pub fn given_away(text: &str) -> Option<String> {
    text.lines().find_map(|line| in_line(line).map(|why| format!("{why} shows: {line}")))
}

/// Fails the test when a text gives something away.
pub fn nothing_planted_in(text: &str) {
    if let Some(why) = given_away(text) {
        panic!("{why}");
    }
}

fn in_line(line: &str) -> Option<&'static str> {
    if WORDS.iter().any(|word| line.contains(word)) {
        return Some("a planted word");
    }
    // As HTTP Basic and dumps of bytes carry it, wherever the word begins in a group of three.
    let encoded = |word: &str| {
        (0..3).any(|before| {
            let text = STANDARD.encode(format!("{}{word}", &"xx"[..before]));
            // The groups that depend on nothing around it.
            let whole = &text[usize::from(before > 0) * 4..text.len() / 4 * 4 - 4];
            line.contains(whole)
        })
    };
    if [MARK, TOKEN, SECRET].into_iter().any(encoded) {
        return Some("a planted word in base64");
    }
    if line.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let lower = line.to_ascii_lowercase();
    for scheme in ["bearer ", "basic "] {
        let after = lower.match_indices(scheme).map(|(at, _)| &line[at + scheme.len()..]);
        if after.into_iter().any(|rest| rest.bytes().take_while(|b| is_of_token(*b)).count() >= 16)
        {
            return Some("a credential of Authorization");
        }
    }
    let runs = line.split(|c: char| !c.is_ascii() || !is_url_safe(c as u8));
    runs.filter(|run| !run.is_empty()).find_map(of_run)
}

/// What a run of base64url is.
fn of_run(run: &str) -> Option<&'static str> {
    if run.find("gpl_").is_some_and(|at| run.len() - at >= 47) {
        return Some("a token of the gateway's own");
    }
    if run.starts_with("eyJ") && run.len() >= 16 {
        return Some("a JWT");
    }
    let has = |of: fn(&u8) -> bool| run.as_bytes().iter().filter(|byte| of(byte)).count() >= 4;
    let random =
        has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    (run.len() >= LONG && random).then_some("what looks like a token")
}

fn is_url_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_".contains(&byte)
}

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte)
}

#[test]
fn what_is_looked_for_is_found_and_what_a_log_holds_is_not() {
    let basic = |who: &str| STANDARD.encode(format!("{who}:{SECRET}"));
    let token = format!("{}Zz9-", "aB3_".repeat(21));
    for bad in [
        &planted("query"),
        TOKEN,
        &format!("x {}", basic("demo")),
        &format!("x {}", basic("a")),
        &format!("x {}", basic("ab")),
        "authorization: Bearer abcdefghijklmnop1234",
        "\"Authorization\": \"basic ZGVtbzpkZW1vMTIzNDU2\"",
        "a eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln b",
        &format!("token=gpl_{}", "aB3-_".repeat(9)),
        &format!("value {token}"),
        "-----BEGIN PRIVATE KEY-----",
    ] {
        assert!(given_away(&format!("first\n{bad}")).is_some(), "{bad}");
    }
    nothing_planted_in(
        "2026-01-01T00:00:00Z INFO token minted generation=1 fingerprint=0123456789ab\n\
         http://127.0.0.1:1/api/v2/organizations/me request_id=0123456789abcdef0123456789abcdef\n\
         sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
         Bearer realm=\"genesys-proxy\" and gpl_ alone",
    );
}
