//! What a gateway for one command does not ask of a configuration that others use, too.
//! It never lets what it does use go unchecked.

use super::World;
use crate::config::{Mode, load_for_one};

/// Nothing of it is used, and nothing of it is right.
const OF_OTHERS: &str = "
    admin_key_file = '/no/such/key'
    admin_key_sha256 = 'x'
    caller = [{ name = 'billing', key_file = '/no/such/key' }, {}]
    [access]
    mode = 'key'
    require_header = 'Accept'
    login_life = 'ever'
    [tls]
    cert = '/no/such/cert'
    [jwt]
    issuer = 'https://idp.example'
    [vault]
    auth = 'kubernetes'
    timeout = '0s'
    [orgs.eu.oauth]
    client_secret = { env = 'NOT_SET' }";

#[test]
fn for_one_command_nothing_is_asked_of_what_is_only_about_others() {
    let world = World::new().env("GENESYS_REGION", "eu-central-1").toml(OF_OTHERS);
    let (config, named) = load_for_one(&world.sources).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(config.access.mode, Mode::Open);
    assert!(config.tls.is_none() && config.vault.is_none() && config.organisations.is_empty());
    assert_eq!(named.names, ["NOT_SET"]);
    assert!(world.problems().len() > 7, "{}", world.wrong());
    let used = World::new().toml(&format!("{OF_OTHERS}\n[oauth]\ntimeout = '0s'"));
    let wrong = load_for_one(&used.sources).expect_err("what is used is looked at").to_string();
    assert!(wrong.contains("oauth.timeout") && wrong.contains("1 problem "), "{wrong}");
}

#[test]
fn for_one_command_vault_counts_when_its_secret_is_there() {
    let toml = "[oauth]\nclient_secret = { vault = 'secret/data/genesys#secret' }\n\
                [vault]\naddress = 'https://vault.internal'\ntimeout = '0s'";
    let world = World::new().env("GENESYS_REGION", "eu-central-1").env("VAULT_TOKEN", "x");
    let world = world.toml(toml);
    let wrong = load_for_one(&world.sources).expect_err("it is used").to_string();
    assert!(wrong.contains("vault.timeout") && wrong.contains("1 problem "), "{wrong}");
}

#[test]
fn for_one_command_a_word_that_nobody_knows_is_one_of_others_where_they_are() {
    let toml = "
        caller = [{ nam = 'billing', key = { env = 'A_KEY' } }]
        jwt = 'https://idp.example'
        [tls]
        crt = '/no/such/cert'
        [orgs.eu]
        host = ['eu.internal']
        oauth = 'eu'
        [orgs.eu.upstrem]
        client_secret = { env = 'A_SECRET' }";
    let world = World::new().env("GENESYS_REGION", "eu-central-1").env("A_SECRET", "it-is-secret");
    let world = world.env("GENESYS_PROXY__TLS__CRT", "x").env("GENESYS_PROXY__ORGS__EU__HOST", "x");
    let world = world.toml(toml);
    let (config, mut named) =
        load_for_one(&world.sources).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(config.tls.is_none() && config.organisations.is_empty());
    named.names.sort_unstable();
    assert_eq!(named.names, ["A_KEY", "A_SECRET"]);
    assert_eq!(named.values.len(), 1, "of what a secret is read from");
    assert!(world.problems().len() > 6, "{}", world.wrong());
    for (toml, wrong) in [("[upstream]\nregoin = 'x'", "regoin"), ("[tsl]\ncert = 'x'", "tsl")] {
        let used = World::new().env("GENESYS_REGION", "eu-central-1").toml(toml);
        let told = load_for_one(&used.sources).expect_err("it is looked at").to_string();
        assert!(told.contains(wrong) && told.contains("1 problem "), "{told}");
    }
    let used = World::new().env("GENESYS_REGION", "eu-central-1").env("GENESYS_PROXY__TSL__X", "x");
    assert!(load_for_one(&used.sources).is_err());
}
