//! The server over real sockets: what actix itself does is part of what is promised.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first thing that is not as it must be"
)]

mod artifacts;
mod client;
mod errors;
mod guarding;
mod inputs;
mod jobs;
mod repeats;
mod rig;
mod shutdown;
mod streams;
mod websocket;
