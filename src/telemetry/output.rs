//! The way to stderr for every line, event or access line: one queue, one writing thread.
//! It never makes whoever logs wait: when stderr is not read, lines are dropped and counted.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::{Duration, SystemTime},
};

use crate::config::LogFormat;

/// Bytes that may wait for the writing thread. Counted in bytes, not in messages: an access log's
/// buffer is a hundred times an event.
const ROOM: usize = 4 * 1024 * 1024;

/// Where lines go. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Output {
    queue: Sender<Message>,
    fill: Arc<Fill>,
}

#[derive(Debug, Default)]
struct Fill {
    /// Bytes that are queued or being written.
    waiting: AtomicUsize,
    /// Lines dropped since the writing thread last said so.
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Message {
    /// Whole lines.
    Lines(Vec<u8>),
    /// All before it is written.
    Mark(SyncSender<()>),
}

/// The writing thread's end.
#[derive(Debug)]
pub struct Lines {
    queue: Receiver<Message>,
    fill: Arc<Fill>,
}

/// A queue without a thread.
pub fn pair() -> (Output, Lines) {
    let (sender, receiver) = channel();
    let fill = Arc::new(Fill::default());
    (Output { queue: sender, fill: Arc::clone(&fill) }, Lines { queue: receiver, fill })
}

/// Starts the thread that writes to stderr.
///
/// # Errors
/// When the system refuses a thread or a descriptor.
pub fn start(format: LogFormat) -> io::Result<Output> {
    let (output, lines) = pair();
    // A descriptor of its own: a write that hangs must not hold std's lock, which a fatal error or
    // a panic takes.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || lines.write_to(stderr, format))?;
    Ok(output)
}

impl Output {
    /// Queues whole lines, or drops them when there is no room.
    pub fn send(&self, lines: Vec<u8>) {
        let length = lines.len();
        let fits = self.fill.waiting.fetch_add(length, Ordering::Relaxed) + length <= ROOM;
        let count = memchr::memchr_iter(b'\n', &lines).count();
        if !fits || self.queue.send(Message::Lines(lines)).is_err() {
            self.fill.waiting.fetch_sub(length, Ordering::Relaxed);
            self.fill.dropped.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// Waits until what was sent so far is written, `patience` at most: a stderr that nobody reads
    /// must not hang the end. Blocks its thread.
    pub fn flush(&self, patience: Duration) {
        let (done, written) = sync_channel(1);
        if self.queue.send(Message::Mark(done)).is_ok() {
            // Too late, or nobody writes any more: either way the lines are lost, and stderr is
            // not the place to say so.
            let _ = written.recv_timeout(patience);
        }
    }
}

/// An event's line: `tracing_subscriber` hands each over in one write.
impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Until the last [`Output`] is gone.
    fn write_to(self, mut out: impl Write, format: LogFormat) {
        for message in self.queue {
            match message {
                Message::Lines(lines) => {
                    // A closed stderr is nobody to complain to.
                    let _ = out.write_all(&lines);
                    self.fill.waiting.fetch_sub(lines.len(), Ordering::Relaxed);
                    let dropped = self.fill.dropped.swap(0, Ordering::Relaxed);
                    if dropped > 0 {
                        let _ = out.write_all(&confession(dropped, format));
                    }
                }
                // Whoever waited may have given up.
                Message::Mark(done) => drop(done.try_send(())),
            }
        }
    }

    /// The next lines, for tests of those who write them.
    ///
    /// # Panics
    /// When something else comes next.
    #[cfg(test)]
    pub fn next(&self) -> String {
        let Message::Lines(lines) = self.queue.recv().unwrap() else { panic!("not lines") };
        String::from_utf8(lines).unwrap()
    }
}

/// Says how many lines are missing, in the form of an event.
fn confession(dropped: u64, format: LogFormat) -> Vec<u8> {
    let now = humantime::format_rfc3339_micros(SystemTime::now());
    let what = "log lines were dropped: stderr was not read fast enough";
    match format {
        LogFormat::Text => format!("{now}  WARN {what} dropped={dropped}\n"),
        LogFormat::Json => format!(
            "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"{what}\",\
             \"dropped\":{dropped}}}\n"
        ),
    }
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_counted_and_confessed_in_both_formats() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (output, lines) = pair();
            output.send(vec![b'x'; ROOM]);
            output.send(b"one\ntwo\n".to_vec());
            output.send(b"three\n".to_vec());
            drop(output);
            let mut written = Vec::new();
            lines.write_to(&mut written, format);
            let confessed = String::from_utf8(written.split_off(ROOM)).unwrap();
            assert!(confessed.contains("dropped") && confessed.contains('3'), "{confessed}");
            assert!(confessed.ends_with('\n') && !confessed.contains("two"), "{confessed}");
            if format == LogFormat::Json {
                let object: serde_json::Value = serde_json::from_str(&confessed).unwrap();
                assert_eq!(object["dropped"], 3);
            }
        }
    }

    #[test]
    fn a_flush_waits_for_what_was_sent_and_not_for_ever() {
        let (output, _nobody_reads) = pair();
        output.send(b"line\n".to_vec());
        output.flush(Duration::from_millis(10));
    }
}
