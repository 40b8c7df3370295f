//! What `[store]` takes, and what is said of what it does not.
//! It never prints a password, wherever it was written.

use secrecy::ExposeSecret as _;

use super::World;
use crate::config::{SecretSource, Store};

fn store(toml: &str) -> Store {
    let world = World::new().env("REDIS_PASSWORD", "hunter2").toml(&format!("[store]\n{toml}"));
    world.config().store.unwrap()
}

fn wrong(toml: &str) -> String {
    let world = World::new().env("REDIS_PASSWORD", "hunter2").toml(&format!("[store]\n{toml}"));
    assert!(!world.problems().render(false).contains("hunter2"), "{toml}");
    world.wrong()
}

fn password(store: &Store) -> String {
    match store.password.as_ref().unwrap() {
        SecretSource::Variable { value, .. } => value.expose_secret().to_owned(),
        other => panic!("{other}"),
    }
}

#[test]
fn without_a_url_the_gateway_is_alone() {
    assert!(World::new().config().store.is_none());
    assert!(World::new().toml("[store]\nurl = ''\nusername = ''\n").config().store.is_none());
}

#[test]
fn user_and_password_come_from_the_url_or_from_keys_of_their_own() {
    let of_keys =
        store("url = 'rediss://h'\nusername = 'me'\npassword = { env = 'REDIS_PASSWORD' }");
    let of_url = store("url = 'rediss://me:hunter2@h'");
    let both = store("url = 'rediss://me@h'\npassword = { env = 'REDIS_PASSWORD' }");
    for store in [of_keys, of_url, both] {
        assert_eq!((store.username.as_deref(), &*password(&store)), (Some("me"), "hunter2"));
        assert!(store.tls && !format!("{store:?}").contains("hunter2"));
    }
    let world = World::new()
        .toml("[store]\nurl = 'redis://h'")
        .env("GENESYS_PROXY__STORE__PASSWORD", "hunter2");
    assert_eq!(password(&world.config().store.unwrap()), "hunter2");
}

#[test]
fn every_url_that_is_none_is_told_of_with_its_line_and_a_way_out() {
    let urls = [
        "redis.internal:6379",
        "redis:me:hunter2@h",
        "http://h",
        "redis://",
        "redis://me:hunter2@",
        "redis://h /0",
        "redis://h:0",
        "redis://h:port",
        "redis://h:70000",
        "redis://a,b",
        "redis://h/one",
        "redis://h?db=1",
        "redis://::1",
        "redis://[::g]",
        "redis://me:hunter2#x@h",
        "redis://me:hun/ter2@h",
        "redis://me:%ffhunter2@h",
        "redis://me!you",
        "redis+sentinel://h",
        "redis+sentinel://a,,b/m",
        "redis+sentinel://a/m/x",
        "redis+cluster://a,b/1",
        "unix:redis.sock",
    ];
    let told: Vec<_> = urls.map(|url| wrong(&format!("url = '{url}'"))).into();
    insta::assert_snapshot!(told.concat(), @r#"
    2: `store.url`: the URL has no scheme it could be used by
       write it like "redis://127.0.0.1:6379" or "rediss://redis.internal"
    2: `store.url`: the URL has no scheme it could be used by
       write it like "redis://127.0.0.1:6379" or "rediss://redis.internal"
    2: `store.url`: the URL's scheme is none of Redis
       redis:// or rediss:// (TLS), with +sentinel or +cluster before the colon for those
    2: `store.url`: the URL lacks a host
       write it like "redis://127.0.0.1:6379" or "rediss://redis.internal"
    2: `store.url`: the URL lacks a host
       write it like "redis://127.0.0.1:6379" or "rediss://redis.internal"
    2: `store.url`: the URL contains a blank or a backslash
       write it like "redis://127.0.0.1:6379" or "rediss://redis.internal"
    2: `store.url`: the URL has a port that is none
       from 1 to 65535
    2: `store.url`: the URL has a port that is none
       from 1 to 65535
    2: `store.url`: the URL has a port that is none
       from 1 to 65535
    2: `store.url`: the URL names several servers
       write redis+sentinel://…/MASTER or redis+cluster://… if they belong together
    2: `store.url`: the URL's path is not the number of a database
       end it with a number, such as /0, or after the host
    2: `store.url`: the URL has a query or a fragment
       remove it; a `?` or `#` of a password is written %3F or %23
    2: `store.url`: an IPv6 address without brackets
       write it like "redis://[fd00::1]:6379"; a : or @ of a password is %3A or %40
    2: `store.url`: no IPv6 address within the [ ]
       write it like "redis://[::1]:6379"
    2: `store.url`: the URL has a query or a fragment
       remove it; a `?` or `#` of a password is written %3F or %23
    2: `store.url`: the URL has a / before its @
       a / of a password is written %2F
    2: `store.url`: the user name or password in the URL is no text
       write a % of its own as %25, or give it in `username` and `password`
    2: `store.url`: the URL has a host that is no name and no address
       letters, digits and -_. only, such as "redis.internal"
    2: `store.url`: the URL does not say what the Sentinels call the master
       write it like "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster"
    2: `store.url`: the URL lacks a host
       write it like "redis://127.0.0.1:6379" or "rediss://redis.internal"
    2: `store.url`: the URL's path is not the number of a database
       end it with a number, such as /0, or after the host
    2: `store.url`: a cluster has one database
       end the URL after the hosts
    2: `store.url`: the path of the socket is not absolute
       write it like "unix:/run/redis/redis.sock"
    "#);
}

#[test]
fn what_contradicts_itself_is_told_of() {
    let told = [
        "url = 'redis://:hunter2@h'\npassword = { env = 'REDIS_PASSWORD' }",
        "url = 'redis://me:hunter2@h'\nusername = 'you'",
        "url = 'redis://me@h'",
        "url = 'redis://h'\nusername = 'me'",
        "password = { env = 'REDIS_PASSWORD' }",
        "username = 'me'",
        "url = 'rediss://h'\nca_file = '/none'",
        "url = 'redis://h'\ntimeout = '5ms'",
        "url = 'redis://h'\npassword = 'hunter2'",
    ];
    insta::assert_snapshot!(told.map(wrong).concat(), @r#"
    3: `store.password` and `store.url` both give one
       remove it from the URL, where process lists and logs of others show it
    3: `store.username` and `store.url` both give one
       remove it from the URL, where process lists and logs of others show it
    2: a user of the store without a password
       write password = { env = "REDIS_PASSWORD" } in [store]
    3: a user of the store without a password
       write password = { env = "REDIS_PASSWORD" } in [store]
    2: `store.password` without `store.url`
       write url = "redis://…" in [store], or remove it
    2: `store.username` without `store.url`
       write url = "redis://…" in [store], or remove it
    3: `store.ca_file`: cannot read /none: No such file or directory (os error 2)
       check the path and its permissions
    3: `store.timeout` is out of range
       from 10ms to 1s500ms
    3: `store.password` is written in the file, where backups and colleagues see it
       put it into REDIS_PASSWORD and write { env = "REDIS_PASSWORD" }, or into a file only the gateway can read and write { file = "/path" }; then change the password in Redis
    "#);
}

#[test]
fn roots_without_tls_are_a_slip() {
    let issued = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap();
    let world = |url: &str| {
        let toml = format!("[store]\nurl = '{url}'\nca_file = 'ca.pem'");
        World::new().file("ca.pem", &issued.cert.pem()).toml(&toml)
    };
    assert!(world("rediss://h").config().store.unwrap().ca_file.is_some());
    insta::assert_snapshot!(world("redis://h").wrong(), @r#"
    3: `store.ca_file` without TLS
       write rediss:// in `url`, or remove it
    "#);
}

#[test]
fn an_organisation_has_no_store_of_its_own() {
    let world = World::new().toml("[orgs.eu.store]\nurl = 'redis://h'\n");
    assert!(world.wrong().contains("[store] is for the whole gateway"), "{}", world.wrong());
}
