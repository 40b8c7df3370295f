//! A [`Status`] as people read it.
//! It never passes on what could move a cursor: names come from elsewhere.

use std::{fmt::Write as _, time::Duration};

use crate::admin::status::{ErrorAnswer, Organisation, Status, StoreState, Token, TokenState};

/// The bar of a budget.
const BAR: u64 = 30;
/// Of the last errors: the rest is in the JSON.
const ERRORS: usize = 10;

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Coloured,
}

/// What a colour says.
#[derive(Debug, Clone, Copy)]
enum Tone {
    Heading,
    Good,
    Doubtful,
    Bad,
}

impl Style {
    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Heading => "1",
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "31",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// The whole table.
pub(super) fn of(status: &Status, style: Style) -> String {
    let mut lines = vec![head(status, style)];
    for org in &status.organisations {
        lines.push(String::new());
        organisation(org, style, &mut lines);
    }
    if !status.errors.is_empty() {
        lines.extend([String::new(), style.paint(Tone::Heading, "last errors")]);
        lines.extend(status.errors.iter().take(ERRORS).map(|one| error(one, style)));
    }
    let mut table = lines.join("\n");
    table.push('\n');
    table
}

fn head(status: &Status, style: Style) -> String {
    let (tone, word) = match (status.ready, status.reasons.is_empty()) {
        (true, true) => (Tone::Good, "ready".to_owned()),
        (true, false) => (Tone::Doubtful, format!("ready, but {}", status.reasons.join("; "))),
        (false, _) => (Tone::Bad, format!("not ready: {}", status.reasons.join("; "))),
    };
    let mut line = format!(
        "genesys-proxy {}, up {}, {}",
        plain(&status.version),
        lasting(status.uptime_s),
        style.paint(tone, &plain(&word))
    );
    if let Some(store) = &status.store {
        let (tone, word) = match store.state {
            StoreState::Up => (Tone::Good, "up"),
            StoreState::Connecting => (Tone::Doubtful, "connecting"),
            StoreState::Down => (Tone::Bad, "down"),
        };
        // Writing to a text cannot fail.
        let _ = write!(line, ", store {}", style.paint(tone, word));
    }
    if let Some(log) = status.log.as_ref().filter(|log| log.level != log.configured) {
        let _ = write!(line, ", logs {}", plain(&log.level));
    }
    line
}

fn organisation(org: &Organisation, style: Style, lines: &mut Vec<String>) {
    lines.push(style.paint(Tone::Heading, &plain(&org.name)));
    lines.extend(org.tokens.iter().map(|one| token(one, style)));
    lines.push(row("budget", &budget(org, style)));
    let queue = &org.queue;
    let line =
        format!("{} of {} wait, {} in flight", queue.waiting, queue.max_queue, org.in_flight);
    lines.push(row("queue", &line));
    for one in &queue.callers {
        lines.push(row("", &format!("{:<24} {:>6}", plain(&one.name), one.waiting)));
    }
    if queue.others > 0 {
        lines.push(row("", &format!("{:<24} {:>6}", "others", queue.others)));
    }
    if !org.paused.is_empty() {
        let names = plain(&org.paused.join(", "));
        lines.push(row("paused", &style.paint(Tone::Doubtful, &names)));
    }
    if let Some(replicas) = org.replicas {
        lines.push(row("replicas", &replicas.to_string()));
    }
}

fn token(token: &Token, style: Style) -> String {
    let state = match (token.state, token.expires_in_s) {
        (TokenState::Valid, Some(left)) => {
            style.paint(Tone::Good, &format!("valid for {}", lasting(left)))
        }
        (TokenState::Valid, None) => style.paint(Tone::Good, "valid"),
        (TokenState::None, _) => style.paint(Tone::Bad, "none"),
    };
    let fingerprint = token.fingerprint.as_deref().map_or("-", |fingerprint| fingerprint);
    let client = plain(&token.client);
    let fingerprint = plain(fingerprint);
    row(
        &format!("token {}", token.number),
        &format!("{state}, generation {}, {fingerprint}, {client}", token.generation),
    )
}

fn budget(org: &Organisation, style: Style) -> String {
    let budget = &org.budget;
    let mut line = match budget.allowed.or(budget.limit) {
        None => "no limit".to_owned(),
        Some(allowed) => {
            let share = budget.used.saturating_mul(BAR).checked_div(allowed);
            let full = share.unwrap_or(BAR).min(BAR);
            let tone = match full {
                0..20 => Tone::Good,
                20..27 => Tone::Doubtful,
                _ => Tone::Bad,
            };
            let count = |cells: u64| usize::try_from(cells).unwrap_or_default();
            let bar = style.paint(tone, &"#".repeat(count(full)));
            let rest = ".".repeat(count(BAR - full));
            let window = lasting(budget.window_s);
            format!("[{bar}{rest}] {} of {allowed} in {window}", budget.used)
        }
    };
    if let Some(limit) = budget.limit.filter(|limit| budget.allowed != Some(*limit)) {
        let _ = write!(line, ", of {limit} in all");
    }
    if let Some(seconds) = budget.paused_until_s {
        let text = format!("paused for {}", lasting(seconds));
        let _ = write!(line, ", {}", style.paint(Tone::Bad, &text));
    }
    line
}

fn error(error: &ErrorAnswer, style: Style) -> String {
    let ErrorAnswer { at, org, caller, method, path, status, code, request_id, .. } = error;
    let id = error.correlation_id.as_deref().unwrap_or(request_id);
    let org = org.as_ref().map(|org| format!("{org}/")).unwrap_or_default();
    let code = code.as_deref().unwrap_or("genesys");
    let status = style.paint(Tone::Bad, &status.to_string());
    format!("  {status} {}", plain(&format!("{at} {code} {org}{caller} {method} {path} {id}")))
}

fn row(name: &str, what: &str) -> String {
    format!("  {name:<9} {what}")
}

/// "2h 3m 4s"
fn lasting(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Without what a terminal obeys.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = r#"{
        "version": "1.2.3", "uptime_s": 3661, "ready": true, "reasons": ["no valid token: eu"],
        "draining": false, "store": {"state": "down", "why": "away"},
        "log": {"level": "debug", "configured": "info"},
        "organisations": [{
            "name": "default",
            "tokens": [{"client": "an-id", "number": 0, "generation": 3, "state": "valid",
                        "fingerprint": "0123456789ab", "expires_in_s": 7200}],
            "budget": {"limit": 300, "window_s": 60, "allowed": 150, "used": 75, "paused_until_s": 9},
            "queue": {"waiting": 5, "max_queue": 1000, "callers": [
                {"name": "billing", "waiting": 3}, {"name": "evil\u001b[2J", "waiting": 1}], "others": 1},
            "in_flight": 2, "retries": {"api": 1, "apps": 1}, "replicas": 2, "paused": ["reports"],
            "history": []
        }, {
            "name": "eu", "tokens": [{"client": "b", "number": 0, "generation": 0, "state": "none"}],
            "budget": {"window_s": 60, "used": 0},
            "queue": {"waiting": 0, "max_queue": 10, "callers": [], "others": 0},
            "in_flight": 0, "retries": {"api": 1, "apps": 1}, "history": []
        }],
        "errors": [{"at": "2026-01-02T03:04:05.678Z", "org": "eu", "caller": "billing", "method": "GET",
                    "path": "/api/v2/users/*", "status": 429, "request_id": "abc"}]
    }"#;

    #[test]
    fn a_table_says_what_is_used_up_who_waits_and_what_failed() {
        let status = serde_json::from_str(STATUS).unwrap();
        insta::assert_snapshot!(of(&status, Style::Plain), @"
        genesys-proxy 1.2.3, up 1h 1m 1s, ready, but no valid token: eu, store down, logs debug

        default
          token 0   valid for 2h, generation 3, 0123456789ab, an-id
          budget    [###############...............] 75 of 150 in 1m, of 300 in all, paused for 9s
          queue     5 of 1000 wait, 2 in flight
                    billing                       3
                    evil?[2J                      1
                    others                        1
          paused    reports
          replicas  2

        eu
          token 0   none, generation 0, -, b
          budget    no limit
          queue     0 of 10 wait, 0 in flight

        last errors
          429 2026-01-02T03:04:05.678Z genesys eu/billing GET /api/v2/users/* abc
        ");
    }

    #[test]
    fn colours_are_ours_and_names_bring_none() {
        let status: Status = serde_json::from_str(STATUS).unwrap();
        assert!(!of(&status, Style::Plain).contains('\x1b'));
        let coloured = of(&status, Style::Coloured);
        assert!(coloured.contains("\x1b[31mnone\x1b[0m") && !coloured.contains("\x1b[2J"));
    }
}
