//! genesys-proxy: an authenticating reverse proxy for Genesys Cloud.
#![warn(missing_docs)]

pub mod admin;
pub mod config;
pub mod decide;
pub mod gateway;
pub mod server;
pub mod telemetry;
pub mod token;
pub mod upstream;
