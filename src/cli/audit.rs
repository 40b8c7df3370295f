//! `genesys-proxy audit`: whether an audit log is what the gateway wrote.
//! It never changes a file, and never holds more than a line of one.

mod chains;

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
    decide::audit::{
        Hash, LONGEST, Line, Seal,
        check::{Break, Check},
    },
};
use chains::Log;

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
/// The files of one log may be given in any order, and those of several gateways together: each
/// chain is checked by itself. The exit code is 0 when all are whole, 1 when one
/// is not (the first line that does not fit is named) or has no line, 66 when a file cannot be read, 2 when an
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
    /// A hash that a gateway has logged: its line must be there; repeatable
    #[arg(long, value_name = "HASH", value_parser = hash)]
    anchor: Vec<Hash>,
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
    let logs = chains::logs(&args.files)?;
    let (mut said, mut broken, mut wanted) = (String::new(), 0, args.anchor.clone());
    for log in &logs {
        let mut check = Check::new(seal.clone(), wanted);
        if logs.len() > 1 {
            said.push_str(&title(log));
        }
        match whole(log, &mut check) {
            Ok(()) => said.push_str(&summary(&check)),
            Err(Wrong::Broken(wrong)) => {
                broken += 1;
                said.push_str(&wrong);
            }
            Err(unread @ Wrong::Unread(_)) => return Err(unread),
        }
        wanted = check.wanted;
    }
    judge(said, (logs.len(), broken), &wanted)
}

/// All logs together: how many there are, and how many of them are not whole.
fn judge(mut said: String, of: (usize, usize), wanted: &[Hash]) -> Result<String, Wrong> {
    match of {
        (0, _) => {
            return Err(Wrong::Broken(
                "No lines.\nThe first start of a gateway writes one: all of them were cut off, or \
                 this is another file.\n"
                    .to_owned(),
            ));
        }
        (1, 0) => {}
        (1, _) => return Err(Wrong::Broken(said)),
        (logs, 0) => {
            let _ = writeln!(said, "\n{logs} chains, all of them whole.");
        }
        (logs, broken) => {
            let _ = writeln!(said, "\n{logs} chains, {broken} of them NOT whole.");
            return Err(Wrong::Broken(said));
        }
    }
    if wanted.is_empty() {
        return Ok(said);
    }
    for hash in wanted {
        let _ = writeln!(said, "not there: {hash}");
    }
    Err(Wrong::Broken(format!(
        "{said}The line of --anchor is not there: lines were cut off at the end, the chain was written \
         anew, or a file is missing.\n"
    )))
}

/// Whose log it is.
fn title(log: &Log<'_>) -> String {
    let chain = log.chain.map_or("without a name".to_owned(), |chain| chain.to_string());
    let files: Vec<_> = log.files.iter().map(|path| path.display().to_string()).collect();
    format!("\nchain {chain}: {}\n", files.join(", "))
}

fn whole(log: &Log<'_>, check: &mut Check) -> Result<(), Wrong> {
    let mut before = None;
    for path in &log.files {
        one(path, before, check)?;
        before = Some(*path);
    }
    Ok(())
}

/// The next file, after `before`.
fn one(path: &Path, before: Option<&Path>, check: &mut Check) -> Result<(), Wrong> {
    let mut reader = open(path).map_err(|error| unread(path, &error))?;
    let mut number = 0_u64;
    while let Some(line) = next(&mut reader).map_err(|error| unread(path, &error))? {
        number += 1;
        let seq =
            Line::read(&line.bytes).map_or(String::new(), |line| format!(" (seq {})", line.seq));
        let wrong = match (check.next(&line.bytes), before) {
            (Ok(()), _) if line.ended => continue,
            (Ok(()), _) => {
                "it lacks its newline: it is the last that was written before a crash".to_owned()
            }
            (Err(Break::Number { expected, found }), Some(before))
                if number == 1 && found < expected =>
            {
                let before = before.display();
                format!(
                    "{before} has lines up to seq {} of this chain already: one is a copy of the \
                     other, or two gateways went on from the same file, as on a copied disk",
                    expected - 1
                )
            }
            (Err(wrong), _) => wrong.to_string(),
        };
        let good = match check.head() {
            Some(head) => format!("up to seq {} the chain is whole, hash {}", head.seq, head.hash),
            None => "nothing before it was checked".to_owned(),
        };
        return Err(Wrong::Broken(format!("{}:{number}{seq}: {wrong}\n{good}\n", path.display())));
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 16, File::open(path)?))
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
    let Some(head) = check.head() else { return String::new() };
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
    if let Some(chain) = head.chain {
        let _ = writeln!(said, "chain {chain}");
    }
    let _ = writeln!(said, "last hash {}", head.hash);
    said
}
