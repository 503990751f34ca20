//! Where Trainyard keeps what it knows: jobs, their numbered events, telemetry, the ledger of machines, secrets
//! (sealed), tokens (hashed) and artifacts.
//!
//! [`Storage`] speaks in verbs of the domain. The row is the truth, the events are the history: both are written
//! in one transaction, so "saved but not announced" cannot happen. Every implementation is held to the same cases
//! in `trainyard-testkit`.

mod artifacts;
mod checkpoints;
mod durable;
mod held;
mod inputs;
mod logs;
#[cfg(feature = "sqlite")]
mod sqlite;
mod types;
mod verbs;

pub use artifacts::{BadPath, DiskArtifacts, FileIngest, Ingest, IngestError, check_path};
pub use checkpoints::{BlobIngest, Checkpoint, CheckpointIngest, DiskCheckpoints, JobCheckpoints};
pub use held::HeldFiles;
pub use inputs::{InputError, InputFiles, Received};
pub use logs::LogFiles;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStorage};
pub use types::{
    Appended, Commit, CommitError, Committed, CreateError, EventPage, Fence, IdempotentAnswer, JobFilter,
    JobPage, JobRow, KeyMark, ListPage, MetricQuery, NOTE_BEHIND, SealedSecret, StorageError, StoredJob,
    Telemetry, TelemetryItem, TokenRecord,
};
pub use verbs::Storage;
