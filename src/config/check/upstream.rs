//! `[upstream]`: the three hosts of a region, and how they are reached.
//! It never lets credentials travel in the clear, and never calls a host.

use std::{path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use secrecy::SecretString;

use crate::config::{
    Http2, Origin, OutboundProxy, Scheme, Upstream,
    file::Key,
    origin::{self, Wrong},
    read::{Checked, Read, Reported, Settings},
    region::{self, Region},
    report::{Place, Problem},
};

const REGION: Key = Key("upstream", "region");
const API_URL: Key = Key("upstream", "api_url");
const LOGIN_URL: Key = Key("upstream", "login_url");
const APPS_URL: Key = Key("upstream", "apps_url");
const CA_FILE: Key = Key("upstream", "ca_file");
const PROXY: Key = Key("upstream", "proxy");

/// The whole section.
pub(super) fn upstream(settings: &mut Settings<'_>) -> Checked<Upstream> {
    let hosts = hosts(settings);
    let ca_file = roots(settings, CA_FILE);
    let http2 = settings.choice(
        Key("upstream", "http2"),
        Http2::Auto,
        &[("auto", Http2::Auto), ("never", Http2::Never), ("always", Http2::Always)],
    );
    let mut timeout = |name, seconds| {
        let default = Duration::from_secs(seconds);
        settings.duration(Key("upstream", name), default, &super::ABOVE_ZERO)
    };
    let connect_timeout = timeout("connect_timeout", 5);
    let response_timeout = timeout("response_timeout", 60);
    let idle_timeout = timeout("idle_timeout", 60);
    let warm_connections = settings.number(Key("upstream", "warm_connections"), 1, &(0..=100));
    let proxy = settings.text(PROXY, "http://proxy.example.com:3128", |text, place| {
        proxy(text).map_err(|(message, hint)| at(PROXY, place, message, hint))
    });
    let Hosts { api, login, apps } = hosts?;
    Ok(Upstream {
        api,
        login,
        apps,
        ca_file: ca_file?,
        http2: http2?,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
        idle_timeout: idle_timeout?,
        warm_connections: warm_connections?,
        proxy: proxy?,
    })
}

struct Hosts {
    api: Origin,
    login: Origin,
    apps: Origin,
}

/// From `region` or from `api_url`; `login_url` and `apps_url` win over what follows from either.
fn hosts(settings: &mut Settings<'_>) -> Checked<Hosts> {
    let mut url = |key| {
        settings.text(key, "https://api.mypurecloud.de", |text, place| {
            origin::origin(text).map_err(|(message, hint)| at(key, place, message, hint))
        })
    };
    let (api, login, apps) = (url(API_URL), url(LOGIN_URL), url(APPS_URL));
    let region = settings.text(REGION, region::DEFAULT.aws, named_region);
    let (api, login, apps, region) = (api?, login?, apps?, region?);
    let Some(api) = api else {
        let region = match region {
            Some(region) => region,
            None => usual_region(settings)?,
        };
        return Ok(Hosts {
            api: service("api", region),
            login: login.unwrap_or_else(|| service("login", region)),
            apps: apps.unwrap_or_else(|| service("apps", region)),
        });
    };
    if region.is_some() {
        return Err(contradiction(settings));
    }
    let login = login.map_or_else(|| sibling(settings, &api, "login", LOGIN_URL), Ok);
    let apps = apps.map_or_else(|| sibling(settings, &api, "apps", APPS_URL), Ok);
    Ok(Hosts { login: login?, apps: apps?, api })
}

fn named_region(name: &str, place: &Place) -> Read<&'static Region> {
    region::find(name).ok_or_else(|| {
        Problem::at(place, "no region of Genesys Cloud has this name").hint(region::hint(name))
    })
}

/// Nothing in the file: `GENESYS_REGION`, else Genesys's first region.
fn usual_region(settings: &mut Settings<'_>) -> Checked<&'static Region> {
    const VARIABLE: &str = "GENESYS_REGION";
    match settings.variables.get(VARIABLE).map(|name| name.trim()) {
        None | Some("") => Ok(region::DEFAULT),
        Some(name) => named_region(name, &Place::Variable(VARIABLE.to_owned()))
            .map_err(|problem| settings.report(problem)),
    }
}

fn service(name: &str, region: &Region) -> Origin {
    Origin { scheme: Scheme::Https, host: format!("{name}.{}", region.domain), port: 443 }
}

/// `region` and `api_url` both say where to go.
fn contradiction(settings: &mut Settings<'_>) -> Reported {
    let (region, api_url) = (settings.place(REGION), settings.place(API_URL));
    settings.report(
        Problem::at(&api_url, "`upstream.region` and `upstream.api_url` contradict each other")
            .against("this names a host", &region, "this names a region")
            .hint("keep one of them; \"\" counts as not given"),
    )
}

/// `api.example.com` → `login.example.com`; a simulator on this machine has all on one port.
fn sibling(settings: &mut Settings<'_>, api: &Origin, name: &str, key: Key) -> Checked<Origin> {
    if let Some(domain) = api.host.strip_prefix("api.") {
        return Ok(Origin { host: format!("{name}.{domain}"), ..api.clone() });
    }
    if api.is_loopback() {
        return Ok(api.clone());
    }
    Err(settings.report(
        Problem::at(
            &settings.place(API_URL),
            format!("`{key}` is missing, and cannot be told from an api_url without `api.`"),
        )
        .hint(format!("add {} = \"https://…\" to [upstream]", key.1)),
    ))
}

/// Extra roots: a file with at least one certificate, all of them usable.
pub(super) fn roots(settings: &mut Settings<'_>, key: Key) -> Checked<Option<PathBuf>> {
    let path = settings.text(key, "/etc/ssl/company-root.pem", |text, place| {
        Ok((text.to_owned(), place.clone()))
    })?;
    let Some((path, place)) = path else { return Ok(None) };
    let full = settings.resolve(&path, &place);
    match certificates(&full) {
        Ok(()) => Ok(Some(full)),
        Err((message, hint)) => Err(settings.report(at(key, &place, &message, hint))),
    }
}

fn certificates(path: &std::path::Path) -> Result<(), (String, &'static str)> {
    let pem = std::fs::read(path).map_err(|error| {
        (format!("cannot read {}: {error}", path.display()), "check the path and its permissions")
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| {
            (format!("a certificate cannot be used: {error}"), "export it again, as PEM")
        })?;
    }
    if roots.is_empty() {
        let hint = "it should be PEM: a block that starts with -----BEGIN CERTIFICATE-----";
        return Err(("no certificate in this file".to_owned(), hint));
    }
    Ok(())
}

/// `http://user:password@host:port`: spoken to in plain text, as proxies are.
fn proxy(text: &str) -> Result<OutboundProxy, Wrong> {
    const EXAMPLE: &str = "write it like \"http://proxy.example.com:3128\"";
    let (url, origin) = origin::url(text).map_err(|(message, _)| (message, EXAMPLE))?;
    match origin.scheme {
        Scheme::Http => {}
        Scheme::Https => return Err(("a proxy over https is not supported", EXAMPLE)),
    }
    if url.query().is_some() || !matches!(url.path(), "" | "/") {
        return Err(("the URL has a path or a query", EXAMPLE));
    }
    let decode = |part: &str| {
        percent_decode_str(part).decode_utf8().map(String::from).map_err(|_| {
            ("user or password is not UTF-8", "percent-encode it: an @ is %40, a : is %3A")
        })
    };
    let user = decode(url.username())?;
    let password = decode(url.password().unwrap_or_default())?;
    if user.contains(':') {
        // RFC 7617 section 2: everything after the first colon would be taken for the password.
        return Err(("a user name cannot contain a colon", EXAMPLE));
    }
    let credentials =
        (!user.is_empty() || !password.is_empty()).then(|| (user, SecretString::from(password)));
    Ok(OutboundProxy { origin, credentials })
}

fn at(key: Key, place: &Place, message: &str, hint: &str) -> Problem {
    Problem::at(place, format!("`{key}`: {message}")).hint(hint)
}
