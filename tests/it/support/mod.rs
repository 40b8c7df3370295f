//! A gateway process, a simulated Genesys Cloud, and what tests do with them.

pub mod gateway;
pub mod raw;
pub mod world;

pub use gateway::Gateway;
pub use world::World;
