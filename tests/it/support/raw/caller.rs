//! A caller on a raw socket: it sends any bytes and tells a whole answer from a cut one.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use super::message::{self, find};
use crate::support::gateway::PATIENCE;

/// What a caller got.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// 0: the connection was closed without an answer.
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection ended before the body did.
    pub cut: bool,
    /// Statuses of the 1xx before it.
    pub interim: Vec<u16>,
}

impl Answer {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `code` of the gateway's own error, empty when it is none.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub struct Caller {
    pub stream: TcpStream,
    unread: Vec<u8>,
    over: bool,
}

impl Caller {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unread: Vec::new(), over: false }
    }

    /// The gateway may have hung up: what it said then is there to be read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Says that nothing more will come.
    pub fn end_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a request and tells the status of its answer.
    pub fn status_of(&mut self, request: &str) -> u16 {
        self.send(request);
        self.answer().status
    }

    /// The next answer to anything but HEAD.
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The next answer, to a request with `method`. Panics when the answer is malformed.
    pub fn answer_to(&mut self, method: &str) -> Answer {
        let mut interim = Vec::new();
        loop {
            let Some(mut answer) = self.head() else {
                return Answer { interim, ..Answer::default() };
            };
            if (100..200).contains(&answer.status) && answer.status != 101 {
                interim.push(answer.status);
                continue;
            }
            answer.interim = interim;
            let bare = method == "HEAD" || matches!(answer.status, 101 | 204 | 304);
            if !bare {
                self.body(&mut answer);
            }
            super::no_secret_in(&format!("{answer:?}\n{}", answer.text()));
            return answer;
        }
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.unread)
    }

    /// Waits for `count` more bytes; fewer at the end.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count && self.more() {}
        let count = count.min(self.unread.len());
        self.unread.drain(..count).collect()
    }

    fn head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break end;
            }
            if !self.more() {
                assert!(
                    self.unread.is_empty(),
                    "half a head: {:?}",
                    String::from_utf8_lossy(&self.unread)
                );
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let line_end = find(&head, b"\r\n").unwrap();
        let line = String::from_utf8_lossy(&head[..line_end]).into_owned();
        let status = line.strip_prefix("HTTP/1.").and_then(|line| line.get(2..5)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("status line {line:?}"));
        let fields = message::fields(&head[line_end + 2..end + 2]).unwrap();
        Some(Answer { status, fields, ..Answer::default() })
    }

    fn body(&mut self, answer: &mut Answer) {
        let lengths = answer.all("content-length");
        let codings = answer.all("transfer-encoding");
        match (&lengths[..], &codings[..]) {
            ([length], []) => {
                let length: usize = length.parse().unwrap();
                answer.body = self.bytes(length);
                answer.cut = answer.body.len() < length;
            }
            ([], ["chunked"]) => self.chunks(answer),
            ([], []) => answer.body = self.rest(),
            both => panic!("an answer with {both:?}"),
        }
    }

    fn chunks(&mut self, answer: &mut Answer) {
        while let Some(size) = self.line() {
            let size = usize::from_str_radix(&size, 16).unwrap();
            if size == 0 {
                // Trailers, then an empty line.
                while let Some(line) = self.line() {
                    if line.is_empty() {
                        return;
                    }
                }
                break;
            }
            let chunk = self.bytes(size);
            let whole = chunk.len() == size;
            answer.body.extend(chunk);
            if !whole || self.bytes(2) != b"\r\n" {
                break;
            }
        }
        answer.cut = true;
    }

    fn line(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                break end;
            }
            if !self.more() {
                return None;
            }
        };
        let line: Vec<u8> = self.unread.drain(..end + 2).collect();
        Some(String::from_utf8(line[..end].to_vec()).unwrap())
    }

    fn more(&mut self) -> bool {
        if self.over {
            return false;
        }
        let mut piece = [0; 16 * 1024];
        let count = match self.stream.read(&mut piece) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!(
                    "the gateway neither answers nor hangs up; so far: {:?}",
                    String::from_utf8_lossy(&self.unread)
                )
            }
            // A reset is an end too.
            Err(_) => 0,
        };
        self.over = count == 0;
        self.unread.extend_from_slice(&piece[..count]);
        count > 0
    }
}
