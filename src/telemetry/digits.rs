//! Numbers as text, for what is written once a request.
//! It never allocates, and never goes through `core::fmt`, whose generality costs more than a
//! request's other bookkeeping together.

use std::time::Duration;

use bytes::BufMut;

/// Every byte in hexadecimal.
const PAIRS: [[u8; 2]; 256] = {
    const fn digit(value: u8) -> u8 {
        value + if value < 10 { b'0' } else { b'a' - 10 }
    }
    let mut pairs = [[0; 2]; 256];
    let mut byte: u8 = 0;
    let mut rest: &mut [[u8; 2]] = &mut pairs;
    while let Some((pair, others)) = rest.split_first_mut() {
        *pair = [digit(byte >> 4), digit(byte & 0xf)];
        byte = byte.wrapping_add(1);
        rest = others;
    }
    pairs
};

/// A number's 16 hexadecimal digits, lower case, zeros kept.
pub fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(PAIRS.get(usize::from(byte)).unwrap_or(b"00"));
    }
    digits
}

/// A whole number in decimal.
pub fn push(out: &mut impl BufMut, number: impl itoa::Integer) {
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds to a tenth: finer is noise.
pub fn push_millis(out: &mut impl BufMut, duration: Duration) {
    let tenths = duration.as_secs() * 10_000 + u64::from(duration.subsec_micros() / 100);
    let last = b'0' + (tenths % 10) as u8;
    // What nobody waited for takes none, and most lines say so twice.
    if tenths < 100 {
        out.put_slice(&[b'0' + (tenths / 10 % 10) as u8, b'.', last]);
    } else {
        push(out, tenths / 10);
        out.put_slice(&[b'.', last]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_keeps_its_zeros_and_its_width() {
        assert_eq!(&hex(0x00ab), b"00000000000000ab");
        assert_eq!(&hex(u64::MAX), &[b'f'; 16]);
        assert_eq!(&hex(0x0123_4567_89ab_cdef), b"0123456789abcdef");
    }

    #[test]
    fn milliseconds_are_cut_to_a_tenth() {
        for (micros, text) in [
            (0, "0.0"),
            (99, "0.0"),
            (100, "0.1"),
            (9_999, "9.9"),
            (10_000, "10.0"),
            (1_234_567, "1234.5"),
        ] {
            let mut out = Vec::new();
            push_millis(&mut out, Duration::from_micros(micros));
            assert_eq!(out, text.as_bytes());
        }
    }
}
