//! Text that callers choose, as people and machines can read it on one line.
//! It never lets a byte through that could end a line or move a cursor.

use crate::decide::path::Family;

/// A path family in printable ASCII.
pub(super) fn push_printable(out: &mut Vec<u8>, family: Family<'_>) {
    for segment in family.segments() {
        out.push(b'/');
        if segment.bytes().all(|byte| byte.is_ascii_graphic()) {
            out.extend_from_slice(segment.as_bytes());
            continue;
        }
        for c in segment.chars() {
            if c.is_ascii_graphic() {
                out.push(c as u8);
            } else {
                out.extend_from_slice(c.escape_unicode().to_string().as_bytes());
            }
        }
    }
}
