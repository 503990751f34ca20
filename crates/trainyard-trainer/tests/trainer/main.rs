//! The trainer from outside: what it writes, that it goes on exactly, and what it refuses.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test itself does")]

mod models;
mod process;
mod quickstart;
mod resume;
mod support;
