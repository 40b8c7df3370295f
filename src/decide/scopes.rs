//! Whether a token carries the scopes that it must.
//! It never guesses: when nobody says what a token carries, everything required is missing.

/// What a token carries: its own claims know best, then the answer that brought it, and RFC 6749
/// section 5.1 lets the answer leave out what is as it was asked for.
pub fn carried(
    claimed: Option<&[String]>,
    answered: Option<&[String]>,
    asked: &[String],
) -> Option<Vec<String>> {
    let asked = (!asked.is_empty()).then_some(asked);
    claimed.or(answered).or(asked).map(<[String]>::to_vec)
}

/// What is required and not carried, by name and in the order of the configuration.
pub fn missing(required: &[String], carried: Option<&[String]>) -> Vec<String> {
    let carried = carried.unwrap_or_default();
    required.iter().filter(|scope| !carried.contains(scope)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_claims_know_best_then_the_answer_then_what_was_asked() {
        let (claimed, answered, asked) = (list("a"), list("b"), list("c"));
        assert_eq!(carried(Some(&claimed), Some(&answered), &asked), Some(claimed));
        assert_eq!(carried(None, Some(&answered), &asked), Some(answered));
        assert_eq!(carried(None, None, &asked), Some(asked));
        assert_eq!(carried(None, None, &[]), None);
        assert_eq!(carried(Some(&[]), None, &list("c")), Some(vec![]), "claims to carry none");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(&list("x y z"), Some(&list("y w"))), list("x z"));
        assert_eq!(missing(&list("x"), Some(&list("x-ray X"))), list("x"), "whole and exact");
        assert_eq!(missing(&list("x y"), None), list("x y"), "nobody says");
        assert!(missing(&[], None).is_empty());
    }

    proptest! {
        #[test]
        fn a_token_with_all_of_them_lacks_none(all in prop::collection::vec("[a-z]{1,3}", 0..8)) {
            prop_assert!(missing(&all, Some(&all)).is_empty());
            prop_assert_eq!(missing(&all, Some(&[])), all);
        }
    }
}
