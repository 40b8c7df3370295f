//! The login refuses, or what proves the client cannot be had.

use std::sync::atomic::{AtomicBool, Ordering};

use insta::assert_snapshot;

use super::{check, friendly};
use crate::support::{
    front::Authority,
    raw::{Line, SECRET, TOKEN, granted, grants},
    scene::{Scene, answer, answers},
};

/// A login that refuses.
fn refused(status: &str, error: &str) -> String {
    let body = format!(
        "{{\"error\":\"{error}\",\"error_description\":\"authentication failed {SECRET}\"}}"
    );
    Scene::new(answers(status, "", &body), friendly()).check("")
}

#[test]
fn an_unknown_client() {
    assert_snapshot!(refused("400 Bad Request", "invalid_client"), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 400 Bad Request: invalid_client
      fix         check oauth.client_id and upstream.region: nobody knows this id there

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_wrong_secret() {
    assert_snapshot!(refused("401 Unauthorized", "invalid_client"), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 401 Unauthorized: invalid_client
      fix         check oauth.client_secret: it was replaced, or belongs to another client

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_client_without_client_credentials() {
    assert_snapshot!(refused("400 Bad Request", "unauthorized_client"), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 400 Bad Request: unauthorized_client
      fix         give the client the grant type Client Credentials (Admin > Integrations > OAuth)

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_scope_that_the_client_may_not_have() {
    assert_snapshot!(refused("400 Bad Request", "invalid_scope"), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 400 Bad Request: invalid_scope
      fix         check oauth.scope: the client may not have one of these scopes

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn an_address_that_the_login_blocks() {
    assert_snapshot!(refused("403 Forbidden", "access_denied"), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 403 Forbidden: access_denied
      fix         enable the client, or add this machine's public address to those it may be used from (Admin > Integrations > OAuth)

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn mints_that_are_throttled() {
    let body = "{\"error\":\"invalid_request\",\
                \"error_description\":\"rate limit exceeded; try again later\"}";
    let scene = Scene::new(answers("400 Bad Request", "", body), friendly());
    assert_snapshot!(scene.check(""), @"
    client demo at LOGIN
      token       does not work: the token endpoint is throttling
      fix         wait a minute; other programs may be minting with this client, too

    It does not work yet.
    --- exit 69
    ");
}

#[test]
fn a_login_that_redirects() {
    let elsewhere = "Location: https://login.example/oauth/token\r\n";
    let scene = Scene::new(answers("302 Found", elsewhere, ""), friendly());
    assert_snapshot!(scene.check(""), @"
    client demo at LOGIN
      token       does not work: the token endpoint redirects (302 Found): not followed
      fix         set oauth.token_url to where the token endpoint really is

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn no_token_endpoint_at_token_url() {
    assert_snapshot!(refused("404 Not Found", "not_found"), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 404 Not Found
      fix         check oauth.token_url: there is no token endpoint

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_login_that_refuses_for_no_reason_that_is_known() {
    assert_snapshot!(refused("400 Bad Request", "invalid_request"), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 400 Bad Request
      fix         check oauth.token_url, oauth.client_auth, oauth.scope and oauth.extra_params

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_login_in_trouble() {
    assert_snapshot!(refused("503 Service Unavailable", "temporarily_unavailable"), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 503 Service Unavailable
      fix         see the status page of the authorization server: it is in trouble

    It does not work yet.
    --- exit 69
    ");
}

#[test]
fn a_secret_that_cannot_be_read() {
    let scene = Scene::new(grants, friendly());
    let missing = "oauth.client_secret = { file = \"/does/not/exist\" }";
    assert_snapshot!(scene.check(missing), @r#"
      x `oauth.client_secret`: cannot read /does/not/exist: No such file or directory (os error 2)
       ,-[proxy.toml:3:32]
     3 | oauth.client_secret = { file = "/does/not/exist" }
       :                                ^^^^^^^^^^^^^^^^^
       `----
      help: check the path and its permissions, as the user that runs the gateway

    1 problem in the configuration
    --- exit 78
    "#);
    let failing = format!(
        "oauth.client_secret = {{ command = [\"sh\", \"-c\", \"echo {SECRET} >&2; exit 3\"] }}"
    );
    assert_snapshot!(scene.check(&failing), @"
    client demo at LOGIN
      token       does not work: oauth.client_secret: command sh: failed (exit status: 3); run it by hand, as the gateway's user
      fix         check where the secret is kept, and who may read it

    It does not work yet.
    --- exit 78
    ");
    let vault = "oauth.client_secret = { vault = \"secret/data/genesys#client_secret\" }\n\
                 vault.token = { env = \"GENESYS_CLIENT_SECRET\" }\nvault.address = ";
    assert_snapshot!(scene.check(&format!("{vault}\"http://127.0.0.1:9\"")), @"
    client demo at LOGIN
      token       does not work: oauth.client_secret: Vault at http://127.0.0.1:9 cannot be reached: Connection refused (os error 111)
      fix         check vault.address, firewalls, and that Vault runs unsealed

    It does not work yet.
    --- exit 69
    ");
    for (status, expected) in [("503 Service Unavailable", 69), ("403 Forbidden", 78)] {
        let sealed = Scene::new(answers(status, "", "{\"errors\":[]}"), friendly());
        let said = check(&scene.toml(&format!("{vault}\"{}\"", sealed.login.url())));
        assert_eq!(said.code, expected, "{}", said.live());
    }
}

#[test]
fn a_key_that_cannot_sign() {
    let key = tempfile::NamedTempFile::new().unwrap();
    let pem = "-----BEGIN PRIVATE KEY-----\nc0VjUmVULTkxYWIzN2Mw\n-----END PRIVATE KEY-----\n";
    std::fs::write(key.path(), pem).unwrap();
    let path = key.path().display();
    let scene = Scene::new(grants, friendly());
    let said = scene.check(&format!(
        "oauth.client_auth = \"private_key_jwt\"\noauth.private_key = {{ file = \"{path}\" }}"
    ));
    assert_snapshot!(said.replace(&path.to_string(), "KEY"), @"
    client demo at LOGIN
      token       does not work: oauth.private_key, file KEY, is neither an RSA key of 2048 to 8192 bits nor an EC key on P-256
      fix         give oauth.private_key an RSA or P-256 private key, as PEM or JWK

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_key_or_certificate_that_the_login_does_not_know() {
    let (key, certificate) = Authority::new().issue("demo");
    let write = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    };
    let (key, certificate) = (write(&key), write(&certificate));
    let refuses = || answers("401 Unauthorized", "", "{\"error\":\"invalid_client\"}");
    let assertion = format!(
        "oauth.client_auth = \"private_key_jwt\"\noauth.private_key = {{ file = \"{}\" }}",
        key.path().display()
    );
    assert_snapshot!(Scene::new(refuses(), friendly()).check(&assertion), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 401 Unauthorized: invalid_client
      fix         check oauth.client_id, and that its public key there is that of oauth.private_key and oauth.key_id; some servers want their issuer in oauth.assertion_audience

    It does not work yet.
    --- exit 78
    ");
    let shown = format!(
        "oauth.client_auth = \"tls_client_auth\"\noauth.client_cert = \"{}\"\n\
         oauth.client_key = \"{}\"",
        certificate.path().display(),
        key.path().display()
    );
    assert_snapshot!(Scene::new(refuses(), friendly()).check(&shown), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 401 Unauthorized: invalid_client
      fix         check oauth.client_id, and that oauth.client_cert is registered for it

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_secret_that_the_next_one_has_replaced() {
    let old = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(old.path(), "replaced").unwrap();
    let refused = AtomicBool::new(false);
    let login = move |line: &mut Line| {
        while line.request().is_some() {
            let answered = if refused.swap(true, Ordering::Relaxed) {
                granted(TOKEN, "86400")
            } else {
                answer("401 Unauthorized", "", "{\"error\":\"invalid_client\"}")
            };
            line.send(&answered);
        }
    };
    let settings = format!(
        "oauth.client_secret = {{ file = {:?} }}\n\
         oauth.next_client_secret = {{ env = \"GENESYS_CLIENT_SECRET\" }}",
        old.path().display().to_string()
    );
    assert_snapshot!(Scene::new(login, friendly()).check(&settings), @r#"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      warning     oauth.client_secret is refused and oauth.next_client_secret works: move it to client_secret and remove next_client_secret
      API         API knows it: organisation "ACME", client "billing"
      role        GET /api/v2/organizations/me is allowed

    It works; see the warnings.
    --- exit 0
    "#);
}
