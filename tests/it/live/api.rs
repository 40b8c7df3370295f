//! There is a token, and the API does not take it, or not for everything.

use insta::assert_snapshot;

use crate::support::{
    raw::{grants, ok},
    scene::{Scene, answer, api},
};

/// A login that grants, and an API that answers like this.
fn api_says(me: Vec<u8>, other: Vec<u8>) -> String {
    Scene::new(grants, api(me, other)).check("")
}

#[test]
fn an_address_that_the_api_blocks() {
    let blocked = answer("403 Forbidden", "", "{\"code\":\"not.authorized\"}");
    assert_snapshot!(api_says(blocked.clone(), blocked), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         does not work: API answered 403 to a token that looks at itself
      fix         enable the client, or add this machine's public address to those it may be used from (Admin > Integrations > OAuth)

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn another_region() {
    let unknown = answer("401 Unauthorized", "", "{\"code\":\"bad.credentials\"}");
    assert_snapshot!(api_says(unknown.clone(), unknown), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         does not work: API does not know the token that LOGIN gave
      fix         set upstream.region, and remove api_url, login_url and token_url unless they are meant: these two belong to different regions or organisations

    It does not work yet.
    --- exit 78
    ");
}

#[test]
fn a_role_that_is_missing() {
    let me = ok("{\"organization\":{\"name\":\"ACME\"},\"OAuthClient\":{\"name\":\"billing\"}}");
    let missing = answer(
        "403 Forbidden",
        "",
        "{\"message\":\"You are missing the following permission(s): directory:organization:view\",\
         \"code\":\"missing.permissions\",\"status\":403,\
         \"messageParams\":{\"permissions\":\"directory:organization:view\"}}",
    );
    assert_snapshot!(api_says(me.clone(), missing), @r#"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         API knows it: organisation "ACME", client "billing"
      role        does not work: the client's roles lack directory:organization:view, for GET /api/v2/organizations/me
      fix         give it a role that has what its callers need (Admin > Integrations > OAuth > Roles)

    It does not work yet.
    --- exit 78
    "#);
    assert_snapshot!(api_says(me, answer("403 Forbidden", "", "")), @r#"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         API knows it: organisation "ACME", client "billing"
      role        does not work: the client has no role that allows GET /api/v2/organizations/me
      fix         give it a role that has what its callers need (Admin > Integrations > OAuth > Roles)

    It does not work yet.
    --- exit 78
    "#);
}

#[test]
fn an_api_that_throttles() {
    let throttled = answer("429 Too Many Requests", "Retry-After: 42\r\n", "{}");
    assert_snapshot!(api_says(throttled, ok("{}")), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         does not work: API answered 429: the client's limit is used up
      fix         wait a minute; if other programs use this client, give the gateway its own

    It does not work yet.
    --- exit 69
    ");
}

#[test]
fn an_api_in_trouble() {
    let trouble = answer("503 Service Unavailable", "", "");
    assert_snapshot!(api_says(trouble.clone(), ok("{}")), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         does not work: API answered 503 Service Unavailable
      fix         see its status page: it is in trouble

    It does not work yet.
    --- exit 69
    ");
    assert_snapshot!(api_says(ok("{}"), trouble), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         API accepts the token
      role        does not work: GET /api/v2/organizations/me was answered 503 Service Unavailable
      fix         see its status page, and try again later

    It does not work yet.
    --- exit 69
    ");
}

#[test]
fn an_api_that_is_not_genesyss() {
    let unknown = answer("404 Not Found", "", "");
    assert_snapshot!(api_says(unknown.clone(), unknown), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      warning     API answered 404 Not Found to GET /api/v2/tokens/me: unless it is meant not to be Genesys Cloud, check upstream.api_url
      warning     GET /api/v2/organizations/me was answered 404 Not Found

    It works; see the warnings.
    --- exit 0
    ");
}
