//! A recording of any size: `?bytes=N`, deterministic, streamed, with ranges.
//! It must never hold more of one than a frame.

use http::{StatusCode, header};

use super::{
    super::{
        answer::{self, with},
        body::{Media, boxed},
        journey::Call,
        received::number,
    },
    Outcome, reading,
};

/// 64 MiB.
const USUAL: u64 = 64 << 20;

/// What a Range header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// Everything: no range, or one that RFC 9110 lets a server ignore.
    All,
    /// From the first up to, not including, the second.
    Part(u64, u64),
    /// Nothing that is there.
    Beyond,
}

/// `/api/v2/recordings/{id}/media`
pub(super) fn media(call: &Call, id: &str) -> Outcome {
    reading(call)?;
    let total = number(&call.head, "bytes", USUAL);
    let range = call.head.headers().get(header::RANGE);
    let wanted = wanted(range.and_then(|line| line.to_str().ok()), total);
    let (start, end) = match wanted {
        Wanted::All => (0, total),
        Wanted::Part(start, end) => (start, end),
        Wanted::Beyond => {
            let answer = answer::empty(StatusCode::RANGE_NOT_SATISFIABLE);
            return Ok(with(answer, header::CONTENT_RANGE, &format!("bytes */{total}")));
        }
    };
    let mut answer = answer::content("audio/wav", boxed(Media::new(start, end)));
    if let Wanted::Part(..) = wanted {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {start}-{}/{total}", end - 1);
        answer = with(answer, header::CONTENT_RANGE, &range);
    }
    let answer = with(answer, header::ACCEPT_RANGES, "bytes");
    let answer = with(answer, header::ETAG, &format!("\"{id}-{total}\""));
    Ok(with(answer, header::CONTENT_LENGTH, &(end - start).to_string()))
}

/// One range is honoured; several, and what is no byte range, get everything.
fn wanted(line: Option<&str>, total: u64) -> Wanted {
    let Some((first, last)) =
        line.and_then(|line| line.strip_prefix("bytes=")).and_then(|range| range.split_once('-'))
    else {
        return Wanted::All;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(last)) if last >= start => (start, last.saturating_add(1).min(total)),
        (Ok(start), Err(_)) if last.is_empty() => (start, total),
        (Err(_), Ok(suffix)) if first.is_empty() => (total.saturating_sub(suffix), total),
        _ => return Wanted::All,
    };
    if start < end { Wanted::Part(start, end) } else { Wanted::Beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_honoured() {
        assert_eq!(wanted(Some("bytes=0-99"), 1000), Wanted::Part(0, 100));
        assert_eq!(wanted(Some("bytes=990-2000"), 1000), Wanted::Part(990, 1000));
        assert_eq!(wanted(Some("bytes=500-"), 1000), Wanted::Part(500, 1000));
        assert_eq!(wanted(Some("bytes=-10"), 1000), Wanted::Part(990, 1000));
        assert_eq!(wanted(Some("bytes=1000-"), 1000), Wanted::Beyond);
        assert_eq!(wanted(Some("bytes=-0"), 1000), Wanted::Beyond);
    }

    #[test]
    fn what_is_not_one_range_gets_everything() {
        for line in ["bytes=0-1,5-6", "bytes=9-1", "lines=0-1", "bytes=", "bytes=-"] {
            assert_eq!(wanted(Some(line), 1000), Wanted::All, "{line}");
        }
        assert_eq!(wanted(None, 1000), Wanted::All);
    }
}
