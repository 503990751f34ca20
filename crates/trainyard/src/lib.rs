//! Trainyard to embed: training jobs on the machine at hand and on rented ones, without HTTP.
//!
//! ```no_run
//! use trainyard::domain::JobSpec;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let orchestrator = trainyard::open(trainyard::Config::new("/var/lib/my-app")).await?;
//! let job = orchestrator.create_job(None, JobSpec::new("trainyard-tiny")).await?.job.id().clone();
//! orchestrator.start_training(job.as_str(), "local").await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`open`] wires what [`Config`] says: the database, the artifacts, the installation and the providers. What comes
//! back is the [`Orchestrator`], a cheap handle to clone and to share. It needs a tokio
//! runtime that goes on; it installs no signal handler and no global subscriber. `examples/embedded.rs` of the
//! repository is a whole program.
//!
//! # The hook at the top of `main`
//!
//! A training has an agent beside it, a process of its own that outlives the program. No second binary is shipped
//! for it: the program executes itself, so it begins with
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     // Before anything else: this program may have been started as the agent beside a training.
//!     # #[cfg(feature = "agent")]
//!     if let Some(code) = trainyard::agent_entry() {
//!         return code;
//!     }
//!     // … the program
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! # Features
//!
//! `local` (this machine as a provider) and `sqlite` are on by default, `agent` comes with `local`. `runpod`, `lambda` and
//! `vastai` each add the cloud of that name; `trainer` adds the built-in trainer and is left out by default, since it
//! is large.

mod clouds;
mod config;
#[cfg(feature = "agent")]
mod hook;
#[cfg(feature = "sqlite")]
mod open;
#[cfg(feature = "rented")]
mod rented;
#[cfg(feature = "sqlite")]
mod tokens;

#[cfg(feature = "lambda")]
pub use clouds::LambdaOptions;
#[cfg(feature = "runpod")]
pub use clouds::RunPodOptions;
#[cfg(feature = "vastai")]
pub use clouds::VastOptions;
pub use clouds::{AgentOptions, Clouds};
pub use config::{Config, LocalOptions};
#[cfg(feature = "agent")]
pub use hook::agent_entry;
#[cfg(feature = "sqlite")]
pub use open::{OpenError, open};
#[cfg(feature = "lambda")]
pub use rented::machine_ssh_key;
#[cfg(feature = "rented")]
pub use rented::{CloudError, agents_to_serve};
#[cfg(feature = "sqlite")]
pub use tokens::TokenFile;

/// What a provider must be able to do, to add one.
pub use trainyard_connector as connector;
/// The words and rules: jobs, states, events, metrics, money.
pub use trainyard_domain as domain;
/// The core: commands, events, artifacts.
pub use trainyard_orchestrator as orchestrator;
/// Where everything is kept.
pub use trainyard_storage as storage;
/// The built-in trainer.
#[cfg(feature = "trainer")]
pub use trainyard_trainer as trainer;

pub use trainyard_orchestrator::Orchestrator;
