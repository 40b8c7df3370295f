//! `[access]`: which hosts a caller may ask for, which pages may call, and what a connection may cost.
//! It never widens anything: no wildcard, no default host or origin.

use std::{net::Ipv6Addr, num::NonZeroUsize, time::Duration};

use http::{HeaderName, HeaderValue};
use url::{Host, Url};

use crate::{
    config::{
        Access, Mode, PerAddress,
        file::Key,
        read::{Checked, Read, Settings},
        report::{Place, Problem},
    },
    decide::{access::Rule, headers},
};

pub(super) const MODE: Key = Key("access", "mode");
const HOSTS: Key = Key("access", "hosts");
const DENY: Key = Key("access", "deny");
const PER_ADDRESS: Key = Key("access", "max_connections_per_address");
const ORIGINS: Key = Key("access", "origins");
const REQUIRE_HEADER: Key = Key("access", "require_header");

/// What would end the token that all callers share, or give one of them its client: refused unless
/// the configuration says otherwise.
const USUALLY_DENIED: [&str; 3] = [
    "DELETE /api/v2/tokens/me",
    "PUT /api/v2/tokens/timeout",
    "POST,PUT,PATCH,DELETE /api/v2/oauth/clients/**",
];

/// Whether callers must prove who they are; what else stands there is judged with the section.
pub(super) fn by_key(settings: &Settings<'_>) -> bool {
    settings.items.get(&MODE).is_some_and(|item| item.value.as_str().or(item.raw) == Some("key"))
}

/// The whole section.
pub(super) fn access(settings: &mut Settings<'_>) -> Checked<Access> {
    let modes = [("open", Mode::Open), ("key", Mode::Key)];
    let mode = settings.choice(MODE, Mode::Open, &modes);
    let mut life = |name, hours| {
        let default = Duration::from_hours(hours);
        settings.duration(Key("access", name), default, &super::MINUTE_TO_DAY)
    };
    let (login_life, login_idle) = (life("login_life", 24), life("login_idle", 1));
    let require_header = settings.text(REQUIRE_HEADER, "X-Genesys-Proxy", required);
    let hosts = hosts(settings, HOSTS);
    let origins = settings.list(ORIGINS, "https://app.example.com", origin);
    let deny = deny(settings);
    let max_connections =
        settings.number(Key("access", "max_connections"), 10_000, &(1..=1_000_000));
    let max_connections_per_address = per_address(settings);
    let mut timeout = |name, seconds| {
        let default = Duration::from_secs(seconds);
        settings.duration(Key("access", name), default, &super::ABOVE_ZERO)
    };
    let header_timeout = timeout("header_timeout", 10);
    let body_timeout = timeout("body_timeout", 30);
    let keep_alive = timeout("keep_alive", 75);
    let max_header_bytes =
        settings.size(Key("access", "max_header_bytes"), 64 << 10, &(1 << 10..=1 << 20));
    let max_headers = settings.number(Key("access", "max_headers"), 100, &(1..=1000));
    // RFC 9110 section 4.1 recommends 8000 at least; above 64 KiB no parser of ours goes.
    let max_uri_bytes =
        settings.size(Key("access", "max_uri_bytes"), 8 << 10, &(1 << 10..=60 << 10));
    Ok(Access {
        mode: mode?,
        login_life: login_life?,
        login_idle: login_idle?,
        require_header: require_header?,
        hosts: hosts?,
        origins: origins?,
        deny: deny?,
        max_connections: max_connections?,
        max_connections_per_address: max_connections_per_address?,
        header_timeout: header_timeout?,
        body_timeout: body_timeout?,
        keep_alive: keep_alive?,
        max_header_bytes: max_header_bytes?,
        max_headers: max_headers?,
        max_uri_bytes: max_uri_bytes?,
    })
}

/// This machine's own callers are held to what was written, not to a default: they all have the one
/// address, also behind a proxy on it.
fn per_address(settings: &mut Settings<'_>) -> Checked<PerAddress> {
    let loopback = settings.items.contains_key(&PER_ADDRESS);
    let most = settings.number(PER_ADDRESS, 1000, &(0..=1_000_000))?;
    Ok(PerAddress { most: NonZeroUsize::new(most), loopback })
}

/// Rules; an empty list lets everything through.
fn deny(settings: &mut Settings<'_>) -> Checked<Vec<Rule>> {
    if !settings.items.contains_key(&DENY) {
        return Ok(USUALLY_DENIED.into_iter().filter_map(|rule| Rule::parse(rule).ok()).collect());
    }
    rules(settings, DENY)
}

/// A list of rules by method and path.
pub(super) fn rules(settings: &mut Settings<'_>, key: Key) -> Checked<Vec<Rule>> {
    settings.list(key, USUALLY_DENIED[0], |text, place| {
        Rule::parse(text).map_err(|wrong| {
            Problem::at(place, format!("`{key}`: {wrong}")).hint(format!(
                "write \"METHODS PATH\", such as \"{}\"; in PATH * is one segment, ** the rest",
                USUALLY_DENIED[2]
            ))
        })
    })
}

/// Values of `Host`.
pub(super) fn hosts(settings: &mut Settings<'_>, key: Key) -> Checked<Vec<String>> {
    settings.list(key, "genesys.internal", |text, place| host(key, text, place))
}

/// A field that no browser adds by itself, no page adds without a preflight, and no proxy on the way
/// adds to everybody's requests.
fn required(text: &str, place: &Place) -> Read<HeaderName> {
    let wrong = |what: &str| {
        Problem::at(place, format!("`{REQUIRE_HEADER}`: {what}"))
            .hint("a name of your own that begins with X-, such as \"X-Genesys-Proxy\"")
    };
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| wrong("not a header name"))?;
    let own = name.as_str().starts_with("x-");
    let common = ["x-requested-with", "x-request-id", "x-purpose", "x-moz", "x-correlation-id"];
    if !own || common.contains(&name.as_str()) || headers::stays_with_caller(name.as_str()) {
        return Err(wrong("browsers or proxies may send this one by themselves"));
    }
    Ok(name)
}

/// As a browser writes it in `Origin`: lower case, no port when it is the scheme's own.
fn origin(text: &str, place: &Place) -> Read<HeaderValue> {
    let wrong = |what: &str| {
        Problem::at(place, format!("`{ORIGINS}`{what}"))
            .hint("scheme, host and port only, such as \"https://app.example.com\"")
    };
    if text.contains('*') {
        return Err(wrong(" takes no wildcard").hint("name each origin"));
    }
    let url = Url::parse(text).map_err(|_| wrong(": not an origin"))?;
    let origin = url.origin().ascii_serialization();
    // What else a URL may have is not in it.
    let whole = url.as_str().strip_suffix('/').unwrap_or(url.as_str());
    let http = matches!(url.scheme(), "http" | "https");
    if !http || whole != origin || text.ends_with('/') {
        return Err(wrong(": not an origin"));
    }
    HeaderValue::try_from(origin).map_err(|_| wrong(": not an origin"))
}

/// As `Host` is compared: lower case, no port, an IPv6 address without brackets.
fn host(key: Key, text: &str, place: &Place) -> Read<String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(text.to_lowercase());
    }
    match Host::parse(text) {
        Ok(Host::Domain(name)) if !name.contains('*') => Ok(name),
        Ok(Host::Ipv4(ip)) => Ok(ip.to_string()),
        Ok(Host::Ipv6(ip)) => Ok(ip.to_string()),
        Ok(Host::Domain(_)) => {
            Err(Problem::at(place, format!("`{key}` takes no wildcard")).hint("name each host"))
        }
        Err(_) => Err(Problem::at(place, format!("`{key}`: not a host name"))
            .hint("the name only, such as \"genesys.internal\": no scheme, port or path")),
    }
}
