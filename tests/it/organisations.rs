//! Several organisations behind one gateway, chosen by Host or by listener. Nothing of one is ever
//! another's: no token, connection, kept answer, place in a budget, caller or login.

use std::{collections::BTreeSet, net::SocketAddr};

use genesys_proxy::simulator::{Handle, Options};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio_util::sync::DropGuard;

use crate::support::{
    Answer, Gateway, NO_LIMIT,
    gateway::ADMIN,
    load::sha256,
    unlimited,
    world::{client, simulator},
};

const ECHO: &str = "/api/v2/echo";
const ME: &str = "/api/v2/organizations/me";
const KEY: &str = "bIlLiNg-5f2e90c1d7a83b46";
const EU: &str = "eu.genesys.internal";
const UK: &str = "uk.genesys.internal";

/// A gateway before three of them: `default`, `eu` by Host, `uk` by Host and by a listener of its own.
struct Three {
    gateway: Gateway,
    own: SocketAddr,
    default: Handle,
    eu: Handle,
    uk: Handle,
    client: Client,
    _stop: [DropGuard; 3],
}

fn organisation(name: &str, genesys: &Handle, more: &str) -> String {
    format!(
        "[orgs.{name}]\nhosts = [\"{name}.genesys.internal\"]\n{more}\n\
         [orgs.{name}.upstream]\napi_url = \"http://{}\"\n[orgs.{name}.oauth]\n\
         client_id = {{ env = \"ORG_ID\" }}\nclient_secret = {{ env = \"ORG_SECRET\" }}\n",
        genesys.addr()
    )
}

impl Three {
    /// `more` comes at the end.
    async fn new(options: Options, more: &str) -> Self {
        let (default, first) = simulator(options.clone()).await;
        let (eu, second) = simulator(options.clone()).await;
        let (uk, third) = simulator(options).await;
        let toml = format!(
            "[upstream]\napi_url = \"http://{}\"\n{NO_LIMIT}\n{}{}{more}",
            default.addr(),
            organisation("eu", &eu, ""),
            organisation("uk", &uk, "listen = [\"127.0.0.1:0\"]"),
        );
        let credentials = [("ORG_ID", "demo"), ("ORG_SECRET", "demo"), ADMIN];
        let gateway = Gateway::start_with(&toml, &credentials);
        let own = gateway.wait_for_logs("listening on http://", 2).pop().unwrap();
        let own = own.rsplit("http://").next().unwrap().trim().parse().unwrap();
        Self { gateway, own, default, eu, uk, client: client(), _stop: [first, second, third] }
    }

    /// A call that names `host`.
    fn get(&self, host: &str, path: &str) -> RequestBuilder {
        self.client.get(self.gateway.url(path)).header("host", host)
    }

    fn requests(&self) -> [u64; 3] {
        [&self.default, &self.eu, &self.uk].map(|genesys| genesys.counters().requests)
    }
}

async fn status(call: RequestBuilder) -> u16 {
    call.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_to_the_organisation_of_its_host_or_of_its_listener() {
    let three = Three::new(unlimited(), "").await;
    let plain = three.client.get(three.gateway.url(ME));
    assert_eq!(status(plain).await, 200);
    for host in [EU, "EU.Genesys.Internal:8080", "eu.genesys.internal."] {
        assert_eq!(status(three.get(host, ME)).await, 200, "{host}");
    }
    assert_eq!(status(three.get(UK, ME)).await, 200);
    assert_eq!(status(three.client.get(format!("http://{}{ME}", three.own))).await, 200);
    assert_eq!(three.requests(), [1, 3, 2]);
    for (address, host) in [
        (three.gateway.address, "other.genesys.internal"),
        (three.gateway.address, "eu.genesys.internal.evil.example"),
        (three.own, EU),
        (three.own, "other.genesys.internal"),
    ] {
        let call = three.client.get(format!("http://{address}{ME}")).header("host", host);
        assert_eq!(status(call).await, 421, "{address} {host}");
    }
    assert_eq!(three.requests(), [1, 3, 2], "nobody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_http2_connection_each_call_goes_where_its_authority_says() {
    let three = Three::new(unlimited(), "").await;
    let tcp = tokio::net::TcpStream::connect(three.gateway.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
    let calls = async {
        let mut sender = sender.ready().await.unwrap();
        for (host, status) in [(EU, 200), ("localhost", 200), (UK, 200), (EU, 200), ("evil", 421)] {
            let request = http::Request::get(format!("http://{host}{ME}")).body(()).unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), status, "{host}");
            sender = sender.ready().await.unwrap();
        }
    };
    tokio::select! {
        () = calls => {}
        ended = connection => panic!("{ended:?}"),
    }
    assert_eq!(three.requests(), [1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_has_its_own_token_and_no_other_ever_sees_it() {
    let three = Three::new(unlimited(), "").await;
    let mut bearers = BTreeSet::new();
    for host in ["localhost", EU, UK] {
        let call = three.client.post(three.gateway.url(ECHO)).header("host", host).body("{}");
        let echo = Answer::of(call.send().await.unwrap()).await.json();
        let fields: Vec<(String, String)> =
            serde_json::from_value(echo["headers"].clone()).unwrap();
        bearers.extend(fields.into_iter().filter(|(name, _)| name == "authorization"));
    }
    assert_eq!(bearers.len(), 3, "{bearers:?}");
    // One loses its tokens: the others do not notice.
    assert_eq!(three.eu.revoke(), 1);
    for host in ["localhost", EU, UK] {
        assert_eq!(status(three.get(host, ME)).await, 200);
    }
    let mints = [&three.default, &three.eu, &three.uk].map(|genesys| genesys.counters().mints);
    let refused = [&three.default, &three.eu, &three.uk].map(|g| g.counters().unauthorized);
    assert_eq!((mints, refused), ([1, 2, 1], [0, 1, 0]));
    let metrics = three.gateway.admin("/metrics").await;
    for label in ["", "org=\"eu\",", "org=\"uk\","] {
        let line = format!("genesys_proxy_token_mints_total{{{label}client=\"demo\",");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    three.gateway.wait_for_log("access org=eu caller=127.0.0.1 GET /api/v2/organizations/me 200");
    three.gateway.wait_for_log("org{name=\"eu\"}: token minted");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_one_audit_log_each_line_says_whose_call_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let audit = format!("[audit]\nfile = \"{}\"\n", file.display());
    let mut three = Three::new(unlimited(), &audit).await;
    for host in ["localhost", EU, UK, EU] {
        let call = three.get(host, ME).header("x-request-id", host);
        assert_eq!(status(call).await, 200);
    }
    // What has ended has its line by then.
    three.gateway.signal("TERM");
    assert!(three.gateway.wait().success());
    let log = std::fs::read_to_string(file).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told = |line: Value| {
        let word = |name: &str| line[name].as_str().unwrap_or("none").to_owned();
        (line["kind"] == "call").then(|| (word("request_id"), word("org")))
    };
    let mut calls: Vec<_> = lines.filter_map(told).collect();
    calls.sort_unstable();
    let whose = |host: &str, org: &str| (host.to_owned(), org.to_owned());
    let (eu, default) = (whose(EU, "eu"), whose("localhost", "none"));
    assert_eq!(calls, [eu.clone(), eu, default, whose(UK, "uk")], "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_log_in_holds_up_nobody_else() {
    let (genesys, _stop) = simulator(unlimited()).await;
    let toml = format!(
        "[upstream]\napi_url = \"http://{}\"\n{NO_LIMIT}\n{}",
        genesys.addr(),
        organisation("eu", &genesys, "")
    );
    let env = [("ORG_ID", "demo"), ("ORG_SECRET", "wrong"), ADMIN];
    let gateway = Gateway::start_with(&toml, &env);
    let get = |host| client().get(gateway.url(ME)).header("host", host);
    assert_eq!(status(get("localhost")).await, 200);
    let refused = Answer::of(get(EU).send().await.unwrap()).await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"proxy.token.unavailable".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_and_its_line_are_of_one_alone() {
    let limited = "[orgs.eu.rate_limit]\nrequests_per_minute = 2\nmax_wait = \"0s\"\n";
    let three = Three::new(unlimited(), limited).await;
    for expected in [200, 200, 429, 429] {
        assert_eq!(status(three.get(EU, ME)).await, expected);
    }
    for host in ["localhost", UK] {
        for _ in 0..5 {
            assert_eq!(status(three.get(host, ME)).await, 200);
        }
    }
    assert_eq!(three.requests(), [5, 2, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_is_of_one_alone() {
    let cache = "cache = [{ match = \"GET /api/v2/organizations/me\", for = \"60s\" }]\n";
    let all = format!("[saving]\n{cache}[orgs.eu.saving]\n{cache}[orgs.uk.saving]\n{cache}");
    let three = Three::new(unlimited(), &all).await;
    for _ in 0..3 {
        for host in ["localhost", EU, UK] {
            assert_eq!(status(three.get(host, ME)).await, 200);
        }
    }
    assert_eq!(three.requests(), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_one_is_nobody_in_another_and_so_is_its_login() {
    let caller = |org: &str, name: &str, key: &str| {
        let table = if org.is_empty() { "caller".to_owned() } else { format!("orgs.{org}.caller") };
        format!("[[{table}]]\nname = \"{name}\"\nkey_sha256 = \"{}\"\n", sha256(key.as_bytes()))
    };
    let other = "oThEr-key-0c9d8e7f6a5b4c3d";
    let toml = format!(
        "[access]\nmode = \"key\"\n{}{}{}read_only = true\n",
        caller("", "billing", KEY),
        caller("eu", "billing", other),
        caller("uk", "billing", KEY),
    );
    let three = Three::new(unlimited(), &toml).await;
    for (host, key, expected) in [
        ("localhost", KEY, 200),
        ("localhost", other, 401),
        (EU, other, 200),
        (EU, KEY, 401),
        (UK, KEY, 200),
    ] {
        let call = three.get(host, ME).header("x-api-key", key);
        assert_eq!(status(call).await, expected, "{host} {key}");
    }
    let post = |host| three.client.post(three.gateway.url(ECHO)).header("host", host).body("{}");
    assert_eq!(status(post("localhost").header("x-api-key", KEY)).await, 200);
    assert_eq!(status(post(UK).header("x-api-key", KEY)).await, 403, "its rules are its own, too");
    let login = three.client.post(three.gateway.url("/oauth/token")).header("host", UK);
    let login =
        login.basic_auth("billing", Some(KEY)).form(&[("grant_type", "client_credentials")]);
    let token: Value = login.send().await.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    for (host, expected) in [(UK, 200), ("localhost", 401), (EU, 401)] {
        assert_eq!(status(three.get(host, ME).bearer_auth(token)).await, expected, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organisation_that_cannot_log_in_is_named_and_the_gateway_stays_ready_for_the_others() {
    let (default, _first) = simulator(unlimited()).await;
    let (eu, _second) = simulator(unlimited()).await;
    let toml = format!(
        "[upstream]\napi_url = \"http://{}\"\n{NO_LIMIT}\n\
         [jwt]\nissuer = \"https://idp\"\naudience = \"a\"\njwks_url = \"http://127.0.0.1:9/keys\"\n\
         [[caller]]\nname = \"pod\"\nclaims = {{ sub = \"pod\" }}\n{}",
        default.addr(),
        organisation("eu", &eu, ""),
    );
    let credentials = [("ORG_ID", "demo"), ("ORG_SECRET", "another"), ADMIN];
    let gateway = Gateway::start_with(&toml, &credentials);
    gateway.logged("the client or the configuration must change").await;
    gateway.logged("token minted").await;
    gateway.logged("the keys of jwt.jwks_url cannot be fetched").await;
    let told = "ready, but no valid token: eu; the keys of jwt.jwks_url cannot be fetched\n";
    assert_eq!(gateway.admin("/readyz").await, told);
    assert_eq!(status(client().get(gateway.url(ME))).await, 200);
}
