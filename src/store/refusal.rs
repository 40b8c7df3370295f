//! What an error of the store says: is the connection of no use, does the store refuse, or is it the
//! script's own.
//! It never passes on a text of the store's without bounds: what is logged is short and one line.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// More than any sentence of Redis's.
const MOST: usize = 200;

/// What an error means for the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is of no use any more; another one may be to another server.
    Lost(String),
    /// There is none, and there will be none until somebody mends the configuration.
    Denied(String),
    /// It is good, and the store does not do what it is asked.
    Refused(String),
    /// The same, for want of a permission: what asks for less is done.
    Forbidden(String),
    /// The store did what it was asked; the script failed, or what it answered is not understood.
    Script(String),
}

impl Trouble {
    /// For people.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Lost(why)
            | Self::Denied(why)
            | Self::Refused(why)
            | Self::Forbidden(why)
            | Self::Script(why) => why,
        }
    }

    /// With what it is about before it.
    pub(super) fn of_server(self, name: &str) -> Self {
        let named = |why| format!("{name}: {why}");
        match self {
            Self::Lost(why) => Self::Lost(named(why)),
            Self::Denied(why) => Self::Denied(named(why)),
            Self::Refused(why) => Self::Refused(named(why)),
            Self::Forbidden(why) => Self::Forbidden(named(why)),
            Self::Script(why) => Self::Script(named(why)),
        }
    }

    /// What an error says. Inside scripts Redis before 7 wraps one into another.
    pub(super) fn of(error: &RedisError) -> Self {
        let detail = detail(error);
        if let Some(trouble) = error.code().and_then(|code| Self::of_code(code, &detail)) {
            return trouble;
        }
        let wrapped = detail.split(['-', ' ', ':']).find_map(|word| {
            let known = ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "NOPERM"];
            known.contains(&word).then(|| Self::of_code(word, &detail)).flatten()
        });
        if let Some(trouble) = wrapped.filter(|_| error.code().is_some()) {
            return trouble;
        }
        // Redis 7 says so with ERR, of commands, keys and channels.
        if detail.contains("The user executing the script can't") {
            return Self::of_code("NOPERM", &detail).unwrap_or(Self::Forbidden(detail));
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Denied(password(&detail)),
            ErrorKind::Server(ServerErrorKind::ResponseError)
                if detail.contains("max number of") =>
            {
                Self::Lost("it has too many clients (maxclients)".to_owned())
            }
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::Client => {
                Self::Script(format!("a script failed: {}", short(error)))
            }
            // A stream that is no protocol ends the connection by itself.
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
                Self::Script(format!("a script answers what nobody understands: {}", short(error)))
            }
            ErrorKind::RESP3NotSupported => {
                Self::Denied("it is too old: Redis 6 or later is needed".to_owned())
            }
            ErrorKind::Io if detail_of_tls(error).is_some() => {
                Self::Denied(detail_of_tls(error).unwrap_or_default().to_owned())
            }
            ErrorKind::Io if error.is_timeout() => Self::Lost("it does not answer".to_owned()),
            _ => Self::Lost(short(error)),
        }
    }

    /// The first word of an answer.
    fn of_code(code: &str, detail: &str) -> Option<Self> {
        let refused = |what: &str| Some(Self::Refused(what.to_owned()));
        match code {
            "LOADING" => refused("it is loading its data"),
            "OOM" => refused("its memory is full (maxmemory)"),
            "MISCONF" => refused("it cannot save to its disk and takes no writes (MISCONF)"),
            "NOREPLICAS" => refused("it has too few replicas of its own to take writes"),
            "BUSY" => refused("it is busy with another script"),
            "CLUSTERDOWN" => refused("its cluster is down (CLUSTERDOWN)"),
            "MOVED" | "ASK" | "TRYAGAIN" => refused("its cluster moves the keys"),
            "NOPERM" => {
                Some(Self::Forbidden(format!("its ACL does not let the user do this: {detail}")))
            }
            "READONLY" => Some(Self::Lost("it takes no writes: it is a replica".to_owned())),
            "MASTERDOWN" => Some(Self::Lost("it is a replica that has lost its master".to_owned())),
            "NOAUTH" => Some(Self::Denied("it wants a password".to_owned())),
            "WRONGPASS" => Some(Self::Denied(password(detail))),
            _ => None,
        }
    }
}

fn password(detail: &str) -> String {
    // Redis's words for a server that has none.
    if detail.contains("without any password") {
        return "it has no password, and store.password gives one".to_owned();
    }
    "it refuses the user name or the password".to_owned()
}

/// What is wrong with its certificate, if that is it.
fn detail_of_tls(error: &RedisError) -> Option<&'static str> {
    let text = error.to_string();
    let (_, what) = text.split_once("invalid peer certificate: ")?;
    Some(if what.contains("UnknownIssuer") {
        "nobody who is trusted here issued its certificate: name the authority in store.ca_file"
    } else if what.contains("not valid for name") {
        "its certificate is for another name than store.url has"
    } else if what.contains("expired") {
        "its certificate has ended"
    } else {
        "its certificate cannot be used"
    })
}

fn detail(error: &RedisError) -> String {
    plain(error.detail().unwrap_or_default())
}

fn short(error: &RedisError) -> String {
    plain(&error.to_string())
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::*;

    fn told(answer: &str) -> Trouble {
        let answer = parse_redis_value(format!("-{answer}\r\n").as_bytes()).unwrap();
        Trouble::of(&Value::extract_error(answer).unwrap_err())
    }

    #[test]
    fn who_refuses_for_now_keeps_the_connection_and_says_why() {
        for (answer, why) in [
            ("LOADING Redis is loading the dataset in memory", "loading"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "memory is full"),
            ("MISCONF Redis is configured to save RDB snapshots", "save to its disk"),
            ("NOREPLICAS Not enough good replicas to write.", "too few replicas"),
            ("BUSY Redis is busy running a script.", "another script"),
            ("CLUSTERDOWN The cluster is down", "cluster is down"),
            ("TRYAGAIN Multiple keys request during rehashing of slot", "moves the keys"),
            ("MOVED 3999 127.0.0.1:6381", "moves the keys"),
            // As Redis 6 says it of a script.
            (
                "ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed",
                "memory is full",
            ),
        ] {
            let trouble = told(answer);
            assert!(matches!(trouble, Trouble::Refused(_)), "{answer}: {trouble:?}");
            assert!(trouble.why().contains(why), "{answer}: {trouble:?}");
        }
        for answer in [
            "NOPERM User me has no permissions to run the 'evalsha' command",
            "ERR The user executing the script can't run this command script: evalsha1",
        ] {
            let trouble = told(answer);
            assert!(matches!(trouble, Trouble::Forbidden(_)), "{trouble:?}");
            assert!(trouble.why().contains("evalsha"), "{trouble:?}");
        }
    }

    #[test]
    fn who_is_not_the_master_is_left_and_who_does_not_know_us_is_our_mistake() {
        let lost =
            ["READONLY You can't write against a read only replica.", "MASTERDOWN Link down"];
        for answer in lost {
            assert!(matches!(told(answer), Trouble::Lost(_)), "{answer}");
        }
        for answer in
            ["NOAUTH Authentication required.", "WRONGPASS invalid username-password pair"]
        {
            assert!(matches!(told(answer), Trouble::Denied(_)), "{answer}");
        }
    }

    #[test]
    fn a_script_that_fails_or_answers_nonsense_leaves_the_connection() {
        let long = format!("ERR {} 'x'\u{7}", "-a".repeat(1000));
        for answer in ["ERR user_script:1: Script attempted to access", "WRONGTYPE of key", &long] {
            let trouble = told(answer);
            assert!(matches!(trouble, Trouble::Script(_)), "{answer}: {trouble:?}");
            assert!(trouble.why().len() < 300 && !trouble.why().contains('\u{7}'));
        }
        let nonsense = redis::from_redis_value::<u64>(Value::SimpleString("x".to_owned()));
        let trouble = Trouble::of(&nonsense.unwrap_err().into());
        assert!(matches!(trouble, Trouble::Script(_)), "{trouble:?}");
        assert!(trouble.why().contains("nobody understands"), "{trouble:?}");
    }
}
