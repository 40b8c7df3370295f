//! `[telemetry]`: what is logged, and how; who gets traces.
//! It never installs a subscriber.

use tracing_subscriber::EnvFilter;
use url::Url;

use crate::config::{
    LogFormat, Otlp, Telemetry,
    file::Key,
    nearest::nearest,
    origin,
    read::{self, Checked, Read, Settings},
    report::{Place, Problem},
};

const LOG: Key = Key("telemetry", "log");
const OTLP_ENDPOINT: Key = Key("telemetry", "otlp_endpoint");
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The whole section.
pub(super) fn telemetry(settings: &mut Settings<'_>) -> Checked<Telemetry> {
    let log = settings.read(LOG, "info".to_owned(), |item| {
        let text = read::text(LOG, item, "info")?;
        filter(text).map_err(|hint| {
            Problem::at(&item.place, format!("`{LOG}` is not a log filter")).hint(hint)
        })
    });
    let format = settings.choice(
        Key("telemetry", "format"),
        LogFormat::Text,
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    );
    let access_log = settings.boolean(Key("telemetry", "access_log"), true);
    let otlp = otlp(settings);
    Ok(Telemetry { log: log?, format: format?, access_log: access_log?, otlp: otlp? })
}

/// Who gets traces.
fn otlp(settings: &mut Settings<'_>) -> Checked<Option<Otlp>> {
    let endpoint = settings.text(OTLP_ENDPOINT, "http://127.0.0.1:4318", collector);
    let sampling = settings.fraction(Key("telemetry", "otlp_sampling"), 0.05, &(0.0..=1.0));
    let ca_file = super::upstream::roots(settings, Key("telemetry", "otlp_ca_file"));
    let (endpoint, sampling, ca_file) = (endpoint?, sampling?, ca_file?);
    Ok(endpoint.map(|endpoint| Otlp { endpoint, sampling, ca_file }))
}

/// A collector's URL as `OTEL_EXPORTER_OTLP_ENDPOINT` has it. It may have a path.
fn collector(text: &str, place: &Place) -> Read<Url> {
    let wrong = |message: &str, hint: &str| {
        Problem::at(place, format!("`{OTLP_ENDPOINT}`: {message}")).hint(hint)
    };
    let (url, _) = origin::server(text).map_err(|(message, hint)| match message {
        origin::CREDENTIALS => wrong(message, "write them into OTEL_EXPORTER_OTLP_HEADERS"),
        _ => wrong(message, hint),
    })?;
    if url.path().trim_end_matches('/').ends_with("/v1/traces") {
        return Err(wrong("/v1/traces is added to it", "end it before /v1/traces"));
    }
    Ok(url)
}

/// A filter that `tracing` takes, and that says what its author meant.
///
/// # Errors
/// With a hint.
pub fn filter(text: &str) -> Result<String, String> {
    const EXAMPLE: &str = "write a level, such as \"info\", or \"genesys_proxy=debug,warn\"";
    if text.trim().is_empty() {
        return Err("to log nothing, write \"off\"".to_owned());
    }
    // tracing-subscriber 0.3.23 trims each directive and then slices the untrimmed one: blanks
    // shift the names, and panic on text that is not ASCII.
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    // `tracing` takes "inof" for a module of that name and then logs next to nothing.
    for word in &directives {
        let lower = word.to_lowercase();
        if !LEVELS.contains(&lower.as_str())
            && let Some(level) = nearest(&lower, LEVELS)
        {
            return Err(format!("did you mean `{level}`?"));
        }
    }
    let text = directives.join(",");
    EnvFilter::try_new(&text).map_err(|_| EXAMPLE.to_owned())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_module() {
        for text in ["info", "OFF", "genesys_proxy=debug,warn", "hyper", "info,h2=off"] {
            assert_eq!(filter(text).as_deref(), Ok(text));
        }
        assert_eq!(filter("inof").unwrap_err(), "did you mean `info`?");
        assert_eq!(filter("warn,debgu").unwrap_err(), "did you mean `debug`?");
        assert!(filter(" ").unwrap_err().contains("\"off\""));
        assert!(filter("a=b=c").unwrap_err().contains("write a level"));
        assert!(filter("info, h2 = warn").unwrap_err().contains("write a level"));
        assert_eq!(filter(" info, h2=off ").as_deref(), Ok("info,h2=off"));
        assert_eq!(filter(" 0ꬁ=").as_deref(), Ok("0ꬁ="));
    }

    proptest! {
        #[test]
        fn no_filter_panics(text in "\\PC*", ascii in "[ -~]{0,40}", near in "[a0=,:\\[\\]{}/\" ]{0,20}") {
            for text in [text, ascii, near] {
                let _ = filter(&text);
            }
        }
    }
}
