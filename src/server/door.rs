//! Which organisation a call is for: the one of its listener, or on a shared one that of its Host.
//! It never guesses: a Host that names none of the others is the first one's to take or refuse.
//!
//! What is behind a door changes with a reload. A connection looks for each request, so that one that is
//! open for days goes by what counts now.

use std::{fmt, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use http::{Request, header::HOST};

use super::connection::Protocols;
use crate::gateway::Gateway;

/// What a worker serves by, until a reload.
#[derive(Debug)]
pub struct Hall {
    /// Of each organisation, the first one's leading to all.
    pub ways: Vec<Way>,
    /// By what connections that begin now are served.
    pub protocols: Arc<Protocols>,
}

/// Where a listener leads, on one worker.
pub struct Way {
    /// Whose it is.
    pub owner: Arc<Gateway>,
    /// The others that share it, each with the hosts that lead there.
    others: Vec<(Vec<String>, Arc<Gateway>)>,
}

/// What a listener opens to, on one worker.
#[derive(Clone)]
pub struct Door {
    hall: Arc<ArcSwap<Hall>>,
    /// Whose it is, by number.
    number: usize,
}

impl Hall {
    /// Of organisations, the first of which has the others behind it, each with its hosts.
    pub fn new(all: &[(Vec<String>, Arc<Gateway>)], protocols: Arc<Protocols>) -> Self {
        let others = || {
            let named = all.iter().skip(1).filter(|(hosts, _)| !hosts.is_empty());
            named.map(|(hosts, gateway)| (hosts.clone(), Arc::clone(gateway))).collect()
        };
        let way = |(n, (_, owner)): (usize, &(_, Arc<Gateway>))| Way {
            owner: Arc::clone(owner),
            others: if n == 0 { others() } else { Vec::new() },
        };
        Self { ways: all.iter().enumerate().map(way).collect(), protocols }
    }

    /// Of all organisations.
    pub fn gateways(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.ways.iter().map(|way| &way.owner)
    }
}

impl Way {
    fn leads<B>(&self, request: &Request<B>) -> &Arc<Gateway> {
        if self.others.is_empty() {
            return &self.owner;
        }
        let chosen = host(request).and_then(|host| {
            let is = |name: &String| host.eq_ignore_ascii_case(name);
            self.others.iter().find(|(hosts, _)| hosts.iter().any(is))
        });
        chosen.map_or(&self.owner, |(_, gateway)| gateway)
    }
}

impl Door {
    /// The one of an organisation, which a hall has: `None` when it has none such.
    pub fn new(hall: &Arc<ArcSwap<Hall>>, number: usize) -> Option<Self> {
        (number < hall.load().ways.len()).then(|| Self { hall: Arc::clone(hall), number })
    }

    /// What is behind it now.
    pub fn hall(&self) -> Guard<Arc<Hall>> {
        self.hall.load()
    }

    /// Whose it is.
    pub fn owner(&self) -> Arc<Gateway> {
        Arc::clone(&self.way(&self.hall()).owner)
    }

    /// Who answers this request.
    pub fn leads<B>(&self, request: &Request<B>) -> Arc<Gateway> {
        Arc::clone(self.way(&self.hall()).leads(request))
    }

    fn way<'h>(&self, hall: &'h Hall) -> &'h Way {
        hall.ways.get(self.number).expect("a reload adds no organisation and takes none away")
    }
}

/// As it is compared: without port, brackets and a last dot. Of two `Host` fields the first: whoever
/// it leads to refuses them.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let whole = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(HOST)?.to_str().ok()?,
    };
    let host = match whole.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => whole.split(':').next()?,
    };
    Some(host.trim_end_matches('.'))
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("others", &self.others.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_its_port_and_from_where_it_was_named() {
        let of = |uri: &str, field: Option<&str>| {
            let mut request = Request::builder().uri(uri);
            if let Some(field) = field {
                request = request.header(HOST, field);
            }
            host(&request.body(()).unwrap()).map(str::to_owned)
        };
        for (uri, field, found) in [
            ("/", Some("eu.example:8080"), Some("eu.example")),
            ("/", Some("EU.example."), Some("EU.example")),
            ("/", Some("[::1]:80"), Some("::1")),
            ("/", Some(""), Some("")),
            ("/", None, None),
            ("http://eu.example:1/", Some("us.example"), Some("eu.example")),
        ] {
            assert_eq!(of(uri, field).as_deref(), found, "{uri} {field:?}");
        }
    }
}
