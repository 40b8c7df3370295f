//! Rules by method and path, for what is refused, limited or saved: which calls they speak of.
//! It never lets a spelling through: a path is judged in every form that some server may read it in.

use http::Method;
use percent_encoding::percent_decode_str;

/// `METHODS PATH`: METHODS a comma list, absent for all; in PATH `*` is one segment, `**` the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Empty: all.
    methods: Vec<Method>,
    segments: Vec<Segment>,
    /// `**` at the end: any number of segments more, none included.
    rest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// This word, whatever its case.
    Word(String),
    /// `*`
    One,
}

/// Decoded so often at most; what is still encoded then is nobody's path.
const MAX_LAYERS: usize = 4;
/// An odd path may be as long as this, far more than any of Genesys's is.
const MAX_ODD: usize = 8 * 1024;
/// The text that is looked at in all readings of an odd path, and what each of its parts counts.
const MAX_READ: usize = 64 * 1024;
const PART: usize = 16;

impl Rule {
    /// Reads a rule, or says what is wrong with it.
    ///
    /// # Errors
    /// No path, an unknown kind of method, a `**` that is not last, what no path can match.
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
            let method = Method::from_bytes(method.as_bytes()).ok().filter(|_| known);
            method.map(with_its_body).ok_or("no such method")
        });
        let mut words: Vec<&str> = segments(path).collect();
        let rest = words.last() == Some(&"**");
        if rest {
            words.pop();
        }
        if words.contains(&"**") {
            return Err("** must be last");
        }
        if words.iter().any(|word| [".", ".."].contains(word)) {
            return Err("the path has a . or .. in it");
        }
        let segments = words.into_iter().map(Segment::of).collect();
        Ok(Self { methods: methods.collect::<Result<_, _>>()?, segments, rest })
    }

    /// Whether it speaks of this call. An odd path is nobody's: who asks grants something by it.
    pub fn speaks_of(&self, method: &Method, path: &str) -> bool {
        self.of_method(&with_its_body(method.clone()))
            && is_plain(path)
            && self.matches(segments(path))
    }

    /// Whether it speaks of calls with this method.
    fn of_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    fn matches<'p>(&self, mut path: impl Iterator<Item = &'p str>) -> bool {
        let all = |segment: &Segment| path.next().is_some_and(|name| segment.is(name));
        self.segments.iter().all(all) && (self.rest || path.next().is_none())
    }
}

/// As it is written: `METHODS PATH`.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, method) in self.methods.iter().enumerate() {
            write!(f, "{}{method}", if n == 0 { "" } else { "," })?;
        }
        f.write_str(if self.methods.is_empty() { "" } else { " " })?;
        for segment in &self.segments {
            match segment {
                Segment::One => f.write_str("/*")?,
                Segment::Word(word) => write!(f, "/{word}")?,
            }
        }
        match (self.rest, self.segments.is_empty()) {
            (true, _) => f.write_str("/**"),
            (false, true) => f.write_str("/"),
            (false, false) => Ok(()),
        }
    }
}

impl Segment {
    fn of(text: &str) -> Self {
        match text {
            "*" => Self::One,
            word => Self::Word(word.to_owned()),
        }
    }

    fn is(&self, name: &str) -> bool {
        match self {
            Self::One => true,
            Self::Word(word) => word.eq_ignore_ascii_case(name),
        }
    }
}

/// HEAD is GET without its body (RFC 9110 section 9.3.2).
fn with_its_body(method: Method) -> Method {
    if method == Method::HEAD { Method::GET } else { method }
}

/// The first of the rules that speaks of this call, in some reading of its path. What would take
/// long to judge is spoken of: nobody's call looks like that.
pub fn denying<'r>(rules: &'r [Rule], method: &Method, path: &str) -> Option<&'r Rule> {
    let first = speaking(rules.iter(), method, path).first().copied();
    rules.get(usize::from(first?))
}

/// The numbers, from 0, of the rules that speak of this call in some reading of its path: what is
/// held to a limit is not let out of it by its spelling. All of its method's when there are too many
/// readings.
pub fn speaking<'r>(
    rules: impl Iterator<Item = &'r Rule>,
    method: &Method,
    path: &str,
) -> Vec<u16> {
    let method = with_its_body(method.clone());
    let mut of_method = rules.zip(0..).filter(|(rule, _)| rule.of_method(&method)).peekable();
    if of_method.peek().is_none() {
        return Vec::new();
    }
    if is_plain(path) {
        let matching = of_method.filter(|(rule, _)| rule.matches(segments(path)));
        return matching.map(|(_, number)| number).collect();
    }
    let (rules, mut numbers): (Vec<&Rule>, Vec<u16>) = of_method.unzip();
    if path.len() <= MAX_ODD {
        let mut matching = Readings::new(rules).matching(path).into_iter();
        numbers.retain(|_| matching.next().unwrap_or(true));
    }
    numbers
}

/// Read by everybody in the same way: nearly every path.
pub fn is_plain(path: &str) -> bool {
    let mut before = 0;
    let plain = path.bytes().all(|byte| {
        let odd = matches!(byte, b'%' | b'\\' | b';' | b'?' | b'#')
            || (before == b'/' && b"/.".contains(&byte))
            || (before == b'.' && byte == b'/');
        before = byte;
        !odd && byte.is_ascii_graphic()
    });
    plain && before != b'.'
}

/// Of a plain path: `/a/` is `/a` to many servers.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// How far each rule is matched in each way of reading the end of a path: for each count of its
/// segments that are still to come (to the left), a bit for each count of segments that a `..` to
/// the right takes away.
type Matched = Vec<u128>;

/// All the ways in which servers read an odd path, each of its segments on its own: decoded once or
/// more and before or after it is split, with parameters or without, cut at what may begin a query,
/// a dot segment resolved or a name, an empty one dropped or a name.
///
/// A path is read from its end, because a `..` takes away what stands before it: then the ways need
/// not be counted out, as those that have matched equally far are one.
struct Readings<'r> {
    rules: Vec<&'r Rule>,
    /// Of [`MAX_READ`].
    left: usize,
}

impl<'r> Readings<'r> {
    fn new(rules: Vec<&'r Rule>) -> Self {
        Self { rules, left: MAX_READ }
    }

    /// Which of the rules match a reading; all, when there are too many of these.
    fn matching(mut self, path: &str) -> Vec<bool> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let matched = self.path(path, 0, self.nothing_yet());
        // Where a rule begins, nothing of it is to come. A `..` too many stays at the root.
        let mut begin = 0;
        let whole = self.rules.iter().map(|rule| {
            let whole = matched.get(begin).is_some_and(|ways| *ways != 0);
            begin += rule.segments.len() + 1;
            whole || self.left == 0
        });
        whole.collect()
    }

    /// At the end of the path.
    fn nothing_yet(&self) -> Matched {
        let of_rule = |rule: &&Rule| {
            let to_come = rule.segments.len();
            (0..=to_come).map(move |count| u128::from(count == to_come))
        };
        self.rules.iter().flat_map(of_rule).collect()
    }

    fn path(&mut self, text: &str, layer: usize, after: Matched) -> Matched {
        text.rsplit('/').fold(after, |after, segment| self.segment(segment, layer, &after))
    }

    fn segment(&mut self, text: &str, layer: usize, after: &Matched) -> Matched {
        // Many rules take longer.
        self.left = self.left.saturating_sub(text.len() + PART + after.len() / PART);
        if self.left == 0 {
            return after.clone();
        }
        let mut matched = self.name(text, after);
        // Parameters, or the end of the path to a server that decodes before it looks for one.
        for end in [text.find(['?', '#', ';']), text.find('\0')].into_iter().flatten() {
            let mut after = after.clone();
            either(&mut after, &self.nothing_yet());
            let cut = self.segment(text.get(..end).unwrap_or_default(), layer, &after);
            either(&mut matched, &cut);
        }
        if text.contains('\\') {
            let parts = text.rsplit('\\');
            let parts = parts.fold(after.clone(), |after, part| self.segment(part, layer, &after));
            either(&mut matched, &parts);
        }
        if text.contains(['%', '\\']) {
            // What is trimmed may be decoded or split after that, too.
            let bare = trimmed(text);
            if bare != text {
                either(&mut matched, &self.segment(&bare, layer, after));
            }
        }
        if text.contains('%') {
            if layer < MAX_LAYERS {
                let bytes: Vec<u8> = percent_decode_str(text).collect();
                for decoded in [String::from_utf8_lossy(&bytes), overlong(&bytes).into()] {
                    if decoded != text && !decoded.is_empty() {
                        either(&mut matched, &self.path(&decoded, layer + 1, after.clone()));
                    }
                }
            }
            let decoded = microsofts(text);
            if decoded != text {
                // It is shorter, so this ends.
                either(&mut matched, &self.path(&decoded, layer, after.clone()));
            }
        }
        matched
    }

    /// A segment as it is, or without what some servers trim.
    fn name(&mut self, text: &str, after: &Matched) -> Matched {
        let bare = uncontrolled(text);
        let dots = bare.trim();
        let bare = dots.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
        let mut matched = if dots == ".." {
            // More of them than there are bits.
            if after.iter().any(|ways| ways.leading_zeros() == 0) {
                self.left = 0;
            }
            after.iter().map(|ways| ways << 1).collect()
        } else if bare.is_empty() {
            after.clone()
        } else {
            vec![0; after.len()]
        };
        let mut begin = 0;
        for rule in &self.rules {
            let to_come = rule.segments.len();
            for count in 0..=to_come {
                let ways = after.get(begin + count).copied().unwrap_or_default();
                // Taken away by a `..`, or for the rule to match.
                let free = ways & 1 != 0;
                if let Some(here) = matched.get_mut(begin + count) {
                    *here |= ways >> 1 | u128::from(free && rule.rest && count == to_come);
                }
                let Some(last) = count.checked_sub(1).filter(|_| free) else { continue };
                let found = rule.segments.get(last).is_some_and(|s| s.is(text) || s.is(bare));
                if let Some(next) = matched.get_mut(begin + last) {
                    *next |= u128::from(found);
                }
            }
            begin += to_come + 1;
        }
        matched
    }
}

/// A name without what some servers take out of it, and off its end.
fn trimmed(text: &str) -> String {
    let blank = |c: char| c == '.' || c.is_whitespace();
    uncontrolled(text).trim_end_matches(blank).to_owned()
}

fn uncontrolled(text: &str) -> String {
    text.replace(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER, "")
}

/// ASCII in more bytes than one, which RFC 3629 section 3 forbids and some decoders take. Empty when
/// there is none.
fn overlong(bytes: &[u8]) -> String {
    let mut found = false;
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let [first, tail @ ..] = rest {
        let (byte, length) = match rest {
            [0xc0 | 0xc1, low @ 0x80..=0xbf, ..] => (first << 6 | low & 0x3f, 2),
            [0xe0, high @ (0x80 | 0x81), low @ 0x80..=0xbf, ..]
            | [0xf0, 0x80, high @ (0x80 | 0x81), low @ 0x80..=0xbf, ..] => {
                (high << 6 | low & 0x3f, if *first == 0xe0 { 3 } else { 4 })
            }
            _ => (*first, 1),
        };
        found |= length > 1;
        out.push(if length > 1 { byte & 0x7f } else { byte });
        rest = if length == 1 { tail } else { rest.get(length..).unwrap_or_default() };
    }
    if found { String::from_utf8_lossy(&out).into_owned() } else { String::new() }
}

/// `%u002e` is a dot to some of Microsoft's servers. Only what is ASCII matters to a rule.
fn microsofts(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.strip_prefix(['u', 'U']).and_then(|rest| rest.strip_prefix("00"));
        let digits = code.and_then(|code| code.get(..2));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = byte.filter(u8::is_ascii) {
            out.push(byte.into());
            out.push_str(part.get(5..).unwrap_or_default());
        } else {
            out.push('%');
            out.push_str(part);
        }
    }
    out
}

fn either(ways: &mut Matched, others: &Matched) {
    for (ways, others) in ways.iter_mut().zip(others) {
        *ways |= others;
    }
}

#[cfg(test)]
mod tests;
