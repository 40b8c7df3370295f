//! The subcommands, one file each.
//! They never decide how a request is carried: that is the gateway's.

pub mod check;
pub mod exit;
