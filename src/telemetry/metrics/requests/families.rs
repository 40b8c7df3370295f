//! The path families that have a line of their own.
//! It never takes a name that a caller made up: upstream has answered it well, or the configuration
//! has it; and there is an end to how many it takes.

use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crate::decide::{access, path};

/// Families that are found by use; all that come later are one.
pub const MOST: usize = 64;

/// `/api/v2/routing/queues`: what follows says more than a line can.
const OF_API: usize = 4;
const ELSEWHERE: usize = 2;
/// Four segments at their longest, as [`path::family`] has them.
const LONGEST: usize = 168;

/// Where a family is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row(pub usize);

/// A table that is read without a lock and only ever grows.
#[derive(Debug)]
pub struct Families {
    /// Twice as many places as names, so that whoever looks comes to an end soon.
    places: Box<[OnceLock<Box<str>>]>,
    found: AtomicUsize,
    growing: Mutex<()>,
}

impl Families {
    /// With those that the rules of `rate_limit.families` speak of.
    pub fn new(rules: impl Iterator<Item = String>) -> Self {
        let rules: Vec<String> = rules.collect();
        let size = ((MOST + rules.len()) * 2).next_power_of_two();
        let places = (0..size).map(|_| OnceLock::new()).collect();
        let families = Self { places, found: AtomicUsize::new(0), growing: Mutex::default() };
        for rule in rules {
            let path = rule.split_once(' ').map_or(&*rule, |(_, path)| path);
            // `**` is whatever follows: the family is what stands before.
            let path = path.trim_end_matches("**").trim_end_matches('/');
            if let Some(name) = Name::of(path).filter(|_| access::is_plain(path)) {
                families.put(&name);
            }
        }
        families
    }

    /// How many rows there are, the one for all others included.
    pub fn rows(&self) -> usize {
        self.places.len() + 1
    }

    /// All that have a name, and the others.
    pub fn named(&self) -> impl Iterator<Item = (Row, &str)> {
        let named = self.places.iter().enumerate();
        let named = named.filter_map(|(row, place)| Some((Row(row), &**place.get()?)));
        named.chain([(Row(self.places.len()), "other")])
    }

    /// Where a path counts. `good`: upstream has answered it, and well.
    pub fn row(&self, path: &str, good: bool) -> Row {
        let others = Row(self.places.len());
        let Some(name) = Name::of(path) else { return others };
        match self.place(&name) {
            Ok(row) => row,
            // Asked last: what is known is plain, and each call is looked up.
            Err(_)
                if good && self.found.load(Ordering::Relaxed) < MOST && access::is_plain(path) =>
            {
                self.learn(&name)
            }
            Err(_) => others,
        }
    }

    #[cold]
    fn learn(&self, name: &Name) -> Row {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have been first.
        let known = self.place(name).is_ok();
        if !known && self.found.fetch_add(1, Ordering::Relaxed) >= MOST {
            return Row(self.places.len());
        }
        self.put(name)
    }

    fn put(&self, name: &Name) -> Row {
        match self.place(name) {
            Ok(row) => row,
            Err(free) => {
                if let Some(place) = self.places.get(free.0) {
                    place.get_or_init(|| name.text().into());
                }
                free
            }
        }
    }

    /// Where it is, or the first free place.
    fn place(&self, name: &Name) -> Result<Row, Row> {
        let mask = self.places.len() - 1;
        let first = name.hash() & mask;
        for step in 0..self.places.len() {
            let row = (first + step) & mask;
            match self.places.get(row).and_then(OnceLock::get) {
                Some(known) if known.as_bytes() == name.bytes() => return Ok(Row(row)),
                Some(_) => {}
                None => return Err(Row(row)),
            }
        }
        Err(Row(self.places.len()))
    }
}

/// The first segments of a path, ids folded, on the stack.
struct Name {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Name {
    /// `None`: it is longer than any.
    fn of(path: &str) -> Option<Self> {
        let most = if path.starts_with("/api/") { OF_API } else { ELSEWHERE };
        let mut name = Self { bytes: [0; LONGEST], length: 0 };
        for segment in path::family(path).segments().take(most) {
            name.push(b"/")?;
            name.push(segment.as_bytes())?;
        }
        Some(name)
    }

    fn push(&mut self, more: &[u8]) -> Option<()> {
        let end = self.length + more.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(more);
        self.length = end;
        Some(())
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// FNV-1a, of eight bytes at a time. Who finds two names of one hash has found that they are counted
    /// well all the same.
    #[expect(clippy::cast_possible_truncation, reason = "a hash is as good as its lower half")]
    fn hash(&self) -> usize {
        let mix =
            |hash: u64, more: u64| (hash ^ more).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        // The end of the last eight is zero, as the whole was.
        let (eights, _) = self.bytes.as_chunks::<8>();
        let used = eights.iter().take(self.length.div_ceil(8));
        let hash =
            used.fold(0xcbf2_9ce4_8422_2325, |hash, eight| mix(hash, u64::from_le_bytes(*eight)));
        (hash ^ (hash >> 32)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(families: &Families) -> Vec<&str> {
        let mut names: Vec<_> = families.named().map(|(_, name)| name).collect();
        names.sort_unstable();
        names
    }

    fn none() -> Families {
        Families::new(std::iter::empty())
    }

    #[test]
    fn a_family_has_a_line_once_upstream_has_answered_it_well() {
        let families = none();
        let other = families.row("/api/v2/users/42/presence", false);
        assert_eq!(names(&families), ["other"]);
        let users = families.row("/api/v2/users/42/presence", true);
        assert_ne!(users, other);
        assert_eq!(families.row("/api/v2/users/7", false), users);
        assert_eq!(families.row("/api/v2/users", false), other);
        families.row("/uploads/v2/prompts/7", true);
        assert_eq!(names(&families), ["/api/v2/users/*", "/uploads/v2", "other"]);
    }

    #[test]
    fn what_is_odd_has_none() {
        let families = none();
        for odd in ["/api/v2/us%65rs", "//api/v2/users", "/api/v2/../users", "/a\u{e9}", "/a;b"] {
            families.row(odd, true);
        }
        assert_eq!(names(&families), ["other"]);
    }

    #[test]
    fn there_are_so_many_and_no_more_and_the_configured_ones_are_besides() {
        let rules = ["PUT /api/v2/architect/ivrs/*", "/api/v2/analytics/**", "/api/v2/a/b/c/d"];
        let families = Families::new(rules.into_iter().map(str::to_owned));
        for n in 0..10_000 {
            families.row(&format!("/api/v2/made{n}up/word"), true);
        }
        assert_eq!(names(&families).len(), MOST + 3 + 1);
        for name in ["/api/v2/architect/ivrs", "/api/v2/analytics", "/api/v2/a/b"] {
            assert!(names(&families).contains(&name), "{name}");
        }
    }

    #[test]
    fn workers_that_find_a_family_at_once_find_one() {
        let families = none();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..200 {
                        families.row(&format!("/api/v2/word{n}s"), true);
                    }
                });
            }
        });
        let named = names(&families);
        let mut once = named.clone();
        once.dedup();
        assert_eq!((named.len(), once.len()), (MOST + 1, MOST + 1));
    }
}
