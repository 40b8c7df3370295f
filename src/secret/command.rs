//! A secret that a program prints: password stores and cloud vaults have one.
//! It never involves a shell, never keeps what the program writes to stderr, and never leaves its
//! process group behind: it is killed at the timeout. What has left the group (setsid) lives on.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{SecretString, zeroize::Zeroizing};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command as Process},
    time::timeout,
};

use super::{
    Kind, Unreadable,
    json::{Found, pick},
    usable,
};
use crate::config::{Command, MAX_BYTES, without_newline};

/// What it prints, at most 64 KiB, within its timeout.
pub(super) async fn run(command: &Command, kind: Kind) -> Result<SecretString, Unreadable> {
    let program = &command.program;
    let told = |what: String| Unreadable::new(format!("command {program}: {what}"));
    let child = Process::new(program)
        .args(&command.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| told(format!("cannot be started: {error}")))?;
    let mut group = Group(child);
    let mut output = Zeroizing::new(Vec::with_capacity(4096));
    let ending = timeout(command.timeout, async {
        if let Some(stdout) = group.0.stdout.take() {
            stdout.take(MAX_BYTES + 1).read_to_end(&mut output).await?;
        }
        if output.len() as u64 > MAX_BYTES {
            return Ok(None);
        }
        group.0.wait().await.map(Some)
    })
    .await;
    drop(group);
    match ending {
        Err(_) => {
            let limit = humantime::format_duration(command.timeout);
            Err(told(format!("has not ended within {limit} and was killed; run it by hand")))
        }
        Ok(Err(error)) => Err(told(format!("cannot be read: {error}"))),
        Ok(Ok(None)) => Err(told("prints more than 64 KiB, which is no secret".to_owned())),
        Ok(Ok(Some(status))) if !status.success() => {
            // "exit status: 3", or the signal that ended it.
            Err(told(format!("failed ({status}); run it by hand, as the gateway's user")))
        }
        Ok(Ok(Some(_))) => read_output(&output, command.field.as_deref(), command.usual_field)
            .and_then(|secret| usable(secret, kind))
            .map_err(|wrong| told(format!("what it prints {wrong}"))),
    }
}

/// A child that leads a process group of its own, which is killed with it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // As long as the leader is not waited for, its id is nobody else's.
        let leader = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // It may have ended by itself.
            kill_process_group(leader, Signal::KILL).ok();
        }
    }
}

/// The secret in what a command printed: the text `field` of a JSON object; without `field`, the
/// text `usual_field` when it is a JSON object that has it, else all of it less one newline.
///
/// # Errors
/// What is wrong with it, fit for the words "what it prints …". Never repeats a part of it.
pub fn read_output(
    output: &[u8],
    field: Option<&str>,
    usual_field: &str,
) -> Result<SecretString, &'static str> {
    match (pick(output, &[field.unwrap_or(usual_field)]), field) {
        (Ok(Found::Text(secret)), _) => Ok(secret),
        (Ok(Found::NoText), Some(_)) => Err("has no text in the field that `field` names"),
        (Ok(Found::Absent(_)), Some(_)) => Err("does not have the field that `field` names"),
        (Ok(Found::NoObject) | Err(_), Some(_)) => Err("is no JSON object, as `field` expects"),
        (Ok(Found::NoText), None) => Err("has no text in the field of the key's own name"),
        // A private key may be an object itself (RFC 7517 section 4.1: "kty" is required).
        (Ok(Found::Absent(_)), None) if !is_a_jwk(output) => {
            Err("is a JSON object: say in `field` which of its fields it is")
        }
        (Ok(Found::Absent(_) | Found::NoObject) | Err(_), None) => std::str::from_utf8(output)
            .map(|text| SecretString::from(without_newline(text)))
            .map_err(|_| "is not text"),
    }
}

fn is_a_jwk(output: &[u8]) -> bool {
    matches!(pick(output, &["kty"]), Ok(Found::Text(_)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;
    use tokio::time::Instant;

    use super::*;

    fn shell(script: &str) -> Command {
        Command {
            program: "sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            field: None,
            usual_field: "client_secret",
            timeout: Duration::from_secs(20),
        }
    }

    async fn refusal(command: &Command) -> String {
        run(command, Kind::Word).await.unwrap_err().why
    }

    #[test]
    fn output_is_raw_text_or_a_field_of_json() {
        for (output, field, expected) in [
            ("S3cret\n", None, Ok("S3cret")),
            ("S3cret", None, Ok("S3cret")),
            (r#"{"client_secret":"S3cret","x":1}"#, None, Ok("S3cret")),
            (r#"{"password":"S3cret"}"#, Some("password"), Ok("S3cret")),
            (r#""S3cret""#, None, Ok(r#""S3cret""#)),
            ("123456", None, Ok("123456")),
            (r#"{"kty":"EC","d":"S3cret"}"#, None, Ok(r#"{"kty":"EC","d":"S3cret"}"#)),
            (r#"{"S3cret":"S3cret"}"#, None, Err("say in `field`")),
            (r#"{"client_secret":17}"#, None, Err("no text")),
            (r#"{"password":{"S3cret":1}}"#, Some("password"), Err("no text")),
            (r#"{"S3cret":"S3cret"}"#, Some("password"), Err("does not have")),
            ("S3cret", Some("password"), Err("no JSON object")),
            ("", Some("password"), Err("no JSON object")),
        ] {
            match (read_output(output.as_bytes(), field, "client_secret"), expected) {
                (Ok(secret), Ok(expected)) => assert_eq!(secret.expose_secret(), expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (read, _) => panic!("{output}: {read:?}"),
            }
        }
        assert_eq!(read_output(&[0xff], None, "client_secret").unwrap_err(), "is not text");
    }

    #[tokio::test]
    async fn a_program_is_run_without_a_shell_and_with_its_arguments() {
        let command = Command {
            program: "printf".to_owned(),
            arguments: vec!["%s\n".to_owned(), "$HOME; *".to_owned()],
            ..shell("")
        };
        assert_eq!(run(&command, Kind::Word).await.unwrap().expose_secret(), "$HOME; *");
        // Nothing to read, and nobody to ask.
        let asks = shell("read -r line; printf %s \"got-$?\"");
        assert_eq!(run(&asks, Kind::Word).await.unwrap().expose_secret(), "got-1");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_named_with_its_exit_code_and_nothing_it_wrote() {
        let told = refusal(&shell("echo S3cret; echo S3cret >&2; exit 3")).await;
        assert_eq!(
            told,
            "command sh: failed (exit status: 3); run it by hand, as the gateway's user"
        );
        let missing = Command { program: "/does/not/exist".to_owned(), ..shell("") };
        let told = refusal(&missing).await;
        assert!(told.starts_with("command /does/not/exist: cannot be started: No such"), "{told}");
        let told = refusal(&shell("printf 'S3cret\\nS3cret'")).await;
        assert!(told.contains("more than one line") && !told.contains("S3cret"), "{told}");
        let told = refusal(&shell("true")).await;
        assert_eq!(told, "command sh: what it prints is empty");
    }

    #[tokio::test]
    async fn a_program_that_prints_for_ever_is_stopped() {
        let told = refusal(&shell("while :; do echo SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS; done")).await;
        assert!(told.contains("more than 64 KiB") && !told.contains("SS"), "{told}");
    }

    #[tokio::test]
    async fn at_the_timeout_the_program_dies_and_its_children_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("child");
        let mut command =
            shell(&format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", note.display()));
        command.timeout = Duration::from_secs(1);
        let begin = Instant::now();
        let told = refusal(&command).await;
        assert!(told.contains("has not ended within 1s"), "{told}");
        assert!(begin.elapsed() < Duration::from_secs(15));
        let child = std::fs::read_to_string(&note).unwrap();
        until_dead(child.trim()).await;
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_leaves_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("child");
        let command =
            shell(&format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", note.display()));
        let child = tokio::select! {
            _ = run(&command, Kind::Word) => panic!("it sleeps"),
            child = async {
                while !note.exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                std::fs::read_to_string(&note).unwrap()
            } => child,
        };
        until_dead(child.trim()).await;
    }

    /// Gone, or a zombie that waits for whoever inherited it.
    async fn until_dead(id: &str) {
        let begin = Instant::now();
        let alive = || {
            std::fs::read_to_string(format!("/proc/{id}/stat"))
                .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with('Z'))
        };
        while alive() {
            assert!(begin.elapsed() < Duration::from_secs(10), "process {id} lives on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    proptest! {
        #[test]
        fn no_output_panics_and_no_error_repeats_it(
            output in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "\\{\"(client_secret|kty|x)\":[ -~]{0,20}\\}".prop_map(String::into_bytes),
            ],
            field in prop_oneof![Just(None), Just(Some("x"))],
        ) {
            if let Ok(secret) = read_output(&output, field, "client_secret") {
                prop_assert!(secret.expose_secret().len() <= output.len());
            }
            let planted = [b"{\"S3CR3T\":\"S3CR3T\"".as_slice(), &output].concat();
            if let Err(error) = read_output(&planted, field, "client_secret") {
                prop_assert!(!error.contains("S3CR3T"));
            }
        }
    }
}
