//! The trait: verbs of the domain, each with its promise. A test in `trainyard-testkit` is written from each.

use async_trait::async_trait;
use trainyard_domain::{
    AttemptNumber, Event, Job, JobId, Machine, MetricPoint, NewEvent, OrderName, ProviderName, SecretName,
    Seq, Timestamp,
};

use crate::{
    Appended, Commit, CommitError, Committed, CreateError, EventPage, Fence, IdempotentAnswer, JobFilter,
    JobPage, KeyMark, ListPage, MetricQuery, SealedSecret, StorageError, StoredJob, Telemetry, TelemetryItem,
    TokenRecord,
};

/// Durable memory. What a method returned `Ok` for survives a power cut.
///
/// Every future may be dropped at any `.await`: the change is then made whole or not at all.
#[async_trait]
pub trait Storage: std::fmt::Debug + Send + Sync + 'static {
    /// The fence under which this process writes; larger than that of every holder before it.
    fn fence(&self) -> Fence;

    /// Stores a new job at version 1 with its first events. Fifty at once with one id: exactly one succeeds.
    async fn create(&self, job: &Job, events: &[NewEvent]) -> Result<StoredJob, CreateError> {
        self.create_under(job, events, None).await
    }

    /// The same under an `Idempotency-Key`: job and key are written in one transaction.
    async fn create_under(
        &self,
        job: &Job,
        events: &[NewEvent],
        key: Option<&KeyMark>,
    ) -> Result<StoredJob, CreateError>;

    /// The job with its counters.
    async fn load(&self, id: &JobId) -> Result<Option<StoredJob>, StorageError>;

    /// A page of jobs, newest first, with how many match. Stable while jobs are created: a page never repeats a job
    /// of the page before. Flat in time up to a million jobs for no filter, state and provider.
    async fn list(&self, filter: &JobFilter, page: ListPage) -> Result<JobPage, StorageError>;

    /// Writes row, events, ledger and due time in one transaction, conditional on version and fence.
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError>;

    /// Appends telemetry and moves the cursor in one transaction. A batch whose cursor is not above the stored one
    /// of that attempt is not taken again, nor is one that begins before it; a batch of an older attempt, or of a job that is not there, is not taken
    /// at all. The newest values of the training go into [`StoredJob::current_metrics`]; names under `system/` do not.
    async fn append(&self, telemetry: Telemetry) -> Result<Appended, StorageError>;

    /// Appends telemetry of an attempt that its agent did not tell, as what the vendor noted of its machine: taken each
    /// time it is given, and no cursor moves. Of an older attempt than the one the cursor stands at, or of a job that is
    /// not there, nothing is taken.
    async fn append_aside(
        &self,
        id: &JobId,
        attempt: AttemptNumber,
        items: Vec<TelemetryItem>,
    ) -> Result<Appended, StorageError>;

    /// Events after a number, at most `limit`, in order. A page before the last number is never empty.
    async fn events(&self, id: &JobId, after: Seq, limit: usize) -> Result<EventPage, StorageError>;

    /// All notifications of a job, in order (they are facts, and few).
    async fn notifications(&self, id: &JobId) -> Result<Vec<Event>, StorageError>;

    /// The series of a job's metrics in the order they came.
    async fn metrics(
        &self,
        id: &JobId,
        query: &MetricQuery,
    ) -> Result<Vec<(Timestamp, MetricPoint)>, StorageError>;

    /// The highest step of any metric that attempts before that one told; none where they told none.
    async fn highest_step(&self, id: &JobId, before: AttemptNumber) -> Result<Option<u64>, StorageError>;

    /// Jobs that are due at `now`, the longest due first, and when the next one is.
    async fn due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<JobId>, Option<Timestamp>), StorageError>;

    /// Jobs that were submitted to a provider, hold no machine and wait for one, in the order they were submitted. One
    /// that lost its machine waits at its old place; one that is to stop or to pause does not wait.
    async fn waiting(&self, provider: &ProviderName, limit: usize) -> Result<Vec<JobId>, StorageError>;

    /// Forgets a job: its row, events and telemetry. Its machines stay on the ledger. Says whether there was one.
    /// With a version only a job that still has it, so that nothing is forgotten that moved since it was looked at.
    async fn delete(&self, id: &JobId, version: Option<u64>) -> Result<bool, StorageError>;

    /// The ledger, newest order first; `open` only what may still be billed.
    async fn machines(&self, open: bool, limit: usize) -> Result<Vec<Machine>, StorageError>;

    /// Every entry of the ledger that may still be billed, or was proven gone at that moment or later: the ground of a
    /// month's accounts. More than `limit` are an error, since a sum of a part is wrong.
    async fn machines_since(&self, since: Timestamp, limit: usize) -> Result<Vec<Machine>, StorageError>;

    /// How many commits have set money aside so far.
    async fn reservations(&self) -> Result<u64, StorageError>;

    /// One entry of the ledger.
    async fn machine(&self, order: &OrderName) -> Result<Option<Machine>, StorageError>;

    /// Drops telemetry older than `before` of jobs that have ended, at most `limit` rows (and 1000, so that facts do
    /// not wait); says how many went. Call again until it says 0.
    async fn expire_telemetry(&self, before: Timestamp, limit: usize) -> Result<u64, StorageError>;

    /// Ids of jobs that ended before that moment, the oldest first.
    async fn ended_before(&self, before: Timestamp, limit: usize) -> Result<Vec<JobId>, StorageError>;

    /// Sets or replaces a sealed secret.
    async fn put_secret(&self, secret: &SealedSecret) -> Result<(), StorageError>;

    /// One sealed secret.
    async fn secret(&self, name: &SecretName) -> Result<Option<SealedSecret>, StorageError>;

    /// Names of all secrets and when they were set, sorted.
    async fn secret_names(&self) -> Result<Vec<(SecretName, Timestamp)>, StorageError>;

    /// Deletes a secret; says whether there was one.
    async fn delete_secret(&self, name: &SecretName) -> Result<bool, StorageError>;

    /// Adds a token. An id or digest that is there already is an error.
    async fn put_token(&self, token: &TokenRecord) -> Result<(), StorageError>;

    /// All tokens, oldest first. Seen at once, also when another process of the same directory wrote them.
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StorageError>;

    /// Revokes a token by id; says whether there was one.
    async fn delete_token(&self, id: &str) -> Result<bool, StorageError>;

    /// Takes an idempotency key, or says what it was used for. Of many at once exactly one gets `None`. Keys older
    /// than `expired_before` count as never used, and so do those that an older process took and did nothing under.
    /// One under which an older process changed a job and did not answer is taken over too: the answer tells the job
    /// and that process's fence, once.
    async fn begin_idempotent(
        &self,
        key: &str,
        answer: &IdempotentAnswer,
        expired_before: Timestamp,
    ) -> Result<Option<IdempotentAnswer>, StorageError>;

    /// Stores the answer of a key; an answer without a status gives the key back. One under which a job was changed is
    /// then as if an older process had taken it.
    async fn finish_idempotent(&self, key: &str, answer: &IdempotentAnswer) -> Result<(), StorageError>;

    /// A number that this directory remembers under a name; none where it was never set.
    async fn note(&self, name: &str) -> Result<Option<i64>, StorageError>;

    /// Sets or replaces a number to remember. Names are 1 to 64 of `[a-z0-9_]`.
    async fn put_note(&self, name: &str, value: i64) -> Result<(), StorageError>;

    /// Whether a small write goes through: the ground of `/readyz`.
    async fn probe(&self) -> Result<(), StorageError>;

    /// Waits for writes under way, then closes. Later calls fail with [`StorageError::Closed`].
    async fn close(&self);
}
