//! What a caller is called wherever people read of it.
//! It never says more of a caller without a name than where it calls from.

use std::{
    fmt::{self, Display, Formatter},
    io::Write as _,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use serde::{Serialize, Serializer};

use super::digits::push;
use crate::decide::callers::Principal;

/// Names that there can be: a configuration has no more callers.
pub const MOST: usize = 1000;

/// The names of the configuration's callers, in its order, then of those that came with a reload.
///
/// A name keeps its place for as long as the gateway runs, and all who hold these see new ones: lines,
/// counters and tokens of one caller never become another's. It is read without a lock.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<[OnceLock<Box<str>>]>);

impl Names {
    /// Plain words: none can forge a line.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let known = names.into_iter().map(|name| OnceLock::from(Box::from(name)));
        Self(known.chain(std::iter::repeat_with(OnceLock::new)).take(MOST).collect())
    }

    /// All of them, each at its place.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map_while(|name| name.get()).map(|name| &**name)
    }

    /// One more, behind all others. Whether there was room.
    pub fn add(&self, name: &str) -> bool {
        self.0.iter().any(|free| free.set(name.into()).is_ok())
    }

    /// How many more there can be.
    pub fn room(&self) -> usize {
        self.0.len() - self.all().count()
    }

    /// Who is called so.
    pub fn find(&self, name: &str) -> Option<Principal> {
        let number = self.all().position(|known| known == name)?;
        u16::try_from(number).ok().map(Principal::Named)
    }

    /// What to call a caller.
    pub fn of(&self, principal: Principal) -> Name<'_> {
        match principal {
            Principal::Named(number) => {
                let name = self.0.get(usize::from(number)).and_then(OnceLock::get);
                name.map_or(Name::None, |name| Name::Given(name))
            }
            Principal::Address(address) => Name::Address(address),
            Principal::User(id) => Name::User(id),
            Principal::Unknown => Name::None,
        }
    }
}

/// `billing`, `10.0.0.7`, `2001:db8::/64`, `uid:1000`, or `-` for nobody knows whom.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    /// By the operator.
    Given(&'a str),
    /// Where it calls from; of IPv6 the /64 network.
    Address(IpAddr),
    /// On a unix socket.
    User(u32),
    /// There is none.
    None,
}

impl Name<'_> {
    /// The same as its `Display`, once a request.
    pub fn push(self, out: &mut Vec<u8>) {
        match self {
            Self::Given(name) => out.extend_from_slice(name.as_bytes()),
            Self::Address(IpAddr::V4(address)) => {
                let [first, rest @ ..] = address.octets();
                push(out, first);
                for octet in rest {
                    out.push(b'.');
                    push(out, octet);
                }
            }
            Self::Address(IpAddr::V6(_)) | Self::User(_) | Self::None => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "{self}");
            }
        }
    }
}

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Self::User(id) => write!(f, "uid:{id}"),
            Self::None => f.write_str("-"),
        }
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_comes_later_is_seen_by_all_and_moves_nobody() {
        let names = Names::new(["billing".to_owned()]);
        let held = names.clone();
        assert!(names.add("reports"));
        assert_eq!(held.find("billing"), Some(Principal::Named(0)));
        assert_eq!(held.find("reports"), Some(Principal::Named(1)));
        assert_eq!(held.of(Principal::Named(1)).to_string(), "reports");
        assert_eq!((2..MOST).filter(|n| names.add(&format!("n{n}"))).count(), MOST - 2);
        assert!(!names.add("one-too-many"));
    }

    #[test]
    fn a_caller_has_its_name_or_where_it_calls_from() {
        let names = Names::new(["billing".to_owned(), "reports".to_owned()]);
        let at = |text: &str| Principal::at(text.parse().unwrap());
        for (principal, name) in [
            (Principal::Named(0), "billing"),
            (Principal::Named(1), "reports"),
            (Principal::Named(2), "-"),
            (at("10.0.0.7"), "10.0.0.7"),
            (at("2001:db8::7"), "2001:db8::/64"),
            (Principal::User(1000), "uid:1000"),
            (Principal::Unknown, "-"),
        ] {
            let of = names.of(principal);
            let found = (principal <= Principal::Named(1)).then_some(principal);
            assert_eq!(names.find(name), found);
            assert_eq!(of.to_string(), name);
            let mut pushed = Vec::new();
            of.push(&mut pushed);
            assert_eq!(pushed, name.as_bytes());
        }
    }
}
