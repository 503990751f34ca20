//! A way to a machine over SSH (feature `ssh`).
//!
//! One connection per machine, made when it is first needed and made again after it broke: commands run over it, and
//! ports of the machine appear as ports of this one. Every call is bounded in time.
//!
//! - [`SshKey`]: an Ed25519 key made of a seed, so that nothing need be stored.
//! - [`HostKeyRule`]: which host key may answer.
//! - [`Tunnel`]: the connection: [`Tunnel::exec`] and [`Tunnel::forward`].
//!
//! What it leaves to others: how a machine's address is learnt, and what its host key should be.

mod error;
mod exec;
mod forward;
mod key;
mod trust;
mod tunnel;

pub use error::SshError;
pub use exec::{ExecLimits, Executed};
pub use key::SshKey;
pub use trust::HostKeyRule;
pub use tunnel::{Tunnel, TunnelConfig};
