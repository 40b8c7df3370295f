//! genesys-proxy: an authenticating reverse proxy for Genesys Cloud.
#![warn(missing_docs)]

pub mod cli;
pub mod config;
pub mod simulator;
