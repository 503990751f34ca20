//! The core of Trainyard, to embed: commands, reconciling, artifacts, telemetry.
//!
//! It installs no global subscriber, signal handler or TLS default, and knows no provider by name.

mod error;
mod view;

pub use error::{Error, ErrorKind};
pub use view::{
    ArtifactView, Cancelled, Estimate, FileCheck, JobPatch, JobView, LogChunk, NewToken, ProviderView,
    SharedEvent, StreamEnd, Submitted, Validation,
};
