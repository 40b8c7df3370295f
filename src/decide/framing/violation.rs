//! What can be wrong with a caller's bytes, and what the caller is told.
//! It never finds anything: the machine does.

use crate::decide::{failure::Failure, frames::Flood};

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A line of the head, a chunk line or a trailer that does not end in CRLF.
    BareLineFeed,
    /// A field line that starts with white space (obs-fold, RFC 9112 section 5.2).
    FoldedLine,
    /// A request line that is not `METHOD target HTTP/1.x`, or a target with a fragment.
    RequestLine,
    /// HTTP, but neither 1.0 nor 1.1.
    Version,
    /// A field line that is not `name: value`, or whose name or value holds what it must not.
    Field,
    /// Content-Length twice, or not digits only.
    ContentLength,
    /// Transfer-Encoding twice, in HTTP/1.0, or anything but `chunked`.
    TransferEncoding,
    /// Content-Length and Transfer-Encoding together (RFC 9112 section 6.1).
    TwoLengths,
    /// A chunk size that is no hexadecimal number, too long a chunk line, or data past its size.
    Chunk,
    /// A head larger than the limit.
    HeadTooLarge,
    /// More fields than the limit.
    TooManyFields,
    /// HTTP/2 frames that do nothing for a request, and too many of them.
    Flood,
}

impl From<Flood> for Violation {
    fn from(Flood: Flood) -> Self {
        Self::Flood
    }
}

impl Violation {
    /// What the caller gets.
    pub fn failure(self) -> Failure {
        match self {
            Self::BareLineFeed => Failure::BadRequest(
                "A line of the request ends in a bare LF or CR; end lines with CRLF",
            ),
            Self::FoldedLine => Failure::BadRequest(
                "A header line starts with white space; send each field on one line",
            ),
            Self::RequestLine => {
                Failure::BadRequest("The request line is not METHOD, target and HTTP/1.1")
            }
            Self::Version => Failure::Version,
            Self::Field => Failure::BadRequest(
                "A header line is not name, colon and value, or holds a control character",
            ),
            Self::ContentLength => {
                Failure::BadRequest("Content-Length must appear once, in digits")
            }
            Self::TransferEncoding => Failure::BadRequest(
                "Transfer-Encoding must appear once, in HTTP/1.1, and be 'chunked'",
            ),
            Self::TwoLengths => {
                Failure::BadRequest("Send Content-Length or Transfer-Encoding, not both")
            }
            Self::Chunk => Failure::BadRequest("The chunked body is malformed"),
            Self::HeadTooLarge => {
                Failure::HeadTooLarge("The request head is larger than access.max_header_bytes")
            }
            Self::TooManyFields => {
                Failure::HeadTooLarge("The request has more header fields than access.max_headers")
            }
            Self::Flood => Failure::BadRequest("Too many HTTP/2 frames that carry no request"),
        }
    }
}
