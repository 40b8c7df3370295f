//! "Did you mean": the known word closest to a mistyped one.
//! It never offers a word that is only vaguely similar: a wrong guess is worse than none.

/// The closest of `known`, if at most a third of the letters differ (always at least one).
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs length times length: a word longer than any of ours is not a slip.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The hint for a mistyped word: the nearest known one, else what there is.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("accepted here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_does_not() {
        let known = ["region", "api_url", "http2"];
        assert_eq!(nearest("regoin", known), Some("region"));
        assert_eq!(nearest("Region", known), Some("region"));
        assert_eq!(nearest("apiurl", known), Some("api_url"));
        assert_eq!(nearest("weather", known), None);
        assert_eq!(nearest("", known), None);
    }
}
