//! `genesys-proxy audit`: whether an audit log is what the gateway wrote.
//! It never changes a file, and never holds more than a line of one.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use super::exit;
use crate::{
    config::read_audit_key,
    decide::audit::{Hash, LONGEST, Line, Seal, check::Check},
};

/// Look at audit logs
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    Verify(VerifyArgs),
}

/// Check the chain of an audit log: that no line was changed, taken out, moved or put in
///
/// The files of one log may be given in any order. The exit code is 0 when the chain is whole, 1 when
/// it is not (the first line that does not fit is named) or has no line, 66 when a file cannot be read, 2 when an
/// argument is wrong. Lines that were cut off at the end leave a whole chain: compare the last hash
/// with one that the gateway has logged, or look for that one with --anchor. Without a key, who can
/// write the file can also write all of it anew: then, too, only an anchor tells.
#[derive(Debug, Clone, Args)]
struct VerifyArgs {
    /// The log, and files of it that were put aside
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The file with the key that the log is sealed with, as `audit.key_file`
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A hash that the gateway has logged: its line must be there
    #[arg(long, value_name = "HASH", value_parser = hash)]
    anchor: Option<Hash>,
}

fn hash(text: &str) -> Result<Hash, &'static str> {
    Hash::parse(text.as_bytes()).ok_or("a hash has 64 hexadecimal digits")
}

/// Why a log is not found good.
enum Wrong {
    /// Something in it.
    Broken(String),
    /// It cannot be told.
    Unread(String),
}

/// Writes what was found to `out`; the exit code.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run(args: AuditArgs, out: &mut dyn Write) -> io::Result<u8> {
    let Command::Verify(args) = args.command;
    let (said, code) = match verify(&args) {
        Ok(said) => (said, exit::OK),
        Err(Wrong::Broken(said)) => (said, exit::BROKEN),
        Err(Wrong::Unread(said)) => (said, exit::NO_INPUT),
    };
    out.write_all(said.as_bytes())?;
    Ok(code)
}

fn verify(args: &VerifyArgs) -> Result<String, Wrong> {
    let seal = match &args.key_file {
        Some(path) => {
            let key = read_audit_key(path)
                .map_err(|error| Wrong::Unread(format!("{}: {error}\n", path.display())))?;
            Seal::keyed(key.expose_secret().as_bytes())
        }
        None => Seal::Plain,
    };
    let mut check = Check::new(seal, args.anchor);
    for path in in_order(&args.files)? {
        one(path, &mut check)?;
    }
    let said = summary(&check);
    if check.head().is_none() {
        return Err(Wrong::Broken(format!(
            "{said}The first start of a gateway writes one: all of them were cut off, or this is another \
             file.\n"
        )));
    }
    if check.anchored {
        return Ok(said);
    }
    Err(Wrong::Broken(format!(
        "{said}The line of --anchor is not there: lines were cut off at the end, the chain was written \
         anew, or a file is missing.\n"
    )))
}

/// By the numbers of their first lines. An empty file has none, and no place.
fn in_order(files: &[PathBuf]) -> Result<Vec<&Path>, Wrong> {
    let mut numbered = Vec::new();
    for path in files {
        let mut reader = open(path)?;
        let line = next(&mut reader).map_err(|error| unread(path, &error))?;
        // One that has not the form of a line is told of when its turn comes.
        let line = line.map(|line| Line::read(&line.bytes).map_or(0, |line| line.seq));
        numbered.push((line.unwrap_or(u64::MAX), path.as_path()));
    }
    numbered.sort_by_key(|(seq, _)| *seq);
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

fn one(path: &Path, check: &mut Check) -> Result<(), Wrong> {
    let mut reader = open(path)?;
    let mut number = 0_u64;
    while let Some(line) = next(&mut reader).map_err(|error| unread(path, &error))? {
        number += 1;
        let seq =
            Line::read(&line.bytes).map_or(String::new(), |line| format!(" (seq {})", line.seq));
        let wrong = match check.next(&line.bytes) {
            Ok(()) if line.ended => continue,
            Ok(()) => {
                "it lacks its newline: it is the last that was written before a crash".to_owned()
            }
            Err(wrong) => wrong.to_string(),
        };
        let good = match check.head() {
            Some(head) => format!("up to seq {} the chain is whole, hash {}", head.seq, head.hash),
            None => "nothing before it was checked".to_owned(),
        };
        return Err(Wrong::Broken(format!("{}:{number}{seq}: {wrong}\n{good}\n", path.display())));
    }
    Ok(())
}

fn open(path: &Path) -> Result<BufReader<File>, Wrong> {
    Ok(BufReader::with_capacity(1 << 16, File::open(path).map_err(|error| unread(path, &error))?))
}

fn unread(path: &Path, error: &io::Error) -> Wrong {
    Wrong::Unread(format!("{}: cannot be read: {error}\n", path.display()))
}

/// A line without its newline, or as much of it as shows that it is none.
struct Read {
    bytes: Vec<u8>,
    ended: bool,
}

fn next(reader: &mut impl BufRead) -> io::Result<Option<Read>> {
    let mut bytes = Vec::new();
    reader.take(LONGEST as u64 + 1).read_until(b'\n', &mut bytes)?;
    let ended = bytes.last() == Some(&b'\n');
    if ended {
        bytes.pop();
    }
    Ok((ended || !bytes.is_empty()).then_some(Read { bytes, ended }))
}

/// Writing to a String cannot fail.
fn summary(check: &Check) -> String {
    let Some(head) = check.head() else { return "No lines.\n".to_owned() };
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "?".to_owned());
    let mut said = format!(
        "The chain is whole: {} lines, seq {} to {}, from {} to {}.\n",
        check.lines,
        check.first_seq,
        head.seq,
        time(&check.first),
        time(&check.last)
    );
    if check.first_seq > 1 {
        said.push_str("It begins before these files.\n");
    }
    if check.lost > 0 {
        let _ = writeln!(said, "By its own word it lacks {} calls.", check.lost);
    }
    if check.left_out > 0 {
        let of = "of callers without a name, not sent";
        let _ =
            writeln!(said, "It counts {} calls more ({of}) without a line each.", check.left_out);
    }
    if check.crashes > 0 {
        let _ = writeln!(
            said,
            "{} of {} starts came after a crash: what was under way then has no line.",
            check.crashes, check.starts
        );
    }
    let _ = writeln!(said, "last hash {}", head.hash);
    said
}
