//! Scripts, which the store runs as one step.
//! It never runs one twice: whoever asked decides, as it may have been run all the same.

use std::fmt;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, aio::ConnectionLike};

/// One of a folder's scripts, behind what they have in common.
macro_rules! script {
    ($folder:literal, $name:literal) => {
        $crate::store::Script::new(concat!(
            include_str!(concat!($folder, "/common.lua")),
            include_str!(concat!($folder, "/", $name, ".lua")),
        ))
    };
}
pub(super) use script;

/// A script that the store runs as one step.
pub struct Script {
    text: String,
    /// What the store knows it by.
    hash: String,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.hash).finish()
    }
}

impl Script {
    /// Written in Lua 5.1, with `KEYS` and `ARGV`.
    pub fn new(text: &str) -> Self {
        let hash = redis::Script::new(text).get_hash().to_owned();
        Self { text: text.to_owned(), hash }
    }

    /// What the store knows it by.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// Runs it. It is sent again only when the store did not: it did not know the script, or is not
    /// the node of the cluster that has the keys.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        wire: &mut impl ConnectionLike,
        keys: &[&str],
        args: &[&[u8]],
    ) -> RedisResult<T> {
        let known = command("EVALSHA", &self.hash, keys, args);
        let told = match known.query_async(wire).await {
            // By now it has learned which node does.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::Moved) => {
                known.query_async(wire).await
            }
            told => told,
        };
        match told {
            // With the text: SCRIPT LOAD would want every node of a cluster to answer.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                command("EVAL", &self.text, keys, args).query_async(wire).await
            }
            told => told,
        }
    }
}

fn command(name: &str, script: &str, keys: &[&str], args: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len());
    for key in keys {
        command.arg(*key);
    }
    for arg in args {
        command.arg(*arg);
    }
    command
}
