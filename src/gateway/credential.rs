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
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A caller's request head, stripped once, signed anew for every try.
#[derive(Debug)]
pub struct Head {
    /// Its method.
    pub method: Method,
    /// Its target's bytes, untouched.
    pub path: PathAndQuery,
    /// It asked for a WebSocket.
    pub upgrade: bool,
    fields: HeaderMap,
    trailers: bool,
}

impl Head {
    /// Strips everything that stays with the caller, adds what all tries share.
    pub fn new(parts: Parts, asked: &Asked, request_id: &HeaderValue) -> Self {
        let upgrade =
            asked.websocket() && parts.version == Version::HTTP_11 && parts.method == Method::GET;
        let path = parts.uri.into_parts().path_and_query;
        let mut fields = parts.headers;
        headers::strip_request(&mut fields);
        fields.insert(X_REQUEST_ID, request_id.clone());
        if !asked.traced {
            fields.insert(TRACEPARENT, new_traceparent());
        }
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Self { method: parts.method, path, upgrade, fields, trailers: asked.trailers }
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
        // A replay needs the fields again, so each try gets its own.
        let mut fields = self.fields.clone();
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

/// Ids are random, not secret.
fn new_traceparent() -> HeaderValue {
    let (trace, span) = (hex::<32>(fastrand::u128(1..)), hex::<16>(fastrand::u64(1..).into()));
    word(&[b"00-".as_slice(), &trace, b"-", &span, b"-01"].concat())
}

/// The caller's `X-Request-Id` when it is a plain word, else a new one.
pub fn request_id(asked: &mut Asked) -> HeaderValue {
    asked.request_id.take().unwrap_or_else(new_request_id)
}

/// 128 random bits in hexadecimal.
pub fn new_request_id() -> HeaderValue {
    word(&hex::<32>(fastrand::u128(1..)))
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

    #[test]
    fn the_path_and_query_keep_their_bytes() {
        assert_eq!(head(&[]).path.as_str(), "/a%2fb//c?x=%zz&y");
    }

    #[test]
    fn a_valid_traceparent_is_kept_and_any_other_replaced() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(head(&[("traceparent", valid)]).fields["traceparent"], valid);
        for broken in ["", "00-0-0-0", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"] {
            let fields = head(&[("traceparent", broken)]).fields;
            let ours = &fields["traceparent"];
            assert!(ours != broken && Asked::of(&fields).traced, "{ours:?}");
        }
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        assert_eq!(head(&[("x-request-id", "abc-1")]).fields["x-request-id"], "abc-1");
        let replaced = head(&[("x-request-id", "a b\" status=500")]);
        assert_eq!(replaced.fields["x-request-id"].len(), 32);
    }
}
