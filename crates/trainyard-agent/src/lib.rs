//! The small program beside a training process.

pub mod watch;
