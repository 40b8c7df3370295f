//! Whether the workers move: each beats with its coarse timer.
//! It never speaks for a worker: one that hangs is silent.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// One worker's.
#[derive(Debug, Clone, Default)]
pub struct Beat(Arc<AtomicU64>);

impl Beat {
    /// It moves.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// All workers', and how far each had come at the last look.
#[derive(Debug)]
pub struct Pulse(Vec<(Beat, u64)>);

impl Pulse {
    /// Of these.
    pub fn of(beats: impl Iterator<Item = Beat>) -> Self {
        Self(beats.map(|beat| (beat, 0)).collect())
    }

    /// The first worker that has not moved since the last look.
    pub fn still(&mut self) -> Option<usize> {
        let mut still = None;
        for (number, (beat, seen)) in self.0.iter_mut().enumerate() {
            let now = beat.0.load(Ordering::Relaxed);
            if std::mem::replace(seen, now) == now {
                still.get_or_insert(number);
            }
        }
        still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_hangs_is_named_until_it_moves() {
        let beats = [Beat::default(), Beat::default()];
        let mut pulse = Pulse::of(beats.iter().cloned());
        beats.iter().for_each(Beat::beat);
        assert_eq!(pulse.still(), None);
        beats[0].beat();
        assert_eq!(pulse.still(), Some(1));
        beats[0].beat();
        assert_eq!(pulse.still(), Some(1));
        beats.iter().for_each(Beat::beat);
        assert_eq!(pulse.still(), None);
    }
}
