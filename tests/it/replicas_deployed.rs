//! Two gateways, a Redis and the balancer before them, with the very files of `deploy/compose`: one key opens
//! both, and one of them may die, drain or be replaced without a failed call.
//!
//! The balancer and Redis are real processes; only addresses and paths in the files are others.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use genesys_proxy::simulator::Handle;
use http::Method;
use redis::{RedisError, Value};
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{
    Answer, Gateway,
    gateway::PATIENCE,
    redis::{Redis, some_port},
    unlimited, world,
};

const ME: &str = "/api/v2/organizations/me";
const ECHO: &str = "/api/v2/echo";

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
struct Balancer {
    address: SocketAddr,
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

struct Deployed {
    gateways: [Gateway; 2],
    places: [Place; 2],
    balancer: Balancer,
    redis: Redis,
    key: String,
    toml: String,
    genesys: Handle,
    _dir: tempfile::TempDir,
    _stop: DropGuard,
}

impl Deployed {
    async fn new() -> Self {
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
    fn again(&mut self, number: usize) {
        self.gateways[number] = start(&self.toml, &self.genesys, self.places[number]);
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.balancer.address);
        world::client().request(method, url).header("x-api-key", &self.key)
    }

    /// Two calls that upstream does not answer: one at each gateway, as the balancer gives the next one to
    /// whoever has fewer.
    async fn two_held(&self, method: Method) -> JoinSet<u16> {
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

    fn let_go(&self) {
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
fn make_keys(dir: &Path) {
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

/// Callers who never pause: GETs and POSTs in turn.
struct Steady {
    callers: JoinSet<Vec<Answer>>,
    end: CancellationToken,
    answered: watch::Receiver<u64>,
}

impl Steady {
    fn of(deployed: &Deployed, methods: &'static [Method]) -> Self {
        let (answers, answered) = watch::channel(0);
        let (mut callers, end, answers) =
            (JoinSet::new(), CancellationToken::new(), Arc::new(answers));
        for _ in 0..8 {
            let requests: Vec<_> =
                methods.iter().map(|method| deployed.request(method.clone(), ECHO)).collect();
            let (end, answers) = (end.clone(), Arc::clone(&answers));
            callers.spawn(async move {
                let mut bad = Vec::new();
                for request in requests.iter().cycle() {
                    if end.is_cancelled() {
                        break;
                    }
                    let answer = request.try_clone().unwrap().send().await.unwrap();
                    let answer = Answer::of(answer).await;
                    bad.extend((answer.status != 200).then_some(answer));
                    answers.send_modify(|answers| *answers += 1);
                }
                bad
            });
        }
        Self { callers, end, answered }
    }

    /// Waits for so many more answers.
    async fn go_on(&mut self, more: u64) {
        let wanted = *self.answered.borrow() + more;
        let came = timeout(PATIENCE, self.answered.wait_for(|answers| *answers >= wanted)).await;
        assert!(came.is_ok_and(|still| still.is_ok()), "callers have ended, or wait for ever");
    }

    /// None of them failed.
    async fn end(self) {
        self.end.cancel();
        let bad: Vec<_> = self.callers.join_all().await.into_iter().flatten().collect();
        assert!(bad.is_empty(), "{} of {}: {:?}", bad.len(), *self.answered.borrow(), bad.first());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_opens_both_gateways_and_the_balancer_before_them() {
    let deployed = Deployed::new().await;
    let balanced = format!("http://{}{ME}", deployed.balancer.address);
    for url in [deployed.gateways[0].url(ME), deployed.gateways[1].url(ME), balanced] {
        let request = world::client().get(&url);
        let answer = request.try_clone().unwrap().header("x-api-key", &deployed.key);
        assert_eq!(answer.send().await.unwrap().status(), 200, "{url}");
        assert_eq!(request.send().await.unwrap().status(), 401, "{url}");
    }
    // Bodies and streams pass as they are.
    let sent = vec![b'x'; 300_000];
    let answer = deployed.request(Method::POST, ECHO).body(sent).send().await.unwrap();
    assert_eq!(Answer::of(answer).await.json()["bodyBytes"], 300_000);
    let stream = "/api/v2/stream?chunks=3&gap_ms=50";
    let answer = deployed.request(Method::GET, stream).send().await.unwrap();
    assert!(answer.text().await.unwrap().ends_with("{\"chunk\":2}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_costs_no_failed_call_and_is_used_again_when_it_is_back() {
    let mut deployed = Deployed::new().await;
    let mut steady = Steady::of(&deployed, &[Method::GET]);
    steady.go_on(100).await;
    deployed.gateways[0].signal("KILL");
    deployed.gateways[0].wait();
    steady.go_on(300).await;
    deployed.again(0);
    deployed.gateways[0].logged(ECHO).await;
    steady.go_on(100).await;
    steady.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_replaced_one_after_the_other_without_a_failed_call() {
    let mut deployed = Deployed::new().await;
    let mut steady = Steady::of(&deployed, &[Method::GET, Method::POST]);
    for number in 0..2 {
        steady.go_on(100).await;
        deployed.gateways[number].signal("TERM");
        assert_eq!(deployed.gateways[number].wait().code(), Some(0));
        steady.go_on(100).await;
        deployed.again(number);
        deployed.gateways[number].logged(ECHO).await;
    }
    steady.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_at_a_killed_gateway_goes_to_the_other_unless_it_must_not_run_twice() {
    for (method, answers, sent) in [(Method::GET, [200, 200], 3), (Method::POST, [200, 502], 2)] {
        let mut deployed = Deployed::new().await;
        let before = deployed.genesys.counters().requests;
        let calls = deployed.two_held(method.clone()).await;
        deployed.gateways[0].signal("KILL");
        deployed.gateways[0].wait();
        let seen =
            deployed.genesys.until(|seen| seen.requests == before + 1 && seen.held == sent - 1);
        assert!(timeout(PATIENCE, seen).await.is_ok(), "{:?}", deployed.genesys.counters());
        deployed.let_go();
        let mut all = calls.join_all().await;
        all.sort_unstable();
        assert_eq!(all, answers, "{method}");
        assert_eq!(deployed.genesys.counters().requests - before, sent, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_at_a_draining_gateway_comes_to_its_end_there() {
    let mut deployed = Deployed::new().await;
    let before = deployed.genesys.counters().requests;
    let calls = deployed.two_held(Method::POST).await;
    deployed.gateways[0].signal("TERM");
    deployed.gateways[0].logged("draining").await;
    deployed.let_go();
    assert_eq!(calls.join_all().await, [200, 200]);
    assert_eq!(deployed.genesys.counters().requests - before, 2, "each once");
    assert_eq!(deployed.gateways[0].wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_calls_go_on() {
    let mut deployed = Deployed::new().await;
    let mut steady = Steady::of(&deployed, &[Method::GET, Method::POST]);
    steady.go_on(50).await;
    deployed.redis.kill();
    steady.go_on(200).await;
    steady.end().await;
}

/// The shipped rules: what replicas need, and nothing else.
#[test]
fn redis_lets_the_gateways_do_what_they_need_with_their_own_keys_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    make_keys(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let redis = Redis::start_with(&["--aclfile", &path("users.acl")]);
    let password = fs::read_to_string(path("redis-password")).unwrap();
    let connect = |user: &str| {
        redis::Client::open(redis.url_as(user)).unwrap().get_connection_with_timeout(PATIENCE)
    };
    assert!(
        connect("").and_then(|mut open| ask(&mut open, "PING")).is_err(),
        "nobody in particular"
    );
    assert!(connect("genesys-proxy:wrong@").is_err());
    let mut open = connect(&format!("genesys-proxy:{}@", password.trim())).unwrap();
    for allowed in [
        "PING",
        "TIME",
        "CLIENT SETNAME it",
        "SET gp1:{s}:a 1 PX 60000 NX",
        "GET gp1:{s}:a",
        "PTTL gp1:{s}:a",
        "PEXPIRE gp1:{s}:a 60000",
        "DEL gp1:{s}:a",
        "INCRBY gp1:{s}:n 2",
        "HSET gp1:{s}:h f v",
        "HINCRBY gp1:{s}:h n 1",
        "HGET gp1:{s}:h f",
        "HGETALL gp1:{s}:h",
        "HDEL gp1:{s}:h f",
        "ZADD gp1:{s}:z 1 a",
        "ZRANGEBYSCORE gp1:{s}:z 0 1",
        "ZREMRANGEBYSCORE gp1:{s}:z 0 1",
        "SCRIPT LOAD return",
        "EVALSHA 63143b6f8007b98c53ca2149822777b3566f9241 1 gp1:{s}:a",
        "EVAL redis.call('TIME')return(redis.call('SET',KEYS[1],'1','PX',9)) 1 gp1:{s}:a",
        "EVAL return(redis.call('PUBLISH','gp1:{s}:c','x')) 1 gp1:{s}:a",
        "PUBLISH gp1:{s}:c hello",
    ] {
        let answer = ask(&mut open, allowed);
        assert!(answer.is_ok(), "{allowed}: {answer:?}");
    }
    for refused in [
        "GET other",
        "SET other 1",
        "PUBLISH other hello",
        "SUBSCRIBE other",
        "PSUBSCRIBE *",
        "PUBSUB CHANNELS",
        "EVAL return(redis.call('GET','other')) 0",
        "EVAL return(redis.call('FLUSHALL')) 0",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "DBSIZE",
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG GET *",
        "ACL LIST",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "INFO",
        "MONITOR",
        "SAVE",
        "SHUTDOWN",
        "REPLICAOF NO ONE",
        "MIGRATE h 1 gp1:{s}:a 0 1",
        "SCRIPT FLUSH",
        "CLUSTER SLOTS",
        "FUNCTION LIST",
    ] {
        let answer = ask(&mut open, refused);
        let told = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let why = ["NOPERM", "ermission", "an't access", "an't run"];
        assert!(why.iter().any(|why| told.contains(why)), "{refused}: {answer:?}");
    }
    assert_eq!(
        ask(&mut open, "SUBSCRIBE gp1:{s}:c").map(|_| ()).map_err(|e| e.to_string()),
        Ok(())
    );
}

fn ask(open: &mut redis::Connection, line: &str) -> Result<Value, RedisError> {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>()).query(open)
}
