//! What is refused before anything else is looked at.
//! It never lets a caller choose the destination: Host is checked, then replaced.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, Method, Version, request::Parts, uri::Authority};
use percent_encoding::percent_decode_str;

use crate::{
    config::Access,
    decide::{
        asked::{Asked, Lines},
        bytes::{self, HOST},
        failure::Failure,
        pages::{self, Page, Pages},
    },
};

/// What a listener lets in.
#[derive(Debug, Clone)]
pub struct Guard {
    hosts: Hosts,
    pages: Pages,
    max_fields: usize,
    max_target: usize,
}

/// The names by which this gateway may be addressed.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// A listener on a unspecified address is reached by any of the machine's addresses.
    any_address: bool,
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

impl Hosts {
    /// The listen addresses, `localhost`, and what `access.hosts` adds.
    pub fn new(listen: &[SocketAddr], names: &[String]) -> Self {
        Self {
            any_address: listen.iter().any(|address| address.ip().is_unspecified()),
            addresses: listen.iter().map(SocketAddr::ip).collect(),
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        }
    }

    fn accept(&self, host: &[u8]) -> bool {
        // Names first: they are compared, addresses are parsed.
        self.accept_name(host)
            || std::str::from_utf8(host).is_ok_and(|host| self.accept_address(host))
    }

    fn accept_address(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok_and(|address| {
            address.is_loopback()
                || self.any_address
                || self.addresses.contains(&address)
                || self.names.iter().any(|name| name.parse() == Ok(address))
        })
    }

    fn accept_name(&self, mut host: &[u8]) -> bool {
        while let [rest @ .., b'.'] = host {
            host = rest;
        }
        // RFC 6761 section 6.3: localhost and what ends in it never leave the machine.
        host.eq_ignore_ascii_case(b"localhost")
            || host
                .last_chunk()
                .is_some_and(|end: &[u8; 10]| end.eq_ignore_ascii_case(b".localhost"))
            || self.names.iter().any(|name| host.eq_ignore_ascii_case(name.as_bytes()))
    }
}

impl Guard {
    /// Of the listeners at these addresses, and of `hosts` besides.
    pub fn new(listen: &[SocketAddr], hosts: &[String], access: &Access) -> Self {
        Self {
            pages: Pages::new(&access.origins, access.require_header.as_ref()),
            ..Self::without_pages(listen, hosts, access)
        }
    }

    /// No page may call there, and no field is required of those who may.
    pub fn without_pages(listen: &[SocketAddr], hosts: &[String], access: &Access) -> Self {
        Self {
            hosts: Hosts::new(listen, hosts),
            pages: Pages::default(),
            max_fields: access.max_headers,
            max_target: access.max_uri_bytes,
        }
    }

    /// Which pages may call.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Refuses what must not be forwarded, whoever asks. HTTP/1's framing was judged before; HTTP/2
    /// brings its own, and forgives what HTTP/1 upstream would read in two ways.
    pub fn pass(&self, request: &Parts, asked: &Asked, page: &Page) -> Result<(), Failure> {
        if pages::is_refused(&request.method) {
            return Err(Failure::MethodRefused);
        }
        head(&request.headers, asked, self.max_fields)?;
        addressed(request, asked, &self.hosts)?;
        target(request, self.max_target)?;
        // A web page of another site must not use the token of whoever runs it on this machine.
        self.pages.pass(page, asked, &request.headers)
    }

    /// The same for a listener that asks nothing else of the fields, and has a page of its own.
    pub fn pass_alone(&self, request: &Parts) -> Result<(), Failure> {
        let asked = Asked::of(&request.headers);
        self.pass(request, &asked, &self.pages.of_or_own(&asked))
    }
}

/// Not too many fields, and one length at most.
fn head(headers: &HeaderMap, asked: &Asked, max_fields: usize) -> Result<(), Failure> {
    if headers.len() > max_fields {
        return Err(Failure::HeadTooLarge(
            "The request has more header fields than access.max_headers",
        ));
    }
    let digits =
        |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    match &asked.length {
        Lines::None => Ok(()),
        Lines::One(length) if digits(length) => Ok(()),
        Lines::One(_) | Lines::Many => {
            Err(Failure::BadRequest("Content-Length must appear once, in digits"))
        }
    }
}

/// To one of our names.
fn addressed(request: &Parts, asked: &Asked, hosts: &Hosts) -> Result<(), Failure> {
    if let (None, Lines::One(line)) = (request.uri.authority(), &asked.host)
        && let Some(host) = plain_host(line)
    {
        return if hosts.accept(host) { Ok(()) } else { Err(Failure::Misdirected) };
    }
    let authority = authority(request, &asked.host)?;
    if hosts.accept(authority.host().as_bytes()) { Ok(()) } else { Err(Failure::Misdirected) }
}

/// The host of a plain name or IPv4 address, with or without a port: nearly every request's, and
/// an `Authority` need not be made of it.
fn plain_host(line: &HeaderValue) -> Option<&[u8]> {
    let (host, rest) = bytes::split(line.as_bytes(), HOST);
    let fits = match rest {
        [] => true,
        [b':', port @ ..] => is_port(port),
        _ => false,
    };
    (!host.is_empty() && fits).then_some(host)
}

/// Up to 65535. More digits than that needs are for `Authority` to judge.
fn is_port(digits: &[u8]) -> bool {
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0, |number: u32, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
        })
    };
    (1..=5).contains(&digits.len()) && number(digits).is_some_and(|port| port <= 65_535)
}

/// Exactly one, from Host, `:authority` or an absolute-form target; where two are given they must
/// agree (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
fn authority(request: &Parts, host: &Lines) -> Result<Authority, Failure> {
    let host = match host {
        Lines::Many => return Err(Failure::BadRequest("Host must appear once")),
        Lines::One(line) => Some(
            Authority::try_from(line.as_bytes())
                .map_err(|_| Failure::BadRequest("Host is not a host name or address"))?,
        ),
        Lines::None => None,
    };
    let authority = match (request.uri.authority(), host) {
        (None, None) => return Err(Failure::BadRequest("Host is missing")),
        (Some(target), Some(host)) if *target != host => return Err(Failure::Misdirected),
        (Some(target), _) if request.version < Version::HTTP_11 => target.clone(),
        // RFC 9112 section 3.2: an HTTP/1.1 request has a Host whatever its target says.
        (Some(_), None) if request.version == Version::HTTP_11 => {
            return Err(Failure::BadRequest("Host is missing"));
        }
        (Some(target), _) => target.clone(),
        (None, Some(host)) => host,
    };
    if authority.as_str().contains('@') {
        return Err(Failure::BadRequest("Host must not hold user information"));
    }
    if !is_host_and_port(&authority) {
        return Err(Failure::BadRequest("Host is not a host name or address"));
    }
    Ok(authority)
}

/// `Authority` takes `[::1]evil` and `localhost:port` too.
fn is_host_and_port(authority: &Authority) -> bool {
    let host = authority.host();
    let after = authority.as_str().strip_prefix(host).unwrap_or("?");
    let port = after.strip_prefix(':').unwrap_or_default();
    (matches!(after, "" | ":") || port.parse::<u16>().is_ok())
        && (!host.starts_with('[') || host.ends_with(']'))
}

/// A path, or `*` for OPTIONS, without a token of the caller's: upstream would have two to choose
/// from (RFC 6750 section 2).
fn target(request: &Parts, longest: usize) -> Result<(), Failure> {
    if request.uri.path_and_query().is_some_and(|target| target.as_str().len() > longest) {
        return Err(Failure::UriTooLong);
    }
    match request.uri.scheme_str() {
        Some("http" | "https") => {}
        // hyper drops the scheme of an HTTP/2 request that names its host in Host.
        None if request.version < Version::HTTP_2 || request.uri.authority().is_none() => {}
        Some(_) | None => return Err(Failure::BadRequest("The scheme must be http or https")),
    }
    // As whoever decodes it would read it, and who takes `;` for `&`.
    let is_token = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        percent_decode_str(name).eq(b"access_token".iter().copied())
    };
    let carries_token = |query: &str| query.split(['&', ';']).any(is_token);
    if request.uri.query().is_some_and(carries_token) {
        return Err(Failure::BadRequest("Send no access_token: the gateway adds its own"));
    }
    let path = request.uri.path();
    if path.starts_with('/') || (path == "*" && request.method == Method::OPTIONS) {
        Ok(())
    } else {
        Err(Failure::BadRequest("The request target must be a path"))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn verdict(method: &str, target: &str, lines: &[(&str, &str)]) -> Result<(), Failure> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let guard = Guard {
            hosts: Hosts::new(&["10.0.0.1:80".parse().unwrap()], &["GW.example".to_owned()]),
            pages: Pages::default(),
            max_fields: 5,
            max_target: 100,
        };
        guard.pass_alone(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn our_own_names_pass_with_any_port() {
        for host in [
            "localhost",
            "LocalHost:1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.0.0.1",
            "gw.example:443",
            "a.localhost",
            "gw.example.",
        ] {
            assert_eq!(verdict("GET", "/", &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_page_of_the_listeners_own_may_ask_and_one_beside_it_may_not() {
        let own = ("host", "127.0.0.1:9090");
        for (origin, passes) in [
            ("http://127.0.0.1:9090", Ok(())),
            ("https://127.0.0.1:9090", Ok(())),
            ("http://127.0.0.1:9091", Err(Failure::CrossSite)),
            ("http://127.0.0.1", Err(Failure::CrossSite)),
            ("http://localhost:9090", Err(Failure::CrossSite)),
            ("ftp://127.0.0.1:9090", Err(Failure::CrossSite)),
            ("null", Err(Failure::CrossSite)),
        ] {
            assert_eq!(verdict("POST", "/", &[own, ("origin", origin)]), passes, "{origin}");
        }
        let told = [own, ("origin", "http://127.0.0.1:9090"), ("sec-fetch-site", "cross-site")];
        assert_eq!(verdict("POST", "/", &told), Err(Failure::CrossSite));
        // A name that was rebound to this machine is as little ours as before.
        let rebound = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(verdict("POST", "/", &rebound), Err(Failure::Misdirected));
    }

    #[test]
    fn foreign_names_are_misdirected() {
        for host in ["evil.example", "10.0.0.2", "localhost.evil.example", "127.0.0.1.evil.example"]
        {
            assert_eq!(verdict("GET", "/", &[("host", host)]), Err(Failure::Misdirected), "{host}");
        }
    }

    #[test]
    fn where_it_listens_on_all_addresses_any_of_them_is_its_own_and_a_name_is_not() {
        for all in ["0.0.0.0:80", "[::]:80"] {
            let hosts = Hosts::new(&[all.parse().unwrap()], &[]);
            for (host, own) in [
                ("10.0.0.2", true),
                ("[2001:db8::1]", true),
                ("evil.example", false),
                ("10.0.0.2.evil.example", false),
            ] {
                assert_eq!(hosts.accept(host.as_bytes()), own, "{all} {host}");
            }
        }
    }

    #[test]
    fn missing_double_and_invalid_hosts_are_bad_requests() {
        for lines in [
            &[][..],
            &[("host", "localhost"), ("host", "localhost")],
            &[("host", "a b")],
            &[("host", "")],
            &[("host", "user@localhost")],
            &[("host", "localhost:port")],
            &[("host", "localhost:99999")],
            &[("host", "[::1]evil.example")],
        ] {
            assert!(matches!(verdict("GET", "/", lines), Err(Failure::BadRequest(_))), "{lines:?}");
        }
    }

    #[test]
    fn an_absolute_target_does_not_choose_the_destination() {
        let host = [("host", "localhost")];
        assert_eq!(verdict("GET", "http://localhost/a", &host), Ok(()));
        let other = verdict("GET", "gopher://localhost/a", &host);
        assert!(matches!(other, Err(Failure::BadRequest(_))));
        assert_eq!(verdict("GET", "http://evil.example/a", &host), Err(Failure::Misdirected));
        let evil = [("host", "evil.example")];
        assert_eq!(verdict("GET", "http://evil.example/a", &evil), Err(Failure::Misdirected));
        assert_eq!(verdict("GET", "http://localhost/a", &evil), Err(Failure::Misdirected));
    }

    #[test]
    fn a_token_in_the_query_is_refused_and_words_like_it_are_not() {
        let with = |query| verdict("GET", query, &[("host", "localhost")]);
        for query in [
            "/?access_token=x",
            "/?a=b&access_token=x",
            "/?access_token",
            "/?access%5ftoken=x",
            "/?%61ccess_token=x",
            "/?a=b;access_token=x",
        ] {
            assert!(matches!(with(query), Err(Failure::BadRequest(_))), "{query}");
        }
        assert_eq!(with("/?my_access_token=x&a=access_token"), Ok(()));
    }

    #[test]
    fn a_target_may_be_as_long_as_it_may_be_and_the_name_before_it_does_not_count() {
        let with = |target: &str| verdict("GET", target, &[("host", "localhost")]);
        let long = |count: usize| format!("/{}?{}", "a".repeat(50), "b".repeat(count - 52));
        assert_eq!(with(&long(100)), Ok(()));
        assert_eq!(with(&format!("http://localhost{}", long(100))), Ok(()));
        assert_eq!(with(&long(101)), Err(Failure::UriTooLong));
    }

    #[test]
    fn methods_that_trace_or_tunnel_or_are_not_all_capitals_are_refused() {
        let long = "A".repeat(33);
        for method in
            ["TRACE", "TRACK", "CONNECT", "trace", "get", "head", "Delete", "PATCh", &long]
        {
            let target = if method == "CONNECT" { "localhost:1" } else { "/" };
            let host = [("host", "localhost")];
            assert_eq!(verdict(method, target, &host), Err(Failure::MethodRefused), "{method}");
        }
    }

    #[test]
    fn too_many_fields_and_two_lengths_are_refused() {
        let with = |name, count| {
            verdict(
                "GET",
                "/",
                &[[("host", "localhost")].to_vec(), [(name, "5")].repeat(count)].concat(),
            )
        };
        assert_eq!(with("x", 4), Ok(()));
        assert!(matches!(with("x", 5), Err(Failure::HeadTooLarge(_))));
        assert_eq!(with("content-length", 1), Ok(()));
        assert!(matches!(with("content-length", 2), Err(Failure::BadRequest(_))));
        let odd = verdict("GET", "/", &[("host", "localhost"), ("content-length", "+5")]);
        assert!(matches!(odd, Err(Failure::BadRequest(_))));
    }

    #[test]
    fn web_pages_of_other_sites_are_refused_and_programs_are_not() {
        let with = |name, value| verdict("GET", "/", &[("host", "localhost"), (name, value)]);
        assert_eq!(with("origin", "https://evil.example"), Err(Failure::CrossSite));
        assert_eq!(with("origin", "null"), Err(Failure::CrossSite));
        assert_eq!(with("sec-fetch-site", "cross-site"), Err(Failure::CrossSite));
        assert_eq!(with("sec-fetch-site", "same-site"), Err(Failure::CrossSite));
        assert_eq!(with("sec-fetch-site", "none"), Ok(()));
        assert_eq!(with("sec-fetch-mode", "cors"), Ok(()), "node's fetch sends it");
    }
}
