//! An answer as HTTP/1.1 frames it (RFC 9112): a head, then a body that can end in one way only.
//! It never guesses: what can be read in two ways is refused, and its connection goes with it.

mod chunks;

#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use memchr::memmem;

use self::chunks::Chunks;
use super::headers::{Told, drop_all, drop_listed, is_common};

/// A head larger than this is refused; nobody's is a tenth of it.
const MAX_HEAD: usize = 64 * 1024;
/// So is one with more fields.
const MAX_FIELDS: usize = 128;
/// Fields that are added to nearly every answer on its way to the caller.
const OURS: usize = 4;

/// Why an answer is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not HTTP/1, or a field or line that is malformed.
    #[error("the answer's head is malformed")]
    Head,
    /// More than 64 KiB or 128 fields of head, or of trailers.
    #[error("the answer's head or trailers are too large")]
    TooLarge,
    /// `Content-Length` is no number, or there are several.
    #[error("the answer's Content-Length is not one number")]
    Length,
    /// A transfer coding that we cannot undo: its bytes would arrive without their label.
    #[error("the answer's Transfer-Encoding is not chunked alone")]
    Coding,
    /// A chunk that is malformed.
    #[error("the answer's chunks are malformed")]
    Chunk,
}

/// A head, its hop-by-hop fields gone.
#[derive(Debug)]
pub struct Head {
    /// 1xx included: more heads follow then.
    pub status: StatusCode,
    /// The phrase behind the status, where it is not the usual one.
    pub reason: Option<Bytes>,
    /// What may cross.
    pub fields: HeaderMap,
    /// What the fields said to us.
    pub told: Told,
    /// What follows.
    pub rest: Rest,
    /// The connection may carry another request when the body has ended.
    pub persists: bool,
}

/// What is still to come of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// So many bytes.
    Exactly(u64),
    /// Chunks, then trailers.
    Chunked(Chunks),
    /// Whatever comes before the connection ends.
    UntilClose,
}

/// The next of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some bytes, at least one.
    Data(Bytes),
    /// The last of a chunked body.
    Trailers(HeaderMap),
    /// It has not come yet.
    Missing,
    /// There is no more.
    End,
}

/// Takes a head off the front of what was read; `None` when its end has not come. `to_head`: it
/// answers a HEAD.
pub fn head(read: &mut BytesMut, to_head: bool) -> Result<Option<Head>, Refused> {
    let end = memmem::find(read, b"\r\n\r\n").map(|at| at + 4);
    // What ends for lenient parsers only would be waited for in vain, or read in two ways.
    if bare_line_feed(read.get(..end.unwrap_or(read.len())).unwrap_or_default()) {
        return Err(Refused::Head);
    }
    if end.unwrap_or(read.len()) > MAX_HEAD {
        return Err(Refused::TooLarge);
    }
    let Some(end) = end else { return Ok(None) };
    let bytes = read.split_to(end).freeze();
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let complete = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, &bytes, &mut lines)
        .map_err(|error| match error {
            httparse::Error::TooManyHeaders => Refused::TooLarge,
            _ => Refused::Head,
        })?;
    // It ends where we say, not at an empty line before.
    if complete != httparse::Status::Complete(bytes.len()) {
        return Err(Refused::Head);
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Refused::Head)?;
    let reason = parsed
        .reason
        .filter(|&reason| !reason.is_empty() && Some(reason) != status.canonical_reason())
        .map(|reason| bytes.slice_ref(reason.as_bytes()));
    let mut heard = Heard::default();
    let mut fields = HeaderMap::with_capacity(parsed.headers.len() + OURS);
    for line in &*parsed.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Refused::Head)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value))
            .map_err(|_| Refused::Head)?;
        if heard.crosses(&name, &value) {
            fields.append(name, value);
        }
    }
    drop_listed(&heard.listed, &mut fields);
    let http_10 = parsed.version == Some(0);
    let rest = heard.rest(status, to_head, http_10)?;
    if heard.codings > 0 {
        // RFC 9112 section 6.3: the chunks count.
        drop_all(&mut fields, &CONTENT_LENGTH);
    }
    Ok(Some(Head {
        status,
        reason,
        fields,
        rest,
        persists: heard.persists(http_10),
        told: heard.told,
    }))
}

/// What the lines of a head say about framing.
#[derive(Default)]
struct Heard {
    told: Told,
    /// Lines of `Connection` that list more than itself.
    listed: Vec<HeaderValue>,
    close: bool,
    keep_alive: bool,
    codings: usize,
    chunked: bool,
    lengths: usize,
    length: Option<u64>,
}

impl Heard {
    fn crosses(&mut self, name: &HeaderName, value: &HeaderValue) -> bool {
        if *name == CONTENT_LENGTH {
            self.lengths += 1;
            self.length = number(value.as_bytes());
            return true;
        }
        if self.told.hear(name, value) {
            return true;
        }
        if *name == CONNECTION {
            let options = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            for option in options {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
            if !is_common(value) {
                self.listed.push(value.clone());
            }
        } else if *name == TRANSFER_ENCODING {
            self.codings += 1;
            self.chunked = value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        }
        false
    }

    /// RFC 9112 section 6.3. What is wrong is refused even where it would not count.
    fn rest(&self, status: StatusCode, to_head: bool, http_10: bool) -> Result<Rest, Refused> {
        let rest = match (self.codings, self.lengths) {
            (0, 0) => Rest::UntilClose,
            (0, 1) => Rest::Exactly(self.length.ok_or(Refused::Length)?),
            (0, _) => return Err(Refused::Length),
            // Section 6.1: its framing is faulty, whatever else it says.
            (1, _) if self.chunked && !http_10 => Rest::Chunked(Chunks::default()),
            _ => return Err(Refused::Coding),
        };
        let bodiless = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        Ok(if to_head || bodiless { Rest::Exactly(0) } else { rest })
    }

    fn persists(&self, http_10: bool) -> bool {
        let two_ways = self.codings > 0 && self.lengths > 0;
        !self.close && !two_ways && (self.keep_alive || !http_10)
    }
}

/// Without an early end, so that many bytes are judged at once.
fn bare_line_feed(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.get(1..).unwrap_or_default());
    let found = pairs.fold(0, |found, (before, byte)| {
        found | (u8::from(*byte == b'\n') & u8::from(*before != b'\r'))
    });
    found != 0 || head.starts_with(b"\n")
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

impl Rest {
    /// Takes the next piece off the front of what was read.
    pub fn next(&mut self, read: &mut BytesMut) -> Result<Piece, Refused> {
        Ok(match self {
            Self::Exactly(0) => Piece::End,
            Self::Exactly(left) => take(left, read),
            Self::Chunked(chunks) => return chunks.next(read),
            Self::UntilClose => {
                let mut endless = u64::MAX;
                take(&mut endless, read)
            }
        })
    }

    /// The body has ended, and what follows it is another answer.
    pub fn ended(&self) -> bool {
        match self {
            Self::Exactly(left) => *left == 0,
            Self::Chunked(chunks) => chunks.ended(),
            Self::UntilClose => false,
        }
    }

    /// How long the body is from here, if that was said.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Exactly(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }
}

/// As many of the bytes that are `left` as there are.
fn take(left: &mut u64, read: &mut BytesMut) -> Piece {
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
    if here == 0 {
        return Piece::Missing;
    }
    *left -= here as u64;
    Piece::Data(read.split_to(here).freeze())
}
