//! A server is not reached, or its clock is another.

use std::time::{Duration, SystemTime};

use insta::assert_snapshot;

use super::{check, friendly};
use crate::support::{
    front::{Authority, Front},
    raw::{Line, TOKEN, grants},
    scene::{Scene, answer},
    unlimited, world,
};

#[test]
fn a_name_that_does_not_resolve() {
    let said = check(
        "upstream.api_url = \"https://api.invalid\"\n\
                      oauth.token_url = \"https://nowhere.invalid/oauth/token\"",
    );
    assert_snapshot!(said.naming_after("does not resolve: ", "CAUSE").live(), @"
    client demo at nowhere.invalid
      token       does not work: nowhere.invalid: the name does not resolve: CAUSE
      fix         check upstream.region, oauth.token_url, upstream.proxy and the resolver

    It does not work yet.
    --- exit 69
    ");
    let scene = Scene::new(grants, friendly());
    let said = check(&format!(
        "upstream.api_url = \"https://api.invalid\"\nupstream.login_url = \"{0}\"\n\
         upstream.apps_url = \"{0}\"",
        scene.login.url()
    ));
    assert_snapshot!(scene.named(said).naming_after("does not resolve: ", "CAUSE").live(), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         does not work: api.invalid: the name does not resolve: CAUSE
      fix         check upstream.region or upstream.api_url, upstream.proxy and the resolver

    It does not work yet.
    --- exit 69
    ");
}

#[test]
fn nobody_listens() {
    let toml = "upstream.api_url = \"http://127.0.0.1:9\"";
    assert_snapshot!(check(toml).live(), @"
    client demo at 127.0.0.1:9
      token       does not work: 127.0.0.1:9 cannot be reached: Connection refused (os error 111)
      fix         check firewalls, upstream.proxy and oauth.token_url

    It does not work yet.
    --- exit 69
    ");
    let login = Scene::new(grants, friendly());
    let token_url = format!("{toml}\noauth.token_url = \"{}/oauth/token\"", login.login.url());
    assert_snapshot!(login.named(check(&token_url)).live(), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         does not work: 127.0.0.1:9 cannot be reached: Connection refused (os error 111)
      fix         check firewalls, upstream.proxy and upstream.api_url

    It does not work yet.
    --- exit 69
    ");
}

#[test]
fn a_server_that_says_nothing() {
    let scene = Scene::new(Line::wait_closed, friendly());
    assert_snapshot!(scene.check("oauth.timeout = \"300ms\""), @"
    client demo at LOGIN
      token       does not work: LOGIN did not answer in time
      fix         check firewalls and upstream.proxy, or raise oauth.timeout

    It does not work yet.
    --- exit 69
    ");
    let scene = Scene::new(grants, Line::wait_closed);
    assert_snapshot!(scene.check("oauth.timeout = \"300ms\""), @"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      API         does not work: API did not answer in time
      fix         check firewalls, upstream.proxy and upstream.api_url

    It does not work yet.
    --- exit 69
    ");
}

#[test]
fn a_server_that_hangs_up() {
    let scene = Scene::new(|line| _ = line.head(), friendly());
    assert_snapshot!(scene.check(""), @"
    client demo at LOGIN
      token       does not work: LOGIN broke off before it answered: connection closed before message completed
      fix         check firewalls, upstream.proxy and oauth.token_url

    It does not work yet.
    --- exit 69
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_nobody_trusted_for_another_name_or_out_of_date() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let (ours, theirs, late) = (Authority::new(), Authority::new(), Authority::late());
    let said = async |trusted: &Authority, signer: &Authority, name: &str| {
        let front = Front::new(genesys.addr(), signer, name, &["http/1.1"]).await;
        let port = front.address.port().to_string();
        let toml = format!(
            "upstream.api_url = \"https://localhost:{port}\"\nupstream.ca_file = \"{}\"",
            trusted.path()
        );
        check(&toml).naming(&port, "PORT").naming_after("certificate expired: ", "WHEN").live()
    };
    assert_snapshot!(said(&ours, &theirs, "localhost").await, @"
    client demo at localhost:PORT
      token       does not work: no TLS with localhost:PORT: invalid peer certificate: UnknownIssuer
      fix         add the root that signed its certificate to upstream.ca_file; a proxy that opens TLS has its own

    It does not work yet.
    --- exit 69
    ");
    assert_snapshot!(said(&late, &late, "localhost").await, @"
    client demo at localhost:PORT
      token       does not work: no TLS with localhost:PORT: invalid peer certificate: certificate expired: WHEN
      fix         check this machine's clock, then tell who runs the server: its certificate has ended or not begun

    It does not work yet.
    --- exit 69
    ");
    assert_snapshot!(said(&ours, &ours, "elsewhere.example").await, @r#"
    client demo at localhost:PORT
      token       does not work: no TLS with localhost:PORT: invalid peer certificate: certificate not valid for name "localhost"; certificate is only valid for DnsName("elsewhere.example")
      fix         check oauth.token_url, for the API upstream.api_url, and whether something in between opens TLS

    It does not work yet.
    --- exit 69
    "#);
}

#[test]
fn no_tls_where_tls_is_expected() {
    let plain = |line: &mut Line| {
        line.more();
        line.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    };
    let scene = Scene::new(plain, friendly());
    let port = scene.login.address.port().to_string();
    let said = check(&format!("upstream.api_url = \"https://localhost:{port}\""));
    assert_snapshot!(said.naming(&port, "PORT").live(), @"
    client demo at localhost:PORT
      token       does not work: no TLS with localhost:PORT: received corrupt message of type InvalidContentType
      fix         check that the URL is that of a TLS port, oauth.client_cert, and what stands in between

    It does not work yet.
    --- exit 69
    ");
}

/// An answer of a server whose clock is 95 s ahead of ours.
fn ahead(status: &str, body: &str) -> impl Fn(&mut Line) + use<> {
    let (status, body) = (status.to_owned(), body.to_owned());
    move |line| {
        while line.request().is_some() {
            let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(95));
            line.send(&answer(&status, &format!("Date: {date}\r\n"), &body));
        }
    }
}

/// A slow machine measures a second or two less.
fn clock_named(text: &str) -> String {
    [92, 93, 94, 96].into_iter().fold(text.to_owned(), |text, seconds: u32| {
        text.replace(&format!("1m {}s", seconds - 60), "1m 35s")
    })
}

#[test]
fn a_clock_that_is_off() {
    let body = format!("{{\"access_token\":\"{TOKEN}\",\"expires_in\":86400}}");
    let scene = Scene::new(ahead("200 OK", &body), friendly());
    assert_snapshot!(clock_named(&scene.check("")), @r#"
    client demo at LOGIN
      token       lives 24h
      fingerprint bab722f11aa0
      format      opaque
      scopes      not told
      warning     this machine's clock is 1m 35s behind the token endpoint's: set it: timedatectl set-ntp true
      API         API knows it: organisation "ACME", client "billing"
      role        GET /api/v2/organizations/me is allowed

    It works; see the warnings.
    --- exit 0
    "#);
    let refused = ahead("401 Unauthorized", "{\"error\":\"invalid_client\"}");
    let scene = Scene::new(refused, friendly());
    let settings = "oauth.client_auth = \"client_secret_jwt\"";
    assert_snapshot!(clock_named(&scene.check(settings)), @"
    client demo at LOGIN
      token       does not work: the token endpoint answered 401 Unauthorized: invalid_client; assertions carry the time, and this machine's clock is 1m 35s behind the token endpoint's: set it: timedatectl set-ntp true
      fix         set the clock first; if that does not help, check oauth.client_id and what proves it

    It does not work yet.
    --- exit 78
    ");
}
