//! What `[orgs.NAME]` becomes, and what is said about a bad one.
//! It never lets one organisation have another's credentials.

use super::World;
use crate::config::{Config, Listen, SecretSource};

const EU: &str = "[orgs.eu]\nhosts = ['EU.genesys.internal']\n[orgs.eu.upstream]\nregion = \
                  'eu-central-1'\n[orgs.eu.oauth]\nclient_id = 'eu-id'\nclient_secret = { env = 'EU' }\n";

fn world(toml: &str) -> World {
    World::new().env("EU", "hunter2-eu").toml(toml)
}

fn secret(config: &Config) -> String {
    let [client] = &config.oauth.clients[..] else { panic!() };
    match client.credentials.source() {
        Some(SecretSource::Variable { name, .. }) => format!("{} {name}", client.id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_organisation_is_run_with_what_it_says_and_with_the_gateways_own() {
    let config = world(&format!(
        "{EU}[orgs.eu.rate_limit]\nrequests_per_minute = 60\n[[orgs.eu.caller]]\nname = 'crm'\n\
         networks = ['10.0.0.0/8']\n[rate_limit]\nrequests_per_minute = 7\n[access]\nmax_headers = 9\n"
    ))
    .config();
    let [eu] = &config.organisations[..] else { panic!() };
    assert_eq!((eu.name.as_str(), &eu.hosts[..]), ("eu", &["eu.genesys.internal".to_owned()][..]));
    assert!(eu.config.listen.is_empty() && eu.config.admin.is_none());
    assert_eq!(eu.config.upstream.api.host, "api.mypurecloud.de");
    assert_eq!(
        (secret(&eu.config), secret(&config)),
        ("eu-id EU".into(), "an-id GENESYS_CLIENT_SECRET".into())
    );
    assert_eq!(eu.config.rate_limit.requests_per_minute.unwrap().get(), 60);
    assert_eq!(config.rate_limit.requests_per_minute.unwrap().get(), 7);
    assert_eq!(eu.config.access.max_headers, 9);
    assert_eq!((eu.config.callers.len(), config.callers.len()), (1, 0));
}

#[test]
fn variables_can_say_all_of_an_organisation() {
    let config = World::new()
        .env("GENESYS_PROXY__ORGS__EU__LISTEN", "127.0.0.1:9090")
        .env("GENESYS_PROXY__ORGS__EU__UPSTREAM__REGION", "eu-west-1")
        .env("GENESYS_PROXY__ORGS__EU__OAUTH__CLIENT_ID", "{ env = 'ID' }")
        .env("GENESYS_PROXY__ORGS__EU__OAUTH__CLIENT_SECRET", "{ env = 'ID' }")
        .env("ID", "an-eu-id")
        .config();
    let [eu] = &config.organisations[..] else { panic!() };
    assert_eq!(eu.config.listen, [Listen::Tcp("127.0.0.1:9090".parse().unwrap())]);
    assert_eq!(eu.config.upstream.api.host, "api.mypurecloud.ie");
}

#[test]
fn what_an_organisation_lacks_is_never_anothers() {
    let toml = "[upstream]\nregion = 'us-east-1'\n[orgs.eu]\nhosts = ['eu']\n\
                [orgs.uk]\nhosts = ['uk']\nupstream.region = 'eu-west-2'\n\
                oauth.client_id = { env = 'GENESYS_CLIENT_ID' }\noauth.client_secret = { env = 'NONE' }\n";
    insta::assert_snapshot!(World::new().env("GENESYS_REGION", "us-east-1").toml(toml).wrong(), @r#"
    3: `region` is missing in [orgs.eu.upstream]
       write region = "eu-central-1": it is never another organisation's
    3: `client_id` is missing in [orgs.eu.oauth]
       write client_id = "…": it is never another organisation's
    3: `client_secret` is missing in [orgs.eu.oauth]
       write client_secret = { env = "NAME" }: it is never another organisation's
    8: `oauth.client_id`: GENESYS_CLIENT_ID is read for the organisation at the top only
       name a variable of this organisation's own, such as EU_GENESYS_CLIENT_ID
    9: `oauth.client_secret`: NONE is not set
       set NONE in the environment or in .env
    "#);
}

#[test]
fn two_organisations_are_never_led_to_by_one_name_or_address() {
    let org = |name: &str, own: &str| {
        EU.replace(".eu", &format!(".{name}")).replace("hosts = ['EU.genesys.internal']", own)
    };
    let toml = format!(
        "listen = ['127.0.0.1:8080']\nadmin = '127.0.0.1:8081'\n{}{}{}{}{}",
        org("a", "hosts = ['one', 'localhost', '127.0.0.1', 'x.localhost', 'top']"),
        org("b", "hosts = ['ONE', 'two', '*.x']\nlisten = ['127.0.0.1:8080', '0.0.0.0:1']"),
        org("c", "hosts = ['c']\nlisten = ['127.0.0.1:8081', '127.0.0.1:0']"),
        org("d", "listen = ['127.0.0.1:0']"),
        "[access]\nhosts = ['top']\n",
    );
    insta::assert_snapshot!(world(&toml).wrong(), @r#"
    3: `localhost` leads to another organisation already
       a Host chooses one organisation
    3: `127.0.0.1` leads to another organisation already
       a Host chooses one organisation
    3: `x.localhost` leads to another organisation already
       a Host chooses one organisation
    3: `top` leads to another organisation already
       a Host chooses one organisation
    11: `orgs.hosts` takes no wildcard
       name each host
    12: this address is open to other machines: anyone who can reach the port would use the company's Genesys credentials
       set access.mode = "key" and name your callers ([[caller]]); or listen on 127.0.0.1 or "unix:/path"; if the network itself keeps strangers out, start with --insecure-open-listener
    18: [orgs.c] listens where somebody else does
       give it an address of its own
    "#);
}

#[test]
fn what_is_no_organisation_and_what_is_not_its_own_is_named() {
    let toml = "[orgs]\neu = 5\n[orgs.default]\nhosts = ['d']\n[orgs.EU]\nlogin = 1\naccess = { mode = 'key' }\n\
                hosts = ['e']\n[orgs.uk.upstream]\nregoin = 'x'\n[orgs.uk.telemetry]\nlog = 'x'\n";
    insta::assert_snapshot!(world(toml).wrong(), @r#"
    2: `orgs` takes an organisation's name and its tables
       write [orgs.eu.upstream], [orgs.eu.oauth] …, one for each organisation
    3: `default` is no name for an organisation
       a letter, then letters, digits and _, all in lower case, at most 32, such as "eu"; "default" is the one at the top
    3: `region` is missing in [orgs.default.upstream]
       write region = "eu-central-1": it is never another organisation's
    3: `client_id` is missing in [orgs.default.oauth]
       write client_id = "…": it is never another organisation's
    3: `client_secret` is missing in [orgs.default.oauth]
       write client_secret = { env = "NAME" }: it is never another organisation's
    5: `EU` is no name for an organisation
       a letter, then letters, digits and _, all in lower case, at most 32, such as "eu"; "default" is the one at the top
    5: `region` is missing in [orgs.EU.upstream]
       write region = "eu-central-1": it is never another organisation's
    5: `client_id` is missing in [orgs.EU.oauth]
       write client_id = "…": it is never another organisation's
    5: `client_secret` is missing in [orgs.EU.oauth]
       write client_secret = { env = "NAME" }: it is never another organisation's
    6: `login` is not an organisation's own
       accepted here: upstream, oauth, vault, rate_limit, retry, saving, hosts, listen, caller
    7: `access` is not an organisation's own
       [access] is for the whole gateway: write it at the top
    9: `region` is missing in [orgs.uk.upstream]
       write region = "eu-central-1": it is never another organisation's
    9: `client_id` is missing in [orgs.uk.oauth]
       write client_id = "…": it is never another organisation's
    9: `client_secret` is missing in [orgs.uk.oauth]
       write client_secret = { env = "NAME" }: it is never another organisation's
    9: nothing leads to [orgs.uk]
       write hosts = ["uk.genesys.internal"] or listen = ["127.0.0.1:8090"]
    10: unknown key `regoin` in [upstream]
       did you mean `region`?
    11: `telemetry` is not an organisation's own
       [telemetry] is for the whole gateway: write it at the top
    "#);
    let world = world("orgs = 5\n").env("GENESYS_PROXY__ORGS__EU__ACCESS__MODE", "key");
    let world =
        world.env("GENESYS_PROXY__ORGS__EU__OAUTH__ID", "x").env("GENESYS_PROXY__ORGS__EU", "x");
    insta::assert_snapshot!(world.wrong(), @r#"
    1: `orgs` takes an organisation's name and its tables
       write [orgs.eu.upstream], [orgs.eu.oauth] …, one for each organisation
    -: GENESYS_PROXY__ORGS__EU: `` is not an organisation's own
       accepted here: upstream, oauth, vault, rate_limit, retry, saving, hosts, listen, caller
    -: GENESYS_PROXY__ORGS__EU__ACCESS__MODE: `access` is not an organisation's own
       [access] is for the whole gateway: write it at the top
    -: GENESYS_PROXY__ORGS__EU__OAUTH__ID: unknown key `id` in [oauth]
       accepted here: client_id, client_secret, next_client_secret, private_key, key_id, client, token_url, timeout, client_auth, assertion_audience, client_cert, client_key, scope, extra_params, extra_headers, refresh_before, required_scopes, on_missing_scope, jwks_url, expected_issuer, expected_audience, verify, verify_every, introspect_url, tokens, revoke_on_exit, revoke_url
    "#);
}

#[test]
fn where_callers_must_be_known_each_organisation_has_some() {
    let caller = "name = 'a'\nnetworks = ['10.0.0.0/8']\n";
    let toml = format!("[access]\nmode = 'key'\n[[caller]]\n{caller}{EU}");
    insta::assert_snapshot!(world(&toml).wrong(), @r#"
    6: nobody could call [orgs.eu]: it has no caller
       name one: [[orgs.eu.caller]]
    "#);
    let toml = format!("{toml}[[orgs.eu.caller]]\n{caller}");
    let config = world(&toml).config();
    assert_eq!(config.organisations[0].config.callers[0].name, config.callers[0].name);
}
