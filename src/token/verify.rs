//! Whether a token is still good: asked at Genesys, or at an introspection endpoint (RFC 7662).
//! It never decides what follows, and never takes a failure of the check for an answer.

use http::HeaderValue;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alive {
    /// The token is good.
    Active,
    /// It is not, whatever its life.
    Inactive,
    /// The check itself failed: why, for the log.
    Unknown(String),
}

/// Who can tell.
pub trait Check: Send + Sync + 'static {
    /// Asks about the token in this `Authorization`.
    fn check(&self, authorization: &HeaderValue) -> impl Future<Output = Alive> + Send;
}
