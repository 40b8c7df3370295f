//! The time now, as lines have it.
//! It never formats a second twice: most lines share theirs with the one before.

use std::time::SystemTime;

/// The time of the last line.
#[derive(Debug, Default)]
pub struct Stamp {
    second: u64,
    /// RFC 3339 up to milliseconds, `2026-01-31T12:34:56.789Z`.
    text: String,
}

impl Stamp {
    /// RFC 3339, UTC, to the millisecond.
    pub fn now(&mut self) -> &str {
        let now = SystemTime::now();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second || self.text.is_empty() {
            self.second = since.as_secs();
            self.text = humantime::format_rfc3339_millis(now).to_string();
        } else {
            self.text.truncate(self.text.len() - ".000Z".len());
            let millis = since.subsec_millis();
            self.text.push('.');
            for unit in [100, 10, 1] {
                self.text.push(char::from(b'0' + (millis / unit % 10) as u8));
            }
            self.text.push('Z');
        }
        &self.text
    }
}
