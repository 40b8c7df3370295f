//! Upstream's answers: no panic, no reading that depends on how the bytes were cut, and none that
//! makes more of them than there is.
#![no_main]

use bytes::BytesMut;
use genesys_proxy::decide::answer::{self, Piece, Refused, Rest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (cut, to_head, bytes) = input;
    let at_once = read(std::iter::once(bytes), to_head);
    let in_parts = read(bytes.chunks(usize::from(cut).max(1)), to_head);
    match (at_once, in_parts) {
        // What is refused at once may be refused for what came first.
        (Err(_), Err(_)) => {}
        (at_once, in_parts) => assert_eq!(at_once, in_parts),
    }
});

/// Status and body of an answer that came whole.
fn read<'a>(
    portions: impl Iterator<Item = &'a [u8]>,
    to_head: bool,
) -> Result<Option<(u16, Vec<u8>)>, Refused> {
    let (mut read, mut total) = (BytesMut::new(), 0);
    let mut begun: Option<(u16, Rest, Vec<u8>)> = None;
    for portion in portions {
        read.extend_from_slice(portion);
        total += portion.len();
        if begun.is_none()
            && let Some(head) = answer::head(&mut read, to_head)?
        {
            begun = Some((head.status.as_u16(), head.rest, Vec::new()));
        }
        let Some((_, rest, body)) = &mut begun else { continue };
        loop {
            match rest.next(&mut read)? {
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend(data);
                }
                Piece::Trailers(_) => {}
                Piece::Missing | Piece::End => break,
            }
        }
        assert!(body.len() + read.len() < total);
    }
    Ok(begun.filter(|(_, rest, _)| rest.ended()).map(|(status, _, body)| (status, body)))
}
