//! The request as upstream gets it: stripped first, signed last.
//! It never lets anything of the caller's stand where ours goes.

use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version,
    header::{AUTHORIZATION, CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::PathAndQuery,
};
use http_body::Body as _;

use crate::{
    decide::headers,
    upstream::{
        pool::{Lease, Pool},
        replay::Attempt,
    },
};

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
    pub fn new(parts: Parts, request_id: &HeaderValue) -> Self {
        let upgrade = wants_websocket(&parts);
        let trailers = headers::accepts_trailers(&parts.headers);
        let path = parts.uri.path_and_query().cloned();
        let mut fields = parts.headers;
        headers::strip_request(&mut fields);
        fields.insert("x-request-id", request_id.clone());
        if !fields.get("traceparent").is_some_and(is_traceparent) {
            fields.insert("traceparent", new_traceparent());
        }
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Self { method: parts.method, path, upgrade, fields, trailers }
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

/// Only WebSocket (RFC 6455): h2c and TLS upgrades would carry requests that nobody looks at.
fn wants_websocket(parts: &Parts) -> bool {
    let says = |name, word: &str| {
        parts
            .headers
            .get_all(name)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.split(',').any(|item| item.trim().eq_ignore_ascii_case(word)))
    };
    parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && says(CONNECTION, "upgrade")
        && says(UPGRADE, "websocket")
}

/// W3C Trace Context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`, ids not zero.
fn is_traceparent(value: &HeaderValue) -> bool {
    let mut parts = value.as_bytes().split(|&byte| byte == b'-');
    let mut hex = |length: usize, zero: bool| {
        parts.next().is_some_and(|part| {
            part.len() == length
                && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                && (zero || part.iter().any(|&byte| byte != b'0'))
        })
    };
    hex(2, true) && hex(32, false) && hex(16, false) && hex(2, true) && parts.next().is_none()
}

fn new_traceparent() -> HeaderValue {
    // 55 bytes; ids are random, not secret.
    let text = format!("00-{:032x}-{:016x}-01", fastrand::u128(1..), fastrand::u64(1..));
    HeaderValue::try_from(text).expect("hex digits and dashes are visible ASCII")
}

/// The caller's `X-Request-Id` when it is a plain word, else a new one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |value: &&HeaderValue| {
        (1..=128).contains(&value.len())
            && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
    };
    headers.get("x-request-id").filter(plain).cloned().unwrap_or_else(new_request_id)
}

fn new_request_id() -> HeaderValue {
    HeaderValue::try_from(format!("{:032x}", fastrand::u128(1..)))
        .expect("hex digits are visible ASCII")
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
        let id = request_id(&parts.headers);
        Head::new(parts, &id)
    }

    #[test]
    fn the_path_and_query_keep_their_bytes() {
        assert_eq!(head(&[]).path.as_str(), "/a%2fb//c?x=%zz&y");
    }

    #[test]
    fn only_a_whole_websocket_request_upgrades() {
        for (lines, expected) in [
            (&[("connection", "Upgrade"), ("upgrade", "WebSocket")][..], true),
            (&[("connection", "keep-alive, upgrade"), ("upgrade", "websocket")], true),
            (&[("upgrade", "websocket")], false),
            (&[("connection", "upgrade"), ("upgrade", "h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "TLS/1.0")], false),
        ] {
            assert_eq!(head(lines).upgrade, expected, "{lines:?}");
        }
    }

    #[test]
    fn a_valid_traceparent_is_kept_and_any_other_replaced() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(head(&[("traceparent", valid)]).fields["traceparent"], valid);
        for broken in ["", "00-0-0-0", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"] {
            let fields = head(&[("traceparent", broken)]).fields;
            assert!(is_traceparent(&fields["traceparent"]) && fields["traceparent"] != broken);
        }
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        assert_eq!(head(&[("x-request-id", "abc-1")]).fields["x-request-id"], "abc-1");
        let replaced = head(&[("x-request-id", "a b\" status=500")]);
        assert_eq!(replaced.fields["x-request-id"].len(), 32);
    }
}
