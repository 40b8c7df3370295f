//! What is shipped to run the gateway keeps it from everything it does not need. And it does run so:
//! as nobody, without capabilities, with nothing to write to but what it was given.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::support::{NO_LIMIT, unlimited, world};

/// Nobody, on most systems.
const NOBODY: u32 = 65534;

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The `[Service]` of the unit: each directive with all of its values.
fn service() -> BTreeMap<String, Vec<String>> {
    let unit = shipped("deploy/genesys-proxy.service");
    let section = unit.split("[Service]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let mut directives: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in section.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once('=').unwrap();
        directives.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    directives
}

#[test]
fn the_unit_gives_up_what_a_gateway_does_not_need() {
    let service = service();
    for (name, values) in [
        ("DynamicUser", &["yes"][..]),
        ("NoNewPrivileges", &["yes"]),
        ("CapabilityBoundingSet", &[""]),
        ("AmbientCapabilities", &[""]),
        ("ProtectSystem", &["strict"]),
        ("ProtectHome", &["yes"]),
        ("ProtectProc", &["invisible"]),
        ("ProtectClock", &["yes"]),
        ("ProtectControlGroups", &["yes"]),
        ("ProtectHostname", &["yes"]),
        ("ProtectKernelLogs", &["yes"]),
        ("ProtectKernelModules", &["yes"]),
        ("ProtectKernelTunables", &["yes"]),
        ("PrivateTmp", &["yes"]),
        ("PrivateDevices", &["yes"]),
        ("RestrictAddressFamilies", &["AF_INET AF_INET6 AF_UNIX"]),
        ("RestrictNamespaces", &["yes"]),
        ("RestrictRealtime", &["yes"]),
        ("RestrictSUIDSGID", &["yes"]),
        ("LockPersonality", &["yes"]),
        ("MemoryDenyWriteExecute", &["yes"]),
        ("SystemCallArchitectures", &["native"]),
        ("SystemCallFilter", &["@system-service", "~@privileged @resources"]),
        ("LimitCORE", &["0"]),
        ("UMask", &["0077"]),
        ("RuntimeDirectoryMode", &["0750"]),
        ("LogsDirectoryMode", &["0700"]),
        ("PrivateMounts", &["yes"]),
        ("ProcSubset", &["pid"]),
        ("RemoveIPC", &["yes"]),
        ("KeyringMode", &["private"]),
        ("SystemCallErrorNumber", &["EPERM"]),
    ] {
        let found = service.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(found, values, "{name}");
    }
    assert!(!service.contains_key("ReadWritePaths"), "it has directories of its own");
    // Under it, the kernel would not tell which user has connected to a unix socket (`uids`).
    assert!(!service.contains_key("PrivateUsers"));
}

#[test]
fn the_unit_hands_the_secret_over_in_no_variable_and_no_argument() {
    let service = service();
    let credential = &service["LoadCredential"][0];
    assert!(credential.starts_with("client-secret:"), "{credential}");
    assert!(!service.contains_key("Environment") && !service.contains_key("EnvironmentFile"));
    assert!(shipped("deploy/genesys-proxy.service").contains("{ credential = \"client-secret\" }"));
    let shown = ["secret", "token", "password"];
    assert!(!shown.iter().any(|word| service["ExecStart"][0].contains(word)));
}

#[test]
fn the_unit_waits_for_a_whole_drain_and_does_not_restart_what_is_wrong() {
    let seconds = |text: &str| text.trim().trim_end_matches('s').parse::<u32>().unwrap();
    let service = service();
    let example = shipped("proxy.toml");
    let drain = example.lines().find_map(|line| line.strip_prefix("shutdown_timeout = ")).unwrap();
    assert!(seconds(&service["TimeoutStopSec"][0]) > seconds(drain.trim_matches('"')));
    assert_eq!(service["Restart"], ["on-failure"]);
    assert_eq!(service["RestartPreventExitStatus"], ["2 78"]);
    assert_eq!(service["KillSignal"], ["SIGTERM"]);
}

#[test]
fn systemd_is_told_when_it_is_ready_and_listens_where_the_example_does() {
    assert_eq!(service()["Type"], ["notify"]);
    assert!(service().contains_key("WatchdogSec"));
    let socket = shipped("deploy/genesys-proxy.socket");
    let place = socket.lines().find_map(|line| line.strip_prefix("ListenStream=")).unwrap();
    assert!(shipped("proxy.toml").contains(&format!("\nlisten = [\"{place}\"]\n")));
}

#[test]
fn the_image_runs_as_nobody_from_pinned_bases_and_holds_no_secret() {
    let file = shipped("Dockerfile");
    let lines = || file.lines().filter(|line| !line.starts_with('#'));
    let of = |word: &'static str| lines().filter_map(move |line| line.strip_prefix(word));
    let mut stages = Vec::new();
    for from in of("FROM ") {
        let image = from.split(' ').next().unwrap();
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
        assert!(!["latest", "stable"].contains(&tag) && !tag.is_empty(), "{image}");
        stages.push(image);
    }
    assert!(stages.len() == 2, "the compiler is not shipped: {stages:?}");
    let last = file.rsplit("FROM ").next().unwrap();
    let user = last.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    let ids: Vec<u32> = user.split(':').map(|id| id.parse().unwrap()).collect();
    assert!(
        ids.len() == 2 && ids.iter().all(|id| *id > 0),
        "a number Kubernetes can check: {user}"
    );
    assert_eq!(of("ARG ").count() + of("ENV ").count() + of("ADD ").count(), 0);
    for word in ["SECRET", "secret=", "TOKEN", "PASSWORD", ".env"] {
        assert!(!lines().any(|line| line.contains(word)), "{word}");
    }
    assert!(last.contains("ENTRYPOINT [") && !last.contains("RUN "), "there is no shell in it");
    // What is not named is not even sent to the builder: `.env`, keys, the history.
    let sent: Vec<String> = shipped(".dockerignore").lines().map(str::to_owned).collect();
    let sent: Vec<_> = sent.iter().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(sent[0], "*");
    let kept = ["!Cargo.toml", "!Cargo.lock", "!src"];
    assert_eq!(sent[1..].iter().map(|line| line.as_str()).collect::<Vec<_>>(), kept);
}

/// A process that does not outlive its test.
struct Nobody(Child);

impl Drop for Nobody {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The gateway as somebody who may do nothing, whoever runs the tests; without root, whoever runs them
/// is that somebody. Its files lie where it can read them.
fn as_nobody(directory: &Path, toml: &str) -> Nobody {
    let program = directory.join("genesys-proxy");
    fs::copy(env!("CARGO_BIN_EXE_genesys-proxy"), &program).unwrap();
    let config = directory.join("proxy.toml");
    fs::write(&config, format!("listen = [\"127.0.0.1:0\"]\nadmin = \"\"\n{toml}")).unwrap();
    for readable in [directory, &program] {
        fs::set_permissions(readable, Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.arg("--no-new-privs");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]);
    }
    command.arg(program).args(["serve", "--config"]).arg(config).env_clear();
    command.env("GENESYS_CLIENT_ID", "demo").env("GENESYS_CLIENT_SECRET", "demo");
    command.env("TMPDIR", directory.join("tmp")).stderr(Stdio::piped());
    Nobody(command.spawn().unwrap())
}

fn own_directory(path: &Path) {
    fs::create_dir(path).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_nobody_it_serves_and_writes_its_audit_log_and_nothing_else() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    own_directory(&log);
    own_directory(&directory.path().join("tmp"));
    let audit = log.join("audit.jsonl");
    let upstream = world::upstream(genesys.addr());
    let toml =
        format!("{upstream}\n{NO_LIMIT}\n[audit]\nfile = \"{}\"\nsync = \"0s\"\n", audit.display());
    let mut gateway = as_nobody(directory.path(), &toml);
    let mut said = BufReader::new(gateway.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let listens = said.by_ref().find(|line| line.contains("listening on http")).unwrap();
    let address = listens.rsplit("://").next().unwrap().trim().to_owned();
    let answer = world::client()
        .post(format!("http://{address}/api/v2/echo"))
        .body(vec![b'x'; 2 << 20])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "with a body that is kept in a file");
    answer.bytes().await.unwrap();

    let process = format!("/proc/{}", gateway.0.id());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_ne!(of("Uid:"), "0");
    assert_eq!((of("NoNewPrivs:").as_str(), of("CapEff:").as_str()), ("1", "0000000000000000"));

    let id = rustix::process::Pid::from_child(&gateway.0);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    said.for_each(drop);
    assert!(gateway.0.wait().unwrap().success());
    assert!(fs::read_to_string(&audit).unwrap().contains("\"kind\":\"stopped\""));
    let mut left: Vec<_> = [directory.path(), &log, &directory.path().join("tmp")]
        .iter()
        .flat_map(|path| fs::read_dir(path).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["audit.jsonl", "genesys-proxy", "log", "proxy.toml", "tmp"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_nobody_it_does_not_start_without_the_audit_log_that_it_may_not_write() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    fs::create_dir(&log).unwrap();
    fs::set_permissions(&log, Permissions::from_mode(0o555)).unwrap();
    let upstream = world::upstream(genesys.addr());
    let file = log.join("audit.jsonl");
    let toml = format!("{upstream}\n{NO_LIMIT}\n[audit]\nfile = \"{}\"\n", file.display());
    let mut gateway = as_nobody(directory.path(), &toml);
    let said = BufReader::new(gateway.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let told: Vec<String> =
        said.inspect(|line| assert!(!line.contains("listening on http"), "{line}")).collect();
    let told = told.join("\n");
    assert_eq!(gateway.0.wait().unwrap().code(), Some(78), "{told}");
    assert!(told.contains("audit.jsonl") && !file.exists(), "{told}");
    assert_eq!(genesys.counters().mints, 0, "not half");
}
