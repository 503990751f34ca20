//! What is to be wired, and with which limits.

use std::path::PathBuf;
use std::sync::Arc;

use trainyard_connector::Connector;
use trainyard_orchestrator::{Clock, Policy, SystemClock};

use crate::Clouds;

/// What [`open`](crate::open) wires. `Debug` shows no secret: there is none in it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory; made where it is missing. One orchestrator at a time.
    pub data: PathBuf,
    /// This machine as a provider; none leaves it out. Without the feature `local` it is not looked at.
    pub local: Option<LocalOptions>,
    /// Where machines are rented.
    pub clouds: Clouds,
    /// Further providers, each under its own name.
    pub connectors: Vec<Arc<dyn Connector>>,
    /// Directories of this machine that `path:` sources of jobs may lie under.
    pub allowed_paths: Vec<PathBuf>,
    /// Every limit of the core.
    pub policy: Policy,
    /// Clock and dice.
    pub clock: Arc<dyn Clock>,
}

/// How trainings run on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalOptions {
    /// Trainings at once where no GPU can be used; none: one for every two cores.
    pub cpu_slots: Option<u32>,
    /// Whether GPUs are looked for.
    pub use_gpus: bool,
    /// The program that is executed as the agent, and that calls [`agent_entry`](crate::agent_entry) first; none:
    /// the running program.
    pub executable: Option<PathBuf>,
    /// The program that is executed for the built-in trainer, by the same hook; none: as `executable`.
    pub trainer: Option<PathBuf>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        LocalOptions { cpu_slots: None, use_gpus: true, executable: None, trainer: None }
    }
}

impl Config {
    /// The defaults over a data directory: `local`, no other provider, no `path:` sources.
    pub fn new(data: impl Into<PathBuf>) -> Config {
        Config {
            data: data.into(),
            local: Some(LocalOptions::default()),
            clouds: Clouds::default(),
            connectors: Vec::new(),
            allowed_paths: Vec::new(),
            policy: Policy::default(),
            clock: Arc::new(SystemClock),
        }
    }
}
