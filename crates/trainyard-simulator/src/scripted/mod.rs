//! The cheap mode: machines that are no processes, for very many at once.
//!
//! Where [`Options::script`](crate::Options::script) is set, a pod at RunPod whose environment carries our bootstrap
//! ([`ORDER`]) starts nothing. RunPod's proxy hands requests for its agent's port to an agent in this process, which
//! speaks the real agent's protocol over a training that exists only as a script: so many points, one every so
//! long, two small files at the end. What has happened by now is computed when somebody asks, so a thousand of them
//! cost nothing while nobody does. It checks no signatures, takes every input as handed over before, and neither
//! pauses nor runs commands; Lambda's and Vast.ai's machines always run their processes.

mod agent;
mod routes;
mod story;

pub(crate) use agent::Agent;

use std::time::Duration;

/// The variable of our bootstrap that names the order.
pub(crate) const ORDER: &str = "TRAINYARD_BOOT_ORDER";

/// A training that is told and not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// How many metric points it logs.
    pub points: u64,
    /// From one to the next, by the world's clock.
    pub every: Duration,
    /// How it ends.
    pub exit_code: i32,
}
