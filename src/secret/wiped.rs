//! Secrets on their way out: bytes that are zeroed when the last who holds them lets go.
//! It never copies what it is given.

use bytes::Bytes;
use http::{HeaderValue, header::InvalidHeaderValue};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};

/// A body.
pub fn body(secret: &SecretString) -> Bytes {
    bytes(Zeroizing::new(secret.expose_secret().as_bytes().to_vec()))
}

/// The same bytes, not copied.
pub fn bytes(secret: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(secret)
}

/// A field's value, of pieces that follow one another; marked sensitive.
///
/// # Errors
/// When they hold what no field may.
pub fn field(pieces: &[&str]) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(bytes(joined(pieces)))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Pieces that follow one another, in a buffer that never moves: what is left behind by one that
/// grows is not zeroed.
pub fn joined(pieces: &[&str]) -> Zeroizing<Vec<u8>> {
    let mut whole = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
    for piece in pieces {
        whole.extend_from_slice(piece.as_bytes());
    }
    Zeroizing::new(whole)
}
