//! What bytes may be part of: tables and passes over many bytes, for what is asked of each request.
//! It never decides what follows from an answer.

/// A token's bytes (RFC 9110 section 5.6.2): methods and field names.
pub const TOKEN: u8 = 1;
/// The bytes of a target that every parser reads in one way.
pub const TARGET: u8 = 2;
/// The bytes of a host name and of an IPv4 address.
pub const HOST: u8 = 4;

/// What each byte may be part of.
const CLASSES: [u8; 256] = {
    const fn one_of(byte: u8, set: &[u8]) -> bool {
        match set.split_first() {
            Some((first, rest)) => *first == byte || one_of(byte, rest),
            None => false,
        }
    }
    let mut classes = [0; 256];
    let mut byte: u8 = 0;
    let mut rest: &mut [u8] = &mut classes;
    while let Some((class, others)) = rest.split_first_mut() {
        let word = byte.is_ascii_alphanumeric();
        if word || one_of(byte, b"!#$%&'*+-.^_`|~") {
            *class |= TOKEN;
        }
        if word || one_of(byte, b"/-_.~?&=%:,+@!$'()*;") {
            *class |= TARGET;
        }
        if word || one_of(byte, b"-.") {
            *class |= HOST;
        }
        byte = byte.wrapping_add(1);
        rest = others;
    }
    classes
};

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Every byte is of this class.
pub fn all(bytes: &[u8], wanted: u8) -> bool {
    // Without an early end: bytes are good, nearly always.
    bytes.iter().fold(wanted, |found, &byte| found & class(byte)) != 0
}

/// The longest beginning of this class, and the rest.
pub fn split(bytes: &[u8], wanted: u8) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| class(byte) & wanted == 0);
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// What stands between separators; one in a quoted string separates nothing, nor does an escaped
/// quote end one (RFC 9110 section 5.6.4).
pub fn outside_quotes(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let plain = !std::mem::take(&mut escaped);
            quoted ^= plain && byte == b'"';
            escaped = plain && quoted && byte == b'\\';
            !quoted && byte == separator
        });
        let (part, tail) = text.split_at(end.unwrap_or(text.len()));
        rest = tail.get(1..);
        Some(part)
    })
}

/// Some byte is a control character other than the tab (RFC 9110 section 5.5).
pub fn holds_control(bytes: &[u8]) -> bool {
    const LANES: usize = 16;
    let is_control = |byte: u8| u8::from(byte < b' ' && byte != b'\t') | u8::from(byte == 0x7f);
    let Some(last) = bytes.last_chunk::<LANES>() else {
        return bytes.iter().any(|&byte| is_control(byte) != 0);
    };
    // Many at once; the last ones twice rather than one by one.
    let mut found = [0; LANES];
    for chunk in bytes.as_chunks().0.iter().chain([last]) {
        for (found, byte) in found.iter_mut().zip(chunk) {
            *found |= is_control(*byte);
        }
    }
    found != [0; LANES]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_character_is_found_wherever_it_stands() {
        for length in 0..70 {
            let mut text: Vec<u8> = (0..length).map(|n| b"a \t~\xff"[n % 5]).collect();
            assert!(!holds_control(&text), "{length}");
            for at in 0..length {
                for control in [0, b'\n', b'\r', 0x1f, 0x7f] {
                    let good = std::mem::replace(&mut text[at], control);
                    assert!(holds_control(&text), "{control} at {at} of {length}");
                    text[at] = good;
                }
            }
        }
    }

    #[test]
    fn what_is_quoted_is_not_taken_apart() {
        for (text, parts) in [
            ("", &[""][..]),
            ("a,b", &["a", "b"]),
            (",", &["", ""]),
            (r#"a="b,c",d"#, &[r#"a="b,c""#, "d"]),
            (r#""\",",a"#, &[r#""\",""#, "a"]),
            (r#""\\",a"#, &[r#""\\""#, "a"]),
            (r#"\",",a"#, &[r#"\",""#, "a"]),
            (r#"a,"b,c"#, &["a", r#""b,c"#]),
        ] {
            let found: Vec<&str> = outside_quotes(text, b',').collect();
            assert_eq!(found, parts, "{text}");
        }
    }

    #[test]
    fn classes_are_what_their_rules_say() {
        let of = |wanted| (0..=255).filter(|&byte| all(&[byte], wanted)).count();
        assert_eq!((of(TOKEN), of(TARGET), of(HOST)), (77, 82, 64));
        assert!(all(b"", TOKEN) && all(b"gw-1.example", HOST) && !all(b"gw_1.example", HOST));
        assert_eq!(split(b"Host: a", TOKEN), (&b"Host"[..], &b": a"[..]));
        assert_eq!(split(b"127.0.0.1", HOST), (&b"127.0.0.1"[..], &b""[..]));
    }
}
