//! The way to the store: one connection that all use, made anew when it breaks.
//! It never waits longer than a command may take, and never repeats one: whoever asked decides.

use std::{fmt, time::Duration};

use redis::{FromRedisValue, aio::MultiplexedConnection};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;

use super::Down;
use crate::config;

/// What a command may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// The URL of the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare the store: {0}")]
pub struct Unbuildable(#[from] redis::RedisError);

/// A script that the store runs as one step.
pub struct Script(redis::Script);

impl Script {
    /// Written in Lua 5.1, with `KEYS` and `ARGV`.
    pub fn new(text: &str) -> Self {
        Self(redis::Script::new(text))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.0.get_hash()).finish()
    }
}

/// A way to the store.
pub struct Link {
    client: redis::Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// When the URL is none of a Redis.
    pub fn new(config: &config::Store) -> Result<Self, Unbuildable> {
        let client = redis::Client::open(config.url.expose_secret())?;
        Ok(Self { client, connection: Mutex::default() })
    }

    /// Runs a script, once. All keys must have the same `{tag}`: a cluster runs it where they are.
    ///
    /// # Errors
    /// When the store cannot be reached, is slow, or refuses.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<T, Down> {
        let down = |why: String| Down { why };
        let mut connection = match self.connection.lock().await.clone() {
            Some(connection) => connection,
            None => {
                let connecting = self.client.get_multiplexed_async_connection();
                let made = tokio::time::timeout(PATIENCE, connecting).await;
                let made = made.map_err(|_| down("the store does not answer".to_owned()))?;
                let made = made.map_err(|error| down(error.to_string()))?;
                *self.connection.lock().await = Some(made.clone());
                made
            }
        };
        let mut call = script.0.prepare_invoke();
        for key in keys {
            call.key(*key);
        }
        for arg in args {
            call.arg(*arg);
        }
        let told = tokio::time::timeout(PATIENCE, call.invoke_async(&mut connection)).await;
        let told = match told {
            Ok(Ok(told)) => return Ok(told),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store does not answer".to_owned(),
        };
        *self.connection.lock().await = None;
        Err(down(told))
    }
}
