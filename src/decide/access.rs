//! Which calls are refused whoever asks: `access.deny`, by method and path.
//! It never lets a spelling through: a path is judged in every form that some server may read it in.

use http::Method;
use percent_encoding::percent_decode_str;

/// `METHODS PATH`: METHODS a comma list, absent for all; in PATH `*` is one segment, `**` the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Empty: all.
    methods: Vec<Method>,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// This word, whatever its case.
    Word(String),
    /// `*`
    One,
    /// `**`: any number of segments, none included. Last.
    Rest,
}

/// Decoded so often at most; what is still encoded then is nobody's path.
const MAX_LAYERS: usize = 4;

impl Rule {
    /// Reads a rule, or says what is wrong with it.
    ///
    /// # Errors
    /// No path, an unknown kind of method, a `**` that is not last.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (methods, path) = match text.trim().split_once(char::is_whitespace) {
            Some((methods, path)) => (methods, path.trim()),
            None => ("", text.trim()),
        };
        if !path.starts_with('/') {
            return Err("the path does not begin with /");
        }
        if path.contains(|c: char| c.is_whitespace() || c.is_control() || "%?#\\;".contains(c)) {
            return Err("the path has a blank, an encoding or a query");
        }
        let methods = methods.split(',').map(str::trim).filter(|method| !method.is_empty());
        let methods = methods.map(|method| {
            let known = method.bytes().all(|byte| byte.is_ascii_uppercase());
            Method::from_bytes(method.as_bytes()).ok().filter(|_| known).ok_or("no such method")
        });
        let path = path.strip_prefix('/').unwrap_or(path);
        let segments: Vec<Segment> = path.split('/').map(Segment::of).collect();
        let last = segments.len().saturating_sub(1);
        if segments.iter().take(last).any(|segment| *segment == Segment::Rest) {
            return Err("** must be last");
        }
        Ok(Self { methods: methods.collect::<Result<_, _>>()?, segments })
    }

    /// Whether it speaks of calls with this method.
    fn of_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    fn matches<'p>(&self, mut path: impl Iterator<Item = &'p str>) -> bool {
        for segment in &self.segments {
            match (segment, path.next()) {
                (Segment::Rest, _) => return true,
                (Segment::One, Some(_)) => {}
                (Segment::Word(word), Some(given)) if word.eq_ignore_ascii_case(given) => {}
                (Segment::One | Segment::Word(_), _) => return false,
            }
        }
        path.next().is_none()
    }
}

impl Segment {
    fn of(text: &str) -> Self {
        match text {
            "*" => Self::One,
            "**" => Self::Rest,
            word => Self::Word(word.to_owned()),
        }
    }
}

/// Whether one of the rules speaks of this call.
pub fn denied(rules: &[Rule], method: &Method, path: &str) -> bool {
    // HEAD is GET without its body (RFC 9110 section 9.3.2).
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut of_method = rules.iter().filter(|rule| rule.of_method(method)).peekable();
    if of_method.peek().is_none() {
        return false;
    }
    if is_plain(path) {
        return of_method.any(|rule| rule.matches(segments(path)));
    }
    let forms = forms(path);
    of_method.any(|rule| forms.iter().any(|form| rule.matches(form.iter().map(String::as_str))))
}

/// Read by everybody in the same way: nearly every path.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let odd = matches!(byte, b'%' | b'\\' | b';') || (before == b'/' && b"/.".contains(&byte));
        before = byte;
        !odd && byte.is_ascii_graphic()
    })
}

/// Without a last empty one: `/a/` is `/a` to many servers.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

/// The ways in which servers read an odd path: decoded once or more, with or without parameters,
/// with dot segments resolved or as names, with empty segments or without.
fn forms(path: &str) -> Vec<Vec<String>> {
    let mut forms = Vec::new();
    let mut layer = path.to_owned();
    for _ in 0..=MAX_LAYERS {
        let slashed = layer.replace('\\', "/");
        for without_parameters in [false, true] {
            let names: Vec<String> = segments(&slashed)
                .map(|segment| match segment.split_once(';') {
                    Some((name, _)) if without_parameters => name.to_owned(),
                    _ => segment.to_owned(),
                })
                .collect();
            let filled: Vec<String> = names.iter().filter(|n| !n.is_empty()).cloned().collect();
            forms.extend([resolved(&names), resolved(&filled), filled, names]);
        }
        let decoded = percent_decode_str(&layer).decode_utf8_lossy().into_owned();
        if decoded == layer {
            break;
        }
        layer = decoded;
    }
    forms
}

/// RFC 3986 section 5.2.4.
fn resolved(names: &[String]) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    for name in names {
        match name.as_str() {
            "." => {}
            ".." => drop(path.pop()),
            _ => path.push(name.clone()),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            ["", "GET", "get /a", "G€T /a", "GET a", "GET /a b", "/a/**/b", "/a?b", "/a%2fb"]
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
        ] {
            assert!(denied(&usual, &Method::DELETE, path), "{path}");
        }
        for path in ["/api/v2/users/a%2Fb", "/api/v2/groups/x;y", "/api/v2/tokens/me2"] {
            assert!(!denied(&usual, &Method::DELETE, path), "{path}");
        }
    }

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

        #[test]
        fn no_path_and_no_rule_panics(path in "[ -~]{0,60}", rule in "\\PC{0,40}") {
            let _ = Rule::parse(&rule);
            let _ = denied(&usual(), &Method::DELETE, &path);
        }
    }
}
