//! The copy of a body: in memory, then in an unlinked temporary file, then gone.
//! It never blocks a worker on the disk: files are written and read by the blocking pool, one
//! piece at a time.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::task::{JoinHandle, spawn_blocking};

use super::Limits;

/// Written or read at once.
const PIECE: usize = 64 * 1024;
/// The first allocation for a body of unknown length.
const FIRST: usize = 4 * 1024;

/// Bytes of all copies in memory, against `[replay] memory_total`.
#[derive(Debug)]
pub struct Memory {
    used: AtomicUsize,
    total: usize,
}

impl Memory {
    /// At most `total` bytes.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), total })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn reserve(&self, bytes: usize) -> bool {
        let within = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.total);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What is kept of a body.
#[derive(Debug)]
pub(super) enum Copy {
    /// Growing in memory.
    Memory(InMemory),
    /// Growing on disk.
    File(Box<OnDisk>),
    /// Bytes that cannot be replayed are not kept.
    Gone,
}

#[derive(Debug)]
pub(super) struct InMemory {
    seen: BytesMut,
    reserved: Reservation,
    limits: Limits,
}

/// Gives back what it took, whatever happens to the body.
#[derive(Debug)]
struct Reservation {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Reservation {
    fn grow_to(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            if !self.memory.reserve(bytes - self.bytes) {
                return false;
            }
            self.bytes = bytes;
        }
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.release(self.bytes);
    }
}

#[derive(Debug)]
pub(super) struct OnDisk {
    /// `None` until the first write has created it.
    file: Option<Arc<File>>,
    written: u64,
    /// Not written yet.
    tail: BytesMut,
    writing: Option<JoinHandle<io::Result<Arc<File>>>>,
    /// A piece on its way, and where it begins: another attempt may want another one.
    reading: Option<(u64, JoinHandle<io::Result<Bytes>>)>,
    total: u64,
}

impl Copy {
    pub(super) fn new(limits: Limits, memory: Arc<Memory>, length: Option<u64>) -> Self {
        let mut reserved = Reservation { memory, bytes: 0 };
        let known = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(FIRST);
        let first = known.min(limits.memory);
        if !reserved.grow_to(first) {
            return Self::on_disk(BytesMut::new(), limits);
        }
        // A length is a promise, not a fact: the room is reserved, the memory comes with the bytes.
        let seen = BytesMut::with_capacity(first.min(PIECE));
        Self::Memory(InMemory { seen, reserved, limits })
    }

    pub(super) fn is_kept(&self) -> bool {
        !matches!(self, Self::Gone)
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, data: &[u8]) {
        match self {
            Self::Gone => {}
            Self::Memory(kept) => {
                let size = kept.seen.len() + data.len();
                if size as u64 > kept.limits.total {
                    *self = Self::Gone;
                } else if size <= kept.limits.memory
                    && kept.reserved.grow_to(grown(size, kept.limits))
                {
                    kept.seen.extend_from_slice(data);
                } else {
                    let mut tail = std::mem::take(&mut kept.seen);
                    tail.extend_from_slice(data);
                    *self = Self::on_disk(tail, kept.limits);
                    self.write();
                }
            }
            Self::File(disk) => {
                disk.tail.extend_from_slice(data);
                if disk.written + disk.tail.len() as u64 > disk.total {
                    *self = Self::Gone;
                } else if disk.tail.len() >= PIECE {
                    self.write();
                }
            }
        }
    }

    /// Ready when nothing is being written: the next bytes may come.
    pub(super) fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::File(disk) = self else { return Poll::Ready(()) };
        let Some(writing) = &mut disk.writing else { return Poll::Ready(()) };
        let outcome = ready!(Pin::new(writing).poll(cx));
        disk.writing = None;
        match outcome {
            Ok(Ok(file)) => disk.file = Some(file),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a request body cannot be kept on disk: a 401 will be passed on");
                *self = Self::Gone;
            }
            // The pool is shutting down, and the request with it.
            Err(_) => *self = Self::Gone,
        }
        Poll::Ready(())
    }

    /// Some of the bytes from `from` on. There must be some.
    pub(super) fn poll_read(&mut self, from: u64, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        ready!(self.poll_settled(cx));
        match self {
            Self::Gone => Poll::Ready(Err(io::Error::other("it was not kept"))),
            Self::Memory(kept) => Poll::Ready(piece(&kept.seen, from)),
            Self::File(disk) if from >= disk.written => {
                Poll::Ready(piece(&disk.tail, from - disk.written))
            }
            Self::File(disk) => disk.poll_file(from, cx),
        }
    }

    fn on_disk(tail: BytesMut, limits: Limits) -> Self {
        Self::File(Box::new(OnDisk {
            file: None,
            written: 0,
            tail,
            writing: None,
            reading: None,
            total: limits.total,
        }))
    }

    fn write(&mut self) {
        let Self::File(disk) = self else { return };
        let (data, at, file) = (disk.tail.split().freeze(), disk.written, disk.file.clone());
        disk.written += data.len() as u64;
        disk.writing = Some(spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                // Unlinked from birth: nobody can open it, and a crash leaves nothing behind.
                None => Arc::new(tempfile::tempfile()?),
            };
            file.write_all_at(&data, at)?;
            Ok(file)
        }));
    }
}

impl OnDisk {
    fn poll_file(&mut self, from: u64, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.reading.as_ref().is_none_or(|(begins, _)| *begins != from) {
            let Some(file) = self.file.clone() else {
                return Poll::Ready(Err(io::Error::other("it was not written")));
            };
            let size = usize::try_from(self.written - from).unwrap_or(PIECE).min(PIECE);
            let reading = spawn_blocking(move || {
                let mut piece = vec![0; size];
                file.read_exact_at(&mut piece, from)?;
                Ok(piece.into())
            });
            self.reading = Some((from, reading));
        }
        let Some((_, reading)) = &mut self.reading else { return Poll::Pending };
        let outcome = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(outcome.unwrap_or_else(|error| Err(io::Error::other(error))))
    }
}

/// Reservations grow by doubling, as the memory behind them does.
fn grown(size: usize, limits: Limits) -> usize {
    size.next_power_of_two().min(limits.memory).max(size)
}

fn piece(seen: &[u8], from: u64) -> io::Result<Bytes> {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let left = seen.get(from..).unwrap_or_default();
    match left.get(..PIECE).unwrap_or(left) {
        [] => Err(io::Error::other("there is no more")),
        piece => Ok(Bytes::copy_from_slice(piece)),
    }
}
