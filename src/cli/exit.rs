//! Exit codes (sysexits.h), so that a script or a service manager can tell failures apart.
//! They are public: never change one.

/// Done.
pub const OK: u8 = 0;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A server cannot be reached (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// The configuration or the credentials are wrong (`EX_CONFIG`).
pub const CONFIG: u8 = 78;
