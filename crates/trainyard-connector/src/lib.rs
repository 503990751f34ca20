//! What a provider must be able to do.
//!
//! Two different things speak, so there are two traits. [`Connector`]: the vendor rents and returns machines.
//! [`Workload`]: the training process on such a machine, through our agent beside it. An error says what failed
//! and its [`Effect`]: whether it may have happened all the same.
//!
//! - [`owned`]: by what a machine in an account is known to be ours.
//! - [`gpu`]: one list of words for GPUs, and whether an offer meets a need.
//! - `http` (feature `http`): the client that a vendor's connector speaks through.
//! - `ssh` (feature `ssh`): the tunnel to machines that open nothing else.

mod connector;
mod error;
pub mod gpu;
#[cfg(feature = "http")]
pub mod http;
mod lease;
mod mark;
mod offer;
#[cfg(feature = "ssh")]
pub mod ssh;
mod workload;

pub use connector::{
    Account, Billing, Capabilities, Connector, ConnectorInfo, Leftover, LeftoverKind, MachineLog,
    MachineObservation, MachinePhase, Placement, ProvisionOrder, RegistryLogin, SshTarget, Termination,
    Vacancy,
};
pub use error::{ConnectorError, Effect, ErrorKind};
pub use lease::{BadHttpCall, HttpCall, SelfRemoval};
pub use mark::{MARK_VARIABLE, mark_of, owned};
pub use offer::{Arch, OFFERS_MAX, Offer, Stock};
pub use workload::{
    AgentEvent, AgentEventBody, AgentGreeting, CheckpointInfo, CheckpointManifest, EXEC_WITHIN_MAX,
    EventBatch, ExecOrder, ExecOutput, HandOver, HandOverPurpose, InputSource, KeptJob, Manifest,
    ManifestFile, Renewal, SelfRemovalProof, SetupPhase, StartOrder, TrainingState, Workload, WorkloadState,
};
