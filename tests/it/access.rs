//! Where callers must be known, nobody else gets a call through, and each may do what its rules say.
//! The credential that a caller shows goes no further than the gateway.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use crate::support::{
    Answer, Gateway, NO_LIMIT, Oidc, Sdk, World, gateway::PATIENCE, load::sha256, oidc::Format,
    unlimited, world,
};

const ME: &str = "/api/v2/organizations/me";
const ECHO: &str = "/api/v2/echo";
const KEY: &str = "bIlLiNg-5f2e90c1d7a83b46";
const OTHER: &str = "rEpOrTs-0c9d8e7f6a5b4c3d";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");

fn caller(name: &str, key: &str, more: &str) -> String {
    format!("[[caller]]\nname = \"{name}\"\nkey_sha256 = \"{}\"\n{more}\n", sha256(key.as_bytes()))
}

/// `billing` may do anything, and only known callers may call.
fn known() -> String {
    format!("{NO_LIMIT}\n[access]\nmode = \"key\"\n{}", caller("billing", KEY, ""))
}

async fn known_only(more: &str) -> World {
    World::with(unlimited(), &format!("{}{more}", known())).await
}

async fn code(call: RequestBuilder) -> (u16, Value, String) {
    let answer = Answer::of(call.send().await.unwrap()).await;
    let challenge = answer.header("www-authenticate").to_owned();
    let body = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
    (answer.status, body["code"].clone(), challenge)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_and_nothing_reaches_genesys() {
    let world = known_only("").await;
    let get = || world.client.get(world.gateway.url(ME));
    for call in [
        get(),
        get().header("authorization", "Bearer "),
        get().header("x-api-key", OTHER),
        get().header("x-api-key", KEY).header("x-api-key", KEY),
        get().header("x_api_key", KEY),
        get().basic_auth("billing", Some(OTHER)),
        get().basic_auth("reports", Some(KEY)),
        get().bearer_auth(KEY),
        get().bearer_auth("a.b.c"),
        get().bearer_auth(format!("gpl_{}", "a".repeat(43))),
        world.client.get(world.gateway.url(&format!("{ME}?x-api-key={KEY}"))),
        get().header("cookie", format!("x-api-key={KEY}")),
    ] {
        let told = format!("{call:?}");
        let (status, code, challenge) = code(call).await;
        assert_eq!((status, code), (401, "proxy.caller.unknown".into()), "{told}");
        assert_eq!(challenge, "Bearer realm=\"genesys-proxy\"");
    }
    assert_eq!(world.genesys.counters().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_credential_opens_and_none_of_it_goes_further() {
    let world = known_only("").await;
    let http2 = Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for client in [&world.client, &http2] {
        let token = login(&world.gateway, "billing", KEY).await;
        for call in [
            client.post(world.gateway.url(ECHO)).header("x-api-key", KEY),
            client.post(world.gateway.url(ECHO)).basic_auth("billing", Some(KEY)),
            client.post(world.gateway.url(ECHO)).bearer_auth(&token),
        ] {
            let answer = Answer::of(call.body("{}").send().await.unwrap()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let echo = answer.json();
            let fields: Vec<(String, String)> =
                serde_json::from_value(echo["headers"].clone()).unwrap();
            let ours: Vec<_> = fields.iter().filter(|(name, _)| name == "authorization").collect();
            let [(_, bearer)] = ours[..] else { panic!("{fields:?}") };
            assert!(!bearer.contains(&token));
            let text = format!("{fields:?}");
            assert!(!text.contains(KEY) && !text.contains(&token) && !text.contains("Basic"));
        }
    }
    world.gateway.wait_for_logs(" caller=billing POST /api/v2/echo 200", 6);
    let log = world.gateway.log();
    assert!(!log.contains(KEY) && !log.contains("gpl_"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_on_a_unix_socket_is_known_by_the_kernel_or_not_at_all() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let uid = rustix::process::geteuid().as_raw();
    for (uids, status) in [(uid, "200"), (uid + 1, "401")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        let listen = format!("[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
        let local = format!("[[caller]]\nname = \"local\"\nuids = [{uids}]\n");
        let toml = format!("{}\n{}{local}", world::upstream(genesys.addr()), known());
        let gateway = Gateway::start_with(&toml, &[("GENESYS_PROXY__LISTEN", &listen)]);
        let mut socket = UnixStream::connect(&path).await.unwrap();
        let call = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(call.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        drop(gateway);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_opens_but_not_to_a_wrong_key() {
    let world = known_only("[[caller]]\nname = \"here\"\nnetworks = [\"127.0.0.1/32\"]\n").await;
    let url = world.gateway.url(ME);
    let far = Client::builder().no_proxy().local_address(Some("127.0.0.9".parse().unwrap()));
    let far = far.build().unwrap();
    assert_eq!(code(world.client.get(&url)).await.0, 200);
    assert_eq!(code(world.client.get(&url).header("x-api-key", OTHER)).await.0, 401);
    assert_eq!(code(far.get(&url)).await.0, 401);
    assert_eq!(code(far.get(&url).header("x-api-key", KEY)).await.0, 200);
    let forwarded = far.get(&url).header("x-forwarded-for", "127.0.0.1");
    assert_eq!(code(forwarded.header("forwarded", "for=127.0.0.1")).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_may_do_what_its_rules_say_and_the_log_names_the_rule() {
    let reader = caller("reader", OTHER, "read_only = true\ndeny = [\"GET /api/v2/users/**\"]");
    let world = known_only(&reader).await;
    let call = |method, path: &str, key| {
        world.client.request(method, world.gateway.url(path)).header("x-api-key", key)
    };
    for (method, path, status) in [
        (Method::GET, ME, 200),
        (Method::POST, ECHO, 403),
        (Method::GET, "/api/v2/users/me", 403),
        (Method::GET, "/api/v2/x/%2e%2e/users/me", 403),
        (Method::GET, "/api/v2/oauth/clients", 403),
        (Method::DELETE, "/api/v2/tokens/me", 403),
    ] {
        let name = format!("{method} {path}");
        assert_eq!(code(call(method, path, OTHER)).await.0, status, "{name}");
    }
    assert_eq!(code(call(Method::POST, ECHO, KEY).body("{}")).await.0, 200, "no rule of its own");
    for line in [
        "POST /api/v2/echo 403 code=proxy.caller.not.allowed rule=\"read_only\" attempts=0",
        "403 code=proxy.caller.not.allowed rule=\"deny GET /api/v2/users/**\"",
        "403 code=proxy.denied rule=\"access.deny DELETE /api/v2/tokens/me\"",
    ] {
        world.gateway.wait_for_log(line);
    }
    assert_eq!(world.genesys.counters().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_on_trial_refuse_goes_on_and_is_logged_once_in_a_while() {
    let tried = caller("tried", OTHER, "read_only = true\nobserve = true");
    let world = known_only(&tried).await;
    let post = || world.client.post(world.gateway.url(ECHO)).header("x-api-key", OTHER).body("{}");
    for _ in 0..3 {
        assert_eq!(code(post()).await.0, 200);
    }
    world.gateway.wait_for_logs("rule=\"read_only\" observed=yes", 3);
    let log = world.gateway.log();
    assert_eq!(log.matches("would be refused, and is let through").count(), 1, "{log}");
    let deny = world.client.delete(world.gateway.url("/api/v2/tokens/me"));
    assert_eq!(code(deny.header("x-api-key", OTHER)).await.0, 403, "access.deny is on no trial");
}

/// A token of the gateway's own.
async fn login(gateway: &Gateway, name: &str, key: &str) -> String {
    let login = world::client().post(gateway.url("/oauth/token")).basic_auth(name, Some(key));
    let answer =
        Answer::of(login.form(&[("grant_type", "client_credentials")]).send().await.unwrap());
    let answer = answer.await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&"bearer".into(), &86_400.into()));
    body["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_answered_at_each_address_that_sdks_use_and_nowhere_else() {
    let world = known_only("").await;
    let form =
        [("grant_type", "client_credentials"), ("client_id", "billing"), ("client_secret", KEY)];
    for path in ["/oauth/token", "//oauth/token", "/login/oauth/token", "/login//oauth/token"] {
        let answer = world.client.post(world.gateway.url(path)).form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let elsewhere = world.client.post(world.gateway.url("/x/oauth/token")).form(&form);
    assert_eq!(code(elsewhere).await.0, 401);
    assert_eq!(world.genesys.counters().requests, 0);
    let mints = world.genesys.counters().mints;
    assert!(mints <= 1, "logins of callers are not logins of ours");
}

/// The first line of the answer to these bytes, on a connection of its own.
async fn raw(gateway: &Gateway, bytes: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(bytes.as_bytes()).await.unwrap();
    let mut line = String::new();
    let mut byte = [0];
    while !line.ends_with('\n') && socket.read(&mut byte).await.unwrap() > 0 {
        line.push(byte[0].into());
    }
    (socket, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_login_is_spelled_no_key_of_a_callers_goes_to_genesys() {
    for mode in ["open", "key"] {
        let toml = known().replace("mode = \"key\"", &format!("mode = \"{mode}\""));
        let world = World::with(unlimited(), &toml).await;
        let form = format!("grant_type=client_credentials&client_id=billing&client_secret={KEY}");
        for path in [
            "/oauth//token",
            "//oauth///token",
            "/OAuth/Token",
            "/oauth/%74oken",
            "/oauth/./token",
            "/api/../oauth/token",
            "/oauth/token/",
            "/oauth/token;x",
            "/login//oauth//token",
            "/oauth%2ftoken",
            "/oauth%252ftoken",
            "/LOGIN/oauth/%2e/token",
        ] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{form}",
                form.len()
            );
            let (_, line) = raw(&world.gateway, &request).await;
            assert!(line.starts_with("HTTP/1.1 200 "), "{mode} {path}: {line}");
        }
        assert_eq!(world.genesys.counters().requests, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_never_end_their_login_are_few_at_once_and_hold_up_nobody_else() {
    let oidc = Oidc::start();
    let patient = known().replace("mode = \"key\"", "mode = \"key\"\nheader_timeout = \"60s\"");
    let patient = format!("{patient}{}", provider(&oidc, Format::Jwt.resource()));
    let world = World::with(unlimited(), &patient).await;
    let shows = |token: &str| code(world.client.get(world.gateway.url(ME)).bearer_auth(token));
    let (token, first) = (login(&world.gateway, "billing", KEY).await, jwt(&oidc, "post").await);
    assert_eq!(shows(&first).await.0, 200, "the keys are there");
    let second = jwt(&oidc, "post").await;
    assert_ne!(first, second);
    let unfinished = "POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
                      Expect: 100-continue\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..256 {
        // Who is told to go on has its place, and keeps it.
        let (socket, line) = raw(&world.gateway, unfinished).await;
        assert!(line.starts_with("HTTP/1.1 100 "), "{line}");
        held.push(socket);
    }
    let (_, line) = raw(&world.gateway, unfinished).await;
    assert!(line.starts_with("HTTP/1.1 503 "), "{line}");
    let form = [("grant_type", "client_credentials")];
    let again =
        || world.client.post(world.gateway.url("/oauth/token")).basic_auth("billing", Some(KEY));
    let answer = Answer::of(again().form(&form).send().await.unwrap()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{answer:?}");
    assert_eq!(answer.json()["code"], "proxy.caller.crowd");
    let call = world.client.get(world.gateway.url(ME)).header("x-api-key", KEY);
    assert_eq!(code(call).await.0, 200, "who is known needs no login");
    assert_eq!(shows(&second).await.0, 200, "nor does a token of the provider's");
    let me = |method| world.client.request(method, world.gateway.url("/api/v2/tokens/me"));
    assert_eq!(code(me(Method::GET).bearer_auth(&token)).await.0, 200);
    assert_eq!(code(me(Method::DELETE).bearer_auth(&token)).await.0, 204);
    assert_eq!(shows(&token).await.0, 401, "it ended");
    let answer = Answer::of(again().form(&form).send().await.unwrap()).await;
    assert_eq!(answer.status, 503, "they are still there");
    drop(held);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = Answer::of(again().form(&form).send().await.unwrap()).await;
        if answer.status == 200 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "they are gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_login_is_refused_as_an_authorization_server_does() {
    let world = known_only("").await;
    let post = || world.client.post(world.gateway.url("/oauth/token"));
    let grant = ("grant_type", "client_credentials");
    let large = "x".repeat(17 * 1024);
    for (call, status, error) in [
        (post().basic_auth("billing", Some(OTHER)).form(&[grant]), 401, "invalid_client"),
        (post().basic_auth("nobody", Some(KEY)).form(&[grant]), 401, "invalid_client"),
        (post().form(&[grant]), 401, "invalid_client"),
        (post().form(&[grant, ("client_id", "billing")]), 401, "invalid_client"),
        (
            post().basic_auth("billing", Some(KEY)).form(&[grant, ("client_secret", KEY)]),
            400,
            "invalid_request",
        ),
        (post().basic_auth("billing", Some(KEY)).form(&[grant, grant]), 400, "invalid_request"),
        (post().basic_auth("billing", Some(KEY)), 400, "invalid_request"),
        (
            post().basic_auth("billing", Some(KEY)).form(&[("grant_type", "password")]),
            400,
            "unsupported_grant_type",
        ),
        (
            post().basic_auth("billing", Some(KEY)).json(&["grant_type=client_credentials"]),
            400,
            "invalid_request",
        ),
        (
            post().basic_auth("billing", Some(KEY)).form(&[grant, ("scope", &large)]),
            400,
            "invalid_request",
        ),
        (world.client.get(world.gateway.url("/oauth/token")), 405, "invalid_request"),
    ] {
        let told = format!("{call:?}");
        let answer = Answer::of(call.send().await.unwrap()).await;
        assert_eq!(answer.status, status, "{told}: {answer:?}");
        assert_eq!(answer.json()["error"], error, "{told}");
        assert_eq!(!answer.header("www-authenticate").is_empty(), status == 401);
    }
    world.gateway.wait_for_log("code=proxy.login.refused");
    assert_eq!(world.genesys.counters().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_tells_whose_it_is_and_ends_when_its_caller_says_so() {
    let world = known_only("").await;
    let token = login(&world.gateway, "billing", KEY).await;
    let url = world.gateway.url("/api/v2/tokens/me");
    let get = world.client.get(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(Answer::of(get).await.json()["OAuthClient"]["name"], "billing");
    let head = || world.client.head(&url).bearer_auth(&token).send();
    assert_eq!(head().await.unwrap().status(), 200);
    let end = world.client.delete(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(end.status(), 204);
    assert_eq!(head().await.unwrap().status(), 401);
    let call = world.client.get(world.gateway.url(ME)).bearer_auth(&token);
    assert_eq!(code(call).await.0, 401);
    assert_eq!(world.genesys.counters().requests, 0, "Genesys's own token is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_to_all_any_login_gets_a_token_that_says_nothing() {
    let world = World::with(unlimited(), NO_LIMIT).await;
    let token = login(&world.gateway, "anybody", "anything").await;
    let call = world.client.get(world.gateway.url(ME)).bearer_auth(&token);
    assert_eq!(code(call).await.0, 200);
    let me = world.client.head(world.gateway.url("/api/v2/tokens/me")).bearer_auth(&token);
    assert_eq!(me.send().await.unwrap().status(), 200);
    world.gateway.wait_for_log(" caller=127.0.0.1 GET /api/v2/organizations/me 200");
    assert_eq!(world.genesys.counters().requests, 1);
}

/// With its own name and key, at both addresses.
async fn logs_in(sdk: Sdk) {
    let world = known_only("").await;
    for login in ["", "login"] {
        let variables = [("CALLER_NAME", "billing"), ("CALLER_KEY", KEY), ("LOGIN_PATH", login)];
        let variables = variables.map(|(name, value)| (name, value.to_owned()));
        sdk.runs(("login", "a caller logs in and calls"), &world, &variables).await;
        sdk.runs(("login", "a wrong key is refused"), &world, &variables).await;
    }
    assert_eq!(world.genesys.counters().requests, 2);
    world.gateway.wait_for_logs(" caller=billing GET /api/v2/organizations/me 200", 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_logs_in_at_the_gateway_as_its_caller() {
    logs_in(Sdk::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_logs_in_at_the_gateway_as_its_caller() {
    logs_in(Sdk::JavaScript).await;
}

/// A JWT that the authorization server gave this client.
async fn jwt(oidc: &Oidc, client: &str) -> String {
    let (id, secret) = oidc.credentials(client);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", id),
        ("client_secret", secret),
        ("resource", Format::Jwt.resource()),
    ];
    let url = format!("{}/token", oidc.issuer);
    let answer = world::client().post(url).form(&form).send().await.unwrap();
    let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn provider(oidc: &Oidc, audience: &str) -> String {
    format!(
        "[jwt]\nissuer = \"{issuer}\"\naudience = \"{audience}\"\njwks_url = \"{issuer}/jwks\"\n\
         [[caller]]\nname = \"pod\"\nclaims = {{ sub = {sub:?} }}\n",
        issuer = oidc.issuer,
        sub = oidc.credentials("post").0,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_identity_provider_opens_to_the_caller_that_it_names() {
    let oidc = Oidc::start();
    let world = known_only(&provider(&oidc, Format::Jwt.resource())).await;
    let get = |token: &str| code(world.client.get(world.gateway.url(ME)).bearer_auth(token));
    let good = jwt(&oidc, "post").await;
    for _ in 0..2 {
        assert_eq!(get(&good).await.0, 200);
    }
    world.gateway.wait_for_logs(" caller=pod GET /api/v2/organizations/me 200", 2);
    let (head, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let forged = format!("{head}.{claims}.{}", signature.replace(['A', 'b'], "c"));
    assert_eq!(get(&forged).await.0, 401);
    let told = world.gateway.wait_for_log("a caller's token is refused");
    assert!(told.contains("WARN") && told.contains("why=\"bad signature\" left_out=0"), "{told}");
    let none = format!("eyJhbGciOiJub25lIn0.{claims}.");
    assert_eq!(get(&none).await.0, 401);
    assert_eq!(get(&format!("eyJhbGciOiJub25lIn0.{claims}.x")).await.0, 401);
    let other = jwt(&oidc, "basic").await;
    assert_eq!(get(&other).await.0, 401, "it is good, and nobody's here");
    let log = world.gateway.log();
    for (is, token) in [("good", &good), ("forged", &forged), ("another's", &other)] {
        assert!(token.split('.').all(|part| !log.contains(part)), "the {is} one is in the log");
    }
    assert_eq!(world.genesys.counters().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_new_is_fetched_when_it_is_met() {
    let oidc = Oidc::start();
    let world = known_only(&provider(&oidc, Format::Jwt.resource())).await;
    let get = |token: String| world.client.get(world.gateway.url(ME)).bearer_auth(token);
    assert_eq!(code(get(jwt(&oidc, "post").await)).await.0, 200);
    oidc.rotate(false).await;
    let token = jwt(&oidc, "post").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = Answer::of(get(token.clone()).send().await.unwrap()).await;
        if answer.status == 200 {
            break;
        }
        // Within 5 s of the fetch at the start.
        assert_eq!((answer.status, answer.header("retry-after")), (503, "5"), "{answer:?}");
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_somebody_else_opens_nothing() {
    let oidc = Oidc::start();
    let world = known_only(&provider(&oidc, "urn:somebody-else")).await;
    let token = jwt(&oidc, "post").await;
    let call = world.client.get(world.gateway.url(ME)).bearer_auth(&token);
    assert_eq!(code(call).await.0, 401);
    let told = world.gateway.wait_for_log("a caller's token is refused");
    assert!(told.contains("why=\"wrong audience\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_nobody_here_is_told_of_in_the_log() {
    let oidc = Oidc::start();
    let world = known_only(&provider(&oidc, Format::Jwt.resource())).await;
    let call = world.client.get(world.gateway.url(ME)).bearer_auth(jwt(&oidc, "basic").await);
    assert_eq!(code(call).await.0, 401);
    let told = world.gateway.wait_for_log("a caller's token is refused");
    assert!(told.contains("why=\"no caller has its claims\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_providers_keys_its_callers_wait_and_others_do_not() {
    let oidc = Oidc::start();
    let toml = provider(&oidc, Format::Jwt.resource());
    let token = jwt(&oidc, "post").await;
    let gone = toml.replace(&format!("{}/jwks", oidc.issuer), "http://127.0.0.1:1/jwks");
    let world = known_only(&gone).await;
    let url = world.gateway.url(ME);
    let (status, told, _) = code(world.client.get(&url).bearer_auth(&token)).await;
    assert_eq!((status, told), (503, "proxy.caller.keys.unavailable".into()));
    assert_eq!(code(world.client.get(&url).header("x-api-key", KEY)).await.0, 200);
    world.gateway.wait_for_log("the keys of jwt.jwks_url cannot be fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_the_callers_whom_it_names_whatever_key_comes_with_it() {
    let world = known_only(&caller("reports", OTHER, "")).await;
    let (billing, wrong) = (("billing", KEY), ("billing", OTHER));
    for key in [KEY, OTHER, "nobodys"] {
        let post = || {
            let login = world.client.post(world.gateway.url("/oauth/token"));
            login.header("x-api-key", key)
        };
        let basic = |(name, key)| post().basic_auth(name, Some(key)).form(&[GRANT]);
        let form = |(id, key)| post().form(&[GRANT, ("client_id", id), ("client_secret", key)]);
        for login in [basic(billing), form(billing)] {
            let answer = Answer::of(login.send().await.unwrap()).await;
            assert_eq!(answer.status, 200, "{key}: {answer:?}");
            let token = serde_json::from_str::<Value>(&answer.body).unwrap();
            let token = token["access_token"].as_str().unwrap();
            let me = world.client.get(world.gateway.url("/api/v2/tokens/me")).bearer_auth(token);
            let me = Answer::of(me.send().await.unwrap()).await;
            assert!(me.body.contains("\"id\":\"billing\""), "{key}: {me:?}");
        }
        for login in [basic(wrong), form(wrong), post().form(&[GRANT])] {
            assert_eq!(code(login).await.0, 401, "{key}");
        }
    }
}
