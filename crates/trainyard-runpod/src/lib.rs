//! RunPod as a provider of machines, over version 2 of its REST API.
//!
//! A machine of it is a pod: a container that RunPod starts anew whenever its main process ends, and that it shows as
//! running long before the image is there. So the pod's word is never taken for the training's: our agent's is.
//!
//! - `config`: key, addresses, tiers.
//! - `api`: one method for each call; the only file with paths.
//! - `wire`: RunPod's JSON.
//! - `map`: the only place that speaks both languages; pure.
//! - `error`: status and body to kind and effect.
//! - `logins`: logins at image registries that RunPod keeps for us, and their removal.
//! - `connector`: these joined behind [`trainyard_connector::Connector`].

mod api;
mod config;
mod connector;
mod error;
mod logins;
mod map;
mod wire;

pub use config::{CloudTier, DEFAULT_IMAGE, DEFAULT_PROXY_URL, DEFAULT_URL, RunPodConfig};
pub use connector::RunPodConnector;
