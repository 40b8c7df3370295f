//! What a path means to servers, spelled out: every step that some server takes, in any order.
//! It must never share a line with what it is held against.

use std::collections::HashSet;

use proptest::prelude::*;

use super::{Method, Rule, denied, usual};

/// More steps than any server takes that was heard of.
const STEPS: usize = 10;
/// A path with more readings than this is looked at no further: the generators' have fewer.
const MOST: usize = 5000;

type Step = fn(&[u8]) -> Vec<u8>;
const ALL: [Step; 12] = [
    percent_decoded,
    microsoft_decoded,
    overlong_decoded,
    slashes_turned,
    without_parameters,
    before::<b'?'>,
    before::<b'#'>,
    before::<0>,
    without_controls,
    without_ends,
    dots_resolved,
    slashes_squeezed,
];

/// What a path may have become after some of the steps.
fn readings(path: &str) -> HashSet<Vec<u8>> {
    let mut all = HashSet::from([path.as_bytes().to_vec()]);
    let mut newest: Vec<Vec<u8>> = all.iter().cloned().collect();
    for _ in 0..STEPS {
        let next: HashSet<_> = newest.iter().flat_map(|path| ALL.map(|step| step(path))).collect();
        newest = next.into_iter().filter(|path| all.insert(path.clone())).collect();
        if newest.is_empty() || all.len() > MOST {
            break;
        }
    }
    all
}

/// The names on the way from the root.
fn names(path: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(String::from_utf8_lossy(name).to_ascii_lowercase()),
        }
    }
    names
}

/// To some server it is one of the paths that may not be deleted.
fn is_denied(path: &str) -> bool {
    readings(path).iter().any(|reading| {
        let names = names(reading);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        matches!(names[..], ["api", "v2", "tokens", "me"] | ["api", "v2", "oauth", "clients", ..])
    })
}

fn percent_decoded(path: &[u8]) -> Vec<u8> {
    replaced(path, |rest| match rest {
        [b'%', high, low, ..] => Some((3, vec![hex(&[*high, *low])?])),
        _ => None,
    })
}

/// `%u002e`
fn microsoft_decoded(path: &[u8]) -> Vec<u8> {
    replaced(path, |rest| match rest {
        [b'%', b'u' | b'U', b'0', b'0', high, low, ..] => {
            Some((6, vec![hex(&[*high, *low]).filter(u8::is_ascii)?]))
        }
        _ => None,
    })
}

/// ASCII in two bytes or three, which RFC 3629 section 3 forbids.
fn overlong_decoded(path: &[u8]) -> Vec<u8> {
    replaced(path, |rest| match rest {
        [first @ (0xc0 | 0xc1), second @ 0x80..=0xbf, ..] => {
            Some((2, vec![(first & 1) << 6 | (second & 0x3f)]))
        }
        [0xe0, second @ (0x80 | 0x81), third @ 0x80..=0xbf, ..] => {
            Some((3, vec![(second & 1) << 6 | (third & 0x3f)]))
        }
        _ => None,
    })
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| plain)
}

fn replaced(path: &[u8], one: impl Fn(&[u8]) -> Option<(usize, Vec<u8>)>) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path);
    while let [first, tail @ ..] = rest {
        if let Some((length, bytes)) = one(rest) {
            out.extend(bytes);
            rest = &rest[length..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

fn slashes_turned(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

fn of_each_name(path: &[u8], change: impl Fn(&[u8]) -> &[u8]) -> Vec<u8> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').map(change).collect();
    names.join(&b'/')
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    of_each_name(path, |name| name.split(|byte| *byte == b';').next().unwrap())
}

fn before<const END: u8>(path: &[u8]) -> Vec<u8> {
    path.split(|byte| *byte == END).next().unwrap().to_vec()
}

fn without_controls(path: &[u8]) -> Vec<u8> {
    path.iter().copied().filter(|byte| !byte.is_ascii_control()).collect()
}

/// As Windows takes blanks and dots off the ends of names.
fn without_ends(path: &[u8]) -> Vec<u8> {
    of_each_name(path, |name| {
        let bare = name.trim_ascii();
        if bare == b".." || bare == b"." {
            return bare;
        }
        let end = bare.iter().rposition(|byte| !b". ".contains(byte)).map_or(0, |at| at + 1);
        &bare[..end]
    })
}

/// RFC 3986 section 5.2.4: an empty name is a name.
fn dots_resolved(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/').skip(1) {
        match name {
            b"." => {}
            b".." => drop(out.pop()),
            name => out.push(name),
        }
    }
    out.iter().flat_map(|name| [b"/", *name].concat()).collect()
}

fn slashes_squeezed(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|next, before| (*next, *before) == (b'/', b'/'));
    out
}

/// A byte in some spelling.
fn spelled(byte: u8) -> impl Strategy<Value = String> {
    (0..12).prop_map(move |way| match way {
        0 => format!("%{byte:02x}"),
        1 => format!("%{byte:02X}"),
        2 => format!("%25{byte:02x}"),
        3 => format!("%2525{byte:02x}"),
        4 => format!("%u00{byte:02x}"),
        5 => format!("%{:02x}%{:02x}", 0xc0 | byte >> 6, 0x80 | (byte & 0x3f)),
        6 => format!("%e0%{:02x}%{:02x}", 0x80 | byte >> 6, 0x80 | (byte & 0x3f)),
        7 => char::from(byte).to_ascii_uppercase().to_string(),
        _ => char::from(byte).to_string(),
    })
}

fn text(text: &'static str) -> impl Strategy<Value = String> {
    text.bytes().map(spelled).collect::<Vec<_>>().prop_map(|parts| parts.concat())
}

/// A denied path with something between its names that leaves it what it is.
fn disguised() -> impl Strategy<Value = String> {
    let between = prop_oneof![
        6 => text("/"),
        1 => text("//"),
        1 => text("/./"),
        1 => text("/x/../"),
        1 => text("\\"),
        1 => text(";v=1/"),
        1 => text(" /"),
        1 => text("./"),
    ];
    let name = |name| (between.clone(), text(name)).prop_map(|(between, name)| between + &name);
    let end = prop_oneof![
        4 => Just(String::new()),
        1 => text("/"),
        1 => text("/."),
        1 => text(";a"),
        1 => text("?a"),
        1 => text("#a"),
        1 => text("\0.json"),
        1 => text("."),
    ];
    (text("/"), text("api"), name("v2"), name("tokens"), name("me"), end)
        .prop_map(|(root, api, v2, tokens, me, end)| [root, api, v2, tokens, me, end].concat())
        // What the guard lets through begins with a slash.
        .prop_map(|path| if path.starts_with('/') { path } else { format!("/{path}") })
}

/// What odd paths are made of.
const PARTS: [&str; 38] = [
    "api",
    "v2",
    "tokens",
    "me",
    "oauth",
    "clients",
    "x",
    "API",
    "m%65",
    "%6de",
    "%2574okens",
    "/",
    "/",
    "/",
    "/",
    "//",
    "/./",
    "/../",
    "/..",
    "/.",
    "%2f",
    "%252F",
    "%5c",
    "\\",
    "%c0%af",
    "%e0%80%af",
    "%u002f",
    "%2e",
    "%2e%2e",
    "%c0%ae",
    "%u002E",
    "..",
    ";",
    "%3b",
    "%00",
    "%20",
    ".",
    "?",
];

proptest! {
    /// Each of the tricks is one to the reference, and none gets past the rules.
    #[test]
    fn a_denied_path_is_denied_in_every_spelling_that_some_server_reads(path in disguised()) {
        prop_assert!(is_denied(&path), "to nobody: {path}");
        prop_assert!(denied(&usual(), &Method::DELETE, &path), "{path}");
    }

    /// Whatever it is put together from.
    #[test]
    fn what_some_server_reads_as_denied_is_denied(
        begin in prop::sample::select(&["/", "/api/v2/", "/api/v2/tokens", "/api/v2/oauth/", "/x/../api/v2"][..]),
        parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..9),
    ) {
        let path = format!("{begin}{}", parts.concat());
        prop_assert!(!is_denied(&path) || denied(&usual(), &Method::DELETE, &path), "{path}");
    }

    /// A rule that grants something grants it to what everybody reads in the same way.
    #[test]
    fn what_a_rule_grants_is_one_path_to_everybody(
        parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..9),
        rule in prop::sample::select(&["/api/v2/tokens/me", "/api/v2/**", "/api/*/tokens/**", "/**"][..]),
    ) {
        let rule = Rule::parse(rule).unwrap();
        for begin in ["/", "/api/v2/"] {
            let path = format!("{begin}{}", parts.concat());
            if rule.speaks_of(&Method::GET, &path) {
                let meant = names(path.as_bytes());
                for reading in readings(&path) {
                    prop_assert_eq!(&names(&reading), &meant, "{}", path);
                }
            }
        }
    }
}

#[test]
fn the_reference_reads_what_it_should() {
    for path in [
        "/api/v2/tokens/me",
        "/api/v2/tokens%252fme",
        "/api/v2/x/%c0%ae%c0%ae/tokens/me",
        "/api/v2/x/%u002e%u002e/tokens/me",
        "/api/v2/tokens;a/me;b",
        "/api/v2/tokens/me%00.json",
        "/api/v2/b%2fc/../tokens/me",
        "/api/v2/x//../tokens/me",
    ] {
        assert!(is_denied(path), "{path}");
    }
    for path in ["/api/v2/tokens", "/api/v2/tokens/you", "/api/v2/tokens/me/x", "/api/v2/me"] {
        assert!(!is_denied(path), "{path}");
    }
}
