//! A new job and its first events.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use trainyard_domain::{Claim, Job, NewEvent, Seq, Wish};

use super::codec::{failed, int, json, limit, nanos};
use super::keys::mark_key;
use super::writer::Change;
use super::{SqliteStorage, StorageError};
use crate::{CreateError, Fence, KeyMark, StoredJob};

/// What of a job stands in columns of its own.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) state: &'static str,
    pub(super) provider: Option<String>,
    pub(super) labels: String,
    pub(super) started_at: Option<i64>,
    pub(super) completed_at: Option<i64>,
    pub(super) submitted: bool,
    pub(super) waiting: bool,
    pub(super) body: String,
}

impl Columns {
    pub(super) fn of(job: &Job) -> Result<Columns, StorageError> {
        let body = job.body();
        let holds_nothing = matches!(job.state().claim(), None | Some(Claim::Waiting));
        Ok(Columns {
            state: job.state().name().as_str(),
            provider: body.provider.as_ref().map(ToString::to_string),
            labels: json(&body.labels)?,
            started_at: body.started_at.map(nanos),
            completed_at: body.completed_at.map(nanos),
            submitted: body.provider.is_some() && job.wish() != Wish::Rest,
            waiting: body.provider.is_some()
                && job.wish() == Wish::Run
                && !job.state().name().is_end()
                && holds_nothing,
            body: json(body)?,
        })
    }
}

/// Events as one JSON text, which SQLite takes apart again: one statement writes them all.
pub(super) fn facts(events: &[NewEvent]) -> Result<String, StorageError> {
    let rows: Result<Vec<serde_json::Value>, StorageError> = events
        .iter()
        .map(|event| {
            let body = json(&event.body)?;
            let attempt = event.attempt.map(|attempt| attempt.get());
            Ok(serde_json::json!([nanos(event.at), attempt, event.body.kind(), body]))
        })
        .collect();
    json(&rows?)
}

/// An event of a commit must be a fact: telemetry is appended.
pub(super) fn only_facts(events: &[NewEvent]) -> Result<(), StorageError> {
    if events.iter().any(|event| event.body.is_telemetry()) {
        return Err(StorageError::Misuse("telemetry is appended, not committed"));
    }
    Ok(())
}

struct Create {
    id: String,
    model_name: String,
    created_at: i64,
    columns: Columns,
    spec: String,
    fence: i64,
    facts: String,
    facts_len: i64,
    key: Option<KeyMark>,
}

/// The second statement does nothing where the first did nothing: `changes()` is then 0.
const CREATE: &str = "
INSERT INTO jobs (id, state, provider, model_name, labels, created_at, started_at, completed_at,
                  submitted, waiting, version, fence, seq, body, spec)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8,
            CASE WHEN $9 THEN (SELECT coalesce(max(submitted), 0) + 1 FROM jobs WHERE submitted IS NOT NULL) END,
            $10, 1, $11, $12, $13, $14)
    ON CONFLICT (id) DO NOTHING RETURNING n;
INSERT INTO facts (job, seq, at, attempt, kind, body)
    SELECT last_insert_rowid(), e.key + 1, e.value ->> 0, e.value ->> 1, e.value ->> 2, e.value ->> 3
    FROM json_each($15) e WHERE changes() = 1";

#[async_trait]
impl Change for Create {
    /// Whether there was none of that id.
    type Out = bool;

    fn weight(&self) -> usize {
        2
    }

    async fn run(&self, conn: &mut SqliteConnection) -> Result<bool, StorageError> {
        let columns = &self.columns;
        let rows = sqlx::query(CREATE)
            .bind(self.id.as_str())
            .bind(columns.state)
            .bind(columns.provider.as_deref())
            .bind(self.model_name.as_str())
            .bind(columns.labels.as_str())
            .bind(self.created_at)
            .bind(columns.started_at)
            .bind(columns.completed_at)
            .bind(columns.submitted)
            .bind(columns.waiting)
            .bind(self.fence)
            .bind(self.facts_len)
            .bind(columns.body.as_str())
            .bind(self.spec.as_str())
            .bind(self.facts.as_str())
            .fetch_all(&mut *conn)
            .await
            .map_err(failed("creating a job"))?;
        if let Some(mark) = self.key.as_ref().filter(|_| !rows.is_empty()) {
            mark_key(conn, mark).await?;
        }
        Ok(!rows.is_empty())
    }
}

impl SqliteStorage {
    pub(super) async fn create_job(
        &self,
        job: &Job,
        events: &[NewEvent],
        key: Option<&KeyMark>,
    ) -> Result<StoredJob, CreateError> {
        only_facts(events)?;
        let Fence(fence) = self.fence;
        let change = Create {
            id: job.id().to_string(),
            model_name: job.spec().model_name.clone(),
            created_at: nanos(job.body().created_at),
            columns: Columns::of(job)?,
            spec: json(job.spec().as_ref())?,
            fence: int(fence),
            facts: facts(events)?,
            facts_len: limit(events.len()),
            key: key.cloned(),
        };
        if !self.writer.write(change).await? {
            return Err(CreateError::Exists(job.id().clone()));
        }
        Ok(StoredJob {
            job: job.clone(),
            version: 1,
            seq: Seq(events.len() as u64),
            log_bytes: 0,
            current_metrics: None,
            progress: None,
            cursor: None,
        })
    }
}
