//! Header hygiene: whatever fields come, nothing that a Connection line names and nothing that is
//! ours to say is left.
#![no_main]

use genesys_proxy::decide::{asked::Asked, headers};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut request = HeaderMap::new();
    for line in text.split(|&byte| byte == b'\n').take(200) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value[1..])) {
            request.append(name, value);
        }
    }
    let named: Vec<HeaderName> = request
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Reserved (RFC 9110 section 7.6.1): nothing is sent under this name.
        .filter(|name| *name != header::CONTENT_LENGTH && name != "close")
        .collect();
    let lengths = request.get_all(header::CONTENT_LENGTH).iter().count();
    let mut answer = request.clone();
    let mut trailers = request.clone();
    let _ = Asked::of(&request);

    let mut crossed = HeaderMap::new();
    for (name, value) in headers::crossing(&request) {
        crossed.append(name, value.clone());
    }
    let request = crossed;
    assert!(named.iter().all(|name| !request.contains_key(name)));
    assert_eq!(request.get_all(header::CONTENT_LENGTH).iter().count(), lengths);
    for name in request.keys() {
        let twin = name.as_str().replace('_', "-");
        let ours = ["authorization", "cookie", "host", "te", "transfer-encoding", "upgrade"];
        assert!(!ours.contains(&twin.as_str()) && !twin.starts_with("x-forwarded"), "{name}");
    }
    headers::strip_response(&mut answer);
    assert!(!answer.contains_key(header::CONNECTION) && !answer.contains_key(header::UPGRADE));
    headers::strip_trailers(&mut trailers);
    for name in [header::AUTHORIZATION, header::CONTENT_LENGTH, header::HOST, header::TRAILER] {
        assert!(!trailers.contains_key(name));
    }
});
