//! Short header values, cut from one block after the other: a value of its own would be two
//! allocations.
//! They are for what ends with its request: a block lives as long as the last value cut from it.

use std::cell::RefCell;

use bytes::BytesMut;
use http::HeaderValue;

/// Some ten values.
const BLOCK: usize = 1024;
/// No value is longer.
const LONGEST: usize = 128;

thread_local! {
    static BLOCKS: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// The value that `write` writes, of at most 128 visible ASCII bytes.
///
/// # Panics
/// If it writes anything else: what is written is ours.
pub fn word(write: impl FnOnce(&mut BytesMut)) -> HeaderValue {
    let word = BLOCKS.with_borrow_mut(|block| {
        if block.capacity() < LONGEST {
            *block = BytesMut::with_capacity(BLOCK);
        }
        write(block);
        block.split().freeze()
    });
    HeaderValue::from_maybe_shared(word).expect("only visible ASCII is written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_what_they_were_while_others_are_cut() {
        let words: Vec<(String, HeaderValue)> = (0..100)
            .map(|at| format!("{at}").repeat(40))
            .map(|text| (text.clone(), word(|block| block.extend_from_slice(text.as_bytes()))))
            .collect();
        for (text, word) in words {
            assert_eq!(word, text);
        }
    }
}
