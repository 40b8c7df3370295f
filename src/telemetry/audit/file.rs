//! The audit log's file: whole lines at its end, and one writer.
//! It never follows a symbolic link, never waits, and never changes a line that is there.

use std::{
    fs::{File, OpenOptions, TryLockError, rename, symlink_metadata},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use rustix::fs::OFlags;

use crate::decide::audit::{Chain, Head, LONGEST, Seal, check::Check};

/// Bytes at a file's end that are looked at before it is written to.
const TAIL: usize = 8 * LONGEST;

/// Why a file cannot be the audit log.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The system says no.
    #[error(transparent)]
    System(#[from] io::Error),
    /// `O_NOFOLLOW` refuses it.
    #[error("it is a symbolic link; name the file itself")]
    Link,
    /// A pipe or a device.
    #[error("it is no regular file")]
    NoFile,
    /// Another gateway's.
    #[error("another process writes it; give each gateway a file of its own")]
    Taken,
    /// What is there must not be built upon.
    #[error(
        "its end is not that of an audit log sealed with this key; see what `genesys-proxy audit \
         verify` says, and move it away: the log then begins anew"
    )]
    Broken,
    /// Somebody put another file in the place of ours.
    #[error("another file has come to its place")]
    Foreign,
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// The newest line.
    pub head: Head,
    /// Bytes of half a line that a crash had left, and that are gone.
    pub cut: u64,
    max_size: Option<u64>,
    /// Half a line begins here, because cutting it off failed, too.
    half_at: Option<u64>,
}

impl Log {
    /// Opens or makes it, and goes on where it ends; a new one goes on where the newest of those that
    /// were put aside does.
    ///
    /// # Errors
    /// It cannot be the audit log.
    pub fn open(path: &Path, max_size: Option<u64>, seal: &Seal) -> Result<Self, Unusable> {
        let (file, identity) = take(path)?;
        let end = end(&file, seal)?;
        if end.torn > 0 {
            file.set_len(end.length)?;
        }
        if end.unended {
            (&file).write_all(b"\n")?;
        }
        warn_of_others(path, &file)?;
        let mut head = end.head.or_else(|| newest_aside(path, seal)).unwrap_or(Head::START);
        if head.chain.is_none() {
            // A new log, or one of before lines named their chain.
            head.chain = Some(new_chain()?);
        }
        let path = path.to_owned();
        Ok(Self { path, file, identity, head, cut: end.torn, max_size, half_at: None })
    }

    /// Appends whole lines, of which `head` is the last. All of them, or none.
    ///
    /// # Errors
    /// What the system says; nothing of the lines is in the file then, or it is cut off before the
    /// next ones come.
    pub fn append(&mut self, lines: &[u8], head: Head) -> Result<(), Unusable> {
        if let Some(half_at) = self.half_at {
            self.file.set_len(half_at)?;
            self.half_at = None;
        }
        self.follow()?;
        let mut length = self.file.metadata()?.len();
        if self.max_size.is_some_and(|most| length > 0 && length + lines.len() as u64 > most) {
            self.put_aside()?;
            length = 0;
        }
        if let Err(error) = self.file.write_all(lines) {
            self.half_at = self.file.set_len(length).is_err().then_some(length);
            return Err(error.into());
        }
        self.head = head;
        Ok(())
    }

    /// What was appended is safe from a power cut.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Goes on in a new file when this one was moved away.
    fn follow(&mut self) -> Result<(), Unusable> {
        let at_its_place = match symlink_metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) == self.identity,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        if at_its_place { Ok(()) } else { self.renew() }
    }

    /// `audit.jsonl` becomes `audit.jsonl.7` if there is a 6 already.
    fn put_aside(&mut self) -> Result<(), Unusable> {
        let newest = aside(&self.path).into_iter().filter_map(|(_, number)| number).max();
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}", newest.unwrap_or(0).saturating_add(1)));
        rename(&self.path, &name)?;
        self.renew()
    }

    fn renew(&mut self) -> Result<(), Unusable> {
        let (file, identity) = take(&self.path)?;
        if file.metadata()?.len() > 0 {
            return Err(Unusable::Foreign);
        }
        // Nobody syncs it later.
        self.file.sync_data()?;
        (self.file, self.identity) = (file, identity);
        tracing::info!(seq = self.head.seq, hash = %self.head.hash, "the audit log goes on in a new file");
        Ok(())
    }
}

/// One that nobody else has, whatever machine or container it is on.
fn new_chain() -> io::Result<Chain> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(Chain::new(random))
}

/// A regular file that is ours alone, until it is closed.
fn take(path: &Path) -> Result<(File, (u64, u64)), Unusable> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::LOOP) => Unusable::Link,
            // What a pipe that nobody reads says, and a directory.
            Some(rustix::io::Errno::NXIO | rustix::io::Errno::ISDIR) => Unusable::NoFile,
            _ => error.into(),
        })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Unusable::NoFile);
    }
    // A file is as safe as its name.
    if let Ok(directory) = File::open(beside(path)) {
        directory.sync_all()?;
    }
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Unusable::Taken,
        TryLockError::Error(error) => error.into(),
    })?;
    // Between opening and locking it may have been moved away by whoever had it.
    let placed = symlink_metadata(path)?;
    let identity = (found.dev(), found.ino());
    if (placed.dev(), placed.ino()) != identity {
        return Err(Unusable::Taken);
    }
    Ok((file, identity))
}

/// How a file ends.
struct End {
    /// Its last line; `None` of an empty file.
    head: Option<Head>,
    /// Of all whole lines.
    length: u64,
    /// Bytes after them.
    torn: u64,
    /// The last line lacks nothing but its newline.
    unended: bool,
}

/// Looks at the last lines only: the whole is for `audit verify`.
fn end(file: &File, seal: &Seal) -> Result<End, Unusable> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL as u64);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(TAIL)];
    file.read_exact_at(&mut bytes, from)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (lines, torn) = bytes.split_at_checked(whole).unwrap_or_default();
    let mut lines = lines.split_inclusive(|byte| *byte == b'\n');
    if from > 0 {
        // Most likely not all of it is here.
        lines.next();
    }
    let mut check = Check::new(seal.clone(), Vec::new());
    for line in lines {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        check.next(line).map_err(|_| Unusable::Broken)?;
    }
    let unended = check.next(torn).is_ok();
    let half = torn.len() < LONGEST && b"{\"seq\":".starts_with(torn.get(..7).unwrap_or(torn));
    if !half || (from > 0 && check.lines == 0) {
        return Err(Unusable::Broken);
    }
    let torn = if unended { 0 } else { torn.len() as u64 };
    Ok(End { head: check.head(), length: length - torn, torn, unended })
}

/// The end of the newest file that was put aside, by us or by others (`audit.jsonl.1`,
/// `audit.jsonl-20261122`).
fn newest_aside(path: &Path, seal: &Seal) -> Option<Head> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let head = |aside: PathBuf| {
        let file = OpenOptions::new().read(true).custom_flags(flags).open(aside).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        end(&file, seal).ok()?.head
    };
    aside(path).into_iter().filter_map(|(path, _)| head(path)).max_by_key(|head| head.seq)
}

/// The files beside it whose names begin with its own, with the numbers that ours have.
fn aside(path: &Path) -> Vec<(PathBuf, Option<u64>)> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let entries = std::fs::read_dir(beside(path)).into_iter().flatten();
    let of_ours = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let rest = entry.file_name().to_str()?.strip_prefix(name)?.to_owned();
        let number = rest.strip_prefix('.').and_then(|number| number.parse().ok());
        rest.starts_with(['.', '-']).then(|| (entry.path(), number))
    };
    entries.filter_map(of_ours).collect()
}

/// Its directory.
fn beside(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// A file that was there has the mode that somebody gave it, perhaps for a reason.
fn warn_of_others(path: &Path, file: &File) -> io::Result<()> {
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o027 != 0 {
        let shown = path.display();
        tracing::warn!(
            "others can read or write the audit log (mode {mode:04o}): chmod 600 {shown}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
