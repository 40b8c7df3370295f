//! Turns, limits and lines together.
