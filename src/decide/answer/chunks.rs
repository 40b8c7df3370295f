//! A chunked body (RFC 9112 section 7.1), taken apart as it comes.
//! It never keeps more than a line of it.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::{memchr, memmem};

use super::{Piece, Refused, take};
use crate::decide::framing::{MAX_CHUNK_LINE, chunk_size};

/// Of all trailers together.
const MAX_TRAILERS: usize = 16 * 1024;
/// How many they may be.
const MAX_TRAILER_FIELDS: usize = 64;

/// Where in its chunks a body is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// Before the line that tells a chunk's size.
    #[default]
    Size,
    /// In a chunk, so many bytes before its end.
    Data(u64),
    /// Behind a chunk's bytes.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
    /// Behind everything.
    Ended,
}

impl Chunks {
    pub(super) fn ended(self) -> bool {
        self == Self::Ended
    }

    pub(super) fn next(&mut self, read: &mut BytesMut) -> Result<Piece, Refused> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = line(read, MAX_CHUNK_LINE)? else { return Ok(Piece::Missing) };
                    *self = match size(&line)? {
                        0 => Self::Trailers,
                        size => Self::Data(size),
                    };
                }
                Self::Data(left) => {
                    let piece = take(left, read);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(piece);
                }
                Self::DataEnd => {
                    let Some(line) = line(read, 0)? else { return Ok(Piece::Missing) };
                    if !line.is_empty() {
                        return Err(Refused::Chunk);
                    }
                    *self = Self::Size;
                }
                Self::Trailers => {
                    let Some(trailers) = trailers(read)? else { return Ok(Piece::Missing) };
                    *self = Self::Ended;
                    if !trailers.is_empty() {
                        return Ok(Piece::Trailers(trailers));
                    }
                }
                Self::Ended => return Ok(Piece::End),
            }
        }
    }
}

/// The next line without its end, of `most` bytes; `None` when its end has not come.
fn line(read: &mut BytesMut, most: usize) -> Result<Option<BytesMut>, Refused> {
    let within = read.get(..most + 2).unwrap_or(read);
    let Some(end) = memchr(b'\n', within) else {
        return if within.len() < most + 2 { Ok(None) } else { Err(Refused::Chunk) };
    };
    let mut line = read.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(Refused::Chunk);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size, with the blanks that some servers pad it with; extensions mean nothing.
fn size(line: &[u8]) -> Result<u64, Refused> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if memchr(b'\r', line).is_some() {
        return Err(Refused::Chunk);
    }
    chunk_size(size.trim_ascii_end()).ok_or(Refused::Chunk)
}

/// All trailers, or `None` when their end has not come.
fn trailers(read: &mut BytesMut) -> Result<Option<HeaderMap>, Refused> {
    if read.starts_with(b"\r\n") {
        let _ = read.split_to(2);
        return Ok(Some(HeaderMap::new()));
    }
    let Some(end) = memmem::find(read, b"\r\n\r\n") else {
        return if read.len() > MAX_TRAILERS { Err(Refused::TooLarge) } else { Ok(None) };
    };
    if end > MAX_TRAILERS {
        return Err(Refused::TooLarge);
    }
    let bytes = read.split_to(end + 4);
    let mut lines = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let parsed = httparse::parse_headers(&bytes, &mut lines).map_err(|_| Refused::Chunk)?;
    let httparse::Status::Complete((length, lines)) = parsed else { return Err(Refused::Chunk) };
    if length != bytes.len() {
        return Err(Refused::Chunk);
    }
    let mut trailers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Refused::Chunk)?;
        let value = HeaderValue::from_bytes(line.value).map_err(|_| Refused::Chunk)?;
        trailers.append(name, value);
    }
    Ok(Some(trailers))
}
