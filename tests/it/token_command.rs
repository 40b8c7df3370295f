//! `genesys-proxy token`: what a token is, and its value only when that was asked for.

use genesys_proxy::simulator::{Client, Options, TokenFormat};
use insta::assert_snapshot;

use crate::support::{
    raw::{Line, SECRET, TOKEN, granted, grants, ok},
    scene::{Said, Scene, answer, answers, run, run_openly},
    unlimited, world,
};

/// An API that answers every request.
fn fine(line: &mut Line) {
    while line.request().is_some() {
        line.send(&ok("{}"));
    }
}

fn shown(scene: &Scene, settings: &str) -> String {
    timeless(scene.named(run(&["token"], &scene.toml(settings)))).all()
}

fn timeless(said: Said) -> Said {
    said.naming_after("expires       ", "TIME")
}

#[test]
fn an_opaque_token_is_described_and_not_shown() {
    assert_snapshot!(shown(&Scene::new(grants, fine), ""), @"
    client        demo
    token         lives 24h
    fingerprint   bab722f11aa0
    format        opaque
    scopes        not told
    expires       TIME
    --- exit 0
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_is_described_by_its_claims_and_says_whether_its_signature_was_checked() {
    let (genesys, _stop) = world::simulator(Options {
        token_format: TokenFormat::Jwt,
        clients: vec![Client::new("demo", SECRET)],
        ..unlimited()
    })
    .await;
    let address = genesys.addr().to_string();
    let told = |settings: &str| {
        let toml = format!("upstream.api_url = \"http://{address}\"\n{settings}");
        timeless(run(&["token"], &toml))
            .naming(&address, "GENESYS")
            .naming_after("fingerprint   ", "FINGERPRINT")
            .all()
    };
    assert_snapshot!(told(&format!("oauth.jwks_url = \"http://{address}/oauth/jwks\"")), @"
    client        demo
    token         lives 24h
    fingerprint   FINGERPRINT
    format        JWT, RS256, key simulator, signature verified
    issuer        http://GENESYS
    subject       demo
    scopes        *
    clock         agrees with the token endpoint's
    expires       TIME
    --- exit 0
    ");
    let unchecked = told("");
    assert!(unchecked.contains("signature not checked (no oauth.jwks_url)"), "{unchecked}");
}

#[test]
fn the_value_is_shown_only_with_reveal() {
    let scene = Scene::new(grants, fine);
    let said = run_openly(&["token", "--reveal"], &scene.toml(""));
    assert!(said.stdout.lines().any(|line| line == format!("value         {TOKEN}")));
    assert!(!said.stdout.contains(SECRET) && !said.stderr.contains(TOKEN), "{}", said.stderr);
    assert_eq!(said.code, 0);
}

#[test]
fn a_failure_is_told_on_stderr_with_its_exit_code_and_stdout_is_empty() {
    let refuses = answers("401 Unauthorized", "", "{\"error\":\"invalid_client\"}");
    assert_snapshot!(shown(&Scene::new(refuses, fine), ""), @"
    --- stderr
    genesys-proxy: no token for client demo: the token endpoint answered 401 Unauthorized: invalid_client
      check oauth.client_secret: it was replaced, or belongs to another client
    --- exit 78
    ");
    let unreachable = run(&["token"], "upstream.api_url = \"http://127.0.0.1:9\"");
    assert_snapshot!(unreachable.all(), @"
    --- stderr
    genesys-proxy: no token for client demo: 127.0.0.1:9 cannot be reached: Connection refused (os error 111)
      check firewalls, upstream.proxy and oauth.token_url
    --- exit 69
    ");
    let wrong = run(&["token"], "oauth.tokns = 1\nupstream.api_url = \"http://127.0.0.1:9\"");
    assert_eq!((wrong.code, wrong.stdout.as_str()), (78, ""));
    assert!(wrong.stderr.contains("tokns"), "{}", wrong.stderr);
}

#[test]
fn one_of_several_clients_may_fail_and_the_others_are_shown() {
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
    let clients = [client("one"), client("two"), client("two-b")].join(", ");
    let settings = format!("oauth.client_auth = \"body\"\noauth.client = [{clients}]");
    assert_snapshot!(shown(&Scene::new(login, fine), &settings), @"
    client        two
    token         lives 24h
    fingerprint   bab722f11aa0
    format        opaque
    scopes        not told
    expires       TIME

    client        two-b
    token         lives 24h
    fingerprint   bab722f11aa0
    format        opaque
    scopes        not told
    expires       TIME
    --- stderr
    genesys-proxy: no token for client one: the token endpoint answered 400 Bad Request: invalid_client
      check oauth.client_id and upstream.region: nobody knows this id there
    --- exit 78
    ");
}

#[test]
fn with_revoke_on_exit_it_is_revoked_after_showing_unless_it_was_revealed() {
    let scene = Scene::new(grants, fine);
    let toml = scene.toml("oauth.revoke_on_exit = true");
    assert_eq!(run(&["token"], &toml).code, 0);
    let deleted = |scene: &Scene| {
        scene
            .api
            .requests()
            .iter()
            .map(|r| (r.line(), r.all("authorization").len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(deleted(&scene), [("DELETE /api/v2/tokens/me".to_owned(), 1)]);
    assert_eq!(run_openly(&["token", "--reveal"], &toml).code, 0);
    assert_eq!(deleted(&scene).len(), 1);
    let refuses = Scene::new(grants, answers("500 Internal Server Error", "", ""));
    let said = refuses.named(run(&["token"], &refuses.toml("oauth.revoke_on_exit = true")));
    assert_eq!(said.code, 0);
    assert_snapshot!(said.stderr, @"
    genesys-proxy: the token is not revoked and lives until it expires: DELETE /api/v2/tokens/me answered 500 Internal Server Error
    ");
}

#[test]
fn a_listener_for_strangers_does_not_matter_here() {
    let scene = Scene::new(grants, fine);
    let toml = format!("listen = [\"0.0.0.0:8080\"]\n{}", scene.toml(""));
    assert_eq!(run(&["token"], &toml).code, 0);
    assert_eq!(run(&["token", "--listen", "127.0.0.1:0"], &toml).code, 2);
}

#[test]
fn the_help_says_what_it_does_and_reveals() {
    assert_snapshot!(run(&["token", "--help"], "").all(), @"
    Say what the token is: life, format, claims, scopes, fingerprint

    With a store, the token that the replicas share now; else a new one is minted, and a running gateway
    keeps its own. The value is not shown unless asked for with --reveal. With `oauth.revoke_on_exit` a
    new token is revoked after it was looked at, unless it was revealed.

    Usage: genesys-proxy token [OPTIONS]

    Options:
          --config <FILE>
              Configuration file [default: proxy.toml here, if there is one]

          --reveal
              Print the token itself, too: whoever sees it can use it until it expires

      -h, --help
              Print help (see a summary with '-h')
    --- exit 0
    ");
}
