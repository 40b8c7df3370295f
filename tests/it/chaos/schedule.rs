//! What goes wrong, when and for how long: all of it drawn from a seed.
//! It never depends on what happens: the same seed is the same schedule.

use std::{fmt, time::Duration};

use fastrand::Rng;

use super::{LEASE, SEATS, WINDOW};
use crate::support::{redis::Data, relay::Cable};

/// Something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The store is killed, and begins anew when the step ends.
    StoreKilled(Data),
    /// It answers nothing, and closes nothing.
    StorePaused,
    /// It loses all it has, at once.
    StoreFlushed,
    /// It has no room.
    StoreFull,
    /// It takes no writes.
    StoreReadOnly,
    /// One gateway does not reach it.
    Cut(usize, Cable),
    /// A gateway is killed, and a new one takes its place when the step ends.
    Killed(usize),
    /// A new gateway takes a gateway's place, which is told to go.
    Replaced(usize),
    /// A gateway stands still.
    Stopped(usize),
    /// All tokens are dead at once.
    Revoked,
    /// The login takes a while.
    SlowLogin,
}

impl Trouble {
    /// A gateway is no more there, or not heard.
    pub fn takes_one_away(self) -> bool {
        match self {
            Self::Cut(..) | Self::Killed(_) | Self::Replaced(_) | Self::Stopped(_) => true,
            Self::StoreKilled(_)
            | Self::StorePaused
            | Self::StoreFlushed
            | Self::StoreFull
            | Self::StoreReadOnly
            | Self::Revoked
            | Self::SlowLogin => false,
        }
    }
}

/// Trouble for a while, and perhaps more of it before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub trouble: Trouble,
    /// Comes half-way, and ends first.
    pub meanwhile: Option<Trouble>,
    pub lasts: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} for {} ms", self.trouble, self.lasts.as_millis())?;
        self.meanwhile.map_or(Ok(()), |more| write!(f, ", in it {more:?}"))
    }
}

/// Steps that take about so long together.
pub fn drawn(seed: u64, long: Duration) -> Vec<Step> {
    let mut dice = Rng::with_seed(seed);
    let mut steps = Vec::new();
    let mut left = long;
    while !left.is_zero() {
        let step = step(&mut dice);
        // A step takes a while to begin and to be over.
        left = left.saturating_sub(step.lasts + Duration::from_secs(2));
        steps.push(step);
    }
    steps
}

fn step(dice: &mut Rng) -> Step {
    let of_gateways = dice.bool();
    let trouble = if of_gateways { gateways_or_tokens(dice) } else { stores(dice) };
    // Whoever has lost the store loses a gateway, too, every other time.
    let meanwhile = (!of_gateways && dice.bool()).then(|| gateways_or_tokens(dice));
    Step { trouble, meanwhile, lasts: lasts(dice) }
}

/// Less than a lease, more than one, or more than anybody keeps a place for who is silent.
fn lasts(dice: &mut Rng) -> Duration {
    let kept = LEASE + WINDOW;
    let range = match dice.u8(0..4) {
        0 | 1 => Duration::from_millis(100)..LEASE,
        2 => LEASE..kept,
        _ => kept..kept + LEASE,
    };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    Duration::from_millis(dice.u64(millis(range.start)..millis(range.end)))
}

fn stores(dice: &mut Rng) -> Trouble {
    let seat = dice.usize(0..SEATS);
    match dice.u8(0..9) {
        0 => Trouble::StoreKilled(Data::Kept),
        1 => Trouble::StoreKilled(Data::Lost),
        2 => Trouble::StorePaused,
        3 => Trouble::StoreFlushed,
        4 => Trouble::StoreFull,
        5 => Trouble::StoreReadOnly,
        6 => Trouble::Cut(seat, Cable::Hangs),
        7 => Trouble::Cut(seat, Cable::Resets),
        _ => Trouble::Cut(seat, Cable::Forgets),
    }
}

fn gateways_or_tokens(dice: &mut Rng) -> Trouble {
    let seat = dice.usize(0..SEATS);
    match dice.u8(0..6) {
        0 => Trouble::Killed(seat),
        1 => Trouble::Replaced(seat),
        2 | 3 => Trouble::Stopped(seat),
        4 => Trouble::Revoked,
        _ => Trouble::SlowLogin,
    }
}
