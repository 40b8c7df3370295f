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
    /// It is good, and the store does not do what it is asked.
    Refused(String),
    /// The same, for want of a permission: what asks for less is done.
    Forbidden(String),
    /// The store did what it was asked, and the script failed.
    Script(String),
}

impl Trouble {
    /// For people.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Lost(why) | Self::Refused(why) | Self::Forbidden(why) | Self::Script(why) => why,
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
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Lost(password(&detail)),
            ErrorKind::Server(ServerErrorKind::ResponseError)
                if detail.contains("max number of") =>
            {
                Self::Lost("it has too many clients (maxclients)".to_owned())
            }
            ErrorKind::Server(_)
            | ErrorKind::Extension
            | ErrorKind::UnexpectedReturnType
            | ErrorKind::Client => Self::Script(format!("a script failed: {}", short(error))),
            ErrorKind::RESP3NotSupported => {
                Self::Lost("it is too old: Redis 6 or later is needed".to_owned())
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
            "NOAUTH" => Some(Self::Lost("it wants a password".to_owned())),
            "WRONGPASS" => Some(Self::Lost(password(detail))),
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

fn detail(error: &RedisError) -> String {
    plain(error.detail().unwrap_or_default())
}

fn short(error: &RedisError) -> String {
    plain(&error.to_string())
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST).collect()
}
