//! What a good configuration becomes, from every source.
//! It never compares an error: those are in `wrong`.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::World;
use crate::config::{
    Config, CredentialSource, Credentials, Listen, LogFormat, Problem, SecretSource, VaultAuth,
    file::Key,
};

pub(super) fn shipped() -> &'static str {
    include_str!("../../../proxy.toml")
}

/// The only client's id, and its secret if a variable holds it.
fn credentials(config: &Config) -> (&str, Option<&str>) {
    let [client] = &config.oauth.clients[..] else { panic!("one client") };
    let secret = match client.credentials.source() {
        Some(SecretSource::Variable { value, .. }) => Some(value.expose_secret()),
        _ => None,
    };
    (&client.id, secret)
}

#[test]
fn three_variables_are_enough() {
    let config = World::new().env("GENESYS_REGION", "eu-central-1").config();
    assert_eq!(config.upstream.api.to_string(), "https://api.mypurecloud.de");
    assert_eq!(config.upstream.apps.to_string(), "https://apps.mypurecloud.de");
    assert_eq!(config.oauth.token_url.as_str(), "https://login.mypurecloud.de/oauth/token");
    assert_eq!(credentials(&config), ("an-id", Some("hunter2")));
    assert_eq!(config.listen, [Listen::Tcp(([127, 0, 0, 1], 8080).into())]);
}

#[test]
fn dotenv_is_enough_and_the_environment_wins_over_it() {
    let world = World::new()
        .without("GENESYS_CLIENT_ID")
        .file(".env", "GENESYS_CLIENT_ID=from-file\nGENESYS_CLIENT_SECRET=not-this\n");
    let config = world.config();
    assert_eq!(credentials(&config), ("from-file", Some("hunter2")));
}

#[test]
fn the_shipped_file_says_what_no_file_says() {
    let shipped = World::new().toml(shipped()).config();
    let none = World::new().config();
    assert_eq!(format!("{shipped:#?}"), format!("{none:#?}"));
    assert_eq!(credentials(&shipped), credentials(&none));
}

#[test]
fn every_accepted_key_is_in_the_shipped_file() {
    let mut section = "";
    let mut written = Vec::new();
    for line in shipped().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ") {
            written.extend(Key::find(section, name));
        }
    }
    for key in Key::all() {
        assert!(written.contains(&key), "proxy.toml lacks {key}");
    }
}

/// A date suits no key: whichever is not complained about is not read.

#[test]
fn every_key_can_be_overridden_in_the_environment() {
    for key in Key::all() {
        // A list takes any text, so that its words must be wrong.
        let world = World::new().env(&key.variable(), "{ wrong = 1 }").toml("");
        let problems = world.problems();
        let named = |p: &Problem| p.to_string().starts_with(&key.variable());
        assert!(problems.iter().all(named), "{key}: {problems}");
    }
    let config = World::new()
        .toml("listen = ['127.0.0.1:1']\n[oauth]\nclient_id = 'x'\n")
        .env("GENESYS_PROXY__LISTEN", "127.0.0.1:2, unix:/run/x.sock")
        .env("GENESYS_PROXY__ADMIN", "")
        .env("GENESYS_PROXY__OAUTH__CLIENT_ID", "12345")
        .env("GENESYS_PROXY__OAUTH__CLIENT_SECRET", "0x10")
        .env("GENESYS_PROXY__OAUTH__EXTRA_PARAMS", "{ audience = 'a' }")
        .env("GENESYS_PROXY__ACCESS__HOSTS", "['A.example', '::1']")
        .env("GENESYS_PROXY__ACCESS__ORIGINS", "https://App.example:443,http://localhost:3000")
        .env("GENESYS_PROXY__ACCESS__REQUIRE_HEADER", "X-Mine")
        .env("GENESYS_PROXY__UPSTREAM__IDLE_TIMEOUT", "90s")
        .env("GENESYS_PROXY__RATE_LIMIT__REQUESTS_PER_MINUTE", "0")
        .env("GENESYS_PROXY__TELEMETRY__ACCESS_LOG", "false")
        .config();
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.admin, None);
    assert_eq!(credentials(&config), ("12345", Some("0x10")));
    assert_eq!(config.oauth.extra_params.get("audience").map(String::as_str), Some("a"));
    assert_eq!(config.access.hosts, ["a.example", "::1"]);
    assert_eq!(config.access.origins, ["https://app.example", "http://localhost:3000"]);
    assert_eq!(config.access.require_header.unwrap(), "x-mine");
    assert_eq!(config.upstream.idle_timeout, Duration::from_secs(90));
    assert_eq!(config.rate_limit.requests_per_minute, None);
    assert!(!config.telemetry.access_log);
}

#[test]
fn a_share_is_a_number_with_or_without_a_point_and_nothing_else() {
    let with = |value: &str| World::new().toml(&format!("[retry]\nbudget = {value}\n"));
    for (value, budget) in [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("1e-1", 0.1)] {
        assert_eq!(with(value).config().retry.budget.to_string(), budget.to_string(), "{value}");
    }
    let from_variable = World::new().env("GENESYS_PROXY__RETRY__BUDGET", "0.5").config();
    assert_eq!(from_variable.retry.budget.to_string(), "0.5");
    for value in ["-0.1", "1.01", "nan", "inf", "2"] {
        let wrong = with(value).wrong();
        assert!(wrong.contains("`retry.budget` is out of range\n   from 0 to 1"), "{wrong}");
    }
    for value in ["'20%'", "true", "[]"] {
        let wrong = with(value).wrong();
        assert!(wrong.contains("`retry.budget` takes a number, not"), "{wrong}");
    }
}

#[test]
fn who_is_quiet_is_so_by_default_only() {
    let quiet = |toml: &str, flag: Option<&str>| {
        let mut world = World::new().env("GENESYS_REGION", "eu-central-1").toml(toml);
        world.sources.quiet = true;
        world.sources.log = flag.map(str::to_owned);
        let telemetry = world.config().telemetry;
        (telemetry.log, telemetry.access_log)
    };
    assert_eq!(quiet("", None), ("warn".to_owned(), false));
    assert_eq!(quiet("telemetry.log = 'info'", None), ("info".to_owned(), false));
    assert_eq!(quiet("telemetry.access_log = true", None), ("warn".to_owned(), true));
    assert_eq!(quiet("telemetry.log = 'info'", Some("debug")), ("debug".to_owned(), false));
    let mut world = World::new().env("GENESYS_REGION", "eu-central-1");
    world.sources.log = Some("inof".to_owned());
    assert_eq!(
        world.wrong(),
        "-: --log: `telemetry.log` is not a log filter\n   did you mean `info`?\n"
    );
}

#[test]
fn flags_stand_above_the_environment() {
    let mut world = World::new().env("GENESYS_PROXY__LISTEN", "127.0.0.1:1");
    world.sources.listen = Some(vec!["localhost:0".to_owned()]);
    world.sources.admin = Some(String::new());
    world.sources.log_format = Some(LogFormat::Json);
    let config = world.config();
    assert_eq!(config.listen, [Listen::Tcp(([127, 0, 0, 1], 0).into())]);
    assert_eq!((config.admin, config.telemetry.format), (None, LogFormat::Json));
    world.sources.listen = Some(vec!["0.0.0.0:1".to_owned(), "8080".to_owned()]);
    insta::assert_snapshot!(world.wrong(), @r#"
    -: --listen: this address is open to other machines: anyone who can reach the port would use the company's Genesys credentials
       set access.mode = "key" and name your callers ([[caller]]); or listen on 127.0.0.1 or "unix:/path"; if the network itself keeps strangers out, start with --insecure-open-listener
    -: --listen: `listen`: not an address and a port
       write "127.0.0.1:8080"
    "#);
    world.sources.listen = Some(vec!["0.0.0.0:1".to_owned()]);
    world.sources.insecure_open_listener = true;
    assert_eq!(world.config().listen, [Listen::Tcp(([0, 0, 0, 0], 1).into())]);
}

#[test]
fn credentials_come_from_files_and_variables_by_name() {
    let world = World::new()
        .file("secret", "s3cret\r\n")
        .env("MY_ID", "mine")
        .toml("[oauth]\nclient_id = { env = 'MY_ID' }\nclient_secret = { file = './secret' }\n");
    let config = world.config();
    assert_eq!(credentials(&config), ("mine", None));
    let [client] = &config.oauth.clients[..] else { panic!("one client") };
    assert_eq!(client.id_source, CredentialSource::Variable("MY_ID".to_owned()));
    let source = client.credentials.source().unwrap().to_string();
    assert_eq!(source, format!("file {}", world.dir.path().join("./secret").display()));
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn the_hosts_follow_from_the_api_url() {
    let hosts = |text: &str| {
        let config = World::new().toml(&format!("[upstream]\n{text}")).config();
        let upstream = config.upstream;
        [upstream.api, upstream.login, upstream.apps].map(|origin| origin.to_string())
    };
    assert_eq!(
        hosts("api_url = 'https://api.x.org:8443'"),
        ["https://api.x.org:8443", "https://login.x.org:8443", "https://apps.x.org:8443"]
    );
    assert_eq!(hosts("api_url = 'http://127.0.0.1:9'"), ["http://127.0.0.1:9"; 3]);
    assert_eq!(
        hosts("region = 'mypurecloud.ie'\nlogin_url = 'http://localhost:9'"),
        ["https://api.mypurecloud.ie", "http://localhost:9", "https://apps.mypurecloud.ie"]
    );
    let world = World::new().toml("[upstream]\napi_url = 'https://genesys.x.org'");
    insta::assert_snapshot!(world.wrong(), @r#"
    2: `upstream.login_url` is missing, and cannot be told from an api_url without `api.`
       add login_url = "https://…" to [upstream]
    2: `upstream.apps_url` is missing, and cannot be told from an api_url without `api.`
       add apps_url = "https://…" to [upstream]
    "#);
}

#[test]
fn an_outbound_proxy_keeps_its_credentials_apart() {
    let toml = "[upstream]\nproxy = 'http://m%40e:p%3Ass@[::1]:3128'";
    let proxy = World::new().toml(toml).config().upstream.proxy.unwrap();
    assert_eq!(proxy.origin.to_string(), "http://[::1]:3128");
    let (user, password) = proxy.credentials.unwrap();
    assert_eq!((user.as_str(), password.expose_secret()), ("m@e", "p:ss"));
}

#[test]
fn extra_roots_are_certificates_beside_the_file() {
    let toml = "[upstream]\nca_file = 'ca.pem'\n";
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["x.org".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let mut world = World::new().file("ca.pem", &pem).toml(toml);
    assert_eq!(world.config().upstream.ca_file, Some(world.dir.path().join("ca.pem")));

    // The same from another directory: the path is relative to the file that names it.
    world.sources.file = Some(world.dir.path().join("proxy.toml"));
    world.sources.dir = world.dir.path().join("elsewhere");
    assert_eq!(world.config().upstream.ca_file, Some(world.dir.path().join("ca.pem")));

    let empty = World::new().file("ca.pem", "nothing").toml(toml);
    let broken = pem.replace("MII", "AAA");
    let broken = World::new().file("ca.pem", &broken).toml(toml);
    insta::assert_snapshot!(empty.wrong() + &broken.wrong(), @r#"
    2: `upstream.ca_file`: no certificate in this file
       it should be PEM: a block that starts with -----BEGIN CERTIFICATE-----
    2: `upstream.ca_file`: a certificate cannot be used: invalid peer certificate: BadEncoding
       export it again, as PEM
    "#);
}

#[test]
fn every_source_of_a_secret_is_read_as_written() {
    let world = World::new()
        .env("CREDENTIALS_DIRECTORY", "/nowhere")
        .file("key.pem", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
        .env("VAULT_ADDR", "https://vault.example.com:8200")
        .env("VAULT_TOKEN", "a-token");
    let of = |client_secret: &str| {
        let toml = format!("[oauth]\nclient_secret = {client_secret}\n");
        let world = World::new()
            .env("VAULT_ADDR", "https://vault.example.com:8200")
            .env("VAULT_TOKEN", "a-token")
            .toml(&toml);
        let config = world.config();
        let source = config.oauth.clients[0].credentials.source().unwrap().clone();
        (source, config.vault)
    };
    let (source, vault) =
        of("{ command = ['pass', 'show', 'x'], field = 'secret', timeout = '2s' }");
    let SecretSource::Command(command) = &source else { panic!("{source}") };
    assert_eq!(source.to_string(), "command pass");
    assert_eq!((command.arguments.len(), command.field.as_deref()), (2, Some("secret")));
    assert_eq!((command.usual_field, command.timeout), ("client_secret", Duration::from_secs(2)));
    assert!(vault.is_none(), "nothing is in Vault");

    let (source, vault) = of("{ vault = 'secret/data/genesys#client_secret' }");
    assert_eq!(source.to_string(), "Vault secret/data/genesys#client_secret");
    let vault = vault.unwrap();
    assert_eq!(vault.address.as_str(), "https://vault.example.com:8200/");
    assert!(matches!(&vault.auth, VaultAuth::Token(SecretSource::Variable { .. })));
    assert!(!format!("{vault:?}").contains("a-token"));

    let toml = "[oauth]\nclient_auth = 'private_key_jwt'\nprivate_key = { file = 'key.pem' }\n\
                key_id = 'k1'\n[vault]\nauth = 'approle'\nrole_id = 'r'\n\
                secret_id = { env = 'VAULT_TOKEN' }";
    let config = world.toml(toml).config();
    let Credentials::PrivateKey { key_id, .. } = &config.oauth.clients[0].credentials else {
        panic!("a key")
    };
    assert_eq!(key_id.as_deref(), Some("k1"));
    assert!(matches!(config.vault.unwrap().auth, VaultAuth::AppRole { .. }));
}

#[test]
fn the_service_account_of_a_pod_is_relative_to_the_file_that_names_it() {
    let toml = "[vault]\naddress = 'https://v:1'\nauth = 'kubernetes'\nrole = 'r'\n";
    let jwt_file = |world: &World| match world.config().vault.unwrap().auth {
        VaultAuth::Kubernetes { jwt_file, .. } => jwt_file,
        VaultAuth::Token(_) | VaultAuth::AppRole { .. } => panic!("kubernetes"),
    };
    let mut world = World::new().toml(&format!("{toml}jwt_file = 'a/jwt'"));
    let beside = world.dir.path().join("a/jwt");
    world.sources.file = Some(world.dir.path().join("proxy.toml"));
    world.sources.dir = world.dir.path().join("elsewhere");
    assert_eq!(jwt_file(&world), beside);
    let usual = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    assert_eq!(jwt_file(&World::new().toml(toml)), std::path::Path::new(usual));
}

#[test]
fn a_variable_may_hold_several_clients_as_it_may_hold_one() {
    let world = World::new()
        .env("GENESYS_PROXY__OAUTH__CLIENT", "[{ client_id = 'one', client_secret = 'hunter2' }]");
    let config = world.config();
    assert_eq!(credentials(&config), ("one", Some("hunter2")));
    let [client] = &config.oauth.clients[..] else { panic!("one client") };
    let name = "GENESYS_PROXY__OAUTH__CLIENT".to_owned();
    assert_eq!(client.id_source, CredentialSource::Variable(name));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_systemd_credential_is_a_file_of_its_directory() {
    let world = World::new().file("genesys", "s3cret\n");
    let directory = world.dir.path().display().to_string();
    let world = world
        .env("CREDENTIALS_DIRECTORY", &directory)
        .toml("[oauth]\nclient_secret = { credential = 'genesys' }");
    let source = world.config().oauth.clients[0].credentials.source().unwrap().to_string();
    assert_eq!(source, format!("file {directory}/genesys"));
    let outside = world.toml("[oauth]\nclient_secret = { credential = '../x' }");
    assert!(outside.wrong().contains("no name of a credential"));
}

#[test]
fn several_clients_share_the_section_and_have_their_own_credentials() {
    let toml = "[oauth]\ntokens = 2\n[[oauth.client]]\nclient_id = 'one'\n\
                client_secret = { env = 'ONE' }\n[[oauth.client]]\nclient_id = { env = 'ID' }\n\
                client_secret = { env = 'TWO' }\nnext_client_secret = { env = 'ONE' }";
    let world = World::new().env("ONE", "s1").env("TWO", "s2").env("ID", "two").toml(toml);
    let config = world.config();
    let ids: Vec<_> = config.oauth.clients.iter().map(|client| client.id.as_str()).collect();
    assert_eq!((ids, config.oauth.tokens), (vec!["one", "two"], 2));
    let nexts = config.oauth.clients.iter().map(|client| match &client.credentials {
        Credentials::Secret { next, .. } => next.is_some(),
        Credentials::PrivateKey { .. } | Credentials::Certificate => panic!("a secret"),
    });
    assert_eq!(nexts.collect::<Vec<_>>(), [false, true]);
    let twice = toml.replace("{ env = 'ID' }", "'one'");
    assert!(world.toml(&twice).wrong().contains("there twice"));
}

#[test]
fn an_admin_key_that_crosses_a_network_is_known_to() {
    let digest = "a1".repeat(32);
    for (admin, key, clear) in [
        ("10.0.0.7:8081", true, true),
        ("0.0.0.0:8081", true, true),
        ("10.0.0.7:8081", false, false),
        ("127.0.0.1:8081", true, false),
        ("[::1]:8081", true, false),
    ] {
        let key = if key { format!("admin_key_sha256 = '{digest}'") } else { String::new() };
        let config = World::new().toml(&format!("admin = '{admin}'\n{key}\n")).config();
        assert_eq!(config.admin_key_in_the_clear().is_some(), clear, "{admin} {key}");
    }
}
