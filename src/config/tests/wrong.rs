//! What is said about a bad configuration: every problem, its line and a way out.
//! It never prints the secret, wherever it was written.

use super::World;
use crate::config::file::Key;

#[test]
fn no_accepted_key_is_a_silent_no_op() {
    for key in Key::all() {
        let Key(section, name) = key;
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let world = World::new().toml(&format!("{header}{name} = 1979-05-27"));
        let problems = world.problems();
        assert_eq!(problems.len(), 1, "{key}: {problems}");
        assert!(problems.iter().all(|p| p.message().contains(name) && p.help().is_some()));
    }
}

#[test]
fn a_missing_credential_is_named_with_the_fix() {
    let world = World::new().without("GENESYS_CLIENT_ID").env("GENESYS_CLIENT_SECRET", "");
    insta::assert_snapshot!(world.wrong(), @r#"
    -: `oauth.client_id` is missing: GENESYS_CLIENT_ID is not set
       set GENESYS_CLIENT_ID in the environment or in .env, or write client_id in [oauth] of proxy.toml
    -: GENESYS_CLIENT_SECRET: `oauth.client_secret` is empty
       copy it again from Admin > Integrations > OAuth in Genesys Cloud
    "#);
}

#[test]
fn a_secret_in_the_file_is_refused_and_never_printed() {
    for value in [
        "'hunter2'",
        "{ command = 'hunter2' }",
        "{ command = [] , field = 'hunter2' }",
        "{ command = ['x'], timeout = 'hunter2' }",
        "{ credential = 'hunter2' }",
        "{ vault = 'hunter2' }",
        "{ hunter2 = 'x' }",
        "{ env = 'hunter2' }",
        "{ env = 'hunter2', file = 'hunter2' }",
        "{ file = 'hunter2' }",
        "['hunter2']",
        "{}",
        "{ hunter2 }",
        "'hunter2",
        "\"\"\"hunter2",
    ] {
        let world = World::new().toml(&format!("[oauth]\nclient_secret = {value}\n"));
        let report = world.problems().render(false);
        assert!(!report.contains("hunter2"), "{value}: {report}");
        assert!(report.contains("proxy.toml:2:"), "{report}");
    }
}

#[test]
fn the_report_of_a_literal_secret_says_what_to_do() {
    let world = World::new().toml("[oauth]\nclient_secret = \"hunter2\" # not hunter2\n");
    insta::assert_snapshot!(world.problems(), @r#"
      x `oauth.client_secret` is written in the file, where backups and colleagues see it
       ,-[proxy.toml:2:17]
     2 | client_secret = ********* *************
       :                 ^^^^^^^^^
       `----
      help: put it into GENESYS_CLIENT_SECRET and write { env = "GENESYS_CLIENT_SECRET" }, or into a
            file only the gateway can read and write { file = "/path" }; then change the secret in
            Genesys

    1 problem in the configuration
    "#);
}

#[test]
fn every_problem_is_reported_with_its_line_and_its_hint() {
    let world = World::new().toml(include_str!("wrong.toml"));
    assert!(!world.problems().render(false).contains("hunter2"));
    insta::assert_snapshot!(world.wrong(), @r#"
    1: unknown key or section `lisen` at the top
       did you mean `listen`?
    2: this address is open to other machines: anyone who can reach the port would use the company's Genesys credentials
       set access.mode = "key" and name your callers ([[caller]]); or listen on 127.0.0.1 or "unix:/path"; if the network itself keeps strangers out, start with --insecure-open-listener
    2: `listen`: not an address and a port
       write "127.0.0.1:8080"
    2: `listen` takes texts only, not a number
       put it in quotes: ["127.0.0.1:8080"]
    2: the path of a unix socket starts with /
       write "unix:/run/genesys-proxy.sock"
    2: `listen`: not an address and a port
       write "127.0.0.1:8080"; names other than localhost are not looked up
    3: `admin`: not an address and a port
       write "127.0.0.1:8081"
    4: `shutdown_timeout` takes a duration, not a number
       say of what: "30s" or "30ms"
    7: no region of Genesys Cloud has this name
       did you mean `eu-central-1`?
    8: `upstream.login_url`: http:// would send credentials in the clear
       use https://; plain http is for localhost, 127.0.0.1 and [::1] only
    9: `upstream.apps_url`: the URL carries a user name or password
       remove it: the credentials are client_id and client_secret in [oauth]
    10: `upstream.ca_file`: cannot read DIR/missing.pem: No such file or directory (os error 2)
       check the path and its permissions
    11: `upstream.http2` is none of auto, never, always
       did you mean `never`?
    12: `upstream.connect_timeout` is not a duration
       did you mean "5s"?
    13: `upstream.response_timeout` is out of range
       from 1ms to 24h
    14: `upstream.idle_timeout` is not a duration
       whole numbers with ms, s, m or h, such as "1m"
    15: `upstream.proxy`: the URL does not start with https:// or http://
       write it like "http://proxy.example.com:3128"
    16: unknown key `listen` in [upstream]
       `listen` belongs at the top, above the first [section]
    19: `oauth.token_url`: the URL has no path
       give all of it; at Genesys the path is /oauth/token
    20: `oauth.timeout` is out of range
       from 1ms to 1h
    21: `oauth.client_auth` is none of basic, body, client_secret_jwt, private_key_jwt, tls_client_auth
       accepted here: basic, body, client_secret_jwt, private_key_jwt, tls_client_auth
    22: `oauth.scope`: not one scope
       one text each: ["a", "b"]
    22: `oauth.scope`: not one scope
       letters, digits and signs, without blanks and quotes
    23: `oauth.extra_params` cannot set grant_type
       remove it: it is always client_credentials
    23: `oauth.extra_params` takes texts only, not a number
       write { audience = "https://api.example.com" }
    24: `oauth.refresh_before` is not a duration
       whole numbers with ms, s, m or h, such as "5m"
    25: `oauth.extra_headers` cannot set authorization
       remove it: it is the gateway's own
    25: `oauth.extra_headers`: not a header field
       write { x-tenant = "acme" }
    26: `oauth.required_scopes`: not one scope
       one text each: ["a", "b"]
    27: `oauth.on_missing_scope` is none of warn, refuse
       accepted here: warn, refuse
    28: `oauth.jwks_url`: http:// would send credentials in the clear
       use https://; plain http is for localhost, 127.0.0.1 and [::1] only
    29: `oauth.expected_issuer` has a blank in it
       it is one word: copy it again
    30: `oauth.introspect_url` is missing
       add introspect_url = "https://…" to [oauth], or write verify = "genesys"
    31: `oauth.verify_every` is out of range
       from 1s to 24h
    32: `oauth.tokens` is out of range
       from 1 to 50
    33: `oauth.client_cert`: cannot read DIR/missing.pem: No such file or directory (os error 2)
       check the path and its permissions
    36: `replay.memory_per_request` is not a size
       did you mean "1MiB"?
    37: `replay.per_request` takes a size, not a number
       say of what: "16KiB" or "16MiB"
    40: `rate_limit.requests_per_minute` is out of range
       from 0 to 4294967295
    41: `rate_limit.window` is not a duration
       whole numbers with ms, s, m or h, such as "1m"
    42: `rate_limit.max_queue` takes a whole number, not a number with a point
       from 0 to 1000000
    45: `saving.coalesce` takes GET only: others are always sent
       write "GET /api/v2/routing/queues/**"
    45: `saving.coalesce`: the path does not begin with /
       write "GET PATH", such as "GET /api/v2/routing/queues/**"; in PATH * is one segment, ** the rest
    45: `saving.coalesce` takes texts only, not a number
       put it in quotes: ["GET /api/v2/routing/queues/**"]
    45: `saving.coalesce` takes GET only: others are always sent
       write "GET /api/v2/routing/queues/**"
    47: `saving.cache.match` takes GET only: others are always sent
       write "GET /api/v2/routing/queues/**"
    47: `saving.cache.for` is out of range
       from 1s to 1h
    48: `for` is missing in this entry
       write [{ match = "GET /api/v2/routing/queues", for = "30s" }]
    48: `saving.cache.match`: ** must be last
       write "GET PATH", such as "GET /api/v2/routing/queues/**"; in PATH * is one segment, ** the rest
    48: unknown key in an entry of `saving.cache`
       did you mean `for`?
    49: `match` is missing in this entry
       write [{ match = "GET /api/v2/routing/queues", for = "30s" }]
    49: `saving.cache.for` takes a duration, not a number
       say of what: "30s" or "30ms"
    50: `saving.cache` takes tables, not text
       write [{ match = "GET /api/v2/routing/queues", for = "30s" }]
    52: `saving.memory` is out of range
       from 1MiB to 1GiB
    55: `access.hosts`: not a host name
       the name only, such as "genesys.internal": no scheme, port or path
    55: `access.hosts` takes no wildcard
       name each host
    55: `access.hosts`: not a host name
       the name only, such as "genesys.internal": no scheme, port or path
    56: `access.max_connections` is out of range
       from 1 to 1000000
    57: `access.max_header_bytes` is out of range
       from 1KiB to 1MiB
    58: `access.max_headers` takes a whole number, not text
       from 1 to 1000
    59: `access.origins`: not an origin
       scheme, host and port only, such as "https://app.example.com"
    59: `access.origins` takes no wildcard
       name each origin
    59: `access.origins`: not an origin
       scheme, host and port only, such as "https://app.example.com"
    59: `access.origins`: not an origin
       scheme, host and port only, such as "https://app.example.com"
    59: `access.origins`: not an origin
       scheme, host and port only, such as "https://app.example.com"
    59: `access.origins`: not an origin
       scheme, host and port only, such as "https://app.example.com"
    60: `access.require_header`: browsers or proxies may send this one by themselves
       a name of your own that begins with X-, such as "X-Genesys-Proxy"
    61: `access.max_uri_bytes` is out of range
       from 1KiB to 60KiB
    64: `audit.file`: its directory is not there
       make it, for the gateway alone
    65: `audit.on_failure` is none of refuse, continue
       accepted here: refuse, continue
    66: `audit.sync` is out of range
       from 0s to 1m
    67: `audit.max_size` is out of range
       64KiB or more, or "0B" for one file
    68: `audit.key_file`: cannot read missing.key: No such file or directory (os error 2)
       check the path and its permissions, as the user that runs the gateway
    71: `telemetry.log` is not a log filter
       did you mean `info`?
    72: `telemetry.format` is none of text, json
       accepted here: text, json
    73: `telemetry.access_log` takes true or false, not text
       no quotes around it
    76: `retry.attempts` is out of range
       from 1 to 10
    77: `retry.budget` is out of range
       from 0 to 1
    79: unknown key or section `again` at the top
       accepted here: listen, admin, admin_key_file, admin_key_sha256, shutdown_linger, shutdown_timeout, caller, upstream, oauth, vault, replay, rate_limit, retry, saving, access, jwt, audit, store, telemetry, tls
    "#);
}

#[test]
fn contradictions_name_both_places() {
    let replay = World::new().toml("[replay]\nper_request = '512KiB'\nmemory_total = '1KiB'\n");
    insta::assert_snapshot!(replay.wrong(), @r#"
    2: `replay.memory_per_request` is more than `replay.per_request`
       lower `memory_per_request` or raise `per_request`
    3: `replay.memory_per_request` is more than `replay.memory_total`
       lower `memory_per_request` or raise `memory_total`
    "#);
    let hosts =
        World::new().toml("[upstream]\nregion = 'us-east-1'\napi_url = 'https://api.x.org'\n");
    insta::assert_snapshot!(hosts.problems(), @r#"
      x `upstream.region` and `upstream.api_url` contradict each other
       ,-[proxy.toml:3:11]
     2 | region = 'us-east-1'
       :          ^^^^^|^^^^^
       :               `-- this names a region
     3 | api_url = 'https://api.x.org'
       :           ^^^^^^^^^|^^^^^^^^^
       :                    `-- this names a host
       `----
      help: keep one of them; "" counts as not given

    1 problem in the configuration
    "#);
    let variable = World::new()
        .toml("[upstream]\nregion = 'us-east-1'\n")
        .env("GENESYS_PROXY__UPSTREAM__API_URL", "https://api.x.org");
    insta::assert_snapshot!(variable.problems(), @r#"
      x GENESYS_PROXY__UPSTREAM__API_URL: `upstream.region` and `upstream.api_url` contradict each
      | other
       ,-[proxy.toml:2:10]
     2 | region = 'us-east-1'
       :          ^^^^^|^^^^^
       :               `-- this names a region
       `----
      help: keep one of them; "" counts as not given

    1 problem in the configuration
    "#);
    let ports = World::new().toml("listen = ['127.0.0.1:9', '127.0.0.1:9']\nadmin = '127.0.0.1:9'");
    insta::assert_snapshot!(ports.wrong(), @r#"
    1: `listen` names an address twice
       remove one of the two
    2: `admin` and `listen` are the same address
       give `admin` another port, or turn it off with ""
    "#);
}

#[test]
fn what_is_not_toml_has_its_line_too() {
    let world = World::new().toml(
        "admin = 127.0.0.1:8081\n[upstream]\nregion = \"eu\nregion = 'x'\n[upstream]\nhttp2 = 'x'\n",
    );
    insta::assert_snapshot!(world.wrong(), @r#"
    1: this is not TOML: invalid float, expected nothing
       texts are in quotes, lists in [ ], one `key = value` a line
    3: this is not TOML: invalid basic string, expected `"`
       texts are in quotes, lists in [ ], one `key = value` a line
    4: this is not TOML: duplicate key
       it is there already: remove one of the two
    5: this is not TOML: duplicate key
       it is there already: remove one of the two
    6: `upstream.http2` is none of auto, never, always
       accepted here: auto, never, always
    "#);
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let mut world = World::new();
    world.sources.file = Some(world.dir.path().join("none.toml"));
    insta::assert_snapshot!(world.wrong(), @r#"
    -: --config: cannot read DIR/none.toml: No such file or directory (os error 2)
       check the path and its permissions
    "#);
}

#[test]
fn a_credential_that_was_copied_wrong_is_refused() {
    for (text, reason) in [
        ("", "is empty"),
        ("\n", "is empty"),
        (" hunter2\n", "blank"),
        ("hunter2 \n", "blank"),
        ("hunter2\n\n", "blank"),
        ("hunter2\nhunter2\n", "more than one line"),
        ("hunter\u{0}2", "control character"),
    ] {
        let toml = "[oauth]\nclient_secret = { file = './secret' }\n";
        let world = World::new().file("secret", text).toml(toml);
        let report = world.problems().render(false);
        assert!(report.contains(reason) && !report.contains("hunter2"), "{report}");
    }
    let directory = World::new().toml("[oauth]\nclient_secret = { file = '.' }\n");
    assert!(directory.wrong().contains("cannot read"));
}

#[test]
fn an_address_that_cannot_be_bound_comes_with_one_that_can() {
    let long = format!("unix:/{}", "x".repeat(107));
    for (listen, hint) in [
        ("8080", "\"127.0.0.1:8080\""),
        (":8080", "\"127.0.0.1:8080\""),
        ("::1:8080", "\"[::1]:8080\""),
        ("127.0.0.1", "the port is missing"),
        ("127.0.0.1:99999", "write \"127.0.0.1:8080\""),
        ("http://127.0.0.1:8080", "write \"127.0.0.1:8080\""),
        ("[::]:8080", "--insecure-open-listener"),
        ("[::ffff:10.0.0.1]:8080", "--insecure-open-listener"),
        ("unix:", "unix:/run/"),
        (long.as_str(), "at most 107 bytes"),
    ] {
        let world = World::new().toml(&format!("listen = ['{listen}']\n"));
        assert!(world.wrong().contains(hint), "{listen}: {}", world.wrong());
    }
    for listen in ["[::1]:0", "127.9.9.9:0", "[::ffff:127.0.0.1]:0", "unix:/run/x.sock"] {
        World::new().toml(&format!("listen = ['{listen}']\n")).config();
    }
}

#[test]
fn contradictions_about_who_we_are_are_named() {
    let wrong = |toml: &str| World::new().toml(toml).wrong();
    let all = [
        "[oauth]\nclient_id = 'x'\n[[oauth.client]]\nclient_id = 'a'\nclient_secret = { env = 'GENESYS_CLIENT_SECRET' }",
        "[[oauth.client]]\nclient_id = 'a'\nclient_sekret = 1\n[[oauth.client]]\nclient_secret = { env = 'GENESYS_CLIENT_SECRET' }",
        "[oauth]\nclient = 5",
        "[oauth]\nclient_auth = 'private_key_jwt'",
        "[oauth]\nclient_auth = 'private_key_jwt'\nclient_secret = { env = 'GENESYS_CLIENT_SECRET' }\nprivate_key = { env = 'GENESYS_CLIENT_SECRET' }",
        "[oauth]\nclient_auth = 'tls_client_auth'",
        "[oauth]\nclient_id = { vault = 'a/b#c' }",
        "[oauth]\nclient_secret = { vault = 'secret/data/genesys#client_secret' }",
        "[oauth]\nclient_secret = { vault = 'secret/data/genesys#client_secret' }\n[vault]\naddress = 'https://v:1'\nauth = 'approle'",
        "[vault]\naddress = 'http://vault.example.com'\ntoken = { vault = 'a/b#c' }",
    ]
    .map(wrong)
    .join("--\n");
    insta::assert_snapshot!(all, @r#"
    2: `oauth.client_id` contradicts [[oauth.client]]
       move it into an [[oauth.client]] of its own
    --
    1: `client_secret` is missing in this [[oauth.client]]
       write client_secret = { env = "NAME" }
    3: unknown key in [[oauth.client]]
       did you mean `client_secret`?
    4: `client_id` is missing in this [[oauth.client]]
       write client_id = "…"
    --
    2: `oauth.client` takes tables, not a number
       write [[oauth.client]] above each client's keys
    --
    2: `oauth.private_key` is missing
       write private_key = { file = "/path" }: PEM or a JWK, RSA or P-256
    --
    -: GENESYS_CLIENT_SECRET: `oauth.private_key` is neither PEM nor a JWK
       PEM begins with -----BEGIN PRIVATE KEY-----, a JWK is a JSON object
    --
    2: `oauth.client_cert` is missing
       write client_cert = "/path" and client_key = "/path", both PEM
    --
    2: `oauth.client_id` is no secret: it does not come from a command or Vault
       write it as it is: "the-id", or { env = "NAME" }, or { file = "/path" }
    --
    -: `vault.token` is missing: VAULT_TOKEN is not set
       set VAULT_TOKEN in the environment or in .env, or write token in [vault] of proxy.toml
    -: a secret is in Vault, and `vault.address` is missing
       set VAULT_ADDR, or write address = "https://…:8200" in [vault]
    --
    -: `vault.role_id` is missing
       write role_id = "…" in [vault], or choose another `auth`
    --
    2: `vault.address`: http:// would send credentials in the clear
       use https://; plain http is for localhost, 127.0.0.1 and [::1] only
    3: `vault.token` cannot be in Vault: it opens Vault
       write { env = "NAME" }, { file = "/path" } or { credential = "name" }
    "#);
}

#[test]
fn a_key_that_nothing_would_read_is_a_contradiction() {
    let secret = "{ env = 'GENESYS_CLIENT_SECRET' }";
    let tls = "[oauth]\nclient_auth = 'tls_client_auth'\n";
    for (toml, key, instead) in [
        ("[oauth]\nkey_id = 'k'".to_owned(), "oauth.key_id", "client_auth = \"private_key_jwt\""),
        (format!("{tls}key_id = 'k'"), "oauth.key_id", "client_auth = \"private_key_jwt\""),
        (
            format!("[[oauth.client]]\nclient_id = 'a'\nclient_secret = {secret}\nkey_id = 'k'"),
            "oauth.client.key_id",
            "client_auth = \"private_key_jwt\"",
        ),
        (
            format!("{tls}next_client_secret = {secret}"),
            "oauth.next_client_secret",
            "client_auth = \"client_secret_jwt\"",
        ),
        (
            "[oauth]\nverify = 'genesys'\nintrospect_url = 'https://x.org/i'".to_owned(),
            "oauth.introspect_url",
            "verify = \"rfc7662\"",
        ),
        (
            "[oauth]\nrevoke_url = 'https://x.org/r'".to_owned(),
            "oauth.revoke_url",
            "revoke_on_exit = true",
        ),
        (
            format!("[vault]\nauth = 'approle'\nrole_id = 'r'\ntoken = {secret}"),
            "vault.token",
            "auth = \"token\"",
        ),
        ("[vault]\nrole_id = 'r'".to_owned(), "vault.role_id", "auth = \"approle\""),
        (format!("[vault]\nsecret_id = {secret}"), "vault.secret_id", "auth = \"approle\""),
        ("[vault]\nrole = 'r'".to_owned(), "vault.role", "auth = \"kubernetes\""),
        ("[vault]\njwt_file = '/x'".to_owned(), "vault.jwt_file", "auth = \"kubernetes\""),
    ] {
        let last = toml.lines().count();
        let wrong = World::new().toml(&toml).wrong();
        assert!(wrong.contains(&format!("{last}: `{key}` is ")), "{toml}\n{wrong}");
        assert!(wrong.contains(&format!("write {instead}")), "{toml}\n{wrong}");
    }
    let variable = World::new().env("GENESYS_PROXY__OAUTH__REVOKE_URL", "https://x.org/r");
    assert!(variable.wrong().contains("GENESYS_PROXY__OAUTH__REVOKE_URL: `oauth.revoke_url`"));
}

#[test]
fn the_shipped_defaults_contradict_nothing_that_a_variable_says() {
    let shipped = || World::new().toml(include_str!("../../../proxy.toml"));
    let vault = |name: &str| format!("GENESYS_PROXY__VAULT__{name}");
    shipped().env(&vault("AUTH"), "kubernetes").env(&vault("ROLE"), "r").config();
    shipped().env(&vault("AUTH"), "approle").env(&vault("ROLE_ID"), "r").config();
    shipped().env("GENESYS_PROXY__OAUTH__VERIFY", "genesys").config();
    shipped().env("GENESYS_PROXY__OAUTH__REVOKE_ON_EXIT", "true").config();
}

#[test]
fn a_secret_of_vault_is_not_sent_to_genesys() {
    for (key, variable, of_key) in [
        ("token", "VAULT_TOKEN", ""),
        ("secret_id", "VAULT_SECRET_ID", "auth = 'approle'\nrole_id = 'r'\n"),
    ] {
        let toml = format!("[vault]\n{of_key}{key} = 'hunter2'");
        let wrong = World::new().toml(&toml).wrong();
        assert!(wrong.contains(&format!("put it into {variable} and write")), "{wrong}");
        let blank = World::new().env("X", " x");
        let blank = blank.toml(&format!("[vault]\n{of_key}{key} = {{ env = 'X' }}")).wrong();
        assert!(blank.contains("with a blank"), "{blank}");
        assert!(!(wrong + &blank).to_lowercase().contains("genesys"), "{toml}");
    }
}

#[test]
fn a_variable_with_tables_says_when_it_is_not_toml() {
    let of = |key: &str, value: &str| World::new().env(key, value).wrong();
    let all = [
        ("GENESYS_PROXY__OAUTH__CLIENT", "[{ client_id = 'a', client_secret = 'hunter2 }]"),
        ("GENESYS_PROXY__OAUTH__CLIENT", "5"),
        ("GENESYS_PROXY__OAUTH__EXTRA_PARAMS", "{ audience = hunter2 }"),
        ("GENESYS_PROXY__OAUTH__EXTRA_PARAMS", "'text'"),
    ]
    .map(|(key, value)| of(key, value))
    .join("--\n");
    assert!(!all.contains("hunter2"), "{all}");
    insta::assert_snapshot!(all, @r#"
    -: GENESYS_PROXY__OAUTH__CLIENT: `oauth.client`: not TOML: unclosed inline table, expected `}`
       write [{ client_id = "…", client_secret = { env = "NAME" } }]
    --
    -: GENESYS_PROXY__OAUTH__CLIENT: `oauth.client` takes tables, not a number
       write [[oauth.client]] above each client's keys
    --
    -: GENESYS_PROXY__OAUTH__EXTRA_PARAMS: `oauth.extra_params`: not TOML: string values must be quoted, expected literal string
       write { audience = "https://api.example.com" }
    --
    -: GENESYS_PROXY__OAUTH__EXTRA_PARAMS: `oauth.extra_params` takes a table, not text
       write { audience = "https://api.example.com" }
    "#);
}
