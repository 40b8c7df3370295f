//! An answer in memory, all of it, and the room that answers on their way to several callers take.
//! It never holds on to the buffer that an answer was read into.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header, response::Parts};

use crate::{
    decide::{headers::drop_all, saving::Origin},
    gateway::respond::{RATE_LIMIT, RATE_LIMIT_POLICY},
};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// An answer that has come to its end.
#[derive(Debug)]
pub struct Whole {
    /// Status and fields.
    pub parts: Parts,
    /// Upstream's name for the call that brought it.
    pub correlation_id: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
}

/// What a field costs in a `HeaderMap` beside its bytes, and an answer beside its fields.
const OF_A_FIELD: usize = 64;
const OF_AN_ANSWER: usize = 512;

impl Whole {
    /// Copies the fields: as they come, they may be pieces of a connection's buffer.
    pub fn new(mut parts: Parts, correlation_id: Option<&HeaderValue>, body: Bytes) -> Self {
        let mut fields = HeaderMap::with_capacity(parts.headers.keys_len());
        for (name, value) in &parts.headers {
            fields.append(name.clone(), own(value));
        }
        parts.headers = fields;
        Self { parts, correlation_id: correlation_id.map(own), body }
    }

    /// In bytes, about.
    pub fn size(&self) -> usize {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            name.as_str().len() + value.len() + OF_A_FIELD
        };
        OF_AN_ANSWER + self.parts.headers.iter().map(field).sum::<usize>() + self.body.len()
    }

    /// The head as one caller gets it.
    pub fn head(&self, origin: Origin) -> Parts {
        let mut parts = self.parts.clone();
        match origin {
            Origin::Kept { age, .. } => {
                parts.headers.insert(header::AGE, HeaderValue::from(age));
                forget_quota(&mut parts.headers);
            }
            // Meant for whoever's call it was.
            Origin::Collapsed => {
                drop_all(&mut parts.headers, &header::SET_COOKIE);
                forget_quota(&mut parts.headers);
            }
            Origin::Sent { .. } => {}
        }
        mark(&mut parts, origin);
        parts
    }
}

/// What was left after somebody else's call.
fn forget_quota(fields: &mut HeaderMap) {
    for name in [&RATE_LIMIT, &RATE_LIMIT_POLICY] {
        drop_all(fields, name);
    }
}

fn own(value: &HeaderValue) -> HeaderValue {
    // It was one before.
    let mut owned = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    owned.set_sensitive(value.is_sensitive());
    owned
}

/// Says where the answer came from, after what caches behind us said (RFC 9211 section 2).
pub fn mark(parts: &mut Parts, origin: Origin) {
    if let Ok(value) = HeaderValue::try_from(origin.cache_status()) {
        parts.headers.append(CACHE_STATUS, value);
    }
}

/// Memory for answers on their way to several callers, until the last of them has its own.
#[derive(Debug)]
pub struct Room {
    used: AtomicUsize,
    total: usize,
}

impl Room {
    /// At most `total` bytes.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), total })
    }

    /// Nothing more goes in.
    pub fn full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.total
    }

    /// None of it yet.
    pub fn place(self: &Arc<Self>) -> Place {
        Place { room: Arc::clone(self), bytes: 0 }
    }
}

/// One answer's part of the room.
#[derive(Debug)]
pub struct Place {
    room: Arc<Room>,
    bytes: usize,
}

impl Place {
    /// Takes more; `false` when there is no more.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let within = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.room.total);
        let (order, used) = (Ordering::Relaxed, &self.room.used);
        let grown = used.fetch_update(order, order, within).is_ok();
        self.bytes += if grown { bytes } else { 0 };
        grown
    }

    /// The same bytes, which keep their place for as long as anybody holds any of them.
    pub fn of(self, body: Bytes) -> Bytes {
        Bytes::from_owner(Placed { body, _place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Placed {
    body: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_its_place_until_nobody_holds_any_of_it() {
        let room = Room::new(10);
        let mut place = room.place();
        assert!(place.grow(4) && place.grow(6) && !place.grow(1));
        assert!(room.full() && !room.place().grow(1));
        let body = place.of(Bytes::from_static(b"0123456789"));
        let piece = body.slice(2..4);
        drop(body);
        assert!(room.full());
        drop(piece);
        assert!(!room.full() && room.place().grow(10));
        assert!(room.place().grow(10), "what is not used is given back");
    }

    #[test]
    fn a_cookie_is_for_whose_call_it_was() {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.headers.append(header::SET_COOKIE, HeaderValue::from_static("a=b"));
        parts.headers.append(header::SET_COOKIE, HeaderValue::from_static("c=d"));
        let whole = Whole::new(parts, None, Bytes::new());
        let cookies =
            |origin| whole.head(origin).headers.get_all(header::SET_COOKIE).iter().count();
        assert_eq!(cookies(Origin::Sent { wanted: false, stored: false }), 2);
        assert_eq!(cookies(Origin::Collapsed), 0);
    }
}
