//! Lambda's On-Demand Cloud as a provider of machines, over its Cloud API 1.10 and SSH.
//!
//! A machine is a whole virtual machine that is billed by the minute until it is terminated. The API rents and returns
//! machines and does nothing else; everything on a machine goes through SSH, the only port that is open from outside.
//!
//! - `config`: key, addresses, pace, which system image.
//! - `api`: one method per call of the vendor's, the only file with paths.
//! - `wire`: the vendor's JSON, as far as it is used. What grants access to a machine is not read at all.
//! - `map`: the vendor's words in ours and back. Pure.
//! - `error`: what a refusal means. Pure.
//! - `keys`: the SSH keys, made from the installation's own secret.
//! - `user_data`: what a machine does at its first boot.
//! - `machines`: the way to each machine.
//! - `machine_log`: what a machine's own boot log says, before the agent answers.
//! - `connector`: these joined behind [`trainyard_connector::Connector`].

mod api;
mod config;
mod connector;
mod error;
mod keys;
mod machine_log;
mod machines;
mod map;
mod user_data;
mod wire;

pub use config::{Auth, DEFAULT_IMAGE_FAMILY, DEFAULT_URL, LambdaConfig, usual_paces};
pub use connector::LambdaLabsConnector;
pub use keys::user_key;
