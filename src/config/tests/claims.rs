//! Callers that are known by the claims of their tokens: each of them can be, and is told apart.
//! It never verifies a token: that is the gateway's.

use super::World;

const PROVIDER: &str = "[jwt]\nissuer = 'https://a'\naudience = 'b'\njwks_url = 'https://a/keys'\n";

fn world(more: &str) -> World {
    World::new().toml(&format!("{PROVIDER}{more}"))
}

#[test]
fn a_caller_whose_claims_ask_for_more_than_those_of_an_earlier_one_would_never_be_found() {
    let wide = "[[caller]]\nname = 'team'\nclaims = { team = 'x' }\n";
    let narrow = "[[caller]]\nname = 'billing'\nclaims = { sub = 'y', team = 'x' }\n";
    insta::assert_snapshot!(world(&format!("{wide}{narrow}")).wrong(), @r#"
    10: nobody is `billing` by these claims: who has them is `team`
       write `billing` above `team`, or name a claim that tells them apart
    "#);
    let both = world(&format!("{narrow}{wide}")).config().callers;
    assert_eq!(both.len(), 2, "the narrow one first");
    // Neither is the other's part: the first counts, as documented.
    let other = wide.replace("{ team = 'x' }", "{ team = 'x', site = 'z' }");
    assert_eq!(world(&format!("{other}{narrow}")).config().callers.len(), 2);
}

#[test]
fn an_identity_provider_that_no_caller_needs_is_told_of() {
    insta::assert_snapshot!(world("[[caller]]\nname = 'a'\nnetworks = ['10.0.0.0/8']\n").wrong(), @r#"
    2: [jwt] is of no use: no caller is known by claims
       write claims = { sub = "…" } in the [[caller]] whose tokens these are, or remove [jwt]
    "#);
    let org = "[orgs.eu]\nhosts = ['eu']\n[orgs.eu.upstream]\nregion = 'eu-west-1'\n\
               [orgs.eu.oauth]\nclient_id = 'x'\nclient_secret = { env = 'EU' }\n\
               [[orgs.eu.caller]]\nname = 'a'\nclaims = { sub = 'x' }\n";
    let used = world(org).env("EU", "y").config();
    assert!(used.jwt.is_some(), "another organisation's callers count");
}
