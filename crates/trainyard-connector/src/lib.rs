//! What a provider must be able to do.
//!
//! Two different things speak, so there are two traits. [`Connector`]: the vendor rents and returns machines.
//! [`Workload`]: the training process on such a machine, through our agent beside it. An error says what failed
//! and its [`Effect`]: whether it may have happened all the same.

mod connector;
mod error;
mod offer;
#[cfg(feature = "ssh")]
pub mod ssh;
mod workload;

pub use connector::{
    Account, Capabilities, Connector, ConnectorInfo, MachineLog, MachineObservation, MachinePhase, Placement,
    ProvisionOrder, RegistryLogin, SshTarget, Termination, Vacancy,
};
pub use error::{ConnectorError, Effect, ErrorKind};
pub use offer::{Arch, OFFERS_MAX, Offer, Stock};
pub use workload::{
    AgentEvent, AgentEventBody, AgentGreeting, CheckpointInfo, EventBatch, HandOver, HandOverPurpose,
    InputSource, Manifest, ManifestFile, StartOrder, TrainingState, Workload, WorkloadState,
};
