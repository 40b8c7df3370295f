//! How a connection is made: to one server, to whom Sentinels name, or to a cluster; over TLS or not.
//! It never keeps a password: each connection reads it anew, so that another one needs no restart.

use std::{
    path::Path,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, Pipeline,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisFuture, TlsCertificates,
    Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::refusal::Trouble;
use crate::{
    config::{self, HostPort, Servers},
    secret::Secret,
};

/// The roots that TLS needs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unbuildable {
    /// The file cannot be read, or is no PEM.
    #[error("store.ca_file, {path}: {why}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing would be trusted.
    #[error(
        "no trusted roots: install the system's CA certificates (Debian: ca-certificates) or set \
         store.ca_file"
    )]
    NoRoots,
}

/// A connection for commands; clones share it.
#[derive(Clone)]
pub(super) enum Wire {
    /// To one server.
    One(MultiplexedConnection),
    /// To every node of a cluster.
    Many(ClusterConnection),
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(cmd),
            Self::Many(many) => many.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(pipeline, offset, count),
            Self::Many(many) => many.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(one) => one.get_db(),
            Self::Many(many) => many.get_db(),
        }
    }
}

/// Whom a connection introduces itself as.
#[derive(Clone, Copy)]
struct Login<'a> {
    username: Option<&'a str>,
    password: Option<&'a SecretString>,
    db: u16,
}

/// How a connection is made.
pub(super) struct Way {
    servers: Servers,
    username: Option<String>,
    password: Option<Secret>,
    timeout: Duration,
    /// All roots in PEM; `None`: no TLS.
    roots: Option<Vec<u8>>,
    /// Which of several servers is asked first: another one after each failure.
    turn: AtomicUsize,
}

impl Way {
    pub(super) fn new(
        config: &config::Store,
        password: Option<Secret>,
    ) -> Result<Self, Unbuildable> {
        let roots = config.tls.then(|| roots(config.ca_file.as_deref())).transpose()?;
        Ok(Self {
            servers: config.servers.clone(),
            username: config.username.clone(),
            password,
            timeout: config.timeout,
            roots,
            turn: AtomicUsize::new(0),
        })
    }

    /// A connection for commands.
    pub(super) async fn open(&self) -> Result<Wire, Trouble> {
        let opened = match &self.servers {
            Servers::Cluster(nodes) => self.cluster(nodes).await,
            Servers::One { .. } | Servers::Unix(_) | Servers::Sentinel { .. } => {
                self.one(AsyncConnectionConfig::new(), ProtocolVersion::RESP2).await.map(Wire::One)
            }
        };
        opened.inspect_err(|_| self.next())
    }

    /// A connection for messages: what comes goes to `hear` at once.
    pub(super) async fn listen(
        &self,
        hear: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, Trouble> {
        let config = AsyncConnectionConfig::new().set_push_sender(move |push| {
            hear(push);
            Ok::<(), redis::aio::SendError>(())
        });
        self.one(config, ProtocolVersion::RESP3).await.inspect_err(|_| self.next())
    }

    fn next(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// To the one server there is, or to any node.
    async fn one(
        &self,
        config: AsyncConnectionConfig,
        protocol: ProtocolVersion,
    ) -> Result<MultiplexedConnection, Trouble> {
        let password = self.password().await?;
        let login =
            |db| Login { username: self.username.as_deref(), password: password.as_ref(), db };
        let (server, login) = match &self.servers {
            Servers::One { server, db } => (server.clone(), login(*db)),
            Servers::Unix(path) => {
                let address = ConnectionAddr::Unix(path.clone());
                return self.connect(address, login(0), config, protocol).await;
            }
            Servers::Sentinel { sentinels, master, db } => {
                (self.ask_sentinels(sentinels, master, login(0)).await?, login(*db))
            }
            Servers::Cluster(nodes) => {
                let turn = self.turn.load(Ordering::Relaxed) % nodes.len().max(1);
                let nobody = || Trouble::Denied("the cluster has no node".to_owned());
                let node = nodes.get(turn).ok_or_else(nobody)?;
                (node.clone(), login(0))
            }
        };
        self.connect(self.address(&server), login, config, protocol).await
    }

    async fn password(&self) -> Result<Option<SecretString>, Trouble> {
        match &self.password {
            None => Ok(None),
            Some(secret) => match secret.fresh().await {
                Ok(password) => Ok(Some(password)),
                Err(error) if error.away => Err(Trouble::Lost(format!("store.password: {error}"))),
                Err(error) => Err(Trouble::Denied(format!("store.password: {error}"))),
            },
        }
    }

    fn address(&self, server: &HostPort) -> ConnectionAddr {
        let HostPort { host, port } = server.clone();
        match &self.roots {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        }
    }

    async fn connect(
        &self,
        address: ConnectionAddr,
        login: Login<'_>,
        config: AsyncConnectionConfig,
        protocol: ProtocolVersion,
    ) -> Result<MultiplexedConnection, Trouble> {
        let name = address.to_string();
        let config = config.set_connection_timeout(Some(self.timeout)).set_response_timeout(None);
        let connecting = async {
            let client = self.client(address, login, protocol)?;
            client.get_multiplexed_async_connection_with_config(&config).await
        };
        // Its own timeout counts each of several addresses.
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(Trouble::of(&error).of_server(&name)),
            Err(_) => Err(Trouble::Lost(slow(self.timeout)).of_server(&name)),
        }
    }

    fn client(
        &self,
        address: ConnectionAddr,
        login: Login<'_>,
        protocol: ProtocolVersion,
    ) -> Result<Client, RedisError> {
        // Its name and version are nobody's business, and one command less for an ACL to allow.
        let mut settings = RedisConnectionInfo::default()
            .set_db(login.db.into())
            .set_protocol(protocol)
            .set_skip_set_lib_name();
        if let Some(password) = login.password {
            settings = settings.set_password(password.expose_secret());
            if let Some(username) = login.username {
                settings = settings.set_username(username);
            }
        }
        let info = address.into_connection_info()?.set_redis_settings(settings);
        match &self.roots {
            Some(roots) => Client::build_with_tls(info, certificates(roots)),
            None => Client::open(info),
        }
    }

    /// Who is the master now, by the first that knows. They get the password only if they want one.
    async fn ask_sentinels(
        &self,
        sentinels: &[HostPort],
        master: &str,
        login: Login<'_>,
    ) -> Result<HostPort, Trouble> {
        let nobody = Login { username: None, password: None, db: 0 };
        let turn = self.turn.load(Ordering::Relaxed) % sentinels.len().max(1);
        let (later, first) = sentinels.split_at(turn);
        let mut why = Vec::new();
        for sentinel in first.iter().chain(later) {
            let mut told = self.ask(sentinel, master, nobody).await;
            if login.password.is_some() && matches!(&told, Err(Unknown::Locked)) {
                told = self.ask(sentinel, master, login).await;
            }
            match told {
                Ok(server) => return Ok(server),
                Err(Unknown::Locked) => why.push(format!("Sentinel {sentinel} wants a password")),
                Err(Unknown::Other(trouble)) => why.push(format!("Sentinel {}", trouble.why())),
            }
        }
        Err(Trouble::Lost(why.join("; ")))
    }

    async fn ask(
        &self,
        sentinel: &HostPort,
        master: &str,
        login: Login<'_>,
    ) -> Result<HostPort, Unknown> {
        let config = AsyncConnectionConfig::new();
        let mut connection = self
            .connect(self.address(sentinel), login, config, ProtocolVersion::RESP2)
            .await
            .map_err(Unknown::Other)?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let asking = question.query_async::<Option<(String, u16)>>(&mut connection);
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(Ok(Some((host, port)))) => Ok(HostPort { host, port }),
            Ok(Ok(None)) => {
                Err(Unknown::Other(Trouble::Denied(format!("{sentinel} knows no {master}"))))
            }
            Ok(Err(error)) if error.code() == Some("NOAUTH") => Err(Unknown::Locked),
            Ok(Err(error)) => {
                Err(Unknown::Other(Trouble::of(&error).of_server(&sentinel.to_string())))
            }
            Err(_) => {
                let slow = Trouble::Lost(slow(self.timeout));
                Err(Unknown::Other(slow.of_server(&sentinel.to_string())))
            }
        }
    }

    /// To all nodes; these are asked for the others.
    async fn cluster(&self, nodes: &[HostPort]) -> Result<Wire, Trouble> {
        let password = self.password().await?;
        let connecting = async {
            let client = self.cluster_client(nodes, password.as_ref())?;
            client.get_async_connection().await
        };
        // To the nodes named, then to those that they name.
        match tokio::time::timeout(self.timeout.saturating_mul(3), connecting).await {
            Ok(Ok(connection)) => Ok(Wire::Many(connection)),
            Ok(Err(error)) => Err(Trouble::of(&error).of_server(&self.servers.to_string())),
            Err(_) => Err(Trouble::Lost(slow(self.timeout)).of_server(&self.servers.to_string())),
        }
    }

    fn cluster_client(
        &self,
        nodes: &[HostPort],
        password: Option<&SecretString>,
    ) -> Result<ClusterClient, RedisError> {
        let mut builder = ClusterClientBuilder::new(nodes.iter().map(|node| self.address(node)))
            // Whoever asked decides whether to ask again.
            .retries(0)
            .connection_timeout(self.timeout)
            .response_timeout(self.timeout);
        if let Some(password) = password {
            builder = builder.password(password.expose_secret());
            if let Some(username) = &self.username {
                builder = builder.username(username);
            }
        }
        if let Some(roots) = &self.roots {
            builder = builder.certs(certificates(roots));
        }
        builder.build()
    }
}

/// Why a Sentinel does not name the master.
enum Unknown {
    /// It wants a password.
    Locked,
    /// Something else.
    Other(Trouble),
}

/// For whatever took longer than it may.
pub(super) fn slow(timeout: Duration) -> String {
    format!("no answer within {}", config::show_duration(timeout))
}

/// The system's roots and those of the file, in PEM. It is all that the crate trusts then.
fn roots(ca_file: Option<&Path>) -> Result<Vec<u8>, Unbuildable> {
    use_aws_lc();
    let (mut trusted, mut pem) = (RootCertStore::empty(), String::new());
    let mut add = |certificate: CertificateDer<'static>| {
        let text = STANDARD.encode(&certificate);
        trusted.add(certificate).map_err(|error| error.to_string())?;
        pem.extend(["-----BEGIN CERTIFICATE-----\n", &text, "\n-----END CERTIFICATE-----\n"]);
        Ok::<(), String>(())
    };
    for certificate in rustls_native_certs::load_native_certs().certs {
        // What cannot be used is skipped; an empty result is refused below.
        let _ = add(certificate);
    }
    if let Some(path) = ca_file {
        let wrong = |why: String| Unbuildable::CaFile { path: path.display().to_string(), why };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
            let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
            add(certificate).map_err(wrong)?;
        }
    }
    if pem.is_empty() { Err(Unbuildable::NoRoots) } else { Ok(pem.into_bytes()) }
}

/// The crate takes the process's own, and nobody else here sets it.
fn use_aws_lc() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Somebody was faster; there is no other in this program.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

fn certificates(roots: &[u8]) -> TlsCertificates {
    TlsCertificates { client_tls: None, root_cert: Some(roots.to_vec()) }
}
