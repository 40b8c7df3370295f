//! An ordered set that knows how many of its members stand before a key.
//! It never walks them to count: everything is logarithmic, whatever the order of arrival.
//!
//! The standard library's sets cannot count, and a line of ten thousand is asked at every arrival.
//! A treap is the shortest structure that can: a search tree by key, a heap by a number drawn for
//! each member, so that its expected depth is that of a tree built in random order.

/// The place of a node that is not there.
const NONE: usize = usize::MAX;

/// The set. Keys are small and unique.
#[derive(Debug, Clone)]
pub struct Rank<K> {
    nodes: Vec<Node<K>>,
    free: Vec<usize>,
    root: usize,
    drawn: u64,
}

#[derive(Debug, Clone)]
struct Node<K> {
    key: K,
    heat: u64,
    /// Members in its subtree, itself included.
    size: usize,
    left: usize,
    right: usize,
}

impl<K> Default for Rank<K> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NONE, drawn: 0 }
    }
}

impl<K: Ord + Copy> Rank<K> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.size(self.root)
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.root == NONE
    }

    /// Adds a key that is not there.
    pub fn insert(&mut self, key: K) {
        debug_assert!(!self.contains(&key), "keys are unique");
        let heat = self.draw();
        let node = Node { key, heat, size: 1, left: NONE, right: NONE };
        let at = if let Some(at) = self.free.pop() {
            if let Some(place) = self.nodes.get_mut(at) {
                *place = node;
            }
            at
        } else {
            self.nodes.push(node);
            self.nodes.len() - 1
        };
        let (before, after) = self.split(self.root, &key);
        let before = self.merge(before, at);
        self.root = self.merge(before, after);
    }

    /// Takes a key out; whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        if !self.contains(key) {
            return false;
        }
        self.root = self.without(self.root, key);
        if self.root == NONE {
            // A line that was long once is not paid for ever.
            self.nodes = Vec::new();
            self.free = Vec::new();
        }
        true
    }

    /// How many keys are smaller than this one, which need not be there.
    pub fn before(&self, key: &K) -> usize {
        let (mut at, mut count) = (self.root, 0);
        while let Some(node) = self.nodes.get(at) {
            if node.key < *key {
                count += self.size(node.left) + 1;
                at = node.right;
            } else {
                at = node.left;
            }
        }
        count
    }

    /// The key before which there are `n` others.
    pub fn nth(&self, mut n: usize) -> Option<K> {
        let mut at = self.root;
        loop {
            let node = self.nodes.get(at)?;
            let left = self.size(node.left);
            match n.cmp(&left) {
                std::cmp::Ordering::Less => at = node.left,
                std::cmp::Ordering::Equal => return Some(node.key),
                std::cmp::Ordering::Greater => {
                    n -= left + 1;
                    at = node.right;
                }
            }
        }
    }

    /// The smallest key.
    pub fn first(&self) -> Option<K> {
        self.nth(0)
    }

    /// The largest key.
    pub fn last(&self) -> Option<K> {
        self.nth(self.len().checked_sub(1)?)
    }

    fn contains(&self, key: &K) -> bool {
        self.nth(self.before(key)).is_some_and(|found| found == *key)
    }

    fn size(&self, at: usize) -> usize {
        self.nodes.get(at).map_or(0, |node| node.size)
    }

    fn heat(&self, at: usize) -> u64 {
        self.nodes.get(at).map_or(0, |node| node.heat)
    }

    /// The next of a fixed sequence that looks random (splitmix64): nobody chooses where a key
    /// goes, and a run can be replayed.
    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.drawn ^ (self.drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Cuts a subtree in what is smaller than the key, and the rest.
    fn split(&mut self, at: usize, key: &K) -> (usize, usize) {
        let Some(node) = self.nodes.get(at) else { return (NONE, NONE) };
        if node.key < *key {
            let (before, after) = self.split(node.right, key);
            (self.join(at, None, Some(before)), after)
        } else {
            let (before, after) = self.split(node.left, key);
            (before, self.join(at, Some(after), None))
        }
    }

    /// One subtree of two, all of the first before all of the second.
    fn merge(&mut self, first: usize, second: usize) -> usize {
        let (Some(left), Some(right)) = (self.nodes.get(first), self.nodes.get(second)) else {
            return if first == NONE { second } else { first };
        };
        if left.heat > right.heat {
            let rest = self.merge(left.right, second);
            self.join(first, None, Some(rest))
        } else {
            let rest = self.merge(first, right.left);
            self.join(second, Some(rest), None)
        }
    }

    fn without(&mut self, at: usize, key: &K) -> usize {
        let Some(node) = self.nodes.get(at) else { return NONE };
        let (left, right) = (node.left, node.right);
        match key.cmp(&node.key) {
            std::cmp::Ordering::Less => {
                let rest = self.without(left, key);
                self.join(at, Some(rest), None)
            }
            std::cmp::Ordering::Greater => {
                let rest = self.without(right, key);
                self.join(at, None, Some(rest))
            }
            std::cmp::Ordering::Equal => {
                self.free.push(at);
                self.merge(left, right)
            }
        }
    }

    /// Hangs subtrees under a node, and counts it anew.
    fn join(&mut self, at: usize, left: Option<usize>, right: Option<usize>) -> usize {
        let Some(node) = self.nodes.get(at) else { return NONE };
        let (left, right) = (left.unwrap_or(node.left), right.unwrap_or(node.right));
        debug_assert!(node.heat >= self.heat(left).max(self.heat(right)), "it is a heap");
        let size = self.size(left) + self.size(right) + 1;
        if let Some(node) = self.nodes.get_mut(at) {
            (node.left, node.right, node.size) = (left, right, size);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_that_come_in_order_do_not_make_it_a_list() {
        let mut rank = Rank::default();
        (0..100_000u32).for_each(|key| rank.insert(key));
        let mut depth = 0;
        let mut level = vec![rank.root];
        while !level.is_empty() {
            depth += 1;
            level = level
                .iter()
                .flat_map(|&at| [rank.nodes[at].left, rank.nodes[at].right])
                .filter(|&at| at != NONE)
                .collect();
        }
        assert!(depth < 60, "{depth}");
    }

    #[test]
    fn emptied_it_holds_no_memory() {
        let mut rank = Rank::default();
        (0..1_000u32).for_each(|key| rank.insert(key));
        assert!((0..1_000).all(|key| rank.remove(&key)));
        assert_eq!((rank.nodes.capacity(), rank.free.capacity()), (0, 0));
    }

    proptest! {
        /// A sorted set that counts by walking is the shadow model.
        #[test]
        fn it_agrees_with_a_set_that_counts_by_walking(
            ops in prop::collection::vec((any::<bool>(), 0u32..60), 1..400),
        ) {
            let (mut rank, mut set) = (Rank::default(), BTreeSet::new());
            for (add, key) in ops {
                if add && set.insert(key) {
                    rank.insert(key);
                } else if !add {
                    prop_assert_eq!(rank.remove(&key), set.remove(&key));
                }
                prop_assert_eq!((rank.len(), rank.is_empty()), (set.len(), set.is_empty()));
                prop_assert_eq!(rank.before(&key), set.range(..key).count());
                prop_assert_eq!(rank.first(), set.first().copied());
                prop_assert_eq!(rank.last(), set.last().copied());
                let n = usize::try_from(key).unwrap();
                prop_assert_eq!(rank.nth(n), set.iter().nth(n).copied());
            }
        }
    }
}
