//! A 403 on its way to the caller: which permission the client's role lacks, for the log.
//! It never holds a byte up, never changes one, and never logs more of the body than permissions.

use std::{io::Read as _, sync::Arc};

use flate2::bufread::GzDecoder;
use http::{HeaderValue, header, response::Parts};
use tokio::time::Instant;

use super::said::Said;
use crate::decide::permissions::{Missing, missing};

/// Of the body as it comes; Genesys's errors have a few hundred bytes.
const MAX_SEEN: usize = 16 * 1024;
/// Of the body unpacked.
const MAX_UNPACKED: u64 = 64 * 1024;

/// A copy of the body's beginning, made as it passes.
#[derive(Debug)]
pub struct Glance {
    seen: Vec<u8>,
    gzip: bool,
    said: Arc<Said>,
    call: String,
    correlation_id: Option<HeaderValue>,
}

impl Glance {
    /// At the 403 to `call`, its method and family; `None` when the body cannot be read.
    pub fn at(
        parts: &Parts,
        said: &Arc<Said>,
        call: String,
        correlation_id: Option<HeaderValue>,
    ) -> Option<Box<Self>> {
        let gzip = is_gzip(parts.headers.get(header::CONTENT_ENCODING))?;
        let said = Arc::clone(said);
        Some(Box::new(Self { seen: Vec::new(), gzip, said, call, correlation_id }))
    }

    /// Some of the body passes.
    pub fn see(&mut self, data: &[u8]) {
        let room = MAX_SEEN.saturating_sub(self.seen.len());
        self.seen.extend(data.iter().take(room));
    }

    /// All of it has passed.
    pub fn end(self) {
        let body = if self.gzip {
            let mut unpacked = Vec::new();
            let packed = GzDecoder::new(&*self.seen).take(MAX_UNPACKED);
            // What was unpacked before an error may still be the whole object.
            let _ = { packed }.read_to_end(&mut unpacked);
            unpacked
        } else {
            self.seen
        };
        let Some(Missing { code, permissions }) = missing(&body) else { return };
        if !self.said.news(&(&self.call, &code, &permissions), Instant::now()) {
            return;
        }
        let correlation_id = self.correlation_id.as_ref().and_then(|id| id.to_str().ok());
        if permissions.is_empty() {
            tracing::warn!(
                call = self.call,
                code,
                correlation_id,
                "Genesys Cloud answered 403: the client's role does not allow this call"
            );
        } else {
            tracing::warn!(
                call = self.call,
                code,
                correlation_id,
                missing = permissions.join(", "),
                "Genesys Cloud answered 403: add what is missing to a role of the OAuth client \
                 (Admin > Integrations > OAuth > Roles)"
            );
        }
    }
}

/// RFC 9110 section 8.4.1: no case, and `x-gzip` is `gzip`. `None` for what is not unpacked here.
fn is_gzip(encoding: Option<&HeaderValue>) -> Option<bool> {
    let Some(encoding) = encoding else { return Some(false) };
    let is = |word: &str| encoding.as_bytes().eq_ignore_ascii_case(word.as_bytes());
    (is("identity") || is("gzip") || is("x-gzip")).then(|| !is("identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_body_is_told_by_any_spelling_of_gzip() {
        for (encoding, expected) in [
            ("gzip", Some(true)),
            ("GZIP", Some(true)),
            ("X-GZip", Some(true)),
            ("Identity", Some(false)),
            ("br", None),
        ] {
            assert_eq!(is_gzip(Some(&HeaderValue::from_static(encoding))), expected, "{encoding}");
        }
        assert_eq!(is_gzip(None), Some(false));
    }
}
