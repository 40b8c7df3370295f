//! A scripted server on a free port. It runs its script on every connection and keeps every byte.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
};

use tokio::time::Instant;

use super::message::{self, Request};
use crate::support::gateway::PATIENCE;

/// What came over one connection.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub bytes: Vec<u8>,
    /// Nothing will come any more.
    pub over: bool,
}

impl Record {
    /// The whole requests on it, and what is left over. Panics when one is not well-formed.
    pub fn requests(&self) -> (Vec<Request>, &[u8]) {
        let (mut requests, mut rest) = (Vec::new(), &self.bytes[..]);
        while let Some((request, used)) = message::parse(rest).unwrap_or_else(|error| {
            panic!("upstream got {:?}: {error}", String::from_utf8_lossy(&self.bytes))
        }) {
            requests.push(request);
            rest = &rest[used..];
        }
        (requests, rest)
    }
}

/// All that came; shared with the connections' threads.
#[derive(Default)]
struct Book {
    records: Mutex<Vec<Record>>,
    more: Condvar,
}

pub struct Peer {
    pub address: SocketAddr,
    book: Arc<Book>,
}

type Script = dyn Fn(&mut Line) + Send + Sync;

impl Peer {
    pub fn start(script: impl Fn(&mut Line) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// The same, where somebody listens already.
    pub fn on(listener: TcpListener, script: impl Fn(&mut Line) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let (book, script): (_, Arc<Script>) = (Arc::new(Book::default()), Arc::new(script));
        let shared = Arc::clone(&book);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let number = {
                    let mut records = shared.records.lock().unwrap();
                    records.push(Record::default());
                    shared.more.notify_all();
                    records.len() - 1
                };
                let mut line = Line { stream, number, book: Arc::clone(&shared), read: 0 };
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    line.stream.set_nodelay(true).unwrap();
                    line.stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    script(&mut line);
                    line.finish();
                });
            }
        });
        Self { address, book }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until what came satisfies `enough`.
    pub fn wait(&self, what: &str, enough: impl Fn(&[Record]) -> bool) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        let mut records = self.book.records.lock().unwrap();
        while !enough(&records) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} in {records:?}");
            records = self.book.more.wait_timeout(records, left).unwrap().0;
        }
        records.clone()
    }

    /// Waits for `count` whole requests.
    pub fn wait_for_requests(&self, count: usize) {
        self.wait(&format!("{count} requests"), |records| total(records) >= count);
    }

    /// Waits until connection `number` has ended.
    pub fn wait_for_end(&self, number: usize) -> Record {
        let over = |records: &[Record]| records.get(number).is_some_and(|record| record.over);
        self.wait(&format!("end of connection {number}"), over).swap_remove(number)
    }

    /// What came, after all connections have ended: the gateway must be gone.
    pub fn records(&self) -> Vec<Record> {
        self.wait("end of all connections", |records| records.iter().all(|record| record.over))
    }

    /// Whole requests so far.
    pub fn requests(&self) -> Vec<Request> {
        let records = self.book.records.lock().unwrap().clone();
        records.iter().flat_map(|record| record.requests().0).collect()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.book.records.lock().unwrap().len()
    }
}

fn total(records: &[Record]) -> usize {
    records.iter().map(|record| record.requests().0.len()).sum()
}

/// One connection, in the hands of the script.
pub struct Line {
    pub stream: TcpStream,
    /// Which connection this is, from 0.
    pub number: usize,
    book: Arc<Book>,
    /// How much of the record the script has taken as requests.
    read: usize,
}

impl Line {
    /// The next whole request; `None` when the connection ends before.
    pub fn request(&mut self) -> Option<Request> {
        loop {
            {
                let records = self.book.records.lock().unwrap();
                // What is malformed is for the test to find in the record: no more is read here.
                let rest = &records[self.number].bytes[self.read..];
                if let Some((request, used)) = message::parse(rest).ok()? {
                    self.read += used;
                    return Some(request);
                }
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// Waits until a head is there, its body perhaps not.
    pub fn head(&mut self) -> bool {
        loop {
            let found = {
                let records = self.book.records.lock().unwrap();
                message::find(&records[self.number].bytes[self.read..], b"\r\n\r\n").is_some()
            };
            if found || !self.more() {
                return found;
            }
        }
    }

    /// Takes `count` bytes, whatever they are; fewer at the end.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        loop {
            let end = self.read + count;
            let have = self.book.records.lock().unwrap()[self.number].bytes.len();
            if have >= end || !self.more() {
                let records = self.book.records.lock().unwrap();
                let bytes = records[self.number].bytes.get(self.read..end).unwrap_or_default();
                self.read += bytes.len();
                return bytes.to_vec();
            }
        }
    }

    /// Reads and records some bytes; false at the end.
    pub fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) | Err(_) => {
                self.note(|record| record.over = true);
                false
            }
            Ok(count) => {
                self.note(|record| record.bytes.extend_from_slice(&piece[..count]));
                true
            }
        }
    }

    /// One write, so one segment when it is small. The gateway may have hung up.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Waits for the gateway to hang up.
    pub fn wait_closed(&mut self) {
        while self.more() {}
    }

    /// Closes with a reset instead of an end.
    pub fn reset(&mut self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    fn note(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.book.records.lock().unwrap()[self.number]);
        self.book.more.notify_all();
    }

    /// Whatever is still to come belongs to the record.
    fn finish(&mut self) {
        let reset = socket2::SockRef::from(&self.stream).linger().ok().flatten().is_some();
        if !reset {
            let _ = self.stream.shutdown(Shutdown::Write);
            while self.more() {}
        }
        self.note(|record| record.over = true);
    }
}

/// A plain 200 with `body`.
pub fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
