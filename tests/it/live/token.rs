//! The login answers, and what it gives is no token for us.

use insta::assert_snapshot;

use super::{check, friendly, jwt_named, jwts};
use crate::support::{
    raw::{TOKEN, granted},
    scene::{Scene, answer, answers},
};

/// A login that answers 200 with this body.
fn login_says(body: &str, settings: &str) -> String {
    Scene::new(answers("200 OK", "", body), friendly()).check(settings)
}

#[test]
fn a_page_instead_of_a_token() {
    assert_snapshot!(login_says("<html>Please log in to the hotel's WLAN</html>", ""), @"
    client demo at LOGIN
      token       does not work: the token answer is not JSON with an access_token
      fix         check oauth.token_url, and what stands between it and here

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn an_answer_without_a_token() {
    assert_snapshot!(login_says("{\"expires_in\":3600}", ""), @"
    client demo at LOGIN
      token       does not work: the token answer is not JSON with an access_token
      fix         check oauth.token_url, and what stands between it and here

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_jwt_that_was_cut() {
    let cut = "{\"access_token\":\"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0\",\"expires_in\":3600}";
    assert_snapshot!(login_says(cut, ""), @"
    client demo at LOGIN
      token       does not work: the access_token is a JWT that was cut
      fix         check oauth.token_url, and what stands between it and here

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_scope_that_is_missing() {
    let body = String::from_utf8(granted(TOKEN, "3600")).unwrap();
    let body = body.split_once("\r\n\r\n").unwrap().1.replace('}', ",\"scope\":\"routing\"}");
    let required = "oauth.required_scopes = [\"routing\", \"analytics\"]";
    assert_snapshot!(login_says(&body, required), @r#"
    client demo at LOGIN
      token       lives 1h
      fingerprint bab722f11aa0
      format      opaque
      scopes      routing
      warning     the token lacks required scopes: analytics; grant the client these scopes, or take them out of oauth.required_scopes
      API         API knows it: organisation "ACME", client "billing"
      role        GET /api/v2/organizations/me is allowed

    It works; see the warnings.
    --- exit 0
    "#);
    let refuse = format!("{required}\noauth.on_missing_scope = \"refuse\"");
    assert_snapshot!(login_says(&body, &refuse), @"
    client demo at LOGIN
      token       does not work: the token lacks required scopes: analytics
      fix         grant the client these scopes, or take them out of oauth.required_scopes

    It does not work yet.
    --- exit 78
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_somebody_else() {
    let ((genesys, _stop), (other, _other)) = (jwts().await, jwts().await);
    let (address, another) = (genesys.addr().to_string(), other.addr().to_string());
    let said = |settings: &str| {
        let said = check(&format!("upstream.api_url = \"http://{address}\"\n{settings}"));
        jwt_named(said, &address).naming(&another, "ANOTHER").live()
    };
    assert_snapshot!(said("oauth.jwks_url = \"http://127.0.0.1:9/jwks\""), @"
    client demo at GENESYS
      token       does not work: no key is known to verify the token with: 127.0.0.1:9 cannot be reached: Connection refused (os error 111)
      fix         check oauth.jwks_url, firewalls and upstream.proxy

    It does not work yet.
    --- exit 69
    ");
    assert_snapshot!(said(&format!("oauth.jwks_url = \"http://{another}/oauth/jwks\"")), @"
    client demo at GENESYS
      token       does not work: no key of oauth.jwks_url signed the token
      fix         check that oauth.jwks_url belongs to oauth.token_url's issuer

    It does not work yet.
    --- exit 78
    ");
    assert_snapshot!(said("oauth.expected_issuer = \"https://login.example\""), @r#"
    client demo at GENESYS
      token       does not work: the token's iss is "http://GENESYS", and oauth.expected_issuer is "https://login.example"
      fix         check oauth.expected_issuer, oauth.expected_audience and oauth.token_url

    It does not work yet.
    --- exit 78
    "#);
    assert_snapshot!(said("oauth.expected_audience = \"https://api.example\""), @r#"
    client demo at GENESYS
      token       does not work: the token's aud is missing, and oauth.expected_audience is "https://api.example"
      fix         check oauth.expected_issuer, oauth.expected_audience and oauth.token_url

    It does not work yet.
    --- exit 78
    "#);
}

/// A login that grants, with an introspection that says this of every token.
fn introspection_says(status: &'static str, body: &'static str) -> String {
    let scene = Scene::new(
        move |line| {
            while let Some(request) = line.request() {
                line.send(&match request.target.as_str() {
                    "/introspect" => answer(status, "", body),
                    _ => granted(TOKEN, "86400"),
                });
            }
        },
        friendly(),
    );
    let url = scene.login.url();
    scene.check(&format!("oauth.verify = \"rfc7662\"\noauth.introspect_url = \"{url}/introspect\""))
}

#[test]
fn introspection_is_tried_too() {
    let all = [
        introspection_says("200 OK", "{\"active\":true}"),
        introspection_says("200 OK", "{\"active\":false}"),
        introspection_says("404 Not Found", ""),
    ];
    let told: Vec<_> = all
        .iter()
        .flat_map(|said| said.lines().skip_while(|line| !line.starts_with("  role")).skip(1))
        .collect();
    assert_snapshot!(told.join("\n"), @r#"
      checks      introspection calls the token active

    Everything works.
    --- exit 0
      checks      does not work: introspection calls a fresh token inactive
      fix         check oauth.introspect_url, and whether the client may introspect its own tokens: as it is, each would be thrown away

    It does not work yet.
    --- exit 78
      warning     tokens stay in use unchecked: introspection answered 404 Not Found; check oauth.introspect_url

    It works; see the warnings.
    --- exit 0
    "#);
}
