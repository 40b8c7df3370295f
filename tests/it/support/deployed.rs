//! Two gateways, a Redis and the balancer before them, with the very files of `deploy/compose`.
//! The balancer and Redis are real processes; only addresses and paths in the files are others.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use genesys_proxy::simulator::Handle;
use http::Method;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::DropGuard;

use super::{
    Answer, Gateway,
    gateway::PATIENCE,
    redis::{Redis, some_port},
    unlimited, world,
};

pub const ME: &str = "/api/v2/organizations/me";
pub const ECHO: &str = "/api/v2/echo";

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// With something else in the place of each: what is not there would not be tested.
fn with(text: &str, others: &[(&str, &str)]) -> String {
    others.iter().fold(text.to_owned(), |text, (this, other)| {
        assert!(text.contains(this), "{this:?} is not in it any more");
        text.replace(this, other)
    })
}

/// An address that is free, and that a gateway may have again after its end.
fn address() -> SocketAddr {
    loop {
        let address = ([127, 0, 0, 1], some_port()).into();
        if TcpListener::bind::<SocketAddr>(address).is_ok() {
            return address;
        }
    }
}

/// A running `haproxy`; killed when dropped.
pub struct Balancer {
    pub address: SocketAddr,
    child: Child,
}

impl Balancer {
    fn start(dir: &Path, gateways: &[Place; 2]) -> Self {
        let address = address();
        let [one, two] = gateways.map(|at| format!("{} port {}", at.listen, at.admin.port()));
        let config = with(
            &shipped("deploy/compose/haproxy.cfg"),
            &[
                ("bind :8080", &format!("bind {address}")),
                // As many descriptors as there are where tests run.
                ("maxconn 8000", "maxconn 500"),
                ("gateway-1:8080 port 8081", &one),
                ("gateway-2:8082 port 8083", &two),
            ],
        );
        let file = dir.join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let haproxy = |how: &str| {
            let mut command = Command::new("haproxy");
            command.arg(how).arg("-f").arg(&file).stdout(Stdio::null());
            command
        };
        // Nothing to warn about, either.
        let checked = haproxy("-c").stderr(Stdio::piped()).output();
        let checked = checked.expect("haproxy is installed: tests/run.sh does it");
        let said = String::from_utf8(checked.stderr).unwrap();
        assert!(checked.status.success() && !said.contains("WARNING"), "{said}");
        let child = haproxy("-db").stderr(Stdio::null()).spawn().unwrap();
        let mut balancer = Self { address, child };
        balancer.until_it_listens();
        balancer
    }

    fn until_it_listens(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended");
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::yield_now();
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a gateway is, each time that it is started.
#[derive(Debug, Clone, Copy)]
struct Place {
    listen: SocketAddr,
    admin: SocketAddr,
}

/// All of it, as it is deployed.
pub struct Deployed {
    pub gateways: [Gateway; 2],
    places: [Place; 2],
    pub balancer: Balancer,
    pub redis: Redis,
    pub key: String,
    toml: String,
    pub genesys: Handle,
    _dir: tempfile::TempDir,
    _stop: DropGuard,
}

impl Deployed {
    pub async fn new() -> Self {
        let (genesys, stop) = world::simulator(unlimited()).await;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        make_keys(dir.path());
        let redis = Redis::start_with(&["--aclfile", &path("users.acl")]);
        let toml = with(
            &shipped("deploy/compose/proxy.toml"),
            &[
                ("listen = [\"0.0.0.0:8080\"]\n", ""),
                ("admin = \"0.0.0.0:8081\"\n", ""),
                ("/run/secrets/", &shipped_path("deploy/compose/simulator")),
                ("/gateways/", &path("")),
                ("redis://redis:6379", &redis.url()),
            ],
        );
        let places = [(); 2].map(|()| Place { listen: address(), admin: address() });
        let gateways = places.map(|at| start(&toml, &genesys, at));
        for gateway in &gateways {
            gateway.logged("health on http://").await;
        }
        let balancer = Balancer::start(dir.path(), &places);
        let key = fs::read_to_string(path("caller-key")).unwrap().trim().to_owned();
        let deployed =
            Self { gateways, places, balancer, redis, key, toml, genesys, _dir: dir, _stop: stop };
        deployed.until_both_take_calls().await;
        deployed
    }

    /// The same gateway anew, as after an update.
    pub fn again(&mut self, number: usize) {
        self.gateways[number] = start(&self.toml, &self.genesys, self.places[number]);
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.balancer.address);
        world::client().request(method, url).header("x-api-key", &self.key)
    }

    /// Two calls that upstream does not answer: one at each gateway, as the balancer gives the next one to
    /// whoever has fewer.
    pub async fn two_held(&self, method: Method) -> JoinSet<u16> {
        self.genesys.faults(serde_json::from_value(json!({"api": [{"hold": true}]})).unwrap());
        let mut calls = JoinSet::new();
        for held in 1..=2 {
            let request = self.request(method.clone(), ECHO);
            calls.spawn(async move { Answer::of(request.send().await.unwrap()).await.status });
            self.until_held(held).await;
        }
        calls
    }

    async fn until_held(&self, calls: u64) {
        let held = self.genesys.until(|seen| seen.held == calls);
        let came = timeout(PATIENCE, held).await;
        assert!(came.is_ok(), "{:?}", self.genesys.counters());
    }

    pub fn let_go(&self) {
        self.genesys.faults(serde_json::from_value(json!({"clear": true})).unwrap());
    }

    async fn until_both_take_calls(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.gateways.iter().all(|gateway| gateway.log().contains(ME)) {
            assert!(Instant::now() < deadline, "{}", self.gateways[1].log());
            let answer = self.request(Method::GET, ME).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    }
}

fn shipped_path(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name).display().to_string() + "/"
}

/// As the service `keys` does.
pub fn make_keys(dir: &Path) {
    let script = shipped_path("deploy/compose/keys.sh");
    let done = Command::new("sh").arg(script.trim_end_matches('/')).args([dir, dir]).status();
    assert!(done.unwrap().success());
}

fn start(toml: &str, genesys: &Handle, at: Place) -> Gateway {
    Gateway::start_with(
        toml,
        &[
            ("GENESYS_PROXY__LISTEN", &format!("[\"{}\"]", at.listen)),
            ("GENESYS_PROXY__ADMIN", &at.admin.to_string()),
            // As in docker-compose.override.yml.
            ("GENESYS_PROXY__UPSTREAM__REGION", ""),
            ("GENESYS_PROXY__UPSTREAM__API_URL", &format!("http://{}", genesys.addr())),
            ("GENESYS_PROXY__RATE_LIMIT__REQUESTS_PER_MINUTE", "0"),
        ],
    )
}
