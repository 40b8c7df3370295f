use std::{collections::BTreeMap, os::unix::ffi::OsStringExt as _, path::PathBuf};

use super::*;
use crate::config::{Sources, load_for_one};

const KEY: &str = "the-key-of-this-run";

/// The command's environment, of what we were given and `toml`.
fn environment(given: &[(&str, &str)], toml: &str) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("proxy.toml"), toml).unwrap();
    let env = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut env: BTreeMap<_, _> = env.collect();
    env.insert("GENESYS_REGION".to_owned(), "eu-central-1".to_owned());
    let sources = Sources {
        env: env.clone().into_iter().collect(),
        dir: PathBuf::from(dir.path()),
        ..Sources::default()
    };
    let (config, named) = load_for_one(&sources).unwrap();
    let given = env.iter().map(|(name, value)| (name.into(), value.into()));
    let gateway = ([127, 0, 0, 1], 4711).into();
    let changes = Secrets::of(&config, named).changes(given, gateway, &KEY.into());
    env.retain(|name, _| !changes.removed.iter().any(|removed| removed == name.as_str()));
    env.extend(changes.set.into_iter().map(|(name, value)| (name.to_owned(), value)));
    env
}

const USUAL: [(&str, &str); 2] =
    [("GENESYS_CLIENT_ID", "an-id"), ("GENESYS_CLIENT_SECRET", "hunter2-hunter2")];

#[test]
fn the_command_finds_the_gateway_under_the_names_that_programs_read() {
    let environment = environment(&[&USUAL[..], &[("HOME", "/home/me")]].concat(), "");
    let lines: Vec<_> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    insta::assert_debug_snapshot!(lines, @r#"
    [
        "GENESYSCLOUD_GATEWAY_HOST=127.0.0.1",
        "GENESYSCLOUD_GATEWAY_PORT=4711",
        "GENESYSCLOUD_GATEWAY_PROTOCOL=http",
        "GENESYSCLOUD_OAUTHCLIENT_ID=exec",
        "GENESYSCLOUD_OAUTHCLIENT_SECRET=the-key-of-this-run",
        "GENESYS_API_KEY=the-key-of-this-run",
        "GENESYS_BASE_URL=http://127.0.0.1:4711",
        "GENESYS_CLIENT_ID=exec",
        "GENESYS_CLIENT_SECRET=the-key-of-this-run",
        "GENESYS_REGION=eu-central-1",
        "HOME=/home/me",
    ]
    "#);
}

#[test]
fn what_holds_a_secret_or_leads_to_one_is_taken_away_whatever_its_name() {
    let toml = "
        [[oauth.client]]
        client_id = { env = 'FIRST_ID' }
        client_secret = { env = 'FIRST' }
        next_client_secret = { env = 'NEXT' }
        [[oauth.client]]
        client_id = 'second'
        client_secret = { vault = 'secret/data/genesys#client_secret' }
        [vault]
        address = 'https://vault.internal'
        auth = 'approle'
        role_id = 'gateway'
        secret_id = { env = 'OF_THE_ROLE' }
        [store]
        url = 'redis://localhost'
        password = { env = 'OF_REDIS' }
        [orgs.eu]
        hosts = ['eu.internal']
        [orgs.eu.upstream]
        region = 'eu-west-1'
        [orgs.eu.oauth]
        client_id = 'third'
        client_secret = { env = 'EU' }
        [[orgs.us.oauth.client]]
        client_id = { env = 'US_ID' }
        client_secret = { env = 'US' }";
    let given = [
        ("FIRST_ID", "an-id"),
        ("FIRST", "hunter2-hunter2"),
        ("OF_REDIS", "of-the-store"),
        ("COPY_OF_IT", "of-the-store"),
        ("NEXT", "hunter3"),
        ("OF_THE_ROLE", "hunter4-hunter4"),
        ("COPY", "hunter3"),
        ("URL", "https://me:hunter2-hunter2@host/"),
        ("WORDS", "hunter3 is too short to be looked for in words"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/x"),
        ("VAULT_TOKEN", "hvs.x"),
        ("VAULT_ADDR", "https://vault.internal"),
        ("GENESYS_PROXY__OAUTH__TIMEOUT", "5s"),
        ("GENESYSCLOUD_ACCESS_TOKEN", "abc"),
        ("GENESYSCLOUD_GATEWAY_PATH_NAME", "login"),
        ("PATH", "/usr/bin"),
        ("EU", "hunter5"),
        ("COPY_OF_EU", "hunter5"),
        ("US_ID", "an-id-of-us"),
        ("US", "hunter6-hunter6"),
        ("US_URL", "https://me:hunter6-hunter6@host/"),
        ("GENESYS_PROXY__ORGS__ASIA__OAUTH__CLIENT_SECRET", "hunter7"),
        ("COPY_OF_ASIA", "hunter7"),
    ];
    let left = environment(&given, toml);
    let left: Vec<_> = given.iter().filter(|(name, _)| left.contains_key(*name)).collect();
    assert_eq!(left, [&given[8], &given[15]]);
}

#[test]
fn the_id_and_the_secret_in_one_ready_header_are_taken_away() {
    let (basic, echoed) = ("YW4taWQ6aHVudGVyMi1odW50ZXIy", "YW4taWQ6aHVudGVyMi1odW50ZXIyCg==");
    let header = format!("Authorization: Basic {basic}");
    let given =
        [&USUAL[..], &[("BASIC", basic), ("HEADER", &header), ("ECHOED", echoed), ("ID", "an-id")]];
    let left = environment(&given.concat(), "");
    for gone in ["BASIC", "HEADER", "ECHOED"] {
        assert!(!left.contains_key(gone), "{left:?}");
    }
    assert_eq!(left["ID"], "an-id", "no secret");
}

#[test]
fn a_private_key_and_a_token_of_vault_are_taken_away_too() {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let toml = "
        [oauth]
        client_id = 'x'
        client_auth = 'private_key_jwt'
        private_key = { env = 'SIGNING' }";
    let left = environment(&[("SIGNING", &key), ("COPY", &format!("x={key}"))], toml);
    assert!(!left.contains_key("SIGNING") && !left.contains_key("COPY"));
    let toml = "
        [oauth]
        client_id = 'x'
        client_secret = { vault = 'secret/data/genesys#client_secret' }
        [vault]
        address = 'https://vault.internal'
        token = { env = 'TICKET' }";
    assert!(!environment(&[("TICKET", "hvs.x")], toml).contains_key("TICKET"));
}

#[test]
fn calls_to_the_gateway_go_round_an_outbound_proxy() {
    let with = |more: &[(&str, &str)]| {
        let environment = environment(&[&USUAL[..], more].concat(), "");
        ["no_proxy", "NO_PROXY"].map(|name| environment.get(name).cloned().unwrap_or_default())
    };
    assert_eq!(with(&[]), ["", ""]);
    assert_eq!(with(&[("NO_PROXY", ".internal")]), ["", ".internal"]);
    for proxy in PROXIES {
        let proxy = (proxy, "http://proxy:3128");
        assert_eq!(with(&[proxy]), ["127.0.0.1", "127.0.0.1"]);
        let both = [".internal,127.0.0.1", ".internal,127.0.0.1"];
        assert_eq!(with(&[proxy, ("NO_PROXY", ".internal")]), both);
        let each = [("no_proxy", ".a"), ("NO_PROXY", ".b")];
        assert_eq!(with(&[&[proxy][..], &each].concat()), [".a,127.0.0.1", ".b,127.0.0.1"]);
    }
}

#[test]
fn a_value_that_is_no_text_stays_and_one_with_a_secret_in_it_does_not() {
    let secrets = Secrets { names: Vec::new(), values: vec!["hunter2-hunter2".into()] };
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let given = [
        (bytes(b"ODD\xff"), bytes(b"\xfe")),
        (bytes(b"SECRET\xff"), bytes(b"\xfehunter2-hunter2")),
    ];
    let changes = secrets.changes(given.into_iter(), ([127, 0, 0, 1], 1).into(), &KEY.into());
    assert_eq!(changes.removed, [bytes(b"SECRET\xff")]);
}

#[test]
fn the_key_does_not_show() {
    let secrets = Secrets { names: Vec::new(), values: Vec::new() };
    let changes = secrets.changes(std::iter::empty(), ([127, 0, 0, 1], 1).into(), &KEY.into());
    assert!(!format!("{changes:?}").contains(KEY));
}
