//! Callers that a reload changes: who comes, who goes, and whose tokens are over with it.
//! It never makes one caller another: a name keeps its place until the process ends.

use std::sync::Arc;

use super::Callers;
use crate::{
    config::{Caller, KeyDigest, Mode},
    decide::callers::Principal,
    gateway::login::seal::Who,
};

/// Why callers cannot be changed while the gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TakesRestart {
    /// `[jwt]` is read at the start, and only if it is needed.
    #[error("the first caller with `claims` takes a restart")]
    Claims,
    /// Each name keeps its place until the process ends.
    #[error("more than 1000 different callers since the start: it takes a restart")]
    Names,
}

impl Callers {
    /// Of a configuration that has changed: whoever was there is who it was, with its tokens, and nobody
    /// is whom a reload took away.
    ///
    /// # Errors
    /// When it takes a restart.
    pub fn renewed(&self, callers: &[Caller], mode: Mode) -> Result<Self, TakesRestart> {
        self.can_become(callers)?;
        for caller in callers {
            if self.names.find(&caller.name).is_none() && !self.names.add(&caller.name) {
                return Err(TakesRestart::Names);
            }
        }
        let (tokens, provider) = (Arc::clone(&self.tokens), self.provider.clone());
        Ok(Self::with((callers, mode), self.names.clone(), tokens, provider))
    }

    /// Whether `renewed` would do; nothing has changed yet.
    ///
    /// # Errors
    /// When it takes a restart.
    pub fn can_become(&self, callers: &[Caller]) -> Result<(), TakesRestart> {
        let claims = callers.iter().any(|caller| !caller.claims.is_empty());
        if claims && self.provider.is_none() {
            return Err(TakesRestart::Claims);
        }
        let more = callers.iter().filter(|caller| self.names.find(&caller.name).is_none());
        if more.count() > self.names.room() {
            return Err(TakesRestart::Names);
        }
        Ok(())
    }

    /// Who may log in, and by which key.
    pub fn may_log_in(&self) -> Vec<Who> {
        let who = |(name, (key, principal)): (&String, &(KeyDigest, Principal))| {
            (*principal, name.clone(), *key)
        };
        self.by_name.iter().map(who).collect()
    }
}
