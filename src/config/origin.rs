//! URLs of servers: read strictly, because a forgiven slip sends credentials elsewhere.
//! It never quotes a URL in an error: it may carry a password.

use std::net::IpAddr;

use url::{Host, Url};

use super::{Origin, Scheme};

impl Origin {
    /// Whether the host is this machine: the only kind that may be reached without TLS.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// `localhost`, 127.0.0.0/8 and `::1`. Other names are never loopback: DNS may say anything.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// What is wrong with a URL that has a user part.
pub(super) const CREDENTIALS: &str = "the URL carries a user name or password";

/// Why a URL is not usable, and what to do.
pub(super) type Wrong = (&'static str, &'static str);

/// Reads a URL; http or https, a host, no fragment. The rest is for the caller to refuse.
pub(super) fn url(text: &str) -> Result<(Url, Origin), Wrong> {
    const EXAMPLE: &str = "write it like \"https://api.mypurecloud.de\"";
    // The `url` crate forgives what a browser's address bar forgives; a file should not rely on it.
    let scheme = match text.split_once("://") {
        Some(("https", _)) => Scheme::Https,
        Some(("http", _)) => Scheme::Http,
        _ => return Err(("the URL does not start with https:// or http://", EXAMPLE)),
    };
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(("the URL contains a blank or a backslash", EXAMPLE));
    }
    let Ok(url) = Url::parse(text) else { return Err(("not a URL", EXAMPLE)) };
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => return Err(("the URL has no host", EXAMPLE)),
    };
    let port = url.port_or_known_default().filter(|port| *port != 0);
    let Some(port) = port else { return Err(("port 0 cannot be called", EXAMPLE)) };
    if url.fragment().is_some() {
        return Err(("the URL has a fragment", "remove everything from the #"));
    }
    Ok((url, Origin { scheme, host, port }))
}

/// A server that gets credentials: TLS unless it is this machine, no user part, no query.
pub(super) fn server(text: &str) -> Result<(Url, Origin), Wrong> {
    let (url, origin) = url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err((
            CREDENTIALS,
            "remove it: the credentials are client_id and client_secret in [oauth]",
        ));
    }
    if url.query().is_some() {
        return Err(("the URL has a query", "remove everything from the ?"));
    }
    if origin.scheme == Scheme::Http && !origin.is_loopback() {
        return Err((
            "http:// would send credentials in the clear",
            "use https://; plain http is for localhost, 127.0.0.1 and [::1] only",
        ));
    }
    Ok((url, origin))
}

/// A [`server`] without a path: Genesys's own links are relative to the root.
pub(super) fn origin(text: &str) -> Result<Origin, Wrong> {
    let (url, origin) = server(text)?;
    match url.path() {
        "" | "/" => Ok(origin),
        _ => Err(("the URL has a path", "end it after the host: callers send the path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_shown_as_it_is_written() {
        for text in [
            "https://api.mypurecloud.com",
            "https://api.mypurecloud.com:8443",
            "http://127.0.0.1:9000",
            "http://localhost",
            "http://[::1]:9000",
        ] {
            assert_eq!(origin(text).unwrap().to_string(), text);
        }
        assert_eq!(
            origin("https://API.example.com:443/").unwrap().to_string(),
            "https://api.example.com"
        );
    }

    #[test]
    fn what_would_send_credentials_elsewhere_is_refused() {
        for (text, reason) in [
            ("http://api.mypurecloud.com", "in the clear"),
            ("http://127.0.0.1.example.com", "in the clear"),
            ("http://localhost.example.com", "in the clear"),
            ("https://me:pw@api.example.com", "user name"),
            ("https://api.example.com?x=1", "query"),
            ("https://api.example.com/platform", "path"),
            ("https://api.example.com#x", "fragment"),
            ("https:api.example.com", "start with https://"),
            ("api.example.com", "start with https://"),
            ("ftp://api.example.com", "start with https://"),
            ("https://api.example.com\\@evil.example", "backslash"),
            ("https://", "not a URL"),
            ("https://localhost:0", "port 0"),
        ] {
            let (message, hint) = origin(text).unwrap_err();
            assert!(message.contains(reason), "{text}: {message}");
            assert!(!hint.is_empty());
        }
    }
}
