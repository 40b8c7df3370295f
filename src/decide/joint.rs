//! One limit, many replicas: each has a cap on its own calls in any window, and all caps together are
//! never more than the limit.
//! It never makes a call wait for the store: what a replica may do it may do without asking.
//!
//! The store keeps a ledger of caps ([`ledger`]). A replica tells it now and then what its callers want,
//! and works out from what the others want how much should be its own ([`shares`]); it gives back what
//! it has too much of, and takes what has come free ([`part`]). A cap that is lowered counts as long as
//! calls that were made under it are in the window. So a replica that loses the store goes on with what
//! it has, and the others do not touch that.

pub mod ledger;
pub mod part;
pub mod rhythm;
pub mod shares;
pub mod tally;
pub mod wish;

#[cfg(test)]
mod tests;

use std::time::Duration;

/// A replica that was not heard for so long may be dead, or cut off.
pub const LEASE: Duration = Duration::from_secs(3);
/// It is heard as often.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
