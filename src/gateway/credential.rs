//! The request as upstream gets it: stripped first, signed last.
//! It never lets anything of the caller's stand where ours goes.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{AUTHORIZATION, CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::PathAndQuery,
};
use http_body::Body as _;

use crate::{
    decide::{asked::Asked, headers},
    telemetry::digits::hex,
    upstream::{
        pool::{Lease, Pool},
        replay::Attempt,
    },
};

/// One name for a request in every log on its way.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How many fields we add to nearly every request.
const OURS: usize = 4;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A caller's request head, stripped and signed anew for every try: hyper keeps what it is given.
#[derive(Debug)]
pub struct Head {
    /// Its method.
    pub method: Method,
    /// Its target's bytes, untouched.
    pub path: PathAndQuery,
    /// It asked for a WebSocket.
    pub upgrade: bool,
    /// As the caller sent them.
    fields: HeaderMap,
    request_id: HeaderValue,
    /// In place of the caller's, if that was none.
    traceparent: Option<HeaderValue>,
    trailers: bool,
}

impl Head {
    /// All that the tries share.
    pub fn new(parts: Parts, asked: &Asked, request_id: &HeaderValue) -> Self {
        let upgrade =
            asked.websocket() && parts.version == Version::HTTP_11 && parts.method == Method::GET;
        let path = parts.uri.into_parts().path_and_query;
        Self {
            method: parts.method,
            path: path.unwrap_or_else(|| PathAndQuery::from_static("/")),
            upgrade,
            fields: parts.headers,
            request_id: request_id.clone(),
            traceparent: (!asked.traced).then(new_traceparent),
            trailers: asked.trailers,
        }
    }

    /// What crosses, and what we add whatever the connection.
    fn fields(&self) -> HeaderMap {
        let mut fields = headers::crossing(&self.fields, OURS);
        fields.insert(X_REQUEST_ID, self.request_id.clone());
        match &self.traceparent {
            Some(ours) => {
                fields.insert(TRACEPARENT, ours.clone());
            }
            // Valid, and yet listed by `Connection`.
            None if !fields.contains_key(TRACEPARENT) => {
                fields.insert(TRACEPARENT, new_traceparent());
            }
            None => {}
        }
        fields
    }

    /// One try's request for the connection that it goes over.
    pub fn sign(
        &self,
        authorization: &HeaderValue,
        body: Attempt,
        pool: &Pool,
        lease: &Lease,
    ) -> Result<Request<Attempt>, http::Error> {
        let unmeasured = body.size_hint().exact().is_none();
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        let mut fields = self.fields();
        if self.trailers {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }
        match lease {
            Lease::Http1 { .. } => {
                fields.insert(HOST, pool.host.clone());
                if unmeasured {
                    // Left to itself, hyper drops the body of a GET or HEAD of unknown length.
                    fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                if self.trailers && !self.upgrade {
                    fields.insert(CONNECTION, HeaderValue::from_static("te"));
                }
                if self.upgrade {
                    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
                }
                *request.uri_mut() = Uri::from(self.path.clone());
            }
            Lease::Http2 { .. } => {
                let mut uri = http::uri::Parts::default();
                uri.scheme = Some(pool.scheme());
                uri.authority = Some(pool.authority.clone());
                uri.path_and_query = Some(self.path.clone());
                *request.uri_mut() = Uri::from_parts(uri)?;
                *request.version_mut() = Version::HTTP_2;
            }
        }
        fields.insert(AUTHORIZATION, authorization.clone());
        *request.headers_mut() = fields;
        Ok(request)
    }
}

/// A trace of its own for a request that came without one. Random, not secret.
fn new_traceparent() -> HeaderValue {
    let mut text = *b"00-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-01";
    for (place, digit) in text.iter_mut().skip(3).zip(random_id()) {
        *place = digit;
    }
    for (place, digit) in text.iter_mut().skip(36).zip(hex(fastrand::u64(..) | 1)) {
        *place = digit;
    }
    word(&text)
}

/// The caller's `X-Request-Id` when it is a plain word, else a new one.
pub fn request_id(asked: &mut Asked) -> HeaderValue {
    asked.request_id.take().unwrap_or_else(new_request_id)
}

/// 128 random bits in hexadecimal.
pub fn new_request_id() -> HeaderValue {
    word(&random_id())
}

/// Not zero, which a trace id must not be.
fn random_id() -> [u8; 32] {
    let mut id = [0; 32];
    let (high, low) = id.split_at_mut(16);
    high.copy_from_slice(&hex(fastrand::u64(..) | 1));
    low.copy_from_slice(&hex(fastrand::u64(..)));
    id
}

fn word(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("hex digits and dashes are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&str, &str)]) -> Head {
        let mut request = Request::builder().uri("/a%2fb//c?x=%zz&y");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let mut asked = Asked::of(&parts.headers);
        let id = request_id(&mut asked);
        Head::new(parts, &asked, &id)
    }

    fn sent(lines: &[(&str, &str)]) -> HeaderMap {
        head(lines).fields()
    }

    #[test]
    fn the_path_and_query_keep_their_bytes() {
        assert_eq!(head(&[]).path.as_str(), "/a%2fb//c?x=%zz&y");
    }

    #[test]
    fn a_valid_traceparent_is_kept_and_any_other_replaced() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(sent(&[("traceparent", valid)])["traceparent"], valid);
        let listed = sent(&[("traceparent", valid), ("connection", "traceparent")]);
        assert!(listed["traceparent"] != valid && Asked::of(&listed).traced);
        for broken in ["", "00-0-0-0", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"] {
            let fields = sent(&[("traceparent", broken)]);
            let ours = &fields["traceparent"];
            assert!(ours != broken && Asked::of(&fields).traced, "{ours:?}");
        }
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        assert_eq!(sent(&[("x-request-id", "abc-1")])["x-request-id"], "abc-1");
        let replaced = sent(&[("x-request-id", "a b\" status=500")]);
        assert_eq!(replaced["x-request-id"].len(), 32);
    }
}
