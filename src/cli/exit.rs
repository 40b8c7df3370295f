//! Exit codes (sysexits.h), so that a script or a service manager can tell failures apart.
//! They are public: never change one.

/// Done.
pub const OK: u8 = 0;
/// `audit verify`: the log is not what was written.
pub const BROKEN: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A file cannot be read (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// A server cannot be reached (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// A command is there and cannot be executed, as shells say it.
pub const NOT_EXECUTABLE: u8 = 126;
/// There is no such command, as shells say it.
pub const NOT_FOUND: u8 = 127;
/// Added to the number of the signal that ended a command, as shells do.
pub const BY_SIGNAL: u8 = 128;
/// The configuration or the credentials are wrong (`EX_CONFIG`).
pub const CONFIG: u8 = 78;
