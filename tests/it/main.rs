//! The program as a real process, against the simulator and against peers that misbehave.
//! One binary, one module a promise.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, its support too"
)]

mod support;

mod access;
mod admin;
mod admin_actions;
mod admin_status;
mod audit;
mod bare;
mod browser;
mod callers;
mod chaos;
mod cold_start;
mod colours;
mod commands;
mod connections;
mod corpus;
mod crowds;
mod dashboard;
mod deploy;
mod deployed_acl;
mod deployed_files;
mod docs;
mod draining;
mod exec;
mod exec_store;
mod fair;
mod first_look;
mod forbidden;
mod forged_tokens;
mod full_window;
mod hostile_login;
mod hostile_upstream;
mod http2_bounds;
mod http2_floods;
mod http2_upstream;
mod hygiene;
mod idle_races;
mod layers;
mod limits;
mod live;
mod malformed_http1;
mod malformed_http2;
mod observe;
mod observe_deployed;
mod oidc;
mod oidc_lives;
mod oidc_logins;
mod oidc_rotation;
mod oidc_server;
mod oidc_tokens;
mod operator;
mod organisations;
mod packaging;
mod pages;
mod parking;
mod pool;
mod rate;
mod reflected;
mod reload;
mod replicas_deployed;
mod retries;
mod revoked;
mod saving;
mod sdk;
mod sdk_limits;
mod secrecy;
mod secrets;
mod serving;
mod shared_budget;
mod shared_failover;
mod shared_logins;
mod shared_token;
mod shared_turns;
mod shared_use;
mod shell;
mod short_lives;
mod simulate;
mod slow_callers;
mod standing;
mod status_command;
mod store_budget;
mod store_commands;
mod store_link;
mod store_rules;
mod streaming;
mod systemd;
mod threats;
mod tls;
mod tls_handshakes;
mod token_command;
mod token_trouble;
mod traces;
mod unread_log;
mod upstream_tls;
mod vault;
mod verified;
mod warm;
