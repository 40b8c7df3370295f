//! Every way to log in, with every kind of token and every way to check one, against an
//! authorization server that we did not write.
//! No cell of the table must ever pass because a check was never sent: they are counted there.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    Gateway, Oidc, Traffic, assert_all, at_once,
    front::Authority,
    oidc::Format::{self, Jwt, Opaque},
    world,
};

const CALLS: u64 = 10;

/// A registered client, and how the gateway logs in as it.
#[derive(Clone, Copy)]
struct Way {
    client: &'static str,
    client_auth: &'static str,
}

const WAYS: [Way; 5] = [
    Way { client: "basic", client_auth: "basic" },
    Way { client: "post", client_auth: "body" },
    Way { client: "hs256", client_auth: "client_secret_jwt" },
    Way { client: "rs256", client_auth: "private_key_jwt" },
    Way { client: "es256", client_auth: "private_key_jwt" },
];

/// How a living token is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verify {
    Nobody,
    Genesys,
    Rfc7662,
}

/// The private keys of the clients that sign: one PEM without a name, one JWK with one.
struct Keys {
    rsa: KeyPair,
    ec: Value,
}

impl Keys {
    fn new() -> Self {
        let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        // RFC 5915 inside PKCS#8: the version 1 stands before the private number.
        let der = ec.serialize_der();
        let at = der.windows(5).position(|bytes| bytes == [2, 1, 1, 4, 32]).unwrap() + 5;
        let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // An uncompressed point: 4, then x and y.
        let (x, y) = ec.public_key_raw()[1..].split_at(32);
        let ec = json!({
            "kty": "EC", "crv": "P-256", "kid": "of the gateway",
            "x": base64(x), "y": base64(y), "d": base64(&der[at..at + 32]),
        });
        Self { rsa: KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), ec }
    }

    /// What the server may know of them.
    fn public(&self) -> Value {
        let mut ec = self.ec.clone();
        ec.as_object_mut().unwrap().remove("d");
        json!({"rs256": self.rsa.public_key_pem(), "es256": ec})
    }

    fn private(&self, client: &str) -> String {
        match client {
            "rs256" => self.rsa.serialize_pem(),
            "es256" => self.ec.to_string(),
            _ => String::new(),
        }
    }
}

/// A gateway of this way; `verify` is more of `[oauth]`.
fn gateway(oidc: &Oidc, way: Way, keys: &Keys, format: Format, verify: &str) -> Gateway {
    let mut oauth = format!("client_auth = \"{}\"\n{verify}", way.client_auth);
    if way.client_auth == "private_key_jwt" {
        oauth.push_str("\nprivate_key = { env = \"PRIVATE_KEY\" }");
    }
    let private = keys.private(way.client);
    oidc.gateway_with(way.client, format, &oauth, &[("PRIVATE_KEY", &private)])
}

/// A few calls at once, each answered as this client's on one token.
async fn calls(gateway: &Gateway, id: &str) {
    let caller = world::client();
    let calls =
        (0..CALLS).map(|number| caller.get(gateway.url(&format!("/api/v2/users/{number}"))));
    let answers = at_once(calls).await;
    assert_all(&answers, 200);
    assert!(answers.iter().all(|answer| answer.json()["client"] == id));
}

/// One cell of the table.
async fn cell(oidc: Arc<Oidc>, way: Way, keys: Arc<Keys>, format: Format, verify: Verify) {
    let toml = match verify {
        Verify::Nobody => String::new(),
        Verify::Genesys => "verify = \"genesys\"\nverify_every = \"1s\"".to_owned(),
        Verify::Rfc7662 => format!(
            "verify = \"rfc7662\"\nverify_every = \"1s\"\n\
             introspect_url = \"{}/token/introspection\"",
            oidc.issuer
        ),
    };
    let gateway = gateway(&oidc, way, &keys, format, &toml);
    let (id, _) = oidc.credentials(way.client);
    calls(&gateway, id).await;
    let checked = if verify == Verify::Nobody { 0 } else { 3 };
    oidc.until(json!({"checks": {(id): checked}})).await;
    calls(&gateway, id).await;
    // It introspects no JWT: a check that fails is told of once, and that is all.
    let fails = verify == Verify::Rfc7662 && matches!(format, Jwt);
    let log = gateway.log_at_end();
    let told = log.matches("the token could not be checked: it stays in use").count();
    let why = log.matches("introspection answered 400 Bad Request: unsupported_token_type").count();
    let told_of = usize::from(fails);
    assert_eq!((told, why), (told_of, told_of), "{}: {log}", way.client);
    assert_eq!(log.matches("token minted").count(), 1, "{}: {log}", way.client);
}

/// All ways with one kind of token and one of check: one server, a gateway for each way.
async fn column(keys: Arc<Keys>, format: Format, verify: Verify) {
    let oidc = Arc::new(Oidc::with(&json!({"keys": keys.public()})));
    let mut cells = JoinSet::new();
    for way in WAYS {
        cells.spawn(cell(Arc::clone(&oidc), way, Arc::clone(&keys), format, verify));
    }
    cells.join_all().await;
    let seen = oidc.seen().await;
    let ways = u64::try_from(WAYS.len()).unwrap();
    assert_eq!((seen.logins, seen.minted(), seen.basic), (ways, ways, 1));
    assert!(seen.mints.values().all(|&mints| mints == 1), "{seen:?}");
    assert_eq!(seen.unauthorized, 0);
    let checks: u64 = seen.checks.values().sum();
    assert_eq!(checks > 0, verify != Verify::Nobody);
    let asked = if verify == Verify::Rfc7662 { checks } else { 0 };
    // Each was let in: a refused one would be no check. One may be on its way at the end.
    assert!((asked..=asked + ways).contains(&seen.introspections), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn every_login_works_with_every_token_and_every_check() {
    let keys = Arc::new(Keys::new());
    let mut columns = JoinSet::new();
    for verify in [Verify::Nobody, Verify::Genesys, Verify::Rfc7662] {
        for format in [Opaque, Jwt] {
            columns.spawn(column(Arc::clone(&keys), format, verify));
        }
    }
    columns.join_all().await;
}

/// A PEM file for as long as it is held.
fn file(pem: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    file
}

/// A gateway that shows this key and certificate, to a server that trusts `trusted`.
struct Shown {
    oidc: Oidc,
    gateway: Gateway,
    _files: [tempfile::NamedTempFile; 2],
}

impl Shown {
    fn new(trusted: &Authority, (key, cert): &(String, String)) -> Self {
        let (own_key, own_cert) = trusted.issue("127.0.0.1");
        let tls = json!({"key": own_key, "cert": own_cert, "ca": trusted.pem()});
        let oidc = Oidc::with(&json!({"tls": tls}));
        let files = [file(cert), file(key)];
        let [cert, key] = files.each_ref().map(|file| file.path().display());
        let server = oidc.tls.clone().unwrap();
        let oauth = format!(
            "client_auth = \"tls_client_auth\"\nclient_cert = \"{cert}\"\nclient_key = \"{key}\"\n\
             verify = \"rfc7662\"\nverify_every = \"1s\"\nrevoke_on_exit = true\n\
             introspect_url = \"{server}/token/introspection\"\n\
             revoke_url = \"{server}/token/revocation\""
        );
        let token_url = format!("{server}/token");
        let more = [
            ("GENESYS_PROXY__OAUTH__TOKEN_URL", token_url.as_str()),
            ("GENESYS_PROXY__UPSTREAM__CA_FILE", trusted.path()),
        ];
        let gateway = oidc.gateway_with("tls", Opaque, &oauth, &more);
        Self { oidc, gateway, _files: files }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_gets_a_token_has_it_checked_and_ends_it() {
    let trusted = Authority::new();
    let mut shown = Shown::new(&trusted, &trusted.issue("gateway.test"));
    calls(&shown.gateway, "tls").await;
    let traffic = Traffic::of(shown.gateway.url("/api/v2/users/me"));
    shown.oidc.until(json!({"checks": {"tls": 2}})).await;
    assert!(traffic.end().await > 0);
    let token = shown.oidc.newest().await;
    shown.gateway.signal("TERM");
    assert!(shown.gateway.wait().success());
    assert_eq!(shown.oidc.status_of(&token).await, 401);
    let seen = shown.oidc.seen().await;
    assert_eq!((seen.minted(), seen.basic, seen.revocations), (1, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_name_or_authority_is_refused_and_that_is_said() {
    let (trusted, other) = (Authority::new(), Authority::new());
    for (number, pair) in
        [trusted.issue("other.test"), other.issue("gateway.test")].into_iter().enumerate()
    {
        let shown = Shown::new(&trusted, &pair);
        let answer = at_once([world::client().get(shown.gateway.url("/api/v2/users/me"))]).await;
        assert_all(&answer, 503);
        assert_eq!(answer[0].json()["code"], "proxy.token.unavailable");
        let line = shown.gateway.wait_for_log("no token: the client or the configuration");
        assert!(line.contains("401 Unauthorized: invalid_client"), "{number}: {line}");
        assert!(line.contains("client_cert"), "{number}: what to look at: {line}");
        let seen = shown.oidc.seen().await;
        assert_eq!((seen.minted(), seen.calls), (0, 0));
    }
}
