//! `[store]` as it is used, and how its URL is read.
//! It never quotes a URL in an error: it may carry a password.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use super::{oauth::SecretSource, origin::Wrong};

/// One command, or one step of a connect, unless the file says otherwise.
pub(super) const TIMEOUT: Duration = Duration::from_millis(500);
/// Of Redis.
const PORT: u16 = 6379;
/// Of Sentinel.
const SENTINEL_PORT: u16 = 26379;
/// Sentinels or nodes to begin with; more are a slip.
const MOST: usize = 32;
const EXAMPLE: &str = "write it like \"redis://127.0.0.1:6379\" or \"rediss://redis.internal\"";

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// Where it is.
    pub servers: Servers,
    /// All connections are TLS.
    pub tls: bool,
    /// Of an ACL; `None`: Redis's own "default".
    pub username: Option<String>,
    /// Read anew for every connection.
    pub password: Option<SecretSource>,
    /// More trusted roots (PEM), besides the system's.
    pub ca_file: Option<PathBuf>,
    /// One command, or one step of a connect.
    pub timeout: Duration,
}

/// Where Redis is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// One, at a host.
    One {
        /// Where.
        server: HostPort,
        /// The number of its database.
        db: u16,
    },
    /// One, on this machine.
    Unix(PathBuf),
    /// Sentinels know which one it is.
    Sentinel {
        /// They are asked in this order.
        sentinels: Vec<HostPort>,
        /// What they call it.
        master: String,
        /// The number of its database.
        db: u16,
    },
    /// Many, which know one another.
    Cluster(Vec<HostPort>),
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// `[::1]:6379`
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// As logs name it: never a user, never a password.
impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |all: &[HostPort]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        match self {
            Self::One { server, .. } => server.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Sentinel { sentinels, master, .. } => {
                write!(f, "{master} of the Sentinels {}", list(sentinels).join(", "))
            }
            Self::Cluster(nodes) => write!(f, "the cluster of {}", list(nodes).join(", ")),
        }
    }
}

impl Servers {
    /// Every address that is configured.
    fn addresses(&self) -> &[HostPort] {
        match self {
            Self::One { server, .. } => std::slice::from_ref(server),
            Self::Unix(_) => &[],
            Self::Sentinel { sentinels, .. } => sentinels,
            Self::Cluster(nodes) => nodes,
        }
    }
}

impl Store {
    /// What a URL says alone; a password in it is a source like a variable's.
    ///
    /// # Errors
    /// What is wrong with the URL, and what to do; never a part of it.
    pub fn of_url(url: &str) -> Result<Self, (&'static str, &'static str)> {
        let Address { servers, tls, username, password } = address(url)?;
        let password =
            password.map(|value| SecretSource::Variable { name: "of store.url".to_owned(), value });
        Ok(Self { servers, tls, username, password, ca_file: None, timeout: TIMEOUT })
    }

    /// Whoever listens on the way to it learns its password and what replicas tell each other.
    pub fn in_the_clear(&self) -> bool {
        let loopback = |server: &HostPort| {
            let ip = server.host.parse::<IpAddr>();
            server.host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
        };
        !self.tls && !self.servers.addresses().iter().all(loopback)
    }
}

/// What a URL says.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) servers: Servers,
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
}

#[derive(Clone, Copy)]
enum Shape {
    One,
    Sentinel,
    Cluster,
}

/// Reads a URL strictly: a forgiven slip sends a password elsewhere.
pub(super) fn address(text: &str) -> Result<Address, Wrong> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(("the URL contains a blank or a backslash", EXAMPLE));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    let (scheme, rest) =
        text.split_once("://").ok_or(("the URL has no scheme it could be used by", EXAMPLE))?;
    let (tls, shape) = match scheme {
        "redis" => (false, Shape::One),
        "rediss" => (true, Shape::One),
        "redis+sentinel" => (false, Shape::Sentinel),
        "rediss+sentinel" => (true, Shape::Sentinel),
        "redis+cluster" => (false, Shape::Cluster),
        "rediss+cluster" => (true, Shape::Cluster),
        _ => {
            return Err((
                "the URL's scheme is none of Redis",
                "redis:// or rediss:// (TLS), with +sentinel or +cluster before the colon for those",
            ));
        }
    };
    if rest.contains(['?', '#']) {
        return Err((
            "the URL has a query or a fragment",
            "remove it; a `?` or `#` of a password is written %3F or %23",
        ));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path.contains('@') {
        return Err(("the URL has a / before its @", "a / of a password is written %2F"));
    }
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    let (username, password) = user.map(credentials).transpose()?.unwrap_or_default();
    let servers = match shape {
        Shape::One => match list(hosts, PORT)?.as_slice() {
            [server] => Servers::One { server: server.clone(), db: database(path)? },
            _ => {
                return Err((
                    "the URL names several servers",
                    "write redis+sentinel://…/MASTER or redis+cluster://… if they belong together",
                ));
            }
        },
        Shape::Sentinel => {
            let (master, db) = path.split_once('/').unwrap_or((path, ""));
            let sentinels = list(hosts, SENTINEL_PORT)?;
            Servers::Sentinel { sentinels, master: master_name(master)?, db: database(db)? }
        }
        Shape::Cluster if path.is_empty() => Servers::Cluster(list(hosts, PORT)?),
        Shape::Cluster => {
            return Err(("a cluster has one database", "end the URL after the hosts"));
        }
    };
    Ok(Address { servers, tls, username, password })
}

fn unix(path: &str) -> Result<Address, Wrong> {
    if !path.starts_with('/') || path.starts_with("//") {
        return Err((
            "the path of the socket is not absolute",
            "write it like \"unix:/run/redis/redis.sock\"",
        ));
    }
    let servers = Servers::Unix(path.into());
    Ok(Address { servers, tls: false, username: None, password: None })
}

/// `user:password`, `:password` or `user`; percent-decoded.
fn credentials(text: &str) -> Result<(Option<String>, Option<SecretString>), Wrong> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().ok()?;
        (!decoded.contains(char::is_control)).then(|| decoded.into_owned())
    };
    let (Some(user), Some(password)) = (decoded(user), decoded(password)) else {
        return Err((
            "the user name or password in the URL is no text",
            "write a % of its own as %25, or give it in `username` and `password`",
        ));
    };
    let password = (!password.is_empty()).then(|| password.into());
    Ok(((!user.is_empty()).then_some(user), password))
}

fn list(hosts: &str, port: u16) -> Result<Vec<HostPort>, Wrong> {
    let all: Vec<HostPort> =
        hosts.split(',').map(|host| host_port(host, port)).collect::<Result<_, _>>()?;
    if all.len() > MOST {
        return Err((
            "the URL names more than 32 servers",
            "a few of them are enough to begin with",
        ));
    }
    Ok(all)
}

fn host_port(text: &str, usual: u16) -> Result<HostPort, Wrong> {
    if text.is_empty() {
        return Err(("the URL lacks a host", EXAMPLE));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) =
                rest.split_once(']').filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok()).ok_or(
                    ("no IPv6 address within the [ ]", "write it like \"redis://[::1]:6379\""),
                )?;
            (host, port)
        }
        None if text.matches(':').count() > 1 => {
            return Err((
                "an IPv6 address without brackets",
                "write it like \"redis://[fd00::1]:6379\"; a : or @ of a password is %3A or %40",
            ));
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
        return Err((
            "the URL has a host that is no name and no address",
            "letters, digits and -_. only, such as \"redis.internal\"",
        ));
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => usual,
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            let port = digits.parse().ok().filter(|port| *port != 0);
            port.ok_or(("the URL has a port that is none", "from 1 to 65535"))?
        }
        None | Some(_) => return Err(("the URL has a port that is none", "from 1 to 65535")),
    };
    Ok(HostPort { host: host.to_owned(), port })
}

fn database(text: &str) -> Result<u16, Wrong> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or((
        "the URL's path is not the number of a database",
        "end it with a number, such as /0, or after the host",
    ))
}

fn master_name(text: &str) -> Result<String, Wrong> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || !text.chars().all(plain) {
        return Err((
            "the URL does not say what the Sentinels call the master",
            "write it like \"redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster\"",
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(url: &str) -> String {
        address(url).unwrap().servers.to_string()
    }

    #[test]
    fn every_way_to_write_a_place_is_understood() {
        for (url, place) in [
            ("redis://127.0.0.1", "127.0.0.1:6379"),
            ("rediss://redis.internal:7000/3", "redis.internal:7000"),
            ("redis://[::1]/", "[::1]:6379"),
            ("redis://[fd00::1]:7", "[fd00::1]:7"),
            ("unix:/run/redis.sock", "unix:/run/redis.sock"),
            (
                "redis+sentinel://a,b:1,[::1]:2/mymaster/4",
                "mymaster of the Sentinels a:26379, b:1, [::1]:2",
            ),
            ("rediss+cluster://a,b:7001", "the cluster of a:6379, b:7001"),
        ] {
            assert_eq!(servers(url), place, "{url}");
        }
        let numbered = |url| match address(url).unwrap().servers {
            Servers::One { db, .. } | Servers::Sentinel { db, .. } => db,
            Servers::Unix(_) | Servers::Cluster(_) => panic!("{url}"),
        };
        assert_eq!(numbered("rediss://redis.internal:7000/3"), 3);
        assert_eq!(numbered("redis+sentinel://a/mymaster/4"), 4);
    }

    #[test]
    fn a_user_and_a_password_are_decoded_and_never_shown() {
        use secrecy::ExposeSecret as _;

        for (url, user, password) in [
            ("redis://hunter2@h", Some("hunter2"), None),
            ("redis://:hunter%402@h", None, Some("hunter@2")),
            ("rediss+cluster://me:h%3A%2F@a,b", Some("me"), Some("h:/")),
            ("redis+sentinel://me:p@ss@a/m", Some("me"), Some("p@ss")),
        ] {
            let address = address(url).unwrap();
            assert_eq!(address.username.as_deref(), user, "{url}");
            let found = address.password.as_ref().map(|p| p.expose_secret().to_owned());
            assert_eq!(found.as_deref(), password, "{url}");
            assert!(!address.servers.to_string().contains("hunter"));
            assert!(!format!("{:?}", Store::of_url(url).unwrap().password).contains("hunter@2"));
        }
    }

    #[test]
    fn it_is_known_when_others_may_listen() {
        for (url, clear) in [
            ("redis://127.0.0.1", false),
            ("redis://[::1]", false),
            ("redis://localhost", false),
            ("unix:/x", false),
            ("rediss://redis.internal", false),
            ("redis://redis.internal", true),
            ("redis+cluster://127.0.0.1,10.0.0.1", true),
            ("redis+sentinel://10.0.0.1/m", true),
        ] {
            assert_eq!(Store::of_url(url).unwrap().in_the_clear(), clear, "{url}");
        }
    }
}
