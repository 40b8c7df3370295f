//! What is understood, what is refused, and that portions do not matter.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Option<Head>, Refused> {
    head(&mut BytesMut::from(text), false)
}

/// The head of an answer with these lines.
fn of(lines: &str) -> Result<Head, Refused> {
    read(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).map(|head| head.expect("a whole head"))
}

#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// Behind the answer.
    left: usize,
}

/// An answer that comes in portions: `None` when its end does not.
fn whole<'a>(portions: impl Iterator<Item = &'a [u8]>) -> Result<Option<Read>, Refused> {
    let mut bytes = BytesMut::new();
    let mut begun: Option<(Read, Rest)> = None;
    for portion in portions {
        bytes.extend_from_slice(portion);
        if begun.is_none()
            && let Some(Head { status, rest, .. }) = head(&mut bytes, false)?
        {
            let read = Read { status: status.as_u16(), data: Vec::new(), trailers: None, left: 0 };
            begun = Some((read, rest));
        }
        let Some((read, rest)) = &mut begun else { continue };
        loop {
            match rest.next(&mut bytes)? {
                Piece::Data(data) => read.data.extend(data),
                Piece::Trailers(fields) => read.trailers = Some(fields),
                Piece::Missing | Piece::End => break,
            }
        }
    }
    let left = bytes.len();
    Ok(begun.filter(|(_, rest)| rest.ended()).map(|(read, _)| Read { left, ..read }))
}

#[test]
fn how_a_body_ends_is_what_its_head_says() {
    let chunks = Rest::Chunked(Chunks::default());
    for (lines, rest, persists) in [
        ("", Rest::UntilClose, true),
        ("content-length: 3\r\n", Rest::Exactly(3), true),
        ("content-length:\t 3 \r\nConnection: Keep-Alive\r\n", Rest::Exactly(3), true),
        ("content-length: 3\r\nconnection: x, Close\r\n", Rest::Exactly(3), false),
        ("transfer-encoding: Chunked\r\n", chunks, true),
        // The chunks count, but who sent both may have meant the other (RFC 9112 section 6.3).
        ("transfer-encoding: chunked\r\ncontent-length: 3\r\n", chunks, false),
    ] {
        let head = of(lines).unwrap();
        assert_eq!((head.rest, head.persists), (rest, persists), "{lines:?}");
        assert!(!head.fields.contains_key(TRANSFER_ENCODING), "{lines:?}");
        let length = matches!(rest, Rest::Exactly(_));
        assert_eq!(head.fields.contains_key(CONTENT_LENGTH), length, "{lines:?}");
    }
}

#[test]
fn http_1_0_persists_when_it_says_so() {
    for (lines, persists) in [("", false), ("connection: keep-alive\r\n", true)] {
        let text = format!("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n{lines}\r\n");
        assert_eq!(read(&text).unwrap().unwrap().persists, persists, "{lines:?}");
    }
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    for (status, to_head) in [(200, true), (204, false), (304, false), (103, false)] {
        for lines in ["", "content-length: 3\r\n", "transfer-encoding: chunked\r\n"] {
            let text = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
            let head = head(&mut BytesMut::from(text.as_str()), to_head).unwrap().unwrap();
            assert_eq!(head.rest, Rest::Exactly(0), "{text:?}");
        }
    }
}

#[test]
fn hop_by_hop_fields_and_what_they_list_stay_here() {
    let lines = "connection: close, x-hop\r\nkeep-alive: timeout=5\r\nX-Hop: 1\r\nx-stays: 1\r\n\
                 retry-after: 7\r\ninin-correlation-id: a\r\n";
    let Head { fields, told, .. } = of(lines).unwrap();
    let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["inin-correlation-id", "retry-after", "x-stays"]);
    assert_eq!(told.retry_after.unwrap(), "7");
    assert_eq!(told.correlation_id.unwrap(), "a");
}

#[test]
fn an_unusual_reason_is_kept() {
    for (phrase, kept) in [("OK", None), ("", None), ("Fine", Some("Fine"))] {
        let head = read(&format!("HTTP/1.1 200 {phrase}\r\n\r\n")).unwrap().unwrap();
        assert_eq!(head.reason.as_deref(), kept.map(str::as_bytes), "{phrase}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    use Refused::*;
    for (lines, refused) in [
        ("content-length: 3\r\ncontent-length: 3\r\n", Length),
        ("content-length: 3, 3\r\n", Length),
        ("content-length: +3\r\n", Length),
        ("content-length: \r\n", Length),
        ("content-length: 99999999999999999999\r\n", Length),
        ("transfer-encoding: gzip, chunked\r\n", Coding),
        ("transfer-encoding: gzip\r\n", Coding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", Coding),
        ("transfer-encoding: identity\r\ncontent-length: 3\r\n", Coding),
        ("a : b\r\n", Head),
        ("a: b\r\n folded\r\n", Head),
        ("a: b\rc\r\n", Head),
        ("a: \0\r\n", Head),
        ("a\r\n", Head),
        ("content-length: 1\n\r\na: b\r\n", Head),
    ] {
        assert_eq!(of(lines).unwrap_err(), refused, "{lines:?}");
    }
    for text in [
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n",
        "\n",
    ] {
        assert_eq!(read(text).unwrap_err(), Head, "{text:?}");
    }
    let coded = read("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(coded.unwrap_err(), Coding);
}

#[test]
fn a_head_is_bounded_whole_and_in_parts() {
    let many = "a: b\r\n".repeat(MAX_FIELDS + 1);
    assert_eq!(of(&many).unwrap_err(), Refused::TooLarge);
    assert_eq!(of(&"a: b\r\n".repeat(MAX_FIELDS)).unwrap().fields.len(), MAX_FIELDS);
    let long = format!("a: {}\r\n", "b".repeat(MAX_HEAD));
    assert_eq!(of(&long).unwrap_err(), Refused::TooLarge);
    let begun = format!("HTTP/1.1 200 OK\r\n{long}");
    assert_eq!(read(&begun).unwrap_err(), Refused::TooLarge);
    assert!(read("HTTP/1.1 200 OK\r\na: b\r\n").unwrap().is_none());
}

fn chunked(body: &str) -> Result<Option<Read>, Refused> {
    let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    whole(std::iter::once(text.as_bytes()))
}

#[test]
fn chunks_and_trailers_are_taken_apart() {
    let read =
        chunked("3\r\nabc\r\n1  ;x=\"y\"\r\nd\r\n000\r\nA: 1\r\na: 2\r\n\r\nHTTP/1.1").unwrap();
    let read = read.unwrap();
    assert_eq!((read.data.as_slice(), read.left), (&b"abcd"[..], 8));
    assert_eq!(read.trailers.unwrap().get_all("a").iter().count(), 2);
    assert_eq!(chunked("0\r\n\r\n").unwrap().unwrap().trailers, None);
}

#[test]
fn malformed_chunks_are_refused() {
    for body in [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "-3\r\nabc",
        "0x3\r\nabc",
        " 3\r\nabc",
        "\r\n",
        "3;a\rb\r\nabc",
        "1234567890abcdef0\r\n",
        "0\r\na : b\r\n\r\n",
        "0\r\na: b\r\n c\r\n\r\n",
        "0\r\na: b\n\r\n\r\n",
    ] {
        assert_eq!(chunked(body).unwrap_err(), Refused::Chunk, "{body:?}");
    }
    let endless = format!("1;{}", "a".repeat(MAX_LINE));
    assert_eq!(chunked(&endless).unwrap_err(), Refused::Chunk);
    for trailers in ["a: b\r\n".repeat(10_000), format!("a: {}\r\n\r\n", "b".repeat(20_000))] {
        assert_eq!(chunked(&format!("0\r\n{trailers}")).unwrap_err(), Refused::TooLarge);
    }
}

const MAX_LINE: usize = crate::decide::framing::MAX_CHUNK_LINE;

/// Parts of answers, good and bad.
const PARTS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "content-length: 5\r\n",
    "transfer-encoding: chunked\r\n",
    "connection: close\r\n",
    "\r\n",
    "\n",
    "5\r\nhello\r\n",
    "0\r\n",
    "a: b\r\n",
    "hello",
    ":",
];

proptest! {
    #[test]
    fn portions_do_not_matter(
        parts in prop::collection::vec(prop::sample::select(PARTS), 0..12),
        sized in any::<bool>(),
        size in 1usize..9,
    ) {
        let lines = if sized { "content-length: 5\r\n" } else { "transfer-encoding: chunked\r\n" };
        for text in [
            parts.concat(),
            format!("HTTP/1.1 200 OK\r\n{}", parts.concat()),
            format!("HTTP/1.1 200 OK\r\n{lines}\r\n{}", parts.concat()),
        ] {
            let bytes = text.as_bytes();
            let at_once = whole(std::iter::once(bytes));
            let in_parts = whole(bytes.chunks(size));
            match (at_once, in_parts) {
                // What is refused at once may be refused for what came first.
                (Err(_), Err(_)) => {}
                (at_once, in_parts) => prop_assert_eq!(at_once, in_parts, "{:?}", text),
            }
        }
    }
}
