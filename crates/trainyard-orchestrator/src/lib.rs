//! The core of Trainyard, to embed: commands, reconciling, artifacts, telemetry.
//!
//! [`Orchestrator`] is the handle. Commands move the wish, facts move the state, nothing else moves anything: the
//! reconciler (`reconcile/`) looks at one job at a time, plans one step (`reconcile/plan.rs`, pure) and performs it.
//! It installs no global subscriber, signal handler or TLS default, and knows no provider by name.

mod bells;
mod checkpoints;
mod choice;
mod clock;
mod commands;
mod core;
mod error;
mod feed;
mod guard;
mod handover;
mod housekeeping;
mod installation;
mod leftovers;
mod line;
mod link;
mod money;
mod offers;
mod orchestrator;
mod policy;
mod queue;
mod reconcile;
mod records;
mod recover;
mod release;
mod retention;
mod sightings;
mod sweep;
mod tail;
mod vault;
mod view;
mod warm;
mod watch;

pub use clock::{Clock, SystemClock};
pub use commands::{InputStatus, KeyTaken, Keyed, PauseMode, ProviderCheck, TokenCheck, create_token};
pub use error::{Error, ErrorKind};
pub use feed::EventStream;
pub use installation::{Installation, InstallationError};
pub use orchestrator::{Orchestrator, Parts};
pub use policy::Policy;
pub use recover::{GiveBack, Recovered, RecoveredMachine};
pub use retention::Keep;
/// What the server shows of a machine.
pub use trainyard_connector::{ExecOutput, SshTarget};
pub use view::{
    AccountsView, AlarmView, ArtifactView, BudgetView, Cancelled, Estimate, Expected, FileCheck, JobPatch,
    JobView, LogChunk, NewToken, OfferFilter, OfferView, OffersOf, OffersView, ProviderView, SharedEvent,
    StreamEnd, Submitted, Validation,
};
