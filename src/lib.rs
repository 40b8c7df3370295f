//! genesys-proxy: an authenticating reverse proxy for Genesys Cloud.
#![warn(missing_docs)]

pub mod cli;
pub mod config;
pub mod decide;
pub mod simulator;
pub mod token;
pub mod upstream;
