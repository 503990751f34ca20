//! The user's specification and the contract, line by line, over HTTP against a real server that trains on this
//! machine. One module a subject; each test has a server of its own.
//!
//! What is promised of the clouds is tested where the clouds are.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

mod access;
mod artifacts;
mod bodies;
mod changes;
mod crash;
mod create;
mod errors;
mod events;
mod idempotency;
mod inputs;
mod jobs;
mod logs;
mod metrics;
mod overview;
mod planted;
mod processes;
mod queue;
mod replay;
mod secrets;
mod sockets;
mod states;
mod submit;
mod yard;
