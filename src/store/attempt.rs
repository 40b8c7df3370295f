//! One attempt to use the store, for `check --live`.
//! It never leaves anything behind there.

use super::{
    Script, Unbuildable,
    keeper::{PROBE, ask},
    refusal::Trouble,
    scope,
    way::Way,
};
use crate::{config, secret::Secret};

/// What one attempt shows.
#[derive(Debug)]
pub enum Attempt {
    /// It works.
    Good,
    /// It works, and messages do not arrive: why.
    Deaf(String),
    /// It cannot be reached, is slow, or takes no writes: why.
    Away(String),
    /// The configuration here or the ACL there is wrong: why.
    Wrong(String),
}

impl Attempt {
    /// Connects, writes and listens.
    ///
    /// # Errors
    /// When TLS has no usable roots.
    pub async fn at(config: &config::Store, password: Option<Secret>) -> Result<Self, Unbuildable> {
        let way = Way::new(config, password)?;
        Ok(Self::by(&way, config).await.unwrap_or_else(Self::of))
    }

    async fn by(way: &Way, config: &config::Store) -> Result<Self, Trouble> {
        let named = |trouble: Trouble| trouble.of_server(&config.servers.to_string());
        let mut wire = way.open().await?;
        let probe = Script::new(PROBE);
        ask(&probe, "probe", &mut wire, config.timeout).await.map_err(named)?;
        let mut ear = match way.listen(|_| {}).await {
            Ok(ear) => ear,
            Err(trouble) => return Ok(Self::Deaf(trouble.why().to_owned())),
        };
        match tokio::time::timeout(config.timeout, ear.subscribe(&scope::name("probe", "probe")))
            .await
        {
            Ok(Ok(())) => Ok(Self::Good),
            Ok(Err(error)) => Ok(Self::Deaf(named(Trouble::of(&error)).why().to_owned())),
            Err(_) => Ok(Self::Deaf("no answer to SUBSCRIBE".to_owned())),
        }
    }

    fn of(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost(why) | Trouble::Refused(why) => Self::Away(why),
            Trouble::Denied(why) | Trouble::Forbidden(why) | Trouble::Script(why) => {
                Self::Wrong(why)
            }
        }
    }
}
