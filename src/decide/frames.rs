//! The frames of an HTTP/2 caller by their heads: what is cheap to send and does nothing for a
//! request has to be paid for (RFC 9113 section 10.5).
//! It never judges what a frame says: the HTTP/2 library does, and limits what it can see.
//!
//! A PING costs its sender 17 bytes and us an answer. Who reads the answers could go on for ever;
//! who does not meets the library's own limit. So a connection has credit: its requests and the
//! bytes of their answers bring some, and so does time. A PING a second, a browser's priorities, or
//! two updates of a window for each DATA frame never use it up.

use std::time::{Duration, Instant};

/// What a connection begins with, and what time brings it back to: 256 PINGs.
const START: u32 = 256 * DEAR;
/// No more than this is saved up. A caller may take 16 MiB of an answer before it updates its windows
/// for the first of its frames.
const MOST: u32 = 16 * START;
/// A new stream brings this: some priorities, its updates, its reset.
const REQUEST: u32 = 8 * DEAR;
/// So many bytes of answers bring 1.
const WRITTEN: usize = 8;
/// Time brings 1 in this: 20 PINGs a second.
const REFILL: Duration = Duration::from_micros(3125);
/// The price of a frame that is answered or makes the library work.
const DEAR: u32 = 16;
/// And of so many bytes in it.
const BYTES: u32 = 16;
/// The price of one that is only noted: a priority, an update of a window.
const CHEAP: u32 = 1;

/// Of a frame's head (RFC 9113 section 4.1).
const HEAD: usize = 9;
/// A frame's type.
const HEADERS: u8 = 1;

/// The machine, one a connection.
#[derive(Debug)]
pub struct Frames {
    /// As much as has come of a frame's head.
    head: [u8; HEAD],
    known: usize,
    /// Still to come of its payload.
    left: u32,
    credit: u32,
    refilled: Option<Instant>,
    /// The highest stream that was opened.
    opened: u32,
    /// Heads seen since somebody asked.
    seen: usize,
}

/// There is no credit left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood;

/// What a frame does to the credit.
enum Price {
    Brings(u32),
    Costs(u32),
}

impl Default for Frames {
    /// Behind the preface.
    fn default() -> Self {
        Self {
            head: [0; HEAD],
            known: 0,
            left: 0,
            credit: START,
            refilled: None,
            opened: 0,
            seen: 0,
        }
    }
}

impl Frames {
    /// The next bytes from the caller, in any portions.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        loop {
            let payload = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= u32::try_from(payload).unwrap_or(self.left);
            bytes = bytes.get(payload..).unwrap_or_default();
            let Some(missing) = self.head.get_mut(self.known..) else { return Ok(()) };
            let count = missing.len().min(bytes.len());
            if count == 0 {
                return Ok(());
            }
            let (of_head, rest) = bytes.split_at(count);
            missing.iter_mut().zip(of_head).for_each(|(byte, fresh)| *byte = *fresh);
            bytes = rest;
            self.known += count;
            if self.known == HEAD {
                self.known = 0;
                self.begin()?;
            }
        }
    }

    /// So much of answers was written.
    pub fn wrote(&mut self, bytes: usize) {
        self.bring(u32::try_from(bytes / WRITTEN).unwrap_or(MOST));
    }

    /// It is worth looking at the clock, and telling [`Self::refill`].
    pub fn low(&self) -> bool {
        self.credit < START
    }

    /// What time brings, up to what a connection begins with.
    pub fn refill(&mut self, now: Instant) {
        let since = self.refilled.map(|then| now.saturating_duration_since(then));
        let brought = since.map_or(START, |since| {
            u32::try_from(since.as_nanos() / REFILL.as_nanos()).unwrap_or(START)
        });
        if brought > 0 {
            self.refilled = Some(now);
            self.credit = self.credit.saturating_add(brought).min(self.credit.max(START));
        }
    }

    /// How many frames have begun since the last time: each is work, however few bytes it has.
    pub fn seen(&mut self) -> usize {
        std::mem::take(&mut self.seen)
    }

    /// A frame's head is whole.
    fn begin(&mut self) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, a, b, c, d] = self.head;
        self.left = u32::from_be_bytes([0, high, middle, low]);
        self.seen += 1;
        // A stream that was reset takes more heads, which the library reads and forgets.
        let stream = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
        let opens = kind == HEADERS && stream > self.opened;
        if opens {
            self.opened = stream;
        }
        match price((kind, flags), self.left, opens) {
            Price::Brings(credit) => self.bring(credit),
            Price::Costs(credit) => self.credit = self.credit.checked_sub(credit).ok_or(Flood)?,
        }
        Ok(())
    }

    fn bring(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit).min(MOST);
    }
}

/// By its type and flags, its length, and whether it opens a stream (RFC 9113 section 6, RFC 9218
/// section 7.1).
fn price((kind, flags): (u8, u8), length: u32, opens: bool) -> Price {
    const END_STREAM: u8 = 1;
    match kind {
        // DATA: bodies have their own bounds; nothing, and no end, is no body.
        0x0 if length > 0 || flags & END_STREAM != 0 => Price::Costs(0),
        // So have streams; trailers do not come often.
        HEADERS if opens => Price::Brings(REQUEST),
        // CONTINUATION: the library bounds how much of it a head may have.
        0x9 => Price::Costs(DEAR),
        // PRIORITY, WINDOW_UPDATE, PRIORITY_UPDATE.
        0x2 | 0x8 | 0x10 => Price::Costs(CHEAP + length / BYTES),
        // RST_STREAM, SETTINGS, PING, GOAWAY, more HEADERS, and what nobody knows.
        _ => Price::Costs(DEAR + length / BYTES),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::t0;

    const CONTINUATION: u8 = 9;
    const PRIORITY: u8 = 2;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const UNKNOWN: u8 = 99;

    fn frame(kind: u8, length: u32) -> Vec<u8> {
        let [_, high, middle, low] = length.to_be_bytes();
        let mut frame = vec![high, middle, low, kind, 0, 0, 0, 0, 1];
        frame.resize(HEAD + length as usize, b'.');
        frame
    }

    /// How many of them a new connection may send at once, the n-th made of n.
    fn most(frame: impl Fn(u32) -> Vec<u8>) -> usize {
        let mut frames = Frames::default();
        (0..100_000).take_while(|n| frames.feed(&frame(*n)).is_ok()).count()
    }

    /// HEADERS on a stream.
    fn head(stream: u32) -> Vec<u8> {
        let mut head = frame(HEADERS, 20);
        head[5..HEAD].copy_from_slice(&stream.to_be_bytes());
        head
    }

    #[test]
    fn what_does_nothing_ends_and_what_carries_a_request_does_not() {
        let ping = frame(PING, 8);
        for (what, of, expected) in [
            ("PING", ping.clone(), 256),
            ("SETTINGS", frame(SETTINGS, 6), 256),
            ("long SETTINGS", frame(SETTINGS, 16_380), 3),
            ("empty DATA", frame(0, 0), 256),
            ("unknown", frame(UNKNOWN, 0), 256),
            ("PRIORITY", frame(PRIORITY, 5), 4096),
            ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 4), 4096),
            ("the end of a body", vec![0, 0, 0, 0, 1, 0, 0, 0, 1], 100_000),
            ("DATA", frame(0, 1), 100_000),
            ("HEADERS on one stream", head(1), 249),
            ("CONTINUATION", frame(CONTINUATION, 16_384), 256),
        ] {
            assert_eq!(most(|_| of.clone()), expected, "{what}");
        }
    }

    #[test]
    fn what_opens_a_stream_is_welcome_and_may_be_as_long_as_a_head_is() {
        // 64 KiB of a head.
        let long = |n| [head(2 * n + 1), frame(CONTINUATION, 16_384).repeat(4)].concat();
        assert_eq!(most(|n| head(2 * n + 1)), 100_000);
        assert_eq!(most(|n| [head(2 * n + 1), frame(PING, 8)].concat()), 100_000);
        assert_eq!(most(long), 100_000);
    }

    #[test]
    fn time_brings_credit_back_as_far_as_it_was_at_first() {
        let mut frames = Frames::default();
        let pings = |frames: &mut Frames| {
            let affords = |frames: &mut Frames| frames.credit >= DEAR;
            (0..1000)
                .take_while(|_| affords(frames) && frames.feed(&frame(PING, 8)).is_ok())
                .count()
        };
        assert_eq!(pings(&mut frames), 256);
        assert!(frames.low());
        // When it began is not known.
        frames.refill(t0());
        assert!(!frames.low());
        assert_eq!(pings(&mut frames), 256);
        frames.refill(t0());
        assert_eq!(pings(&mut frames), 0);
        frames.refill(t0() + Duration::from_secs(1));
        assert_eq!(pings(&mut frames), 20);
        frames.refill(t0() + Duration::from_secs(3600));
        assert_eq!(pings(&mut frames), 256);
    }

    #[test]
    fn often_asked_time_brings_as_much() {
        let mut frames = Frames::default();
        frames.refill(t0());
        while frames.feed(&frame(PING, 8)).is_ok() {}
        for tenths in 0..10_000 {
            frames.refill(t0() + Duration::from_micros(100 * tenths));
        }
        assert!((15 * DEAR..=20 * DEAR).contains(&frames.credit), "{}", frames.credit);
    }

    #[test]
    fn every_frame_of_a_long_answer_may_be_acknowledged_twice_and_late() {
        let mut frames = Frames::default();
        for _ in 0..10 {
            // 16 MiB in DATA frames of 16 KiB, all of them on their way before the first update.
            for _ in 0..1024 {
                frames.wrote(16 * 1024 + HEAD);
            }
            for _ in 0..2048 {
                frames.feed(&frame(WINDOW_UPDATE, 4)).unwrap();
            }
        }
    }

    #[test]
    fn the_answers_of_pings_do_not_pay_for_them() {
        let mut frames = Frames::default();
        let answered = (0..1000).take_while(|_| {
            frames.wrote(17);
            frames.feed(&frame(PING, 8)).is_ok()
        });
        assert!(answered.count() < 300);
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_does_not_matter(
            kinds in prop::collection::vec((0..12_u8, 0..400_u32), 1..400),
            cut in 1..500_usize,
        ) {
            let bytes: Vec<u8> = kinds.into_iter().flat_map(|(kind, length)| frame(kind, length)).collect();
            let (mut whole, mut parts) = (Frames::default(), Frames::default());
            let one = whole.feed(&bytes);
            let many = bytes.chunks(cut).try_for_each(|part| parts.feed(part));
            prop_assert_eq!(one, many);
            prop_assert_eq!(whole.credit, parts.credit);
        }
    }
}
