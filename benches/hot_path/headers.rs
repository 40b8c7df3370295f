//! Header hygiene on the maps that a Python SDK sends and Genesys Cloud answers.

use divan::Bencher;
use genesys_proxy::decide::{
    asked::Asked,
    headers::{crossing, strip_response},
};
use http::{HeaderMap, HeaderName, HeaderValue};

const REQUEST: &[(&str, &str)] = &[
    ("host", "127.0.0.1:8080"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate"),
    ("authorization", "Bearer none"),
    ("connection", "keep-alive"),
    ("content-length", "412"),
    ("content-type", "application/json"),
    ("purecloud-sdk", "python"),
    ("user-agent", "PureCloud SDK/python"),
    ("x-request-id", "6f1c2c7e-5f0a-4f0e-9b3d-2f5f5a1c9f00"),
];

/// The same through a proxy that adds what it should, and a caller that adds what it should not.
const HOSTILE: &[(&str, &str)] = &[
    ("connection", "close, x-hop"),
    ("connection", "X-Other-Hop"),
    ("cookie", "session=1"),
    ("forwarded", "for=192.0.2.1"),
    ("x-forwarded-for", "192.0.2.1"),
    ("x_forwarded_host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "192.0.2.1"),
    ("x-hop", "1"),
    ("x-other-hop", "1"),
    ("te", "trailers"),
];

const ANSWER: &[(&str, &str)] = &[
    ("date", "Sun, 22 Nov 2026 14:41:51 GMT"),
    ("content-type", "application/json"),
    ("transfer-encoding", "chunked"),
    ("connection", "keep-alive"),
    ("cache-control", "no-cache, no-store, must-revalidate"),
    ("pragma", "no-cache"),
    ("expires", "0"),
    ("inin-correlation-id", "4b6f2f0e-9c53-4b7e-8a55-0b8f6a0f2c11"),
    ("inin-ratelimit-count", "17"),
    ("inin-ratelimit-allowed", "300"),
    ("inin-ratelimit-reset", "42"),
    ("strict-transport-security", "max-age=600; includeSubDomains"),
    ("vary", "Accept-Encoding"),
];

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
}

#[divan::bench]
fn what_crosses_of_a_request(bencher: Bencher) {
    let fields = map(REQUEST);
    bencher.bench_local(|| crossing(divan::black_box(&fields)).count());
}

#[divan::bench]
fn what_crosses_of_a_hostile_request(bencher: Bencher) {
    let fields = map(&[REQUEST, HOSTILE].concat());
    bencher.bench_local(|| crossing(divan::black_box(&fields)).count());
}

#[divan::bench]
fn what_a_request_asks(bencher: Bencher) {
    let fields = map(REQUEST);
    bencher.bench_local(|| Asked::of(divan::black_box(&fields)));
}

#[divan::bench]
fn strip_an_answer(bencher: Bencher) {
    let fields = map(ANSWER);
    bencher.with_inputs(|| fields.clone()).bench_local_refs(strip_response);
}
