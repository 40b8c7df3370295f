//! Which calls another call's answer will do for, which answers may be kept, and what a write undoes.
//! It never takes two calls for one that upstream could tell apart, but for the fields named here.

use std::hash::{DefaultHasher, Hash, Hasher};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    access::{is_plain, segments},
    headers::crossing,
};

/// Whose data an answer is: part of every key, so that no two organisations can share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Organisation(u32);

impl Organisation {
    /// The first is 0.
    pub fn new(number: u32) -> Self {
        Self(number)
    }
}

/// All that decides about an answer: the organisation, the target's bytes, and every field that
/// crosses, in an order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity(Box<[u8]>);

/// Fields that differ from call to call and never change an answer: names of the call and of its
/// trace, what the caller is, how urgent it is, and the length of a body that is not there. What
/// such a field does choose, an answer says with `Vary`, and is then shared with nobody.
///
/// `Cache-Control` and `Pragma` are to us: [`Ask`] has what they say.
const APART: [&str; 10] = [
    "cache-control",
    "content-length",
    "pragma",
    "priority",
    "purecloud-sdk",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-correlation-id",
    "x-request-id",
];

/// What answer a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// One that was given already, if it is no older than so many seconds.
    Any {
        /// `Cache-Control: max-age`
        max_age: Option<u64>,
    },
    /// One to a call that leaves from now on.
    Fresh,
}

/// What answer a call takes, or `None`: it is not for sharing. `bodiless` is what the framing says.
pub fn ask(method: &Method, fields: &HeaderMap, bodiless: bool) -> Option<Ask> {
    if *method != Method::GET || !bodiless {
        return None;
    }
    let (mut fresh, mut max_age) = (false, None);
    for (name, value) in fields {
        match name.as_str() {
            // Answered with a part, or with nothing at all, or with something else than HTTP; with
            // trailers, which are not kept.
            "range" | "upgrade" | "te" | "expect" => return None,
            name if name.starts_with("if-") => return None,
            "cache-control" => {
                for directive in items(value)? {
                    match directive.to_ascii_lowercase().split_once('=') {
                        Some(("max-age", seconds)) => {
                            let seconds: u64 = seconds.trim_matches('"').parse().ok()?;
                            max_age = Some(max_age.unwrap_or(seconds).min(seconds));
                        }
                        None if directive.eq_ignore_ascii_case("no-cache") => fresh = true,
                        None if directive.eq_ignore_ascii_case("no-transform") => {}
                        // `no-store`, and whatever else it may mean.
                        Some(_) | None => return None,
                    }
                }
            }
            "pragma" => fresh |= items(value)?.any(|word| word.eq_ignore_ascii_case("no-cache")),
            _ => {}
        }
    }
    Some(if fresh || max_age == Some(0) { Ask::Fresh } else { Ask::Any { max_age } })
}

/// The items of a comma list; `None` when it is not text.
fn items(value: &HeaderValue) -> Option<impl Iterator<Item = &str>> {
    let text = value.to_str().ok()?;
    Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()))
}

impl Identity {
    /// Of a call with this target, path and query. Neither a name nor a value has a line feed in
    /// it, and no name a colon: two calls cannot be written alike.
    pub fn of(organisation: Organisation, target: &str, fields: &HeaderMap) -> Self {
        let mut lines: Vec<(&HeaderName, &HeaderValue)> =
            crossing(fields).filter(|(name, value)| !apart(name, value)).collect();
        // Stable: the order of one name's values may mean something.
        lines.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let mut key = Vec::with_capacity(target.len() + 64 * lines.len());
        key.extend_from_slice(&organisation.0.to_be_bytes());
        key.extend_from_slice(target.as_bytes());
        for (name, value) in lines {
            key.push(b'\n');
            key.extend_from_slice(name.as_str().as_bytes());
            key.push(b':');
            key.extend_from_slice(value.as_bytes());
        }
        Self(key.into())
    }

    /// In bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

fn apart(name: &HeaderName, value: &HeaderValue) -> bool {
    // `Prefer: wait` is to us; any other preference is upstream's to honour.
    let only_waits = || {
        let wait = |item: &str| item.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("wait="));
        items(value).is_some_and(|mut all| all.all(wait))
    };
    APART.contains(&name.as_str()) || (*name == "prefer" && only_waits())
}

/// Whether an answer may go to others than the caller whose call was sent: it does not depend on
/// what [`Identity`] leaves out.
pub fn shareable(answer: &HeaderMap) -> bool {
    answer.get_all(header::VARY).iter().all(|line| {
        items(line).is_some_and(|mut names| {
            names.all(|name| {
                let name = name.to_ascii_lowercase();
                name != "*" && name != "prefer" && !APART.contains(&name.as_str())
            })
        })
    })
}

/// Whether an answer may be kept for later callers.
///
/// `Cache-Control` of the answer is not asked. Genesys says `no-cache, no-store` to nearly
/// everything, and a rule that names the path is the operator's word that it means nobody here:
/// all callers act as one client. A cookie is for one of them all the same.
pub fn keepable(status: StatusCode, answer: &HeaderMap) -> bool {
    status == StatusCode::OK && !answer.contains_key(header::SET_COOKIE) && shareable(answer)
}

/// Whether an answer that is not kept still tells that a kept one is out of date.
pub fn replaces(status: StatusCode) -> bool {
    let not_about_it =
        [StatusCode::UNAUTHORIZED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    !status.is_server_error() && !not_about_it.contains(&status)
}

/// How old an answer was when it came, in seconds (RFC 9111 section 5.1).
pub fn age_at_arrival(answer: &HeaderMap) -> u64 {
    let age = answer.get(header::AGE).and_then(|age| age.to_str().ok());
    age.and_then(|age| age.trim().parse().ok()).unwrap_or_default()
}

/// Where an answer came from, for `Cache-Status` (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was kept.
    Kept {
        /// Whole seconds since it was asked for.
        age: u64,
        /// And until it is kept no longer.
        ttl: u64,
    },
    /// A call that another caller's had begun.
    Collapsed,
    /// A call of its own.
    Sent {
        /// Because the caller wanted a fresh one.
        wanted: bool,
        /// It is kept now.
        stored: bool,
    },
}

impl Origin {
    /// The field's value.
    pub fn cache_status(self) -> String {
        match self {
            Self::Kept { ttl, .. } => format!("genesys-proxy; hit; ttl={ttl}"),
            Self::Collapsed => "genesys-proxy; fwd=uri-miss; collapsed".to_owned(),
            Self::Sent { wanted, stored } => format!(
                "genesys-proxy; fwd={}{}",
                if wanted { "request" } else { "uri-miss" },
                if stored { "; stored" } else { "" }
            ),
        }
    }
}

/// What a call may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Nothing: it reads.
    Nothing,
    /// What these marks stand for.
    Marked([u64; 2]),
    /// Anything: its path can be read in several ways.
    Anything,
}

impl Write {
    /// Of a call. RFC 9111 section 4.4 asks for its own path; a collection changes with its
    /// members, so the parent is written, too, and so is all that lies below.
    pub fn of(organisation: Organisation, method: &Method, path: &str) -> Self {
        if method.is_safe() {
            return Self::Nothing;
        }
        if !is_plain(path) {
            return Self::Anything;
        }
        let mut own = Walk::from(organisation);
        let mut parent = own.clone();
        for name in segments(path) {
            parent = own.clone();
            own.down(name);
        }
        Self::Marked([own.below(), parent.exactly()])
    }
}

/// The marks that undo an answer of this path.
pub fn marks(organisation: Organisation, path: &str) -> Vec<u64> {
    let mut walk = Walk::from(organisation);
    let mut marks = vec![walk.below()];
    for name in segments(path) {
        walk.down(name);
        marks.push(walk.below());
    }
    marks.push(walk.exactly());
    marks
}

/// A path, as far as it was read. Two of one hash only undo too much.
#[derive(Debug, Clone)]
struct Walk(DefaultHasher);

impl Walk {
    fn from(organisation: Organisation) -> Self {
        let mut hasher = DefaultHasher::new();
        organisation.hash(&mut hasher);
        Self(hasher)
    }

    /// Case does not matter: rules do not ask for it either.
    fn down(&mut self, name: &str) {
        for byte in name.bytes() {
            self.0.write_u8(byte.to_ascii_lowercase());
        }
        self.0.write_u8(b'/');
    }

    /// This path and everything below it.
    fn below(&self) -> u64 {
        self.0.finish()
    }

    /// This path alone.
    fn exactly(&self) -> u64 {
        let mut hasher = self.0.clone();
        hasher.write_u8(b'$');
        hasher.finish()
    }
}

#[cfg(test)]
mod tests;
