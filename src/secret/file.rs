//! A secret in a file, less one newline at its end.
//! It never reads more than any secret is long, and never refuses a file for its permissions.

use std::path::Path;

use secrecy::SecretString;

use super::{Kind, Unreadable, usable};
use crate::config::{read_credential, without_newline};

/// The file's text.
pub(super) fn read(path: &Path, kind: Kind) -> Result<SecretString, Unreadable> {
    let shown = path.display();
    let bytes = read_credential(path)
        .map_err(|error| Unreadable::new(format!("cannot read {shown}: {error}")))?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Unreadable::new(format!("{shown} is not text")))?;
    usable(SecretString::from(without_newline(text)), kind)
        .map_err(|wrong| Unreadable::new(format!("{shown} {wrong}")))
}

/// Who else can read the file, and the remedy; `None` when nobody can, or when it cannot be told.
///
/// Kubernetes mounts secrets for everybody unless told otherwise, so this is for a warning.
pub fn loose(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let shown = path.display();
    (mode & 0o077 != 0).then(|| {
        format!(
            "{shown} can be read by others (mode {mode:04o}): chmod 600 {shown}, or in Kubernetes \
             defaultMode: 0400"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn one_newline_is_the_editors_and_the_rest_is_judged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, kind, expected) in [
            ("S3cr et\n", Kind::Word, Ok("S3cr et")),
            ("S3cret\r\n", Kind::Word, Ok("S3cret")),
            ("S3cret\n\n", Kind::Word, Err("begins or ends with a blank")),
            ("S3\ncret", Kind::Word, Err("has more than one line")),
            ("", Kind::Word, Err("is empty")),
            (" S3cret", Kind::Word, Err("begins or ends with a blank")),
            ("S3c\u{7}ret", Kind::Word, Err("control character")),
            ("-----BEGIN X-----\na\n", Kind::PrivateKey, Ok("-----BEGIN X-----\na")),
            ("S3cret", Kind::PrivateKey, Err("neither PEM nor a JWK")),
        ] {
            std::fs::write(&path, text).unwrap();
            match (read(&path, kind), expected) {
                (Ok(secret), Ok(expected)) => assert_eq!(secret.expose_secret(), expected),
                (Err(error), Err(expected)) => {
                    assert!(error.why.contains(expected), "{error}");
                    assert!(error.why.contains(path.to_str().unwrap()), "{error}");
                    assert!(!error.why.contains("S3"), "{error}");
                }
                (read, _) => panic!("{text:?}: {read:?}"),
            }
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path, Kind::Word).unwrap_err().why.contains("is not text"));
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path, Kind::Word).unwrap_err().why.contains("cannot read"));
    }

    #[test]
    fn a_file_that_others_can_read_is_told_of_with_the_remedy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |mode| {
            std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            loose(file.path())
        };
        for mode in [0o600, 0o400] {
            assert_eq!(with(mode), None, "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let told = with(mode).unwrap();
            let remedy = format!("chmod 600 {}", file.path().display());
            assert!(told.contains(&remedy) && told.contains(&format!("{mode:04o}")), "{told}");
        }
        assert_eq!(loose(Path::new("/does/not/exist")), None);
    }
}
