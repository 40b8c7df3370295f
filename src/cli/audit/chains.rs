//! Which files belong together: those of one chain, in the order of their lines.
//! It never judges a line: what is none is told of when its chain is checked.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::{Wrong, next, open, unread};
use crate::decide::audit::{Chain, Hash, Head, LONGEST, Line};

/// The files of one gateway's log.
#[derive(Debug)]
pub(super) struct Log<'a> {
    /// `None`: of before lines named their chain.
    pub chain: Option<Chain>,
    pub files: Vec<&'a Path>,
}

/// A file by its ends.
struct Part<'a> {
    path: &'a Path,
    chain: Option<Chain>,
    /// The first line's number; of what is no line 0.
    first: u64,
    /// The line before the first.
    prev: Option<Hash>,
    /// The last line.
    last: Option<Hash>,
}

/// All logs that these files are, in the order in which they were named.
pub(super) fn logs(files: &[PathBuf]) -> Result<Vec<Log<'_>>, Wrong> {
    let mut parts = Vec::new();
    for path in files {
        // An empty file has no line, and no place.
        parts.extend(part(path).map_err(|error| unread(path, &error))?);
    }
    name_older(&mut parts);
    parts.sort_by_key(|part| part.first);
    let mut logs: Vec<Log<'_>> = Vec::new();
    for chain in chains(&parts) {
        let own = parts.iter().filter(|part| part.chain == chain);
        logs.push(Log { chain, files: own.map(|part| part.path).collect() });
    }
    logs.sort_by_key(|log| files.iter().position(|path| log.files.contains(&path.as_path())));
    Ok(logs)
}

fn chains(parts: &[Part<'_>]) -> Vec<Option<Chain>> {
    let mut found = Vec::new();
    for part in parts {
        if !found.contains(&part.chain) {
            found.push(part.chain);
        }
    }
    found
}

/// Files of before lines named their chain are of the chain that goes on where they end; of the only
/// one there is, whatever is missing in between.
fn name_older(parts: &mut [Part<'_>]) {
    let mut named: Vec<_> = chains(parts).into_iter().flatten().collect();
    if let (Some(only), true) = (named.pop(), named.is_empty()) {
        for part in parts {
            part.chain = Some(only);
        }
        return;
    }
    loop {
        let goes_on = |last: Option<Hash>| {
            let next = parts.iter().find(|next| next.chain.is_some() && next.prev == last);
            last.and(next).and_then(|next| next.chain)
        };
        let older = parts.iter().enumerate().filter(|(_, part)| part.chain.is_none());
        let mut found = older.filter_map(|(at, part)| Some((at, goes_on(part.last)?)));
        let Some((at, chain)) = found.next() else { return };
        if let Some(part) = parts.get_mut(at) {
            part.chain = Some(chain);
        }
    }
}

fn part(path: &Path) -> io::Result<Option<Part<'_>>> {
    let mut reader = open(path)?;
    let Some(first) = next(&mut reader)? else { return Ok(None) };
    let line = Line::read(&first.bytes);
    let last = last(reader.get_mut())?;
    Ok(Some(Part {
        path,
        chain: last.or(line.map(|line| line.head())).and_then(|head| head.chain),
        first: line.map_or(0, |line| line.seq),
        prev: line.map(|line| line.prev),
        last: last.map(|head| head.hash),
    }))
}

/// The last line that is one, of those at the end.
fn last(file: &mut File) -> io::Result<Option<Head>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(2 * LONGEST as u64)))?;
    let mut end = Vec::new();
    file.take(2 * LONGEST as u64).read_to_end(&mut end)?;
    let lines = end.rsplit(|byte| *byte == b'\n');
    Ok(lines.filter_map(Line::read).map(|line| line.head()).next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::audit::Seal;

    /// Two lines into a file, after `head`; whose end they are.
    fn file(dir: &Path, name: &str, mut head: Head) -> (PathBuf, Head) {
        let (path, mut lines) = (dir.join(name), Vec::new());
        for _ in 0..2 {
            head = head.append(name.as_bytes(), &Seal::Plain, &mut lines);
        }
        std::fs::write(&path, lines).unwrap();
        (path, head)
    }

    fn named(head: Head, name: [u8; 8]) -> Head {
        Head { chain: Some(Chain::new(name)), ..head }
    }

    fn found(files: &[&PathBuf]) -> Vec<(Option<Chain>, Vec<PathBuf>)> {
        let files: Vec<_> = files.iter().copied().cloned().collect();
        let Ok(logs) = logs(&files) else { panic!("they can be read") };
        let owned = |log: Log<'_>| log.files.into_iter().map(Path::to_owned).collect();
        logs.into_iter().map(|log| (log.chain, owned(log))).collect()
    }

    #[test]
    fn files_of_before_lines_named_their_chain_belong_where_they_are_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (oldest, end) = file(dir, "oldest", Head::START);
        let (old, end) = file(dir, "old", end);
        let (new, _) = file(dir, "new", named(end, *b"one of 2"));
        let (other, _) = file(dir, "other", named(Head::START, *b"two of 2"));
        let empty = dir.join("empty");
        std::fs::write(&empty, "").unwrap();
        let [one, two] = [*b"one of 2", *b"two of 2"].map(|name| Some(Chain::new(name)));
        let whole = (one, vec![oldest.clone(), old.clone(), new.clone()]);
        let others = (two, vec![other.clone()]);
        let all = [&new, &empty, &other, &old, &oldest];
        assert_eq!(found(&all), [whole.clone(), others.clone()]);
        // One that nobody goes on from is a log of its own: there are two that it may be of.
        let rest = [(one, vec![new.clone()]), others, (None, vec![oldest.clone()])];
        assert_eq!(found(&[&new, &other, &oldest]), rest);
        // With one chain alone there is no other: what is missing between is missed.
        assert_eq!(found(&[&new, &oldest]), [(one, vec![oldest.clone(), new])]);
        assert_eq!(found(&[&old, &oldest]), [(None, vec![oldest, old])]);
        assert_eq!(found(&[&empty]), []);
    }
}
