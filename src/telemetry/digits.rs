//! Numbers as text, for what is written once a request.
//! It never allocates, and never goes through `core::fmt`, whose generality costs more than a
//! request's other bookkeeping together.

use std::time::Duration;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The lowest `N` hexadecimal digits of a number, lower case, zeros kept.
pub fn hex<const N: usize>(number: u128) -> [u8; N] {
    let mut digits = [b'0'; N];
    let mut left = number;
    for digit in digits.iter_mut().rev() {
        *digit = HEX.get((left & 0xf) as usize).copied().unwrap_or(b'0');
        left >>= 4;
    }
    digits
}

/// A whole number in decimal.
pub fn push(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds to a tenth: finer is noise.
pub fn push_millis(out: &mut Vec<u8>, duration: Duration) {
    let tenths = u64::try_from(duration.as_micros() / 100).unwrap_or(u64::MAX);
    push(out, tenths / 10);
    out.extend_from_slice(b".");
    push(out, tenths % 10);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_keeps_its_zeros_and_its_width() {
        assert_eq!(&hex::<4>(0x00ab), b"00ab");
        assert_eq!(&hex::<2>(0x1234), b"34");
        assert_eq!(&hex::<32>(u128::MAX), &[b'f'; 32]);
    }

    #[test]
    fn milliseconds_are_cut_to_a_tenth() {
        for (micros, text) in [(0, "0.0"), (99, "0.0"), (100, "0.1"), (1_234_567, "1234.5")] {
            let mut out = Vec::new();
            push_millis(&mut out, Duration::from_micros(micros));
            assert_eq!(out, text.as_bytes());
        }
    }
}
