//! Requests on paper: the files of `tests/it/corpus/`, and the bytes and frames that they stand for.
//! It must never know what is right: each entry says what it expects.
//!
//! An entry is its name, what must come of it, and what is sent:
//!
//! ```text
//! == what makes it odd
//! 400 close
//! GET {case} HTTP/1.1\r\n
//! ```
//!
//! Lines are joined as they are: a line on the wire ends in a written `\r\n`. Besides `\r`, `\n`,
//! `\t`, `\0`, `\\` and `\xNN` there are `{case}`, a path of the entry's own, `{smuggled}`, one that
//! must never arrive, `{hidden}`, a whole request for that, and `{70000*x}`, many.
//!
//! Of HTTP/2 a line in capitals begins a frame: `HEADERS` and `DATA`, with `END_STREAM` or without,
//! or `FRAME type flags stream` for any other. What follows is its payload: `name = value` is a field,
//! `{get}` and `{post}` are four good ones, `hex 00ff` is bytes, and of `DATA` each line is its text.

use super::raw::http2::{DATA, END_HEADERS, END_STREAM, HEADERS, frame, literals};

pub struct Entry {
    /// `file: name`
    pub name: String,
    pub expected: String,
    lines: Vec<String>,
}

/// The entries of a file, and what it is about.
pub fn entries(file: &str, text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for part in text.split("\n== ").skip(1) {
        let mut lines = part.lines().filter(|line| !line.is_empty()).map(str::to_owned);
        let name = format!("{file}: {}", lines.next().unwrap());
        let expected = lines.next().unwrap();
        entries.push(Entry { name, expected, lines: lines.collect() });
    }
    entries
}

impl Entry {
    /// Of HTTP/1: what is sent by the entry with this number.
    pub fn bytes(&self, number: usize) -> Vec<u8> {
        self.lines.iter().flat_map(|line| unescaped(line, number)).collect()
    }

    /// The method of its first request, if it looks like one.
    pub fn method(&self) -> &str {
        self.lines[0].split(' ').next().unwrap_or_default()
    }

    /// Of HTTP/2: all frames of it, on stream 1.
    pub fn frames(&self, number: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut lines = self.lines.iter().peekable();
        while let Some(head) = lines.next() {
            let mut payload = Vec::new();
            let data = head.starts_with("DATA");
            while let Some(line) = lines.next_if(|line| !begins_frame(line)) {
                payload.extend(if data { unescaped(line, number) } else { part(line, number) });
            }
            let ends = if head.ends_with(" END_STREAM") { END_STREAM } else { 0 };
            match head.split(' ').collect::<Vec<_>>()[..] {
                ["FRAME", kind, flags, stream] => {
                    let flags = u8::from_str_radix(flags, 16).unwrap();
                    sent.extend(frame(
                        kind.parse().unwrap(),
                        flags,
                        stream.parse().unwrap(),
                        &payload,
                    ));
                }
                ["DATA", ..] => sent.extend(frame(DATA, ends, 1, &payload)),
                ["HEADERS", ..] => sent.extend(head_frames(ends, &payload)),
                _ => panic!("{}: no frame {head:?}", self.name),
            }
        }
        sent
    }
}

fn begins_frame(line: &str) -> bool {
    ["HEADERS", "DATA", "FRAME "].iter().any(|kind| line.starts_with(kind))
}

/// What does not fit into one frame goes on in CONTINUATION.
fn head_frames(ends: u8, block: &[u8]) -> Vec<u8> {
    const CONTINUATION: u8 = 9;
    let mut sent = Vec::new();
    let mut pieces = block.chunks(16_384).peekable();
    let (mut kind, mut flags) = (HEADERS, ends);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        sent.extend(frame(kind, flags | last, 1, piece));
        (kind, flags) = (CONTINUATION, 0);
    }
    sent
}

fn part(line: &str, number: usize) -> Vec<u8> {
    let four = |method| {
        let rest = [":scheme = http", ":authority = localhost", ":path = {case}"];
        [format!(":method = {method}").as_str()]
            .into_iter()
            .chain(rest)
            .flat_map(|line| part(line, number))
            .collect()
    };
    if let Some(hex) = line.strip_prefix("hex ") {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        return digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    }
    match line {
        "{get}" => four("GET"),
        "{post}" => four("POST"),
        line => {
            let line = unescaped(line, number);
            let many =
                line.strip_prefix(b"fields ").and_then(|rest| rest.strip_suffix(b" of x = y"));
            if let Some(count) = many {
                let count = std::str::from_utf8(count).unwrap().parse().unwrap();
                return literals(&vec![("x", "y"); count]);
            }
            let at = line.windows(2).position(|pair| pair == b" =").unwrap();
            let (name, value) = line.split_at(at);
            literals(&[(name, value[2..].strip_prefix(b" ").unwrap_or(b""))])
        }
    }
}

fn unescaped(line: &str, number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find(['\\', '{']) {
        let (plain, odd) = rest.split_at(at);
        bytes.extend(plain.bytes());
        rest = if let Some(word) = odd.strip_prefix('{') {
            let (word, after) = word.split_once('}').unwrap_or_else(|| panic!("{line:?}"));
            bytes.extend(stands_for(word, number));
            after
        } else {
            let one = |byte, length: usize| (byte, &odd[length..]);
            let (byte, after) = match odd.as_bytes()[1] {
                b'r' => one(b'\r', 2),
                b'n' => one(b'\n', 2),
                b't' => one(b'\t', 2),
                b'0' => one(0, 2),
                b'\\' => one(b'\\', 2),
                b'x' => one(u8::from_str_radix(&odd[2..4], 16).unwrap(), 4),
                other => panic!("escape {other} in {line:?}"),
            };
            bytes.push(byte);
            after
        };
    }
    bytes.extend(rest.bytes());
    bytes
}

fn stands_for(word: &str, number: usize) -> Vec<u8> {
    match word {
        "case" => format!("/case/{number}").into(),
        "smuggled" => format!("/smuggled/{number}").into(),
        "hidden" => format!("GET /smuggled/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n").into(),
        word => {
            let (count, what) = word.split_once('*').unwrap_or_else(|| panic!("{{{word}}}"));
            unescaped(what, number).repeat(count.parse().unwrap())
        }
    }
}
