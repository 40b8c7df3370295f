//! Lines of an audit log, one after the other: what is wrong with the first that is wrong.
//! It never holds more than one line, however many there are.

use std::fmt;

use super::{Hash, Head, Line, Seal};

/// Why a line is not the next of its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// It has not the form of a line.
    NoLine,
    /// It was changed, or written with another key.
    Changed,
    /// Another number should come here.
    Number {
        /// Which.
        expected: u64,
        /// Instead of it.
        found: u64,
    },
    /// It is of another chain than the line before.
    Foreign,
    /// It has the right number, and names another line as the one before it.
    Unlinked,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLine => f.write_str("this is no line of an audit log, or half of one"),
            Self::Changed => f.write_str(
                "its hash does not fit: the line was changed, or the key is not the one that it was \
                 written with",
            ),
            Self::Number { expected, found } if found > expected => {
                write!(f, "seq {expected} should be here: {} lines are missing", found - expected)
            }
            Self::Number { expected, found } => {
                write!(f, "seq {expected} should be here, not {found}: a line was put in or moved")
            }
            Self::Foreign => f.write_str("it is another gateway's line: of another chain"),
            Self::Unlinked => {
                f.write_str("it does not follow from the line before: one of the two is not genuine")
            }
        }
    }
}

/// What was found so far.
#[derive(Debug)]
pub struct Check {
    seal: Seal,
    head: Option<Head>,
    /// Lines.
    pub lines: u64,
    /// The number of the first: more than 1 when the chain began before.
    pub first_seq: u64,
    /// The first line's time.
    pub first: Option<String>,
    /// The last line's.
    pub last: Option<String>,
    /// Calls that are not in the log, as it says itself.
    pub lost: u64,
    /// Calls of callers without a name that are counted in it and no more.
    pub left_out: u64,
    /// How often a gateway began to write.
    pub starts: u64,
    /// Starts without an end before them: what was under way then has no line.
    pub crashes: u64,
    /// Since the last start or end.
    stopped: bool,
    /// Hashes of lines that must be there, and were not yet.
    pub wanted: Vec<Hash>,
}

impl Check {
    /// Of lines with this seal; those with the hashes `wanted` must be among them.
    pub fn new(seal: Seal, wanted: Vec<Hash>) -> Self {
        Self {
            seal,
            head: None,
            lines: 0,
            first_seq: 0,
            first: None,
            last: None,
            lost: 0,
            left_out: 0,
            starts: 0,
            crashes: 0,
            stopped: true,
            wanted,
        }
    }

    /// The next line, without its newline.
    ///
    /// # Errors
    /// It is not the next of this chain; nothing after it can be.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(), Break> {
        let line = Line::read(bytes).ok_or(Break::NoLine)?;
        if !line.whole(&self.seal) {
            return Err(Break::Changed);
        }
        // What came before the first that is shown is not known, but for the very first.
        let before = self.head.or((line.seq == 1).then_some(Head::START));
        if let Some(before) = before {
            // A log of before there were several has no word of it, and goes on with one.
            if line.chain.is_some() && before.chain.is_some_and(|chain| line.chain != Some(chain)) {
                return Err(Break::Foreign);
            }
            let expected = before.seq.saturating_add(1);
            if line.seq != expected {
                return Err(Break::Number { expected, found: line.seq });
            }
            if line.prev != before.hash {
                return Err(Break::Unlinked);
            }
        }
        self.head = Some(line.head());
        self.count(&line);
        Ok(())
    }

    /// The last good line.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    fn count(&mut self, line: &Line<'_>) {
        if self.lines == 0 {
            self.first_seq = line.seq;
            self.first = time(line.told);
            // Whether a run before it ended is not to be seen.
            self.stopped = true;
        }
        self.lines += 1;
        self.last = time(line.told);
        self.wanted.retain(|hash| *hash != line.hash);
        match kind(line.told) {
            Some(b"started") => {
                self.starts += 1;
                self.crashes += u64::from(!self.stopped);
                self.stopped = false;
            }
            Some(b"stopped") => self.stopped = true,
            Some(b"lost") => {
                self.stopped = false;
                let lost = number(line.told, b"\"lost\":").unwrap_or(0);
                self.lost = self.lost.saturating_add(lost);
            }
            Some(b"left_out") => {
                self.stopped = false;
                let left_out = number(line.told, b"\"left_out\":").unwrap_or(0);
                self.left_out = self.left_out.saturating_add(left_out);
            }
            // Calls, and what later versions may tell.
            Some(_) | None => self.stopped = false,
        }
    }
}

/// A line's time, if it is one: it goes to somebody's terminal.
fn time(told: &[u8]) -> Option<String> {
    let rest = told.strip_prefix(b"\"time\":\"")?;
    let end = rest.iter().take(40).position(|byte| *byte == b'"')?;
    let text = std::str::from_utf8(rest.get(..end)?).ok()?;
    let plain = |c: char| c.is_ascii_digit() || "-:.TZ".contains(c);
    text.chars().all(plain).then(|| text.to_owned())
}

fn kind(told: &[u8]) -> Option<&[u8]> {
    value(told, b"\"kind\":\"").map(|rest| rest.split(|byte| *byte == b'"').next().unwrap_or(rest))
}

fn number(told: &[u8], name: &[u8]) -> Option<u64> {
    let rest = value(told, name)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
}

/// What follows a name. Only in the beginning, before anything that a caller chooses.
fn value<'a>(told: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let beginning = told.get(..96.min(told.len()))?;
    let at = beginning.windows(name.len()).position(|window| window == name)?;
    told.get(at + name.len()..)
}
