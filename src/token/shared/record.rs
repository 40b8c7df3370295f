//! What replicas tell one another of a token, as bytes: all of it sealed.
//! It never believes more than what opens: the clear numbers beside it are for the store's scripts.

use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Seat;
use crate::{
    decide::shared_token::{Offered, Serial},
    secret::wiped,
    store::token::Record,
    token::{
        answer::{Minted, Share, bearer},
        claims,
    },
};

/// What is larger is not written, and the store does not read it.
const MOST: usize = 32 * 1024;
/// The clocks of two machines may differ by so much; a login that minds more minds the token too.
const CLOCKS: Duration = Duration::from_secs(300);
/// What a token must live to be worth telling of: the way to the store and back.
const ON_THE_WAY: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Written<'a> {
    serial: Serial,
    token: &'a str,
    life_ms: u64,
    /// By the writer's clock, in seconds: an old record that somebody puts back is seen to be old.
    ends: u64,
    scopes: Option<&'a [String]>,
}

#[derive(Deserialize)]
struct Told {
    serial: Serial,
    token: SecretString,
    life_ms: u64,
    ends: u64,
    scopes: Option<Vec<String>>,
}

/// A record, and what is left of the token; `None` when that is nothing, or it is too large.
pub(super) fn write(
    seat: &Seat,
    minted: &Minted,
    ends: Instant,
    serial: Serial,
) -> Option<(Vec<u8>, Duration)> {
    let left = ends.saturating_duration_since(Instant::now()).checked_sub(ON_THE_WAY)?;
    let ends = SystemTime::now().checked_add(left)?;
    let written = Written {
        serial,
        token: bearer(&minted.authorization),
        life_ms: u64::try_from(minted.life.as_millis()).ok()?,
        ends: ends.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs(),
        scopes: minted.scopes.as_deref(),
    };
    // It never moves: what is left behind by a buffer that grows is not zeroed.
    let mut plain = Zeroizing::new(Vec::with_capacity(MOST));
    serde_json::to_writer(&mut *plain, &written).ok()?;
    let sealed = seat.key.seal(&seat.place.token, &plain);
    (sealed.len() <= MOST).then_some((sealed, left))
}

/// The token of a record that was asked for at `asked`, if it is one of ours.
pub(super) fn read(seat: &Seat, record: &Record, asked: Instant) -> Option<(Minted, Offered)> {
    let plain = seat.key.open(&seat.place.token, &record.sealed)?;
    let told: Told = serde_json::from_slice(&plain).ok()?;
    // Else somebody has put an older one under a newer number.
    if told.serial != record.serial {
        return None;
    }
    let life = Duration::from_millis(told.life_ms);
    let ends = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(told.ends))?;
    let left = record.left.min(life).min(left_by_our_clock(ends, SystemTime::now())?);
    let authorization = wiped::field(&["Bearer ", told.token.expose_secret()]).ok()?;
    let claims = claims::read(told.token.expose_secret());
    // Its whole life, as all count it, so that all renew it at about the same time.
    let (born, life) = match asked.checked_sub(life.saturating_sub(left)) {
        Some(born) => (born, life),
        None => (asked, left),
    };
    let minted = Minted {
        scopes: told.scopes,
        claims,
        born: Some(born),
        share: Share::Adopted(told.serial),
        ..Minted::opaque(authorization, life)
    };
    let given_up = seat
        .key
        .open(&gone(seat), &record.gone)
        .is_some_and(|note| *note == told.serial.to_be_bytes());
    Some((minted, Offered { serial: told.serial, left, life, given_up }))
}

/// What is left at most of one that ends then by the writer's clock: ours may be ahead.
fn left_by_our_clock(ends: SystemTime, now: SystemTime) -> Option<Duration> {
    Some(ends.checked_add(CLOCKS)?.duration_since(now).unwrap_or_default())
}

fn gone(seat: &Seat) -> String {
    format!("{}#gone", seat.place.token)
}

/// That a token was given up.
pub(super) fn note(seat: &Seat, serial: Serial) -> Vec<u8> {
    seat.key.seal(&gone(seat), &serial.to_be_bytes())
}

/// What is said on the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// There is a token of this number.
    Published(Serial),
    /// A replica was refused with the one of this number.
    GivenUp(Serial),
}

impl Message {
    /// Sealed: nobody else can make one.
    pub(super) fn write(self, seat: &Seat) -> Vec<u8> {
        let (kind, serial) = match self {
            Self::Published(serial) => (1, serial),
            Self::GivenUp(serial) => (2, serial),
        };
        let mut plain = vec![kind];
        plain.extend_from_slice(&serial.to_be_bytes());
        seat.key.seal(&seat.place.channel, &plain)
    }

    /// `None`: it is of somebody else.
    pub(super) fn read(seat: &Seat, said: &[u8]) -> Option<Self> {
        let plain = seat.key.open(&seat.place.channel, said)?;
        let (kind, serial) = plain.split_first()?;
        let serial = Serial::from_be_bytes(serial.try_into().ok()?);
        match kind {
            1 => Some(Self::Published(serial)),
            2 => Some(Self::GivenUp(serial)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_by_our_clock_is_so_give_or_take_what_clocks_differ_by() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let minute = Duration::from_secs(60);
        for (ends, left) in [
            (now + minute, CLOCKS + minute),
            (now, CLOCKS),
            (now - minute, CLOCKS.saturating_sub(minute)),
            (now - CLOCKS, Duration::ZERO),
            (SystemTime::UNIX_EPOCH, Duration::ZERO),
        ] {
            assert_eq!(left_by_our_clock(ends, now), Some(left), "{ends:?}");
        }
    }
}
