//! A gateway process, a simulated Genesys Cloud, and what tests do with them.

pub mod admin;
pub mod bridge;
pub mod browser;
pub mod callers;
pub mod corpus;
pub mod deployed;
pub mod edge;
pub mod exec;
pub mod front;
pub mod gateway;
pub mod hungry;
pub mod load;
pub mod oidc;
pub mod openapi;
pub mod patience;
pub mod planted;
pub mod raw;
pub mod redis;
pub mod redis_sets;
pub mod relay;
pub mod replicas;
pub mod scene;
pub mod sdk;
pub mod socket;
pub mod tools;
pub mod vault;
pub mod world;
pub mod yaml;

pub use gateway::Gateway;
pub use hungry::Hungry;
pub use load::{Answer, Traffic, assert_all, at_once};
pub use oidc::Oidc;
pub use replicas::Replicas;
pub use sdk::Sdk;
pub use socket::Socket;
pub use world::{NO_LIMIT, World, unlimited};
