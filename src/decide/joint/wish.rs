//! What one replica's callers want of a limit, as it tells the others.
//! It never tells who they are, and never believes more of it than fits.

/// One caller's wish at one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wish {
    /// The same at all replicas, and no name.
    pub caller: u64,
    /// Its share while others want more, too; at least one.
    pub weight: u32,
    /// Calls in a window.
    pub calls: u64,
}

/// Callers that are told of one by one; the rest is one.
pub const MOST: usize = 64;
const LENGTH: usize = 8 + 4 + 8;
/// More than any limit: sums of it do not overflow.
const MANY: u64 = 1 << 40;
const HEAVY: u32 = 1 << 20;

/// A call that waits now stands for so many in a window.
const WAITS: u64 = 4;

/// What a caller wants that came with `lately` calls in a window, and of whose calls `waiting` stand in
/// line: a little more than it had, or as much more as they make likely. Nobody knows how many calls
/// somebody would make who has to wait for each; twice as many, for a start.
pub fn wanted(lately: u64, waiting: u64) -> u64 {
    match waiting {
        0 if lately == 0 => 0,
        0 => lately + lately / 4 + 1,
        _ => lately.saturating_mul(2).saturating_add(waiting.saturating_mul(WAITS)),
    }
}

/// As bytes: the largest wishes one by one, the others as one caller's.
pub fn told(wishes: &[Wish]) -> Vec<u8> {
    let mut out = Vec::with_capacity(wishes.len().min(MOST) * LENGTH);
    for wish in few(wishes) {
        out.extend_from_slice(&wish.caller.to_be_bytes());
        out.extend_from_slice(&wish.weight.to_be_bytes());
        out.extend_from_slice(&wish.calls.to_be_bytes());
    }
    out
}

/// As somebody else told them; `None` when they are no wishes.
pub fn read(told: &[u8]) -> Option<Vec<Wish>> {
    let (wishes, []) = told.as_chunks::<LENGTH>() else { return None };
    if wishes.len() > MOST {
        return None;
    }
    wishes.iter().map(Wish::read).collect()
}

impl Wish {
    fn read(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (caller, rest) = bytes.split_first_chunk()?;
        let (weight, calls) = rest.split_first_chunk()?;
        Some(Self {
            caller: u64::from_be_bytes(*caller),
            weight: u32::from_be_bytes(*weight).clamp(1, HEAVY),
            calls: u64::from_be_bytes(calls.try_into().ok()?).min(MANY),
        })
    }
}

/// At most so many: those who want least are taken together, as the first of them.
fn few(wishes: &[Wish]) -> Vec<Wish> {
    let mut wishes = wishes.to_vec();
    wishes.sort_unstable_by_key(|wish| (std::cmp::Reverse(wish.calls), wish.caller));
    if wishes.len() > MOST {
        let rest = wishes.split_off(MOST - 1);
        let together = rest.into_iter().reduce(|one, other| Wish {
            caller: one.caller,
            weight: one.weight.saturating_add(other.weight),
            calls: one.calls.saturating_add(other.calls),
        });
        wishes.extend(together);
    }
    wishes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wishes() -> impl Strategy<Value = Vec<Wish>> {
        let one = (any::<u64>(), 1..1_000_u32, 0..1_000_000_u64);
        let one = one.prop_map(|(caller, weight, calls)| Wish { caller, weight, calls });
        proptest::collection::vec(one, 0..200)
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_is_read_and_nobody_is_left_out(wishes in wishes()) {
            let read = read(&told(&wishes)).unwrap();
            prop_assert!(read.len() <= MOST);
            let sum = |of: fn(&Wish) -> u64, wishes: &[Wish]| wishes.iter().map(of).sum::<u64>();
            prop_assert_eq!(sum(|wish| wish.calls, &read), sum(|wish| wish.calls, &wishes));
            let weight = |wish: &Wish| u64::from(wish.weight);
            prop_assert_eq!(sum(weight, &read), sum(weight, &wishes));
            if wishes.len() <= MOST {
                prop_assert_eq!(read.len(), wishes.len());
            }
        }

        #[test]
        fn whatever_is_told_is_read_within_bounds(told in proptest::collection::vec(any::<u8>(), 0..3_000)) {
            for wish in read(&told).unwrap_or_default() {
                prop_assert!(wish.weight > 0 && wish.weight <= HEAVY && wish.calls <= MANY);
            }
        }
    }
}
