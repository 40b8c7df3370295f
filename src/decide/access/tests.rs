//! Rules, and the spellings that some server may read as the same path.

mod reference;

use proptest::prelude::*;

use super::*;

fn denied(rules: &[Rule], method: &Method, path: &str) -> bool {
    denying(rules, method, path).is_some()
}

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| Rule::parse(text).unwrap()).collect()
}

fn usual() -> Vec<Rule> {
    rules(&[
        "DELETE /api/v2/tokens/me",
        "PUT /api/v2/tokens/timeout",
        "POST,PUT,PATCH,DELETE /api/v2/oauth/clients/**",
    ])
}

#[test]
fn rules_speak_of_methods_segments_and_the_rest() {
    let usual = usual();
    for (method, path, expected) in [
        ("DELETE", "/api/v2/tokens/me", true),
        ("DELETE", "/api/v2/tokens/me/", true),
        ("DELETE", "/API/v2/Tokens/ME", true),
        ("GET", "/api/v2/tokens/me", false),
        ("HEAD", "/api/v2/tokens/me", false),
        ("DELETE", "/api/v2/tokens/me/x", false),
        ("DELETE", "/api/v2/tokens", false),
        ("PUT", "/api/v2/tokens/timeout", true),
        ("POST", "/api/v2/oauth/clients", true),
        ("POST", "/api/v2/oauth/clients/1/secret", true),
        ("POST", "/api/v2/oauth/clientsx", false),
        ("GET", "/api/v2/oauth/clients", false),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(denied(&usual, &method, path), expected, "{method} {path}");
    }
    let stars = rules(&["/a/*/c", "GET /"]);
    assert!(denied(&stars, &Method::PATCH, "/a/b/c") && denied(&stars, &Method::HEAD, "/"));
    assert!(!denied(&stars, &Method::GET, "/a/b/b/c") && !denied(&stars, &Method::GET, "/a/c"));
}

#[test]
fn what_is_no_rule_is_said() {
    for text in
        ["", "GET", "get /a", "G€T /a", "GET a", "GET /a b", "/a/**/b", "/a?b", "/a%2fb", "/a/../b"]
    {
        assert!(Rule::parse(text).is_err(), "{text}");
    }
}

#[test]
fn no_known_spelling_gets_past_a_rule() {
    let usual = usual();
    for path in [
        "/api/v2/tokens/%6d%65",
        "/api/v2/tokens/%256d%2565",
        "/api/v2/tokens%2fme",
        "/api/v2/tokens%252Fme",
        "/api/v2/tokens%5cme",
        "/api/v2/tokens\\me",
        "/api/v2/./tokens/me",
        "/api/v2/x/../tokens/me",
        "/api/v2/x/%2e%2e/tokens/me",
        "/api/v2/x%2f..%2ftokens/me",
        "//api//v2/tokens///me",
        "/api/v2/tokens/me;v=1",
        "/api;x/v2/tokens;y=/me",
        "/api/v2/tokens/me%3bv=1",
        "/api/v2/tokens/me/.",
        "/../api/v2/tokens/me",
        "/api/v2//..//tokens/me",
        "/api/v2/x//..//..//tokens/me",
        "/api/v2/x/..%20/tokens/me",
        "/api/v2/tokens/me%20",
        "/api/v2/tokens/%09me",
        "/api/v2/tokens/me%0a",
        "/api/v2/tokens/m%0ae",
        "/api/v2/tokens/me%00",
        "/api/v2/tokens/me%00.json",
        "/api/v2/tokens/me%00%2fx",
        "/api/v2/tokens/me.",
        "/api/v2/tokens./me%20..",
        "/api/v2/tokens/me%3fx",
        "/api/v2/tokens/me%253fx/y",
        "/api/v2/tokens/me%23x",
        // Resolved or stripped before it is decoded.
        "/api/v2/b%2fc/../tokens/%6de",
        "/api/%76%32;%2fx/tokens/me",
        // Trimmed before it is decoded again.
        "/api/v2/tokens/m%65%252F%2e%2e;",
        "/api/v2/tokens%c0%afm%65%5c%2e%2e",
    ] {
        assert!(denied(&usual, &Method::DELETE, path), "{path}");
    }
    for path in [
        "/api/v2/users/a%2Fb",
        "/api/v2/groups/x;y",
        "/api/v2/tokens/me2",
        "/api/v2/users/a.b",
        "/api/v2/users/a.b.",
        "/api/v2/groups/My%20Group",
        "/api/v2/tokens/me%20too",
        "/api/v2/tokens/.me",
        "/api/v2/tokens/%C3%BC",
        "/api/v2/tokens/me/../you",
        "/api/v2/oauth%3fclients",
    ] {
        assert!(!denied(&usual, &Method::PUT, path), "{path}");
    }
}

#[test]
fn a_rule_matches_what_it_seems_to_say() {
    let odd = rules(&["HEAD /x", "DELETE /api//v2/foo/", "PUT /", "POST /a./b"]);
    for (method, path) in [
        (Method::HEAD, "/x"),
        (Method::GET, "/x"),
        (Method::DELETE, "/api/v2/foo"),
        (Method::DELETE, "/api/v2/f%6fo/"),
        (Method::PUT, "/"),
        (Method::PUT, "/x/%2e."),
        (Method::POST, "/a./b"),
    ] {
        assert!(denied(&odd, &method, path), "{method} {path}");
    }
    assert!(!denied(&odd, &Method::PUT, "/x%20") && !denied(&odd, &Method::POST, "/x"));
}

#[test]
fn a_path_that_takes_long_to_judge_is_refused_if_a_rule_speaks_of_its_method() {
    let usual = usual();
    for path in [
        format!("/{}", "a;b%25/".repeat(10_000)),
        format!("/%20{}", "a".repeat(MAX_ODD)),
        "/..".repeat(400),
        format!("/{}", "..%2f".repeat(1500)),
        format!("/{}", "a%5c%2500%253b".repeat(500)),
    ] {
        assert!(denied(&usual, &Method::DELETE, &path) && !denied(&usual, &Method::GET, &path));
    }
    let long = format!("/api/v2/{}", "My%20Group/".repeat(100));
    assert!(!denied(&usual, &Method::DELETE, &long));
    assert!(!denied(&usual, &Method::DELETE, &"/a".repeat(30_000)));
}

/// What leaves a path what it is to some server, between two of its segments.
const BETWEEN: [&str; 10] = [
    "/",
    "//",
    "/./",
    "/x/../",
    "/x//..//",
    "/x;y/..;z/",
    "\\",
    "/x/..%20/",
    "/x%2fy/../",
    "/%20/",
];
/// And after one of them.
const AFTER: [&str; 8] = ["", "", ";v=1", "%20", "%09", ".", "%0a", ";%2fx"];
/// And after all.
const AT_THE_END: [&str; 9] =
    ["", "/", "/.", "%00x", "%3fx/y", "%23/x", "?x", "%253f..%2fx", "//x//..//"];

proptest! {
    /// However the bytes of a denied path are encoded, it stays denied.
    #[test]
    fn encoding_any_byte_any_number_of_times_changes_nothing(layers in prop::collection::vec(0usize..4, 17)) {
        let path: String = "/api/v2/tokens/me"
            .bytes()
            .zip(layers)
            .map(|(byte, layers)| match (byte, layers) {
                (byte, 0) => char::from(byte).to_string(),
                (byte, layers) => format!("%{}{byte:02x}", "25".repeat(layers - 1)),
            })
            .collect();
        prop_assert!(denied(&usual(), &Method::DELETE, &path), "{path}");
    }

    /// Whatever the tricks are put together.
    #[test]
    fn a_denied_path_stays_denied_in_any_disguise(
        disguises in prop::collection::vec((0..BETWEEN.len(), 0..AFTER.len(), any::<bool>()), 4),
        end in prop::sample::select(&AT_THE_END[..]),
    ) {
        let mut path = String::new();
        for (segment, (between, after, encoded)) in
            ["api", "v2", "tokens", "me"].into_iter().zip(disguises)
        {
            path.push_str(BETWEEN[between]);
            match segment.split_at(1) {
                (first, rest) if encoded => {
                    path.extend(["%", &format!("{:02x}", first.as_bytes()[0]), rest]);
                }
                _ => path.push_str(segment),
            }
            path.push_str(AFTER[after]);
        }
        path.push_str(end);
        prop_assert!(denied(&usual(), &Method::DELETE, &path), "{path}");
    }

    /// A name of somebody's is no trick, whatever is encoded in it.
    #[test]
    fn names_are_not_denied(name in "[a-zA-Z0-9][a-zA-Z0-9 .@+]{0,20}[a-zA-Z0-9]") {
        let path = format!("/api/v2/groups/{}/members", name.replace(' ', "%20"));
        prop_assert!(!denied(&usual(), &Method::DELETE, &path), "{path}");
    }

    #[test]
    fn no_path_and_no_rule_panics(path in "[ -~]{0,60}", rule in "\\PC{0,40}") {
        let _ = Rule::parse(&rule);
        let _ = denied(&usual(), &Method::DELETE, &path);
    }
}

#[test]
fn what_grants_by_a_rule_grants_nothing_to_an_odd_path() {
    let rule = Rule::parse("GET /api/v2/users/**").unwrap();
    assert!(rule.speaks_of(&Method::GET, "/api/v2/users/1/"));
    assert!(!rule.speaks_of(&Method::PUT, "/api/v2/users/1"));
    for path in
        ["/api/v2/users/%31", "/api/v2//users/1", "/api/v2/users/../users/1", "/api/v2/users;a"]
    {
        assert!(!rule.speaks_of(&Method::GET, path), "{path}");
    }
}

fn limited() -> Vec<Rule> {
    rules(&["GET /api/v2/users/*", "/api/v2/users/**", "PUT /api/v2/groups/*/members", "GET /"])
}

#[test]
fn each_rule_that_speaks_of_a_call_is_told_by_its_number() {
    let limited = limited();
    let with = |method: &Method, path: &str| speaking(limited.iter(), method, path);
    for (method, path, expected) in [
        (Method::GET, "/api/v2/users/7", &[0, 1][..]),
        (Method::HEAD, "/api/v2/users/a%40b.example", &[0, 1]),
        (Method::GET, "/api/v2/users", &[1]),
        (Method::POST, "//api/v2/./%75sers/7", &[1]),
        (Method::PUT, "/api/v2/groups/My%20Group/members", &[2]),
        (Method::GET, "/api/v2/groups/My%20Group/members", &[]),
        (Method::GET, "/%2e", &[3]),
        (Method::DELETE, "/api/v2/groups/My%20Group/members", &[]),
    ] {
        assert_eq!(with(&method, path), expected, "{method} {path}");
    }
    let endless = format!("/{}", "..%2f".repeat(1500));
    assert_eq!(with(&Method::GET, &endless), [0, 1, 3], "all of its method's");
    assert_eq!(with(&Method::GET, &format!("/%20{}", "a".repeat(MAX_ODD))), [0, 1, 3]);
}

#[test]
fn a_thousand_rules_do_not_take_long_nor_speak_of_what_is_not_theirs() {
    let text = |n| format!("GET /api/v2/things/{n}/of/many/*");
    let many: Vec<Rule> = (0..1000).map(|n| Rule::parse(&text(n)).unwrap()).collect();
    let with = |path: &str| speaking(many.iter(), &Method::GET, path);
    assert_eq!(with("/api/v2/things/7/of/many/My%20Groups;x=y"), [7]);
    assert_eq!(with(&format!("/{}", "a;b%25/".repeat(1000))).len(), 1000, "there is no telling");
    let mut readings = Readings::new(many.iter().collect());
    readings.segment("a;b%25", 0, &readings.nothing_yet());
    assert!(readings.left < MAX_READ - 1000, "each part is paid for by the rules it is held to");
}

/// As RFC 3986 section 6.2.2 would have it, and nothing else of this module: perhaps decoded, once;
/// then without empty segments and dot segments.
fn normal(path: &str, decoded: bool) -> Vec<String> {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let [first, tail @ ..] = rest {
        let hex = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) if decoded => {
                bytes.push(u8::try_from(high * 16 + low).unwrap());
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    let mut names: Vec<String> = Vec::new();
    for name in String::from_utf8_lossy(&bytes).split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name.to_ascii_lowercase()),
        }
    }
    names
}

/// Whether a path means `/api/v2/users/*` by that.
fn is_a_user(path: &str) -> bool {
    [false, true].into_iter().any(|decoded| match &normal(path, decoded)[..] {
        [api, version, users, _] => [api, version, users] == ["api", "v2", "users"],
        _ => false,
    })
}

/// What odd paths are made of.
const PARTS: [&str; 25] = [
    "api", "v2", "users", "API", "Users", "%75sers", "%55SERS", "use%72s", "7", "a%40b", "/", "/",
    "/", "//", "/./", "/../", "/x/../", "/.", "/..", "%2f", "%2F", "%2e", "%2E%2e/", "%5C", ";a",
];

proptest! {
    /// The limit of a family holds for each spelling that upstream may take for it.
    #[test]
    fn no_spelling_that_means_a_path_is_let_out_of_its_rule(
        before in prop::sample::select(&["/", "//", "/./", "/x/../", "/%2e/", "/../", "/%2F"][..]),
        odd in prop::collection::vec(
            (any::<bool>(), any::<bool>(), prop::sample::select(&["/", "//", "/./", "/y/../", "%2f", "%2F", "/%2e/", "/y/%2e%2E/", "/y/.%2e//"][..])),
            3,
        ),
        last in prop::sample::select(&["7", "%37", "a%40b", "x/", "x/.", "x/y/..", "x%2f%2e"][..]),
    ) {
        let mut path = before.to_owned();
        for (name, (upper, encoded, after)) in ["api", "v2", "users"].into_iter().zip(odd) {
            for byte in name.bytes() {
                let byte = if upper { byte.to_ascii_uppercase() } else { byte };
                path.extend(match (encoded, upper) {
                    (true, true) => [format!("%{byte:02X}")],
                    (true, false) => [format!("%{byte:02x}")],
                    (false, _) => [char::from(byte).to_string()],
                });
            }
            path.push_str(after);
        }
        path.push_str(last);
        prop_assert!(is_a_user(&path), "{path}");
        prop_assert_eq!(speaking(limited().iter(), &Method::GET, &path), [0, 1], "{}", path);
    }

    /// Whatever it is put together from.
    #[test]
    fn what_means_a_path_by_the_rfc_is_spoken_of(
        parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..12),
        begin in prop::sample::select(&["", "/api/v2", "/api/v2/users"][..]),
    ) {
        let path = format!("{begin}/{}", parts.concat());
        let spoken = speaking(limited().iter(), &Method::GET, &path);
        prop_assert!(!is_a_user(&path) || spoken.contains(&0), "{path}: {spoken:?}");
    }
}
