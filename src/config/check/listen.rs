//! `listen` and `admin`: addresses that can be bound, and that strangers cannot reach.
//! It never opens a socket, and never looks up a name.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::access;
use crate::config::{
    Listen, Mode,
    file::Key,
    read::{self, Checked, Read, Settings},
    report::{Place, Problem},
};

const LISTEN: Key = Key("", "listen");
const ADMIN: Key = Key("", "admin");
/// What actions there take: its file, or its digest.
pub(super) const ADMIN_KEY: (Key, Key) = (Key("", "admin_key_file"), Key("", "admin_key_sha256"));

/// `sun_path` of Linux holds 108 bytes, the last a zero.
const MAX_SOCKET_PATH: usize = 107;

/// Where callers connect.
pub(super) fn listen(settings: &mut Settings<'_>) -> Checked<Vec<Listen>> {
    if !settings.items.contains_key(&LISTEN) {
        return Ok(vec![Listen::Tcp(local(8080))]);
    }
    let meant = settings.insecure_open_listener || access::by_key(settings);
    let listen = addresses(settings, LISTEN, meant)?;
    if listen.is_empty() {
        return Err(settings.report(
            Problem::at(&settings.place(LISTEN), "`listen` is empty: nobody could connect")
                .hint("name an address, such as [\"127.0.0.1:8080\"]"),
        ));
    }
    twice(settings, LISTEN, &listen);
    Ok(listen)
}

/// Where the callers of one organisation connect; empty: it is chosen by `Host`.
pub(super) fn of_an_organisation(
    settings: &mut Settings<'_>,
    key: Key,
    mode: Mode,
) -> Checked<Vec<Listen>> {
    let meant = settings.insecure_open_listener || mode == Mode::Key;
    let listen = addresses(settings, key, meant)?;
    twice(settings, key, &listen);
    Ok(listen)
}

fn addresses(settings: &mut Settings<'_>, key: Key, meant: bool) -> Checked<Vec<Listen>> {
    settings.list(key, "127.0.0.1:8080", |text, place| {
        let listen = parse(text, place)?;
        not_open(&listen, meant, place)?;
        Ok(listen)
    })
}

/// RFC 6761 section 6.3.
pub(super) fn is_localhost(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The health listener. It hands out no credentials, so that a load balancer may reach it.
pub(super) fn admin(settings: &mut Settings<'_>) -> Checked<Option<SocketAddr>> {
    settings.read(ADMIN, Some(local(8081)), |item| {
        match read::text(ADMIN, item, "127.0.0.1:8081")? {
            "" => Ok(None),
            text => address(ADMIN, text, &item.place).map(Some),
        }
    })
}

/// The two kinds of listener do not share an address.
pub(super) fn apart(settings: &mut Settings<'_>, listen: &[Listen], admin: Option<SocketAddr>) {
    if admin.is_some_and(|admin| listen.iter().any(|listen| same(listen, &Listen::Tcp(admin)))) {
        let (listen, admin) = (settings.place(LISTEN), settings.place(ADMIN));
        settings.report(
            Problem::at(&admin, "`admin` and `listen` are the same address")
                .against("health and metrics", &listen, "callers")
                .hint("give `admin` another port, or turn it off with \"\""),
        );
    }
}

fn twice(settings: &mut Settings<'_>, key: Key, listen: &[Listen]) {
    let mut rest = listen;
    while let Some((first, others)) = rest.split_first() {
        if others.iter().any(|other| same(first, other)) {
            settings.report(
                Problem::at(&settings.place(key), "`listen` names an address twice")
                    .hint("remove one of the two"),
            );
            return;
        }
        rest = others;
    }
}

/// Port 0 is a different free port each time.
pub(super) fn same(one: &Listen, other: &Listen) -> bool {
    one == other && !matches!(one, Listen::Tcp(address) if address.port() == 0)
}

fn parse(text: &str, place: &Place) -> Read<Listen> {
    let Some(path) = text.strip_prefix("unix:") else {
        return address(LISTEN, text, place).map(Listen::Tcp);
    };
    if !path.starts_with('/') {
        return Err(Problem::at(place, "the path of a unix socket starts with /")
            .hint("write \"unix:/run/genesys-proxy.sock\""));
    }
    if path.len() > MAX_SOCKET_PATH || path.contains('\0') {
        return Err(Problem::at(place, "the path of a unix socket is too long")
            .hint(format!("at most {MAX_SOCKET_PATH} bytes")));
    }
    Ok(Listen::Unix(PathBuf::from(path)))
}

/// "IP:port"; "localhost" is 127.0.0.1, so that one line is one socket.
fn address(key: Key, text: &str, place: &Place) -> Read<SocketAddr> {
    let wrong =
        |hint: String| Problem::at(place, format!("`{key}`: not an address and a port")).hint(hint);
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    match port.parse::<u16>() {
        Ok(port) if host == "localhost" => Ok(local(port)),
        Ok(port) if host.is_empty() => Err(wrong(format!("write \"127.0.0.1:{port}\""))),
        Ok(port) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => {
            Err(wrong(format!("write \"[{host}]:{port}\"")))
        }
        Ok(_) | Err(_) if text.parse::<IpAddr>().is_ok() => {
            Err(wrong("the port is missing: write \"127.0.0.1:8080\"".to_owned()))
        }
        Ok(_) | Err(_) => Err(wrong(
            "write \"127.0.0.1:8080\"; names other than localhost are not looked up".to_owned(),
        )),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whoever can connect acts with the company's credentials: only this machine may, unless callers
/// must prove who they are.
fn not_open(listen: &Listen, meant: bool, place: &Place) -> Read<()> {
    match listen {
        Listen::Unix(_) => Ok(()),
        Listen::Tcp(address) if address.ip().to_canonical().is_loopback() || meant => Ok(()),
        Listen::Tcp(_) => Err(Problem::at(
            place,
            "this address is open to other machines: anyone who can reach the port would use \
             the company's Genesys credentials",
        )
        .hint(
            "set access.mode = \"key\" and name your callers ([[caller]]); or listen on 127.0.0.1 or \
             \"unix:/path\"; if the network itself keeps strangers out, start with \
             --insecure-open-listener",
        )),
    }
}
