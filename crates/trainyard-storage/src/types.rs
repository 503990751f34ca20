//! What goes into storage and what comes out of it.

use trainyard_domain::{
    AttemptNumber, Event, EventBody, Job, JobId, Machine, MetricPoint, NewEvent, Progress, ProviderName,
    SecretName, Seq, Sha256, StateName, Timestamp,
};

/// Which holder of a job writes. A commit whose fence is older than the job's is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);

/// A job as stored, with the counters that facts do not touch.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    /// The job.
    pub job: Job,
    /// Moves with every fact and wish, never with telemetry.
    pub version: u64,
    /// The number of its last event; 0 where there is none.
    pub seq: Seq,
    /// Bytes of its log that are stored.
    pub log_bytes: u64,
    /// The newest metric of each training name seen (`step` included where known), null where none came yet.
    pub current_metrics: Option<MetricPoint>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// How far the agent of an attempt was read, so that its events are taken exactly once.
    pub cursor: Option<(AttemptNumber, u64)>,
}

/// One change of one job: its row, its events and its ledger entries in one transaction.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The job as it shall be.
    pub job: Job,
    /// The version it was loaded with; another one in storage is [`CommitError::Stale`].
    pub version: u64,
    /// Who writes; older than the stored one is [`CommitError::Fenced`].
    pub fence: Fence,
    /// Facts to number and append, in order.
    pub events: Vec<NewEvent>,
    /// Ledger entries to insert or replace, by order name.
    pub machines: Vec<Machine>,
    /// When the job wants to be looked at next; none takes it out of the queue.
    pub due: Option<Timestamp>,
    /// The `Idempotency-Key` of the request that asks for this change: noted in the same transaction.
    pub key: Option<KeyMark>,
    /// Where the commit sets money aside: the number of reservations that its decision rests on, as
    /// [`Storage::reservations`](crate::Storage::reservations) gave it. Another number in storage is
    /// [`CommitError::Stale`]; written, the number moves by one.
    pub reserves: Option<u64>,
}

/// What a key's row shall be once the change that was asked for under it is made, written with that change or not at
/// all: a request that comes again finds either nothing done or what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMark {
    /// The key.
    pub key: String,
    /// Without a status, as the answer is still to be given, and with the job that was made or changed.
    pub answer: IdempotentAnswer,
}

/// What a commit gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The new version.
    pub version: u64,
    /// The number of the last event.
    pub seq: Seq,
}

/// Telemetry of one job, taken in one transaction. It never moves the job's version.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Whose.
    pub job_id: JobId,
    /// Which attempt it comes from.
    pub attempt: AttemptNumber,
    /// The agent's number before the first item. Where the stored one is above it, a part of the batch was taken before
    /// and nothing is written.
    pub after: u64,
    /// The agent's number after the last item; stored in the same transaction. Not above the stored one: nothing
    /// is written (the batch was taken before).
    pub cursor: u64,
    /// Items in the order they get their numbers; `Metrics`, `Progress` and `Log` only. At most
    /// [`Telemetry::ITEMS_MAX`].
    pub items: Vec<TelemetryItem>,
}

impl Telemetry {
    /// Most items of one batch, so that facts never wait long for the writer.
    pub const ITEMS_MAX: usize = 4096;
}

/// One item of telemetry.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryItem {
    /// When the agent saw it.
    pub at: Timestamp,
    /// What; never a fact.
    pub body: EventBody,
}

/// What appending gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The number of the job's last event.
    pub seq: Seq,
    /// How many items were taken: all, or none where the batch was taken before.
    pub taken: usize,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only of that provider.
    pub provider: Option<ProviderName>,
    /// Only in that state.
    pub state: Option<StateName>,
    /// Only with all of these labels.
    pub labels: Vec<(String, String)>,
}

/// Which part of the list, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPage {
    /// Rows at most, 1 to 1000.
    pub limit: u32,
    /// The `next` of the page before.
    pub before: Option<u64>,
}

/// A job as a list shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// The job's id.
    pub id: JobId,
    /// Its state.
    pub state: StateName,
    /// Where it was submitted.
    pub provider: Option<ProviderName>,
    /// Its model.
    pub model_name: String,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it first ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// One page of jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<JobRow>,
    /// How many match in all.
    pub total: u64,
    /// Where the next page begins; none at the end.
    pub next: Option<u64>,
}

/// A run of events.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// Events after the asked number, in order. Numbers may be missing at the start only, where retention took them.
    pub events: Vec<Event>,
    /// The job's last number.
    pub last: Seq,
    /// The oldest number from which the history is whole; 1 where nothing was taken yet.
    pub oldest: Seq,
}

/// Which metrics to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricQuery {
    /// Only points after that step (points without a step, the machine's, are then left out).
    pub after_step: Option<u64>,
    /// Only these names; empty is all.
    pub names: Vec<String>,
    /// Points at most that are read from storage.
    pub limit: usize,
}

/// A secret as stored: sealed by the installation's key, which storage never sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Its name.
    pub name: SecretName,
    /// Nonce and ciphertext.
    pub sealed: Vec<u8>,
    /// When it was set.
    pub updated_at: Timestamp,
}

/// An API token as stored: its digest only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// A short public id, to list and revoke it by.
    pub id: String,
    /// What it is for, in the user's words.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: Sha256,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The answer that an `Idempotency-Key` got, to be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotentAnswer {
    /// Digest of method, path and body: another one under the same key is a conflict.
    pub request: Sha256,
    /// HTTP status; none while the first request is still at work.
    pub status: Option<u16>,
    /// The body, as JSON text.
    pub body: Option<String>,
    /// `Location` of a 201.
    pub location: Option<String>,
    /// When the key was first used.
    pub created_at: Timestamp,
    /// The job that the request made or changed, from the transaction of that change on.
    pub job: Option<JobId>,
    /// The fence of the process that works on it, or did.
    pub fence: Fence,
}

/// The note ([`Storage::note`](crate::Storage::note)) that is 1 where the database was found older than what was used
/// last: a backup that was put back, or a new database in place of one that is gone. 0 once that was seen to.
pub const NOTE_BEHIND: &str = "behind";

/// Storage failed; nothing of the call was written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database refused or failed.
    #[error("storage failed while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored cannot be read back.
    #[error("what is stored is damaged: {0}")]
    Corrupt(String),
    /// Another server holds the directory.
    #[error(
        "the data directory `{directory}` is in use by another server (pid {holder}): stop that one, or choose another directory with --data"
    )]
    InUse {
        /// The directory.
        directory: String,
        /// The holder's pid, or `unknown`.
        holder: String,
    },
    /// The database was written by a newer version.
    #[error(
        "the database was written by a newer Trainyard (schema {found}, this one knows {known}): use that version"
    )]
    TooNew {
        /// Schema found.
        found: i64,
        /// Newest schema known.
        known: i64,
    },
    /// A file operation failed.
    #[error("storage failed while {doing}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The caller asked for what cannot be; nothing was written.
    #[error("storage was used wrongly: {0}")]
    Misuse(&'static str),
    /// More rows than the caller can take, where a part of them says nothing.
    #[error("there are more than {max} {what}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The most.
        max: usize,
    },
    /// Storage was closed.
    #[error("storage is closed")]
    Closed,
}

/// Why a job was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// That id exists.
    #[error("a job `{0}` exists already")]
    Exists(JobId),
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a commit was not taken; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The job moved since it was loaded: load again.
    #[error("the job `{0}` changed meanwhile")]
    Stale(JobId),
    /// Another holder took the job over.
    #[error("the job `{0}` was taken over by another replica")]
    Fenced(JobId),
    /// There is no such job (any more).
    #[error("there is no job `{0}`")]
    Missing(JobId),
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
