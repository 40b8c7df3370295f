//! A panic's line: where it was, and a message that was written beforehand.
//! It never repeats a message made at run time: a slice that panics shows the text that it cuts.

use std::{any::Any, time::Duration};

use super::output::Output;

/// The line may be the last one.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// From now on, for the whole process.
pub fn tell(output: Output) {
    std::panic::set_hook(Box::new(move |panicked| {
        let thread = std::thread::current();
        let at = panicked.location().map(ToString::to_string);
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            at = at.as_deref().unwrap_or("unknown"),
            "a bug: {}",
            message(panicked.payload())
        );
        output.flush(WRITTEN_WITHIN);
    }));
}

/// What the program's text says; what else was put into it may be a caller's.
fn message(payload: &(dyn Any + Send)) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("it panicked; what it says is withheld, it may be a caller's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_what_was_written_beforehand_and_no_data() {
        let of = |panics: fn(&str)| {
            let secret = "sécret-7f3a91".to_owned();
            let caught = std::panic::catch_unwind(|| panics(&secret)).unwrap_err();
            message(&*caught)
        };
        assert_eq!(of(|_| panic!("no such lane")), "no such lane");
        let withheld = "it panicked; what it says is withheld, it may be a caller's";
        assert_eq!(of(|secret| panic!("{secret}")), withheld);
        assert_eq!(of(|secret| drop(secret[..2].to_owned())), withheld);
        assert_eq!(
            of(|secret| assert_eq!(secret.parse::<u32>().map_err(|_| secret).unwrap(), 0)),
            withheld
        );
    }
}
