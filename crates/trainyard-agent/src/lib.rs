//! The small program beside a training process, and the client that speaks to it.
//!
//! - [`entry`]: the hook at the top of `main`. The program re-executes itself as agent and as warden, so that an
//!   embedder ships no second binary.
//! - `daemon`: the agent: a signed HTTP interface over one training at a time, events and logs on disk before they
//!   are sent, digests of what the training left.
//! - `warden`: the process between agent and training. Nothing that the training started outlives it, and it does
//!   not outlive the agent.
//! - `diagnose`: why a training failed, told from how it ended.
//! - [`watch`]: metrics, progress and checkpoints of a training that may know nothing of us.
//! - [`sweep`] and [`ProcessId`]: how somebody else on the machine makes sure that nothing is left.
//! - `client` (feature `client`): [`AgentClient`], the `Workload` that speaks to an agent, and [`AgentSupply`], which
//!   brings the agent to a machine.
//! - `protocol` and [`SigningKey`]: what both sides have in common.
//!
//! Whoever has the key of the installation dials in. The agent itself calls nobody but its own machine's vendor, and that
//! only to have the machine removed when nobody speaks to it any more.

mod clock;
mod key;
mod protocol;
#[cfg(unix)]
pub mod watch;

#[cfg(unix)]
mod daemon;
#[cfg(unix)]
mod diagnose;
#[cfg(unix)]
mod entry;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod random;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(all(unix, not(target_os = "linux")))]
#[path = "other_unix.rs"]
mod system;
#[cfg(unix)]
mod warden;

#[cfg(feature = "client")]
mod client;

#[cfg(feature = "client")]
pub use client::{
    AgentClient, AgentSupply, BootOrder, Bootstrap, Stay, SupplyConfig, SupplyError, TlsIdentity,
    boot_failure,
};
pub use key::{KeyError, SigningKey};

#[cfg(unix)]
pub use daemon::AgentRecord;
#[cfg(unix)]
pub use entry::entry;
#[cfg(unix)]
pub use process::{MARK, ProcessId, agent_of, sweep};
