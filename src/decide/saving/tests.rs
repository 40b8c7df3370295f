use proptest::prelude::*;

use super::*;

const HERE: Organisation = Organisation(0);
const THERE: Organisation = Organisation(1);

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        fields.append(name, HeaderValue::from_str(value).unwrap());
    }
    fields
}

fn same(one: &[(&str, &str)], other: &[(&str, &str)]) -> bool {
    Identity::of(HERE, "/a", &map(one)) == Identity::of(HERE, "/a", &map(other))
}

#[test]
fn calls_differ_by_organisation_target_and_every_field_that_may_choose_an_answer() {
    let of = |organisation, target| Identity::of(organisation, target, &HeaderMap::new());
    assert_eq!(of(HERE, "/a?b=1"), of(HERE, "/a?b=1"));
    for (organisation, target) in
        [(THERE, "/a?b=1"), (HERE, "/a?b=2"), (HERE, "/a"), (HERE, "/A?b=1"), (HERE, "/a?b=1&")]
    {
        assert_ne!(of(HERE, "/a?b=1"), of(organisation, target), "{target}");
    }
    for name in ["accept", "accept-encoding", "accept-language", "content-type", "x-anything"] {
        assert!(!same(&[(name, "a")], &[(name, "b")]), "{name}");
        assert!(!same(&[(name, "a")], &[]), "{name}");
    }
    assert!(!same(&[("prefer", "return=minimal")], &[]), "upstream may honour it");
    assert!(!same(&[("prefer", "wait=1, return=minimal")], &[]));
}

#[test]
fn what_only_names_or_traces_a_call_does_not_tell_it_from_another() {
    for name in APART {
        assert!(same(&[(name, "a"), ("accept", "x")], &[("accept", "x"), (name, "b")]), "{name}");
    }
    assert!(same(&[("prefer", "wait=5")], &[("prefer", "Wait=9")]));
    // What does not cross: credentials, cookies, whom the caller meant, and what `Connection` lists.
    assert!(same(&[("cookie", "a"), ("authorization", "b"), ("host", "c")], &[]));
    assert!(same(&[("connection", "x-hop"), ("x-hop", "a")], &[]));
}

#[test]
fn the_order_of_names_does_not_matter_and_that_of_values_does() {
    let (a, b, c) = (("accept", "1"), ("accept", "2"), ("x-b", "3"));
    assert!(same(&[a, b, c], &[c, a, b]));
    assert!(!same(&[a, b], &[b, a]));
}

fn asks(lines: &[(&str, &str)]) -> Option<Ask> {
    ask(&Method::GET, &map(lines), true)
}

#[test]
fn only_a_plain_get_takes_another_calls_answer() {
    let any = Some(Ask::Any { max_age: None });
    assert_eq!(asks(&[("accept", "a"), ("cache-control", "no-transform")]), any);
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(ask(&method, &HeaderMap::new(), true), None, "{method}");
    }
    assert_eq!(ask(&Method::GET, &HeaderMap::new(), false), None, "it has a body");
    for (name, value) in [
        ("range", "bytes=0-1"),
        ("if-none-match", "\"a\""),
        ("if-modified-since", "x"),
        ("if-range", "x"),
        ("upgrade", "websocket"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("cache-control", "no-store"),
        ("cache-control", "max-age=5, No-Store"),
        ("cache-control", "only-if-cached"),
        ("cache-control", "max-age=soon"),
    ] {
        assert_eq!(asks(&[(name, value)]), None, "{name}: {value}");
    }
}

#[test]
fn who_asks_for_a_fresh_answer_gets_no_earlier_one() {
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("cache-control", "No-Cache, no-transform"),
        ("cache-control", "max-age=0"),
        ("pragma", "no-cache"),
    ] {
        assert_eq!(asks(&[(name, value)]), Some(Ask::Fresh), "{name}: {value}");
    }
    let within = |seconds| Some(Ask::Any { max_age: Some(seconds) });
    assert_eq!(asks(&[("cache-control", "max-age=\"7\"")]), within(7));
    assert_eq!(asks(&[("cache-control", "max-age=9"), ("cache-control", "max-age=8")]), within(8));
}

#[test]
fn only_a_200_is_kept_and_none_with_a_cookie_or_one_that_varies_beyond_its_identity() {
    let keep = |status: u16, lines: &[(&str, &str)]| {
        keepable(StatusCode::from_u16(status).unwrap(), &map(lines))
    };
    assert!(keep(200, &[]));
    // The operator's rule outweighs it.
    assert!(keep(200, &[("cache-control", "private, no-cache, no-store, must-revalidate")]));
    assert!(keep(200, &[("vary", "Accept-Encoding, Accept"), ("vary", "X-Anything")]));
    assert!(!keep(200, &[("set-cookie", "a=b")]));
    for vary in ["*", "Accept, *", "User-Agent", "accept, prefer", "X-Request-Id"] {
        assert!(!keep(200, &[("vary", vary)]), "{vary}");
        assert!(!shareable(&map(&[("vary", vary)])), "{vary}");
    }
    for status in [201, 204, 206, 301, 304, 404, 410, 429, 500, 503] {
        assert!(!keep(status, &[]), "{status}");
    }
}

#[test]
fn an_answer_about_the_thing_itself_outdates_a_kept_one() {
    for (status, outdates) in
        [(200, true), (204, true), (303, true), (403, true), (404, true), (410, true)]
            .into_iter()
            .chain([(401, false), (408, false), (429, false), (500, false), (503, false)])
    {
        assert_eq!(replaces(StatusCode::from_u16(status).unwrap()), outdates, "{status}");
    }
}

#[test]
fn cache_status_says_it_as_rfc_9211_does() {
    for (origin, said) in [
        (Origin::Kept { age: 1, ttl: 29 }, "genesys-proxy; hit; ttl=29"),
        (Origin::Collapsed, "genesys-proxy; fwd=uri-miss; collapsed"),
        (Origin::Sent { wanted: false, stored: true }, "genesys-proxy; fwd=uri-miss; stored"),
        (Origin::Sent { wanted: false, stored: false }, "genesys-proxy; fwd=uri-miss"),
        (Origin::Sent { wanted: true, stored: true }, "genesys-proxy; fwd=request; stored"),
    ] {
        assert_eq!(origin.cache_status(), said);
    }
}

#[test]
fn an_answers_own_age_counts_and_nonsense_does_not() {
    assert_eq!(age_at_arrival(&map(&[("age", "12")])), 12);
    for age in ["-1", "soon", "1.5"] {
        assert_eq!(age_at_arrival(&map(&[("age", age)])), 0, "{age}");
    }
}

fn undoes(method: &Method, write: &str, read: &str) -> bool {
    match Write::of(HERE, method, write) {
        Write::Nothing => false,
        Write::Anything => true,
        Write::Marked(written) => marks(HERE, read).iter().any(|mark| written.contains(mark)),
    }
}

#[test]
fn a_write_undoes_its_path_its_collection_and_all_below() {
    let one = "/api/v2/routing/queues/1";
    for read in [
        "/api/v2/routing/queues/1",
        "/api/v2/routing/queues/1/",
        "/API/v2/Routing/queues/1",
        "/api/v2/routing/queues",
        "/api/v2/routing/queues/1/members",
        "/api/v2/routing/queues/1/members/2",
    ] {
        for method in [Method::PUT, Method::PATCH, Method::POST, Method::DELETE] {
            assert!(undoes(&method, one, read), "{method} {read}");
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(!undoes(&method, one, read), "{method} {read}");
        }
    }
    for read in ["/api/v2/routing/queues/2", "/api/v2/routing", "/api/v2/users/1", "/"] {
        assert!(!undoes(&Method::PUT, one, read), "{read}");
    }
    assert!(undoes(&Method::POST, "/api/v2/routing/queues/%31", "/anything"), "an odd path");
    let Write::Marked(there) = Write::of(THERE, &Method::PUT, one) else { panic!() };
    assert!(!marks(HERE, one).iter().any(|mark| there.contains(mark)), "another organisation's");
}

proptest! {
    #[test]
    fn marks_meet_exactly_where_one_path_is_the_other_or_its_parent_or_above_it(
        write in prop::collection::vec("[ab]", 0..5),
        read in prop::collection::vec("[ab]", 0..5),
    ) {
        let path = |names: &[String]| format!("/{}", names.join("/"));
        let above = read.starts_with(&write);
        let parent = write.split_last().is_some_and(|(_, parent)| read == parent);
        prop_assert_eq!(undoes(&Method::PUT, &path(&write), &path(&read)), above || parent);
    }

    #[test]
    fn two_calls_are_one_exactly_when_all_that_counts_of_them_is_equal(
        one in lines(), other in lines(), apart in lines_apart(),
    ) {
        let sorted = |lines: &[(String, String)]| {
            let mut lines = lines.to_vec();
            lines.sort_by(|(one, _), (other, _)| one.cmp(other));
            lines
        };
        let of = |lines: &[(String, String)]| {
            let lines: Vec<_> = lines.iter().map(|(name, value)| (&**name, &**value)).collect();
            Identity::of(HERE, "/a", &map(&lines))
        };
        prop_assert_eq!(of(&one) == of(&other), sorted(&one) == sorted(&other));
        prop_assert_eq!(of(&one), of(&[apart, one.clone()].concat()));
    }

    #[test]
    fn no_field_panics(value in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            for name in ["cache-control", "pragma", "prefer", "vary", "age"] {
                let mut fields = HeaderMap::new();
                fields.insert(name, value.clone());
                let _ = ask(&Method::GET, &fields, true);
                let _ = (shareable(&fields), age_at_arrival(&fields), Identity::of(HERE, "/", &fields));
            }
        }
    }
}

fn lines() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("accept|x-a|x-ab", "[a:]{0,2}"), 0..4)
}

fn lines_apart() -> impl Strategy<Value = Vec<(String, String)>> {
    let names = APART.map(str::to_owned).to_vec();
    prop::collection::vec((prop::sample::select(names), "[ab]{0,2}"), 0..3)
}
