//! This machine as a provider: `local`.
//!
//! A machine of it is an agent, a process of its own in a directory of its own, so a training outlives a restart of
//! the server and is taken up again by directory, pid and start time. What can be had at once are slots: the GPUs of
//! this machine where NVIDIA's library is there, else a configured number.
//!
//! - `config`: where, how many.
//! - `slots`: who has which slot.
//! - `gpus`: NVIDIA's library, loaded when the program runs; absent is fine.
//! - `machines`: one agent: start, find, end.
//! - `connector`: these joined behind [`trainyard_connector::Connector`].

mod config;
mod connector;
mod gpus;
mod machines;
mod slots;

pub use config::LocalConfig;
pub use connector::{LocalConnector, LocalError};
