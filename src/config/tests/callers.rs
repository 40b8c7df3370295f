//! What `[[caller]]` becomes, and what is said about a bad one.
//! It never prints a key, wherever it was written.

use std::{fmt::Write as _, num::NonZeroU32, time::Duration};

use super::World;
use crate::{
    config::{Caller, KeyDigest, Mode, check::OF_A_CALLER},
    decide::{access::Rule, callers::Terms, policy::Policy},
};

/// `printf %s the-key-of-billing | sha256sum`
const DIGEST: &str = "cb8d0c9d652a2fa79c1d32dc0eebbe4ceb98fc487bf3c600c00d93671e0c9822";

fn callers(toml: &str) -> Vec<Caller> {
    World::new().file("key", "the-key-of-billing\n").toml(toml).config().callers
}

#[test]
fn a_caller_is_told_by_its_networks_or_its_key_and_granted_what_is_written() {
    let all = callers(
        "[[caller]]\nname = 'billing'\nnetworks = ['10.2.0.0/16', '2001:db8::/32']\n\
         key_file = 'key'\nweight = 3\nrequests_per_minute = 60\nmax_wait = '60s'\nmax_queue = 5\n\
         [[caller]]\nname = 'Reports-2_a.b'\nnetworks = ['0.0.0.0/0']\nmax_wait = ''\n\
         max_queue = 0\nrequests_per_minute = 0\nkey_file = ''\nkey_sha256 = ''\n",
    );
    let [billing, reports] = &all[..] else { panic!("{all:?}") };
    assert_eq!((billing.name.as_str(), reports.name.as_str()), ("billing", "Reports-2_a.b"));
    assert_eq!(billing.networks.len(), 2);
    assert_eq!(billing.key, Some(KeyDigest::of(b"the-key-of-billing")));
    let granted = Terms {
        weight: NonZeroU32::new(3).unwrap(),
        requests_per_minute: NonZeroU32::new(60),
        max_queue: Some(5),
        max_wait: Some(Duration::from_secs(60)),
    };
    assert_eq!(billing.terms, granted);
    assert_eq!((reports.key, reports.terms), (None, Terms::default()));
}

#[test]
fn a_key_is_the_same_by_its_digest_and_in_its_file_whatever_ends_its_line() {
    let [by_digest] = &callers(&format!("[[caller]]\nname = 'a'\nkey_sha256 = '{DIGEST}'\n"))[..]
    else {
        panic!("one caller")
    };
    for text in ["the-key-of-billing", "the-key-of-billing\n", "the-key-of-billing\r\n"] {
        let toml = "[[caller]]\nname = 'a'\nkey_file = './key'\n";
        let found = World::new().file("key", text).toml(toml).config().callers;
        assert_eq!(found[0].key, by_digest.key, "{text:?}");
    }
}

#[test]
fn the_key_of_the_admin_is_written_as_a_callers_and_is_as_long() {
    let digest = KeyDigest::of(b"the-key-of-billing");
    let world =
        || World::new().file("key", "the-key-of-billing\n").file("short", "fifteen-letters");
    for toml in ["admin_key_file = 'key'", &format!("admin_key_sha256 = '{DIGEST}'")] {
        assert_eq!(world().toml(toml).config().admin_key, Some(digest), "{toml}");
    }
    assert_eq!(World::new().toml("admin_key_file = ''").config().admin_key, None);
    for (toml, said) in [
        ("admin_key_file = 'short'", "shorter than 16"),
        ("admin_key_file = 'none'", "cannot read"),
        ("admin_key_sha256 = 'the-key-of-billing'", "not a SHA-256 digest"),
        (&format!("admin_key_file = 'key'\nadmin_key_sha256 = '{DIGEST}'"), "are two keys"),
    ] {
        let wrong = world().toml(toml).wrong();
        assert!(wrong.contains("`admin_key_") && wrong.contains(said), "{wrong}");
        assert!(!wrong.contains("fifteen") && !wrong.contains("of-billing"), "{wrong}");
    }
}

#[test]
fn a_wait_of_zero_is_one_and_none_is_everybodys() {
    let wait = |line: &str| {
        callers(&format!("[[caller]]\nname = 'a'\nnetworks = ['::/0']\n{line}\n"))[0].terms.max_wait
    };
    assert_eq!(wait("max_wait = '0s'"), Some(Duration::ZERO));
    assert_eq!(wait("max_wait = '1h'"), Some(Duration::from_hours(1)));
    assert_eq!(wait("max_wait = ''"), None);
    assert_eq!(wait(""), None);
}

#[test]
fn networks_within_one_another_are_two_callers() {
    let all = callers(
        "[[caller]]\nname = 'a'\nnetworks = ['10.0.0.0/8']\n\
         [[caller]]\nname = 'b'\nnetworks = ['10.2.0.0/16']\n",
    );
    assert_eq!(all.len(), 2);
}

#[test]
fn a_variable_names_callers_too_and_none_is_none() {
    let toml = "[[caller]]\nname = 'a'\nnetworks = ['::/0']\n";
    let named = "[{ name = 'b', networks = ['10.0.0.0/8'] }]";
    let world = World::new().toml(toml).env("GENESYS_PROXY__CALLER", named);
    assert_eq!(world.config().callers[0].name, "b");
    let world = World::new().toml(toml).env("GENESYS_PROXY__CALLER", "[]");
    assert!(world.config().callers.is_empty());
}

#[test]
fn the_shipped_example_is_a_caller_with_every_key_at_its_default() {
    let shipped = include_str!("../../../proxy.toml");
    let (_, example) = shipped.split_once("# [[caller]]\n").expect("an example");
    let provider = "issuer = 'https://a'\naudience = 'b'\njwks_url = 'https://a/keys'";
    let mut toml = format!("[jwt]\n{provider}\n[[caller]]\n");
    for line in example.lines() {
        let text = line.trim_start_matches("# ");
        if OF_A_CALLER.iter().any(|key| text.starts_with(&format!("{key} = "))) {
            writeln!(toml, "{text}").unwrap();
        }
    }
    for key in OF_A_CALLER {
        assert!(toml.contains(&format!("\n{key} = ")), "proxy.toml lacks {key}");
        let reference = include_str!("../../../docs/configuration.md");
        let (_, section) = reference.split_once("## `[[caller]]`").expect("a section");
        assert!(section.contains(&format!("| `{key}` |")), "the reference lacks {key}");
    }
    let [caller] = &callers(&toml)[..] else { panic!("{toml}") };
    assert_eq!((caller.terms, caller.key), (Terms::default(), None));
    assert_eq!(caller.policy, Policy::default());
}

#[test]
fn every_problem_of_a_caller_has_its_line_and_its_hint() {
    let world = World::new().file("short", "fifteen-letters").file("blank", " the-key-of-billing");
    let world = world.file("lines", "the-key-of-billing\nthe-key-of-billing\n").toml(
        "[[caller]]\nname = 5\nnetworks = '10.0.0.0/8'\nweight = 0\nmax_queue = -1\n\
         requests_per_minute = 'x'\nmax_wait = 60\n\
         [[caller]]\nname = 'a b'\nnetworks = ['10.2.3.4/16', '10.2.3.4', 'ten', 5, '::ffff:10.1.2.3/104']\n\
         max_wait = '2h'\nweight = 1001\n\
         [[caller]]\nname = '-'\nkey_sha256 = 'abc'\n\
         [[caller]]\nnetworks = ['::/0']\n\
         [[caller]]\nname = 'nobody'\nnetworks = []\nkey_file = ''\n\
         [[caller]]\nname = 'a'\nkey_file = './missing'\nzone = 'CN=a'\nwieght = 1\n\
         [[caller]]\nname = 'b'\nkey_file = './short'\n\
         [[caller]]\nname = 'c'\nkey_file = './blank'\n\
         [[caller]]\nname = 'd'\nkey_file = './lines'\n\
         [[caller]]\nname = 'e'\nkey_file = '.'\n\
         [[caller]]\nname = 'f'\nkey_sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'\n",
    );
    insta::assert_snapshot!(world.wrong(), @r#"
    2: `caller.name` takes text, not a number
       put it in quotes, such as "billing"
    3: `caller.networks` takes a list, not text
       write it in brackets: ["10.2.0.0/16"]
    4: `caller.weight` is out of range
       from 1 to 1000
    5: `caller.max_queue` is out of range
       from 0 to 1000000
    6: `caller.requests_per_minute` takes a whole number, not text
       from 0 to 4294967295
    7: `caller.max_wait` takes a duration, not a number
       say of what: "60s" or "60ms"
    9: `caller.name` is not a plain word
       a letter or digit, then letters, digits and -_., at most 64 in all, such as "billing"
    10: `caller.networks`: not a network
       did you mean "10.2.0.0/16"?
    10: `caller.networks`: not a network
       did you mean "10.2.3.4/32"?
    10: `caller.networks`: not a network
       an address and how many of its bits count, such as "10.2.0.0/16"
    10: `caller.networks` takes texts only, not a number
       put it in quotes: ["10.2.0.0/16"]
    10: `caller.networks`: not a network
       did you mean "10.0.0.0/8"?
    11: `caller.max_wait` is out of range
       from 0s to 1h
    12: `caller.weight` is out of range
       from 1 to 1000
    14: `caller.name` is not a plain word
       a letter or digit, then letters, digits and -_., at most 64 in all, such as "billing"
    15: `caller.key_sha256` is not a SHA-256 digest
       write the 64 digits that `printf %s "$KEY" | sha256sum` prints
    16: `name` is missing in this [[caller]]
       write name = "billing": it is what logs call it
    18: nothing tells this [[caller]] from others
       write key_file = "/path", key_sha256 = "…", client_cert = "CN=…", networks = ["10.2.0.0/16"], uids = [1001] or claims = { sub = "…" }
    24: `caller.key_file`: cannot read ./missing: No such file or directory (os error 2)
       check the path and its permissions, as the user that runs the gateway
    25: unknown key in [[caller]]
       accepted here: name, networks, key_sha256, key_file, client_cert, weight, requests_per_minute, max_wait, max_queue, uids, claims, allow, deny, read_only, observe
    26: unknown key in [[caller]]
       did you mean `weight`?
    29: `caller.key_file`: the key is shorter than 16 characters
       make one with `openssl rand -hex 32`
    32: `caller.key_file`: the key begins or ends with a blank
       the file should hold the key and nothing else, on one line
    35: `caller.key_file`: the key has more than one line or a control character
       the file should hold the key and nothing else, on one line
    38: `caller.key_file`: cannot read .: it is no regular file
       check the path and its permissions, as the user that runs the gateway
    41: `caller.key_sha256` is the digest of nothing
       write the 64 digits that `printf %s "$KEY" | sha256sum` prints
    "#);
}

#[test]
fn what_is_no_table_is_told_how_to_write_one() {
    for (toml, value) in [("caller = 5\n", "a number"), ("[caller]\nname = 'a'\n", "a table")] {
        let wrong = World::new().toml(toml).wrong();
        assert!(
            wrong.contains(&format!("`caller` takes a list of tables, not {value}")),
            "{wrong}"
        );
        assert!(wrong.contains("write [[caller]] above each caller's keys"), "{wrong}");
    }
}

#[test]
fn one_name_one_network_and_one_key_are_one_callers() {
    let toml = format!(
        "[[caller]]\nname = 'a'\nnetworks = ['10.0.0.0/8', '10.0.0.0/8']\nkey_sha256 = '{DIGEST}'\n\
         [[caller]]\nname = 'a'\nnetworks = ['10.0.0.0/8']\nkey_file = 'key'\n\
         [[caller]]\nname = 'b'\nkey_file = 'key'\nkey_sha256 = '{DIGEST}'\n"
    );
    let world = World::new().file("key", "the-key-of-billing\n").toml(&toml);
    insta::assert_snapshot!(world.wrong(), @r#"
    3: `10.0.0.0/8` is there twice
       an address has one caller: remove it from one; a smaller network within a larger one is fine
    6: two callers have the name `a`
       give each a name of its own
    7: `10.0.0.0/8` is there twice
       an address has one caller: remove it from one; a smaller network within a larger one is fine
    8: two callers have the same key
       give each a key of its own
    11: `caller.key_file` and `caller.key_sha256` are two keys
       keep one of them; two keys are two callers
    "#);
    let report = world.problems().render(false);
    for shown in ["this is one", "this is another"] {
        assert!(report.contains(shown), "{report}");
    }
}

#[test]
fn a_key_in_the_wrong_place_is_not_printed() {
    for line in [
        "key = 'hunter2hunter2hunter2'",
        "key_file = 'hunter2hunter2hunter2'",
        "key_sha256 = 'hunter2hunter2hunter2'",
        "api_key = 'hunter2hunter2hunter2'",
        "key_sha256 = { value = 'hunter2hunter2hunter2' }",
        "key_sha256 = 'hunter2hunter2hunter2",
    ] {
        let report = World::new().toml(&format!("[[caller]]\nname = 'a'\n{line}\n")).problems();
        let report = report.render(false);
        assert!(!report.contains("hunter2"), "{line}: {report}");
        assert!(report.contains("proxy.toml:3:"), "{report}");
    }
}

#[test]
fn more_callers_than_a_configuration_is_for_are_refused() {
    let many = |count: u32| {
        let one = |n: u32| {
            let [_, a, b, c] = n.to_be_bytes();
            format!("[[caller]]\nname = 'c{n}'\nnetworks = ['10.{a}.{b}.{c}/32']\n")
        };
        World::new().toml(&(0..count).map(one).collect::<String>())
    };
    assert_eq!(many(1000).config().callers.len(), 1000);
    insta::assert_snapshot!(many(1001).wrong(), @r#"
    3001: `caller` has more than 1000 entries
       give callers that may share one weight one [[caller]], with their networks
    "#);
}

#[test]
fn a_caller_is_told_by_users_and_claims_too_and_may_do_what_its_rules_say() {
    let provider = "[jwt]\nissuer = 'https://a'\naudience = 'b'\njwks_url = 'https://a/keys'\n";
    let all = callers(&format!(
        "{provider}[[caller]]\nname = 'a'\nuids = [0, 1001]\nallow = ['GET /api/v2/users/**']\n\
         deny = ['/api/v2/users/*/secret']\nread_only = true\nobserve = true\n\
         [[caller]]\nname = 'b'\nclaims = {{ sub = 'x', team = 'y' }}\n"
    ));
    let rule = |text| vec![Rule::parse(text).unwrap()];
    let (allow, deny) = (rule("GET /api/v2/users/**"), rule("/api/v2/users/*/secret"));
    assert_eq!(all[0].uids, [0, 1001]);
    assert_eq!(all[0].policy, Policy::new(allow, deny, true, true));
    let claims = [("sub", "x"), ("team", "y")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(all[1].claims, claims.into());
    assert!(all[1].policy.is_empty());
}

#[test]
fn what_callers_are_known_by_is_apart_and_can_be_read() {
    let world = World::new().toml(
        "[access]\nmode = 'key'\n\
         [[caller]]\nname = 'a'\nuids = [7, '7', -1, 4294967296]\n\
         [[caller]]\nname = 'b'\nuids = [7]\nclaims = { sub = 'x' }\n\
         [[caller]]\nname = 'c'\nuids = [8, 7]\nclaims = { sub = 'x' }\n\
         [[caller]]\nname = 'd'\nclaims = { iss = 'x', sub = '', a = 1 }\n\
         [[caller]]\nname = 'e'\nclaims = 'sub'\nallow = ['GET users', 5]\nread_only = 'yes'\n",
    );
    insta::assert_snapshot!(world.wrong(), @r#"
    5: `caller.uids` takes whole numbers only, not text
       no quotes around them: [1001]
    5: `caller.uids`: out of range
       from 0 to 4294967295
    5: `caller.uids`: out of range
       from 0 to 4294967295
    9: `caller.claims` are of no identity provider
       say whose tokens they are in: issuer, audience and jwks_url in [jwt]
    12: the user id 7 is there twice
       a user is one caller
    13: two callers have the same claims
       name a claim that tells them apart
    13: `caller.claims` are of no identity provider
       say whose tokens they are in: issuer, audience and jwks_url in [jwt]
    16: `caller.claims`: `iss` does not tell callers apart
       write { sub = "system:serviceaccount:team:billing" }
    16: `caller.claims`: `sub` does not tell callers apart
       write { sub = "system:serviceaccount:team:billing" }
    16: `caller.claims` takes texts only, not a number
       write { sub = "system:serviceaccount:team:billing" }
    19: `caller.claims` takes a table, not text
       write { sub = "system:serviceaccount:team:billing" }
    20: `caller.allow`: the path does not begin with /
       write "METHODS PATH", such as "POST,PUT,PATCH,DELETE /api/v2/oauth/clients/**"; in PATH * is one segment, ** the rest
    20: `caller.allow` takes texts only, not a number
       put it in quotes: ["DELETE /api/v2/tokens/me"]
    21: `caller.read_only` takes true or false, not text
       no quotes around it
    "#);
}

#[test]
fn where_callers_must_be_known_there_is_one_and_their_provider_is_whole() {
    let world = World::new().toml("listen = ['0.0.0.0:80']\n[access]\nmode = 'key'\n");
    insta::assert_snapshot!(world.wrong(), @r#"
    3: nobody could call: there is no [[caller]]
       name one: [[caller]] with name = "billing" and key_file = "/path"; make the key with `openssl rand -hex 32`
    "#);
    let world = World::new().toml(
        "[jwt]\nissuer = 'https://a'\njwks_url = 'http://elsewhere/keys'\n[[caller]]\nname = 'a'\n\
         claims = { sub = 'x' }\n",
    );
    insta::assert_snapshot!(world.wrong(), @r#"
    3: `jwt.jwks_url`: http:// would send credentials in the clear
       use https://; plain http is for localhost, 127.0.0.1 and [::1] only
    "#);
    let world = World::new().toml("[jwt]\nissuer = 'https://a'\n");
    insta::assert_snapshot!(world.wrong(), @r#"
    2: `jwt.audience` is missing
       an identity provider needs it: the `aud` by which they are meant for this gateway
    2: `jwt.jwks_url` is missing
       an identity provider needs it: where its public keys are
    "#);
    let world = World::new().toml("[[caller]]\nname = 'a'\nclaims = { sub = 'x' }\n");
    insta::assert_snapshot!(world.wrong(), @r#"
    3: `caller.claims` are of no identity provider
       say whose tokens they are in: issuer, audience and jwks_url in [jwt]
    "#);
}

#[test]
fn known_callers_may_come_from_other_machines() {
    let config = World::new()
        .toml(
            "listen = ['0.0.0.0:80']\n[access]\nmode = 'key'\n[[caller]]\nname = 'a'\n\
             networks = ['10.0.0.0/8']\n",
        )
        .config();
    assert_eq!(config.access.mode, Mode::Key);
}

#[test]
fn rules_that_their_caller_can_leave_behind_are_none() {
    let toml = |mode: &str, by: &str| {
        format!("[access]\nmode = '{mode}'\n[[caller]]\nname = 'a'\nread_only = true\n{by}\n")
    };
    let key = format!("key_sha256 = '{DIGEST}'");
    insta::assert_snapshot!(World::new().toml(&toml("open", &key)).wrong(), @r#"
    4: the rules of `a` bind nobody: it may leave its key away
       set access.mode = "key", or tell this caller by networks or uids: while the mode is open, who shows nothing may call anything
    "#);
    for (mode, by) in
        [("key", key.as_str()), ("open", "networks = ['::/0']"), ("open", "uids = [7]")]
    {
        World::new().toml(&toml(mode, by)).config();
    }
}

#[test]
fn where_callers_must_be_known_nobody_is_everybody() {
    let toml = |mode: &str| {
        format!(
            "[access]\nmode = '{mode}'\n[[caller]]\nname = 'a'\nnetworks = ['10.0.0.0/8', '::/0']\n"
        )
    };
    insta::assert_snapshot!(World::new().toml(&toml("key")).wrong(), @r#"
    4: everybody is `a`: its networks are all addresses
       name the networks that it calls from; where the network itself keeps strangers out, write mode = "open" and start with --insecure-open-listener
    "#);
    World::new().toml(&toml("open")).config();
}
