//! What an error was caused by, for a log line: what stands around the cause repeats itself.
//! It never leaves out what an [`io::Error`] wraps, which is skipped when its source is asked for.

use std::{error::Error, io};

/// More than any error is wrapped, so that a chain that bites its tail ends.
const DEEPEST: usize = 16;

/// An error and all that caused it, the outermost first.
pub fn causes<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    fn next<'e>(error: &&'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
        let error = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error), next).take(DEEPEST)
}

/// What the innermost cause says.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_io_error_wraps_is_its_cause_however_deep() {
        let cause = rustls::Error::General("no".to_owned());
        let error = io::Error::other(io::Error::other(cause.clone()));
        assert_eq!(innermost(&error), cause.to_string());
        assert_eq!(causes(&error).count(), 3);
    }
}
