//! The framing of what an HTTP/1 caller sends, byte by byte and strictly (RFC 9112 sections 2 to 7).
//! It never repairs: what two parsers could read in two ways is a violation, and the connection ends.
//!
//! hyper parses the messages. It also forgives what a proxy must not: a bare LF ends its lines,
//! `gzip, chunked` passes, and a Content-Length beside a Transfer-Encoding vanishes before anybody
//! can refuse it. This machine sees the same bytes first.

mod violation;

use std::time::Instant;

use http::{Method, Uri};
use memchr::memchr;

use super::{
    bytes::{self, TARGET, TOKEN},
    frames::Frames,
};
pub use violation::Violation;

/// Where in the conversation the caller is; what its clock is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between requests: nothing of the next one has come.
    Idle,
    /// In the middle of a head.
    Head,
    /// In the middle of a body.
    Body,
    /// HTTP/2 or an upgraded connection: not ours to read.
    Opaque,
}

/// How much of a head is accepted.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, request line and blank line included.
    pub head_bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// Of one chunk line; extensions are allowed and mean nothing.
pub(super) const MAX_CHUNK_LINE: usize = 256;

/// HTTP/2's preface, line by line.
const PREFACE: [&[u8]; 4] = [b"PRI * HTTP/2.0", b"", b"SM", b""];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In HTTP/2's preface, this many of its lines seen (RFC 9113 section 3.4).
    Preface(usize),
    RequestLine,
    Field,
    Body {
        left: u64,
    },
    ChunkSize,
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    Trailer,
    /// HTTP/2, behind its preface.
    Http2,
    /// Upgraded.
    Opaque,
}

/// The machine, one a connection.
#[derive(Debug)]
pub struct Framing {
    limits: Limits,
    state: State,
    /// The beginning of a line whose end has not come.
    carry: Vec<u8>,
    /// Bytes and fields of the head (or of the trailers) so far.
    head: usize,
    fields: usize,
    length: Option<u64>,
    chunked: bool,
    http_10: bool,
    first: bool,
    /// Heads that were whole.
    heads: u64,
    /// Behind HTTP/2's preface. Boxed: thousands of idle callers of HTTP/1.1 have none.
    frames: Option<Box<Frames>>,
}

impl Framing {
    /// At the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::RequestLine,
            carry: Vec::new(),
            head: 0,
            fields: 0,
            length: None,
            chunked: false,
            http_10: false,
            first: true,
            heads: 0,
            frames: None,
        }
    }

    /// Where the caller is now.
    pub fn phase(&self) -> Phase {
        match self.state {
            // An empty line behind a request is no head yet; before the first it is held to be one.
            State::RequestLine if self.carry.is_empty() && (self.head == 0 || self.heads > 0) => {
                Phase::Idle
            }
            State::Preface(_) | State::RequestLine | State::Field => Phase::Head,
            State::Body { .. }
            | State::ChunkSize
            | State::ChunkData { .. }
            | State::ChunkEnd
            | State::Trailer => Phase::Body,
            State::Http2 | State::Opaque => Phase::Opaque,
        }
    }

    /// Whether the caller speaks HTTP/2 with prior knowledge; `None` while its first bytes may
    /// still become the preface.
    pub fn speaks_http2(&self) -> Option<bool> {
        match self.state {
            State::Preface(_) | State::Http2 => Some(true),
            State::RequestLine if self.first => {
                (!b"PRI * HTTP/2.0\r\n".starts_with(&self.carry)).then_some(false)
            }
            _ => Some(false),
        }
    }

    /// Which request of the connection the last bytes belong to, from 1.
    pub fn request(&self) -> u64 {
        match self.phase() {
            Phase::Idle | Phase::Head | Phase::Opaque => self.heads + 1,
            Phase::Body => self.heads,
        }
    }

    /// Upstream answered 101: what follows is not HTTP/1.
    pub fn tunnel(&mut self) {
        self.state = State::Opaque;
        self.carry.clear();
    }

    /// Between two requests for longer: room for a line in pieces is not kept.
    pub fn rest(&mut self) {
        self.carry.shrink_to_fit();
    }

    /// HTTP/2: so much of what we have to say was written.
    pub fn wrote(&mut self, bytes: usize) {
        if let Some(frames) = &mut self.frames {
            frames.wrote(bytes);
        }
    }

    /// HTTP/2: how many frames have begun since the last time.
    pub fn frames(&mut self) -> usize {
        self.frames.as_mut().map_or(0, |frames| frames.seen())
    }

    /// HTTP/2: it matters what time it is. [`Self::refill`] wants to be told.
    pub fn low(&self) -> bool {
        self.frames.as_ref().is_some_and(|frames| frames.low())
    }

    /// What time gives to a caller of HTTP/2.
    pub fn refill(&mut self, now: Instant) {
        if let Some(frames) = &mut self.frames {
            frames.refill(now);
        }
    }

    /// How many of the last bytes fed belong to a line whose end has not come. Nobody should act on
    /// them before it has: half a line has no verdict yet.
    pub fn unfinished(&self) -> usize {
        self.carry.len()
    }

    /// The next bytes of the connection, in any portions.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Http2 => {
                    let fed = self.frames.as_mut().map_or(Ok(()), |frames| frames.feed(bytes));
                    return fed.map_err(Violation::from);
                }
                State::Opaque => return Ok(()),
                State::Body { left } => {
                    let (rest, left) = skip(bytes, left);
                    self.state = if left == 0 { State::RequestLine } else { State::Body { left } };
                    rest
                }
                State::ChunkData { left } => {
                    let (rest, left) = skip(bytes, left);
                    self.state =
                        if left == 0 { State::ChunkEnd } else { State::ChunkData { left } };
                    rest
                }
                State::Preface(_)
                | State::RequestLine
                | State::Field
                | State::ChunkSize
                | State::ChunkEnd
                | State::Trailer => self.feed_line(bytes)?,
            };
        }
        Ok(())
    }

    /// Takes one line, or keeps its beginning.
    fn feed_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Violation> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.grow(bytes.len())?;
            self.carry.extend_from_slice(bytes);
            return Ok(&[]);
        };
        let (line, rest) = bytes.split_at(end + 1);
        self.grow(line.len())?;
        if self.carry.is_empty() {
            self.whole_line(line)?;
        } else {
            let mut whole = std::mem::take(&mut self.carry);
            whole.extend_from_slice(line);
            self.whole_line(&whole)?;
            whole.clear();
            self.carry = whole;
        }
        Ok(rest)
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        let line = line.strip_suffix(b"\r\n").ok_or(Violation::BareLineFeed)?;
        // No line is good with a bare CR in it, but only a bad one is searched for it.
        self.line(line).map_err(|violation| match memchr(b'\r', line) {
            Some(_) => Violation::BareLineFeed,
            None => violation,
        })
    }

    fn grow(&mut self, by: usize) -> Result<(), Violation> {
        self.head += by;
        let (limit, broken) = match self.state {
            State::ChunkSize | State::ChunkEnd => (MAX_CHUNK_LINE, Violation::Chunk),
            State::Preface(_)
            | State::RequestLine
            | State::Field
            | State::Trailer
            | State::Body { .. }
            | State::ChunkData { .. }
            | State::Http2
            | State::Opaque => (self.limits.head_bytes, Violation::HeadTooLarge),
        };
        if self.head > limit { Err(broken) } else { Ok(()) }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Violation> {
        match self.state {
            State::Preface(seen) => self.preface(line, seen),
            State::RequestLine => self.request_line(line),
            State::Field if line.is_empty() => self.end_of_head(),
            State::Field => self.field(line),
            State::ChunkSize => self.chunk_size(line),
            State::ChunkEnd if line.is_empty() => {
                self.next(State::ChunkSize);
                Ok(())
            }
            State::ChunkEnd => Err(Violation::Chunk),
            State::Trailer if line.is_empty() => {
                self.next(State::RequestLine);
                Ok(())
            }
            State::Trailer => self.count_field(line).map(drop),
            // No lines in these states: `feed` does not come here.
            State::Body { .. } | State::ChunkData { .. } | State::Http2 | State::Opaque => Ok(()),
        }
    }

    fn next(&mut self, state: State) {
        self.state = state;
        self.head = 0;
        self.fields = 0;
    }

    fn preface(&mut self, line: &[u8], seen: usize) -> Result<(), Violation> {
        if PREFACE.get(seen) != Some(&line) {
            return Err(Violation::Version);
        }
        if seen + 1 < PREFACE.len() {
            self.state = State::Preface(seen + 1);
        } else {
            (self.state, self.frames) = (State::Http2, Some(Box::default()));
        }
        Ok(())
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        if line.is_empty() {
            // RFC 9112 section 2.2: an empty line before a request is ignored; bounded by `grow`.
            self.first = false;
            return Ok(());
        }
        if self.first && Some(&line) == PREFACE.first() {
            return self.preface(line, 0);
        }
        let mut words = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Violation::RequestLine);
        };
        if method.is_empty()
            || !bytes::all(method, TOKEN)
            || Method::from_bytes(method).is_err()
            || !is_target(target)
        {
            return Err(Violation::RequestLine);
        }
        self.http_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Violation::Version);
            }
            _ => return Err(Violation::RequestLine),
        };
        self.first = false;
        self.length = None;
        self.chunked = false;
        self.fields = 0;
        self.state = State::Field;
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Violation> {
        let (name, value) = self.count_field(line)?;
        // Lengths of names decide for nearly every line that its name need not be compared.
        if name.len() == b"content-length".len() && name.eq_ignore_ascii_case(b"content-length") {
            self.content_length(trim_blanks(value))?;
        } else if name.len() == b"transfer-encoding".len()
            && name.eq_ignore_ascii_case(b"transfer-encoding")
        {
            let coding = trim_blanks(value);
            if self.chunked || self.http_10 || !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(Violation::TransferEncoding);
            }
            self.chunked = true;
        }
        Ok(())
    }

    /// A field's name and its value, with the white space around it.
    fn count_field<'a>(&mut self, line: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Violation> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Violation::FoldedLine);
        }
        self.fields += 1;
        if self.fields > self.limits.fields {
            return Err(Violation::TooManyFields);
        }
        let (name, rest) = bytes::split(line, TOKEN);
        let Some((b':', value)) = rest.split_first() else { return Err(Violation::Field) };
        // RFC 9110 section 5.5: a control character in a value is dangerous, whatever it means.
        // There is none in the name, so the line is asked: the more bytes at once, the better.
        if name.is_empty() || bytes::holds_control(line) {
            return Err(Violation::Field);
        }
        Ok((name, value))
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Violation::ContentLength);
        }
        let digits = std::str::from_utf8(value).map_err(|_| Violation::ContentLength)?;
        self.length = Some(digits.parse().map_err(|_| Violation::ContentLength)?);
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Violation> {
        if self.chunked && self.length.is_some() {
            return Err(Violation::TwoLengths);
        }
        self.heads += 1;
        let after = match self.length {
            _ if self.chunked => State::ChunkSize,
            Some(left) if left > 0 => State::Body { left },
            Some(_) | None => State::RequestLine,
        };
        self.next(after);
        Ok(())
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<(), Violation> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        // White space before an extension is bad white space (RFC 9112 section 7.1.1): refused.
        let apart = matches!(extension.first(), None | Some(b';'));
        if !apart || memchr(b'\r', extension).is_some() {
            return Err(Violation::Chunk);
        }
        let left = chunk_size(size).ok_or(Violation::Chunk)?;
        self.next(if left == 0 { State::Trailer } else { State::ChunkData { left } });
        Ok(())
    }
}

/// A chunk's size in hexadecimal: as many digits as no number of 64 bits outgrows.
pub(super) fn chunk_size(digits: &[u8]) -> Option<u64> {
    let plain = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| plain)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
}

fn skip(bytes: &[u8], left: u64) -> (&[u8], u64) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (bytes.get(here..).unwrap_or_default(), left - here as u64)
}

/// A path is read here; for anything unusual the parser that comes after us is asked, so that it
/// never refuses what we let pass.
fn is_target(target: &[u8]) -> bool {
    (target.starts_with(b"/") && bytes::all(target, TARGET))
        || (memchr(b'#', target).is_none() && Uri::try_from(target).is_ok())
}

/// Blanks and tabs only: what `trim_ascii` takes for white space is a control character here.
fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests;
