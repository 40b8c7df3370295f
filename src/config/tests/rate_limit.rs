//! What `[rate_limit]` becomes, and what is said about a bad one.
//! It never takes a limit for granted that was not written.

use std::num::NonZeroU32;

use http::Method;

use super::World;
use crate::{
    config::{Family, Pacing},
    decide::turns::gate::Limit,
};

const VARIABLE: &str = "GENESYS_PROXY__RATE_LIMIT__FAMILIES";

fn limit(requests_per_minute: u32, concurrent: u32) -> Limit {
    let of = NonZeroU32::new;
    Limit { requests_per_minute: of(requests_per_minute), concurrent: of(concurrent) }
}

fn limits(families: &[Family]) -> Vec<Limit> {
    families.iter().map(|family| family.limit).collect()
}

#[test]
fn nothing_written_is_a_burst_without_reserve_and_families() {
    let config = World::new().config().rate_limit;
    assert_eq!((config.pacing, config.reserve), (Pacing::Burst, 0));
    assert!(config.families.is_empty());
}

#[test]
fn pacing_and_reserve_are_as_written() {
    let read = |text: &str| World::new().toml(&format!("[rate_limit]\n{text}")).config().rate_limit;
    assert_eq!(read("pacing = 'even'").pacing, Pacing::Even);
    assert_eq!(read("pacing = 'burst'").pacing, Pacing::Burst);
    assert_eq!(read("requests_per_minute = 10\nreserve = 9").reserve, 9);
    let world = World::new().env("GENESYS_PROXY__RATE_LIMIT__PACING", "even");
    let world = world.env("GENESYS_PROXY__RATE_LIMIT__RESERVE", "30");
    let config = world.config().rate_limit;
    assert_eq!((config.pacing, config.reserve), (Pacing::Even, 30));
}

#[test]
fn a_reserve_that_leaves_nothing_is_refused_at_its_line() {
    let wrong = |text: &str| World::new().toml(&format!("[rate_limit]\n{text}")).wrong();
    let all = [
        "requests_per_minute = 10\nreserve = 10",
        "reserve = 300",
        "requests_per_minute = 0\nreserve = 1",
        "reserve = -1",
        "reserve = '10%'",
        "pacing = 'evn'",
        "pacing = true",
    ]
    .map(wrong)
    .join("--\n");
    insta::assert_snapshot!(all, @r#"
    3: `rate_limit.reserve` leaves nothing for other calls
       it is a part of requests_per_minute: a tenth of it, say
    --
    2: `rate_limit.reserve` leaves nothing for other calls
       it is a part of requests_per_minute: a tenth of it, say
    --
    3: `rate_limit.reserve` leaves nothing for other calls
       it is a part of requests_per_minute: a tenth of it, say
    --
    2: `rate_limit.reserve` is out of range
       from 0 to 1000000
    --
    2: `rate_limit.reserve` takes a whole number, not text
       from 0 to 1000000
    --
    2: `rate_limit.pacing` is none of burst, even
       did you mean `even`?
    --
    2: `rate_limit.pacing` takes text, not true or false
       put it in quotes, such as "burst"
    "#);
}

#[test]
fn families_are_read_in_order_with_either_limit_or_both() {
    let toml = "[rate_limit]\nfamilies = [\n\
                { match = 'PUT /api/v2/architect/ivrs/*', requests_per_minute = 100 },\n\
                { match = '/api/v2/integrations/actions/**', concurrent = 50, requests_per_minute = 2500 },\n\
                { match = 'GET /api/v2/users', concurrent = 1, requests_per_minute = 0 }]";
    let families = World::new().toml(toml).config().rate_limit.families;
    assert_eq!(limits(&families), [limit(100, 0), limit(2500, 50), limit(0, 1)]);
    let speaks = |n: usize, method, path| families[n].rule.speaks_of(&method, path);
    assert!(speaks(0, Method::PUT, "/api/v2/architect/ivrs/7"));
    assert!(!speaks(0, Method::GET, "/api/v2/architect/ivrs/7"));
    assert!(speaks(1, Method::POST, "/api/v2/integrations/actions/7/execute"));
    assert!(speaks(2, Method::HEAD, "/api/v2/users"), "GET and HEAD are one");
}

#[test]
fn families_may_have_sections_of_their_own() {
    let toml = "[[rate_limit.families]]\nmatch = 'GET /a'\nconcurrent = 1\n\
                [[rate_limit.families]]\nmatch = 'GET /b'\nconcurrent = 2\n";
    let families = World::new().toml(toml).config().rate_limit.families;
    assert_eq!(limits(&families), [limit(0, 1), limit(0, 2)]);
}

#[test]
fn a_variable_replaces_the_files_families() {
    let toml = "[rate_limit]\nfamilies = [{ match = 'GET /a', concurrent = 1 }]";
    let with = |value: &str| {
        let world = World::new().toml(toml).env(VARIABLE, value);
        limits(&world.config().rate_limit.families)
    };
    assert_eq!(with("[{ match = 'GET /b', requests_per_minute = 7 }]"), [limit(7, 0)]);
    assert_eq!(with("[]"), []);
}

#[test]
fn what_a_variable_has_for_families_is_told_with_its_name() {
    let wrong = |value: &str| World::new().env(VARIABLE, value).wrong();
    let all = ["5", "[{ match = 'GET /a', concurrent = 1 }", "PUT /a=100", "[{ match = '/a' }]"]
        .map(wrong)
        .join("--\n");
    insta::assert_snapshot!(all, @r#"
    -: GENESYS_PROXY__RATE_LIMIT__FAMILIES: `rate_limit.families` takes a list of tables, not a number
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    --
    -: GENESYS_PROXY__RATE_LIMIT__FAMILIES: `rate_limit.families`: not TOML: unclosed array, expected `]`
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    --
    -: GENESYS_PROXY__RATE_LIMIT__FAMILIES: `rate_limit.families`: not TOML: unexpected content, expected nothing
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    --
    -: GENESYS_PROXY__RATE_LIMIT__FAMILIES: a family without requests_per_minute or concurrent
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    "#);
}

#[test]
fn every_problem_of_a_family_has_its_line_and_its_hint() {
    let world = World::new().toml(
        "[rate_limit]\nfamilies = [\n\
         { requests_per_minute = 100 },\n\
         { match = '', concurrent = 1 },\n\
         { match = 'GET /a' },\n\
         { match = 'GET /a', concurrent = 0, requests_per_minute = 0 },\n\
         { match = 'GET /a', concurent = 1 },\n\
         { match = 'GET /a', per_second = 1, concurrent = 1 },\n\
         { match = 'users', concurrent = 1 },\n\
         { match = 'GET /a/**/b', concurrent = 1 },\n\
         { match = 7, concurrent = 1 },\n\
         { match = 'GET /a', concurrent = '1' },\n\
         { match = 'GET /a', requests_per_minute = -1, concurrent = 1000001 },\n\
         'GET /a',\n\
         { match = 'GET /fine', concurrent = 1 }]",
    );
    insta::assert_snapshot!(world.wrong(), @r#"
    3: a family without match
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    4: a family without match
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    5: a family without requests_per_minute or concurrent
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    6: a family without requests_per_minute or concurrent
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    7: a family without requests_per_minute or concurrent
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    7: unknown key in an entry of `rate_limit.families`
       did you mean `concurrent`?
    8: unknown key in an entry of `rate_limit.families`
       accepted here: match, requests_per_minute, concurrent
    9: `rate_limit.families.match`: the path does not begin with /
       write "METHODS PATH"; in PATH * is one segment, ** the rest
    10: `rate_limit.families.match`: ** must be last
       write "METHODS PATH"; in PATH * is one segment, ** the rest
    11: `rate_limit.families.match` takes text, not a number
       put it in quotes, such as "PUT /api/v2/architect/ivrs/*"
    12: `rate_limit.families.concurrent` takes a whole number, not text
       from 0 to 1000000
    13: `rate_limit.families.requests_per_minute` is out of range
       from 0 to 1000000
    13: `rate_limit.families.concurrent` is out of range
       from 0 to 1000000
    14: `rate_limit.families` takes tables, not text
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    "#);
}

#[test]
fn what_are_no_tables_of_families_is_told_how_to_write_them() {
    let wrong = |text: &str| World::new().toml(text).wrong();
    let all = [
        "[rate_limit]\nfamilies = 'PUT /a'",
        "[rate_limit]\nfamilies = 100",
        "[rate_limit.families]\nmatch = 'GET /a'\nconcurrent = 1",
    ]
    .map(wrong)
    .join("--\n");
    insta::assert_snapshot!(all, @r#"
    2: `rate_limit.families` takes a list of tables, not text
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    --
    2: `rate_limit.families` takes a list of tables, not a number
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    --
    1: `rate_limit.families` takes a list of tables, not a table
       write [{ match = "PUT /api/v2/architect/ivrs/*", requests_per_minute = 100 }]
    "#);
}

#[test]
fn more_families_than_a_configuration_is_for_are_refused_at_the_first_too_many() {
    let many = |count: u32| {
        let one = |n| format!("[[rate_limit.families]]\nmatch = 'GET /{n}'\nconcurrent = 1\n");
        World::new().toml(&(0..count).map(one).collect::<String>())
    };
    assert_eq!(many(1000).config().rate_limit.families.len(), 1000);
    insta::assert_snapshot!(many(1001).wrong(), @r#"
    3001: `rate_limit.families` has more than 1000 entries
       one pattern can match many paths
    "#);
}
