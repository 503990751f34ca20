//! The verbs of [`Storage`], each one line to where it is done.

use async_trait::async_trait;
use trainyard_domain::{
    AttemptNumber, Event, Job, JobId, Machine, MetricPoint, NewEvent, OrderName, ProviderName, SecretName,
    Seq, Timestamp,
};

use super::SqliteStorage;
use crate::{
    Appended, Commit, CommitError, Committed, CreateError, EventPage, Fence, IdempotentAnswer, JobFilter,
    JobPage, KeyMark, ListPage, MetricQuery, SealedSecret, Storage, StorageError, StoredJob, Telemetry,
    TelemetryItem, TokenRecord,
};

#[async_trait]
impl Storage for SqliteStorage {
    fn fence(&self) -> Fence {
        self.fence
    }

    async fn create_under(
        &self,
        job: &Job,
        events: &[NewEvent],
        key: Option<&KeyMark>,
    ) -> Result<StoredJob, CreateError> {
        self.create_job(job, events, key).await
    }

    async fn load(&self, id: &JobId) -> Result<Option<StoredJob>, StorageError> {
        self.load_job(id).await
    }

    async fn list(&self, filter: &JobFilter, page: ListPage) -> Result<JobPage, StorageError> {
        self.list_jobs(filter, page).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.commit_job(commit).await
    }

    async fn append(&self, telemetry: Telemetry) -> Result<Appended, StorageError> {
        self.append_telemetry(telemetry).await
    }

    async fn append_aside(
        &self,
        id: &JobId,
        attempt: AttemptNumber,
        items: Vec<TelemetryItem>,
    ) -> Result<Appended, StorageError> {
        self.append_items(id, attempt, None, &items).await
    }

    async fn events(&self, id: &JobId, after: Seq, limit: usize) -> Result<EventPage, StorageError> {
        self.events_after(id, after, limit).await
    }

    async fn notifications(&self, id: &JobId) -> Result<Vec<Event>, StorageError> {
        self.all_notifications(id).await
    }

    async fn metrics(
        &self,
        id: &JobId,
        query: &MetricQuery,
    ) -> Result<Vec<(Timestamp, MetricPoint)>, StorageError> {
        self.metric_series(id, query).await
    }

    async fn highest_step(&self, id: &JobId, before: AttemptNumber) -> Result<Option<u64>, StorageError> {
        self.highest_step_before(id, before).await
    }

    async fn due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<JobId>, Option<Timestamp>), StorageError> {
        self.due_jobs(now, limit).await
    }

    async fn waiting(&self, provider: &ProviderName, limit: usize) -> Result<Vec<JobId>, StorageError> {
        self.waiting_jobs(provider, limit).await
    }

    async fn delete(&self, id: &JobId, version: Option<u64>) -> Result<bool, StorageError> {
        self.delete_job(id, version).await
    }

    async fn machines(&self, open: bool, limit: usize) -> Result<Vec<Machine>, StorageError> {
        self.list_machines(open, limit).await
    }

    async fn machines_since(&self, since: Timestamp, limit: usize) -> Result<Vec<Machine>, StorageError> {
        self.list_machines_since(since, limit).await
    }

    async fn reservations(&self) -> Result<u64, StorageError> {
        self.count_reservations().await
    }

    async fn machine(&self, order: &OrderName) -> Result<Option<Machine>, StorageError> {
        self.one_machine(order).await
    }

    async fn expire_telemetry(&self, before: Timestamp, limit: usize) -> Result<u64, StorageError> {
        self.expire(before, limit).await
    }

    async fn ended_before(&self, before: Timestamp, limit: usize) -> Result<Vec<JobId>, StorageError> {
        self.ended(before, limit).await
    }

    async fn put_secret(&self, secret: &SealedSecret) -> Result<(), StorageError> {
        self.set_secret(secret).await
    }

    async fn secret(&self, name: &SecretName) -> Result<Option<SealedSecret>, StorageError> {
        self.one_secret(name).await
    }

    async fn secret_names(&self) -> Result<Vec<(SecretName, Timestamp)>, StorageError> {
        self.all_secret_names().await
    }

    async fn delete_secret(&self, name: &SecretName) -> Result<bool, StorageError> {
        self.forget_secret(name).await
    }

    async fn put_token(&self, token: &TokenRecord) -> Result<(), StorageError> {
        self.add_token(token).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StorageError> {
        self.all_tokens().await
    }

    async fn delete_token(&self, id: &str) -> Result<bool, StorageError> {
        self.forget_token(id).await
    }

    async fn begin_idempotent(
        &self,
        key: &str,
        answer: &IdempotentAnswer,
        expired_before: Timestamp,
    ) -> Result<Option<IdempotentAnswer>, StorageError> {
        self.begin_key(key, answer, expired_before).await
    }

    async fn finish_idempotent(&self, key: &str, answer: &IdempotentAnswer) -> Result<(), StorageError> {
        self.finish_key(key, answer).await
    }

    async fn note(&self, name: &str) -> Result<Option<i64>, StorageError> {
        self.one_note(name).await
    }

    async fn put_note(&self, name: &str, value: i64) -> Result<(), StorageError> {
        self.set_note(name, value).await
    }

    async fn probe(&self) -> Result<(), StorageError> {
        self.probe_write().await
    }

    async fn close(&self) {
        self.shut().await
    }
}
