//! `genesys-proxy check --live`: each way to fail has its words, which say what to do next, and an
//! exit code. No output ever holds a secret or a token: `scene::run` looks.

mod api;
mod login;
mod network;
mod token;

use genesys_proxy::simulator::{Client, Handle, Options, TokenFormat};
use insta::assert_snapshot;
use tokio_util::sync::DropGuard;

use crate::support::{
    raw::{Line, Request, SECRET, TOKEN, granted, grants, ok},
    scene::{self, Said, Scene, answer, answers, run},
    unlimited, world,
};

/// An API that knows the token and lets it do everything.
fn friendly() -> impl Fn(&mut Line) {
    scene::api(
        ok("{\"organization\":{\"id\":\"o\",\"name\":\"ACME\"},\
            \"OAuthClient\":{\"id\":\"demo\",\"name\":\"billing\"}}"),
        ok("{}"),
    )
}

/// `check --live` with servers that are no peers of ours.
fn check(toml: &str) -> Said {
    run(&["check", "--live"], toml)
}

#[test]
fn a_good_run_tells_what_was_seen_and_is_0() {
    assert_snapshot!(Scene::new(grants, friendly()).check(""), @r#"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         API knows it: organisation "ACME", client "billing"
      role        GET /api/v2/organizations/me is allowed

    Everything works.
    --- exit 0
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_run_with_a_jwt_tells_its_claims() {
    let (genesys, _stop) = jwts().await;
    let address = genesys.addr().to_string();
    let said = check(&format!(
        "upstream.api_url = \"http://{address}\"\noauth.jwks_url = \"http://{address}/oauth/jwks\""
    ));
    assert_snapshot!(jwt_named(said, &address).live(), @r#"
    client demo at GENESYS
      token       lives 24h
      fingerprint FINGERPRINT
      format      JWT, RS256, key simulator, signature verified
      issuer      http://GENESYS
      subject     demo
      scopes      *
      clock       agrees with the token endpoint's
      API         GENESYS knows it: organisation "Demo Organisation", client "demo"
      role        GET /api/v2/organizations/me is allowed

    Everything works.
    --- exit 0
    "#);
}

/// A Genesys Cloud that gives JWTs to the client of these tests.
async fn jwts() -> (Handle, DropGuard) {
    world::simulator(Options {
        token_format: TokenFormat::Jwt,
        clients: vec![Client::new("demo", SECRET)],
        ..unlimited()
    })
    .await
}

fn jwt_named(said: Said, address: &str) -> Said {
    said.naming(address, "GENESYS").naming_after("fingerprint ", "FINGERPRINT")
}

#[test]
fn of_several_clients_the_worst_counts() {
    // Knows one id only, which is not the first.
    let login = |line: &mut Line| {
        while let Some(request) = line.request() {
            let known = String::from_utf8_lossy(&request.body).contains("client_id=two");
            line.send(&if known {
                granted(TOKEN, "86400")
            } else {
                answer("400 Bad Request", "", "{\"error\":\"invalid_client\"}")
            });
        }
    };
    let client = |id: &str| {
        format!("{{ client_id = \"{id}\", client_secret = {{ env = \"GENESYS_CLIENT_SECRET\" }} }}")
    };
    let settings = format!(
        "oauth.client_auth = \"body\"\noauth.client = [{}, {}]",
        client("one"),
        client("two")
    );
    assert_snapshot!(Scene::new(login, friendly()).check(&settings), @r#"
    client one at LOGIN
      token       does not work: the token endpoint answered 400 Bad Request: invalid_client
      fix         check oauth.client_id and upstream.region: nobody knows this id there

    client two at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         API knows it: organisation "ACME", client "billing"
      role        GET /api/v2/organizations/me is allowed

    It does not work yet.
    --- exit 78
    "#);
    // Wrong credentials weigh more than a server in trouble, whichever is told last.
    let trouble = answers("503 Service Unavailable", "", "");
    let scene = Scene::new(login, trouble);
    let said = run(&["check", "--live"], &scene.toml(&settings));
    assert_eq!(said.code, 78, "{}", said.live());
}

#[test]
fn with_revoke_on_exit_the_token_is_revoked_after_it_was_tried() {
    let scene = Scene::new(grants, friendly());
    let said = run(&["check", "--live"], &scene.toml("oauth.revoke_on_exit = true"));
    assert_eq!(said.code, 0, "{}", said.live());
    let lines: Vec<_> = scene.api.requests().iter().map(Request::line).collect();
    assert_eq!(
        lines,
        ["GET /api/v2/tokens/me", "GET /api/v2/organizations/me", "DELETE /api/v2/tokens/me"]
    );
    let refuses = |line: &mut Line| {
        while let Some(request) = line.request() {
            let refused = answer("500 Internal Server Error", "", "");
            line.send(if request.method == "DELETE" { &refused } else { FINE });
        }
    };
    let scene = Scene::new(grants, refuses);
    assert_snapshot!(scene.check("oauth.revoke_on_exit = true"), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         API accepts the token
      role        GET /api/v2/organizations/me is allowed
      warning     the token is not revoked and lives until it expires: DELETE /api/v2/tokens/me answered 500 Internal Server Error

    It works; see the warnings.
    --- exit 0
    ");
}

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn without_live_nobody_is_asked_and_the_summary_says_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SECRET).unwrap();
    std::fs::set_permissions(secret.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let path = secret.path().to_str().unwrap();
    let scene = Scene::new(grants, friendly());
    let settings = format!(
        "oauth.client = [\
         {{ client_id = \"one\", client_secret = {{ command = [\"pass\", \"show\", \"g\"] }} }}, \
         {{ client_id = \"two\", client_secret = {{ vault = \"secret/data/g#client_secret\" }} }}]\n\
         vault.address = \"http://127.0.0.1:9\"\nvault.token = {{ file = \"{path}\" }}"
    );
    let said = scene.named(run(&["check"], &scene.toml(&settings))).naming(path, "FILE");
    assert_snapshot!(said.all(), @"
    The configuration is good.

    listen        127.0.0.1:8080
    admin         127.0.0.1:8081
    api           http://API
    apps          http://API
    through       no proxy
    token         http://LOGIN/oauth/token
    client id     from the configuration file, from the configuration file
    client secret from command pass, from Vault secret/data/g#client_secret
    rate limit    300 calls in 1m; 1000 may wait, up to 12s each
    replay        16MiB of a body, 1MiB of it in memory, 256MiB in all
    connections   10000
    kept ready    1 to api for each worker
    callers       whoever reaches a listener; 0 named
    note          FILE can be read by others (mode 0644): chmod 600 FILE, or in Kubernetes defaultMode: 0400
    note          Vault secret/data/g#client_secret is not asked without --live
    note          command pass is not run without --live
    --- exit 0
    ");
    assert_eq!((scene.login.connections(), scene.api.connections()), (0, 0));
}

#[test]
fn the_help_says_what_live_does() {
    let said = run_help("check");
    assert_snapshot!(said, @r#"
    Check the configuration: every problem with its line and what to do about it

    Without problems, what the gateway would do. Nothing is connected to unless asked with --live: then
    a token is minted and tried for each client, and what fails is explained. The exit code is 0 when
    all is well, 78 when the configuration or the credentials are wrong, 69 when a server cannot be
    reached.

    Usage: genesys-proxy check [OPTIONS]

    Options:
          --live
              Log in and call the API, too, and explain what does not work

          --config <FILE>
              Configuration file [default: proxy.toml here, if there is one]

          --listen <ADDRESS>
              Where callers connect, instead of `listen`: `127.0.0.1:8080` or `unix:/path`; repeatable

          --admin <ADDRESS>
              Health listener, instead of `admin`; "" turns it off

          --log-format <FORMAT>
              How log lines look, instead of `telemetry.format`

              Possible values:
              - text: For people
              - json: One object a line

          --insecure-open-listener
              Allow `listen` addresses beyond this machine: whoever reaches the port uses your
              credentials

      -h, --help
              Print help (see a summary with '-h')
    --- exit 0
    "#);
}

fn run_help(command: &str) -> String {
    run(&[command, "--help"], "").all()
}
