//! Which organisation a call is for: the one of its listener, or on a shared one that of its Host.
//! It never guesses: a Host that names none of the others is the first one's to take or refuse.

use std::{fmt, sync::Arc};

use http::{Request, header::HOST};

use crate::gateway::Gateway;

/// What a listener opens to, on one worker.
#[derive(Clone)]
pub struct Door {
    /// Whose it is.
    pub owner: Arc<Gateway>,
    /// The others that share it, each with the hosts that lead there.
    others: Arc<[(Vec<String>, Arc<Gateway>)]>,
}

impl Door {
    /// Of one organisation.
    pub fn of(owner: Arc<Gateway>) -> Self {
        Self { owner, others: Arc::default() }
    }

    /// Of the first, with the others behind it.
    pub fn shared(owner: Arc<Gateway>, others: Vec<(Vec<String>, Arc<Gateway>)>) -> Self {
        let others = others.into_iter().filter(|(hosts, _)| !hosts.is_empty());
        Self { owner, others: others.collect() }
    }

    /// Who answers this request.
    pub fn leads<B>(&self, request: &Request<B>) -> &Arc<Gateway> {
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

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("others", &self.others.len()).finish_non_exhaustive()
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
