//! HTTP/2 frame by frame: enough to say what no library would, and to hear how it ends.

use tokio::time::Instant;

use super::{caller::Caller, peer::Line};
use crate::support::gateway::PATIENCE;

/// Frame types (RFC 9113 section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Error codes (RFC 9113 section 7).
pub const NO_ERROR: u32 = 0;
pub const INTERNAL_ERROR: u32 = 2;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a GOAWAY.
    pub fn code(&self) -> u32 {
        number(&self.payload[4..])
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as HPACK literals, neither indexed nor compressed: any bytes can be said.
pub fn literals(fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            // RFC 7541 section 5.1, with a prefix of seven bits.
            if text.len() < 127 {
                block.push(u8::try_from(text.len()).unwrap());
            } else {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend(text);
        }
    }
    block
}

/// The status at the beginning of an answer's first header block.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        // A literal with the name of entry 8; three digits, plain or in Huffman's code.
        [0x48 | 0x08, 3, digits @ ..] => {
            std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap()
        }
        [0x48 | 0x08, length, coded @ ..] if length & 0x80 != 0 => {
            let mut bits = coded[..usize::from(length & 0x7f)]
                .iter()
                .flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
            let mut digit = || {
                let five = (0..5).fold(0, |code, _| code * 2 + bits.next().unwrap());
                // RFC 7541 appendix B: 0 to 2 take five bits, the others six from 011001 on.
                if five < 3 { five } else { five * 2 + bits.next().unwrap() - 0b01_1001 + 3 }
            };
            let number = (0..3).fold(0, |number, _| number * 10 + digit());
            u16::try_from(number).unwrap()
        }
        other => panic!("no status in {other:?}"),
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Whole.
    Stream,
    /// Reset, or the whole connection given up, with this code.
    Error(u32),
    /// The connection was closed without a word.
    Closed,
}

/// What came on a stream.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// 0: none came.
    pub status: u16,
    pub body: Vec<u8>,
    pub end: End,
}

/// A caller that speaks HTTP/2 by prior knowledge, from the first byte.
pub struct Caller2(pub Caller);

impl Caller2 {
    pub fn new(mut caller: Caller) -> Self {
        caller.send(Self::hello());
        Self(caller)
    }

    /// How it begins.
    pub fn hello() -> Vec<u8> {
        [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.send(frame(kind, flags, stream, payload));
    }

    /// The next frame, whatever it is of.
    pub fn frame(&mut self) -> Option<Frame> {
        next(|count| self.0.bytes(count))
    }

    /// Everything on `stream`, until it ends.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        let mut outcome = Outcome { status: 0, body: Vec::new(), end: End::Closed };
        let begun = Instant::now();
        while let Some(frame) = self.frame() {
            // Its PINGs keep a connection alive on which nothing else comes.
            assert!(begun.elapsed() < PATIENCE, "stream {stream} does not end: {outcome:?}");
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload),
                GOAWAY => {
                    outcome.end = End::Error(frame.code());
                    // No error: the streams that are open end by themselves.
                    if outcome.end != End::Error(0) {
                        return outcome;
                    }
                }
                RST_STREAM if frame.stream == stream => {
                    outcome.end = End::Error(number(&frame.payload));
                    return outcome;
                }
                HEADERS | DATA if frame.stream == stream => {
                    if frame.kind == DATA {
                        outcome.body.extend(&frame.payload);
                    } else if outcome.status == 0 {
                        outcome.status = status(&frame.payload);
                    }
                    if frame.flags & END_STREAM != 0 {
                        outcome.end = End::Stream;
                        return outcome;
                    }
                }
                _ => {}
            }
        }
        outcome
    }
}

/// The first four bytes.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

fn next(mut bytes: impl FnMut(usize) -> Vec<u8>) -> Option<Frame> {
    let head = bytes(9);
    let [a, b, c, kind, flags, stream @ ..] = &head[..] else { return None };
    let length = u32::from_be_bytes([0, *a, *b, *c]);
    let payload = bytes(length as usize);
    Some(Frame { kind: *kind, flags: *flags, stream: number(stream), payload })
}

/// The peer's side of an HTTP/2 connection.
pub struct Line2<'a>(pub &'a mut Line);

impl<'a> Line2<'a> {
    pub fn new(line: &'a mut Line) -> Self {
        line.bytes(PREFACE.len());
        line.send(&frame(SETTINGS, 0, 0, &[]));
        Self(line)
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.send(&frame(kind, flags, stream, payload));
    }

    /// The stream of the next request, once its last frame is there.
    pub fn request(&mut self) -> Option<u32> {
        self.until(|frame| matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0)
    }

    /// The stream of the next request, as soon as its head is there.
    pub fn head(&mut self) -> Option<u32> {
        self.until(|frame| frame.kind == HEADERS)
    }

    /// A 200 with this body.
    pub fn answer(&mut self, stream: u32, body: &str) {
        self.send(HEADERS, END_HEADERS, stream, &[0x88]);
        self.send(DATA, END_STREAM, stream, body.as_bytes());
    }

    pub fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// No stream above `last` was or will be looked at.
    pub fn go_away(&mut self, last: u32, code: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }

    fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<u32> {
        loop {
            let frame = next(|count| self.0.bytes(count))?;
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                self.send(SETTINGS, ACK, 0, &[]);
            }
            if frame.kind == PING && frame.flags & ACK == 0 {
                self.send(PING, ACK, 0, &frame.payload);
            }
            if wanted(&frame) {
                return Some(frame.stream);
            }
        }
    }
}
