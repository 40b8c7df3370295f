//! What changes while the gateway runs: client secrets and signing keys, at an authorization server
//! that we did not write.
//! No call must ever fail because of a change that was made in either order, in the time there is.

use serde_json::json;

use crate::support::{
    Answer, Gateway, Oidc, Traffic, assert_all, at_once,
    gateway::ADMIN,
    oidc::Format::{Jwt, Opaque},
    world,
};

const ME: &str = "/api/v2/users/me";
const REFUSED: &str = "no token: the client or the configuration must change";

async fn call(gateway: &Gateway) -> Answer {
    at_once([world::client().get(gateway.url(ME))]).await.remove(0)
}

/// A file with a secret, replaced in one step.
struct File(tempfile::TempDir);

impl File {
    fn of(secret: &str) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.put(secret);
        file
    }

    fn path(&self) -> String {
        self.0.path().join("secret").display().to_string()
    }

    fn put(&self, secret: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, secret).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }
}

/// A gateway of the client "post" with its secret in a file.
fn filed(oidc: &Oidc) -> (Gateway, File) {
    let file = File::of(oidc.credentials("post").1);
    let oauth = format!("client_auth = \"body\"\nclient_secret = {{ file = \"{}\" }}", file.path());
    (oidc.gateway("post", Opaque, &oauth), file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_in_the_file_and_then_at_the_server_fails_nobody() {
    let oidc = Oidc::with(&json!({"ttl": 4}));
    let (gateway, file) = filed(&oidc);
    let (id, _) = oidc.credentials("post");
    let traffic = Traffic::of(gateway.url(ME));
    // Just after a mint: the next is far.
    oidc.until(json!({"mints": {(id): 2}})).await;
    file.put("S3cret-2");
    oidc.set_secret("post", "S3cret-2").await;
    oidc.until(json!({"mints": {(id): 4}})).await;
    traffic.end().await;
    let seen = oidc.seen().await;
    assert_eq!(seen.logins, seen.minted(), "no login was refused");
    let log = gateway.log_at_end();
    assert_eq!(log.matches("secret changed: the new one is live").count(), 1, "{log}");
    assert!(!log.contains("S3cret"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_at_the_server_and_then_in_the_file_fails_nobody() {
    // Asked for again at half its life: the rest is the time there is.
    let oidc = Oidc::with(&json!({"ttl": 12}));
    let (gateway, file) = filed(&oidc);
    let (id, _) = oidc.credentials("post");
    oidc.until(json!({"mints": {(id): 1}})).await;
    let traffic = Traffic::of(gateway.url(ME));
    oidc.set_secret("post", "S3cret-2").await;
    gateway.logged(REFUSED).await;
    file.put("S3cret-2");
    oidc.until(json!({"mints": {(id): 2}})).await;
    traffic.end().await;
    let seen = oidc.seen().await;
    assert_eq!(seen.logins, 3, "the refused one was not repeated with the same secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_while_a_login_with_the_old_one_is_on_its_way_fails_nobody() {
    let oidc = Oidc::with(&json!({"ttl": 12}));
    let (gateway, file) = filed(&oidc);
    let (id, _) = oidc.credentials("post");
    oidc.until(json!({"mints": {(id): 1}})).await;
    let traffic = Traffic::of(gateway.url(ME));
    oidc.set(json!({"faults": {"logins": "hang"}})).await;
    oidc.until(json!({"held": 1})).await;
    file.put("S3cret-2");
    gateway.logged("secret changed: the new one is live").await;
    oidc.set_secret("post", "S3cret-2").await;
    oidc.set(json!({"faults": {}})).await;
    gateway.logged(REFUSED).await;
    oidc.until(json!({"mints": {(id): 2}})).await;
    traffic.end().await;
    assert_eq!(oidc.seen().await.logins, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_secret_takes_over_when_the_server_switches_to_it() {
    let oidc = Oidc::with(&json!({"ttl": 4}));
    let next = File::of("S3cret-2");
    let oauth =
        format!("client_auth = \"body\"\nnext_client_secret = {{ file = \"{}\" }}", next.path());
    let gateway = oidc.gateway_with("post", Opaque, &oauth, &[ADMIN]);
    let (id, _) = oidc.credentials("post");
    let traffic = Traffic::of(gateway.url(ME));
    // Which one the metric says is live.
    let live = async || {
        let metrics = gateway.admin("/metrics").await;
        let lines = metrics.lines().filter(|l| l.starts_with("genesys_proxy_client_secret_live{"));
        let live = |name: &str| {
            let label = format!("secret=\"{name}\"}} 1");
            lines.clone().any(|line| line.ends_with(&label))
        };
        (live("client_secret"), live("next_client_secret"))
    };
    oidc.until(json!({"mints": {(id): 2}})).await;
    assert_eq!(live().await, (true, false));
    assert!(!gateway.log().contains("the next client secret"));
    oidc.set_secret("post", "S3cret-2").await;
    oidc.until(json!({"mints": {(id): 4}})).await;
    gateway.wait_for_logs("token minted", 4);
    assert_eq!(live().await, (false, true));
    traffic.end().await;
    let seen = oidc.seen().await;
    assert_eq!(seen.logins, seen.minted() + 1, "the old one was refused once and not tried again");
    let log = gateway.log_at_end();
    assert_eq!(log.matches("the next client secret is live").count(), 1, "{log}");
    assert!(!log.contains(REFUSED) && !log.contains("S3cret"), "{log}");
}

/// `jwks_url` at this server.
fn keys_at(oidc: &Oidc) -> String {
    format!("timeout = \"1s\"\njwks_url = \"{}/jwks\"", oidc.issuer)
}

const SHORT_WAIT: (&str, &str) = ("GENESYS_PROXY__RATE_LIMIT__MAX_WAIT", "1s");

/// A call for which there is no token.
async fn unavailable(gateway: &Gateway) {
    let answer = call(gateway).await;
    let code = answer.json()["code"].clone();
    assert_eq!((answer.status, code), (503, json!("proxy.token.unavailable")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_known_key_waits_for_no_key_endpoint() {
    let oidc = Oidc::start();
    let gateway = oidc.gateway("basic", Jwt, &keys_at(&oidc));
    assert_eq!(call(&gateway).await.status, 200);
    for (number, fault) in [json!(503), json!("hang")].into_iter().enumerate() {
        oidc.set(json!({"faults": {"keys": fault}})).await;
        oidc.revoke().await;
        let caller = world::client();
        assert_all(&at_once((0..20).map(|_| caller.get(gateway.url(ME)))).await, 200);
        let seen = oidc.seen().await;
        assert_eq!((seen.minted(), seen.keys), (u64::try_from(number).unwrap() + 2, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_used_before_the_keys_are_known_and_then_it_is() {
    for fault in [json!(503), json!("hang")] {
        let oidc = Oidc::start();
        oidc.set(json!({"faults": {"keys": fault}})).await;
        let gateway = oidc.gateway_with("basic", Jwt, &keys_at(&oidc), &[SHORT_WAIT]);
        unavailable(&gateway).await;
        gateway.wait_for_log("no key is known to verify the token with");
        assert_eq!(oidc.seen().await.calls, 0);
        oidc.set(json!({"faults": {}})).await;
        gateway.logged("token minted").await;
        assert_eq!(call(&gateway).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_no_published_key_signed_is_never_used() {
    let (oidc, other) = (Oidc::start(), Oidc::start());
    let gateway = oidc.gateway_with("basic", Jwt, &keys_at(&other), &[SHORT_WAIT]);
    unavailable(&gateway).await;
    gateway.wait_for_logs("no key of oauth.jwks_url signed the token", 2);
    unavailable(&gateway).await;
    assert_eq!((oidc.seen().await.calls, other.seen().await.keys), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_is_never_used_where_signatures_are_wanted() {
    let oidc = Oidc::start();
    let gateway = oidc.gateway_with("basic", Opaque, &keys_at(&oidc), &[SHORT_WAIT]);
    unavailable(&gateway).await;
    gateway.wait_for_log("oauth.jwks_url is set, and the token is no signed JWT");
    assert_eq!(oidc.seen().await.calls, 0);
}
