//! One job by its id, jobs that are due, jobs that wait, and forgetting one.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use trainyard_domain::{AttemptNumber, Job, JobId, ProviderName, Seq, Timestamp};

use super::codec::{count, failed, get, limit, moment, nanos, parsed, word};
use super::writer::Change;
use super::{SqliteStorage, StorageError};
use crate::StoredJob;

const LOAD: &str = "
SELECT spec, body, version, seq, log_bytes, current_metrics, progress, cursor_attempt, cursor_n
FROM jobs WHERE id = $1";

const DUE: &str = "
SELECT id, due_at FROM (SELECT id, due_at FROM jobs WHERE due_at <= $1 ORDER BY due_at, n LIMIT $2)
UNION ALL SELECT NULL, min(due_at) FROM jobs WHERE due_at > $1";

const WAITING: &str = "
SELECT id FROM jobs WHERE waiting = 1 AND provider = $1 ORDER BY submitted LIMIT $2";

fn stored(row: &SqliteRow) -> Result<StoredJob, StorageError> {
    let job =
        Job::restore(Arc::new(parsed("a specification", get(row, 0)?)?), parsed("a job", get(row, 1)?)?)
            .map_err(|error| StorageError::Corrupt(error.to_string()))?;
    let (metrics, progress): (Option<&str>, Option<&str>) = (get(row, 5)?, get(row, 6)?);
    let (attempt, cursor): (Option<i64>, Option<i64>) = (get(row, 7)?, get(row, 8)?);
    let attempt = attempt.and_then(|attempt| u32::try_from(attempt).ok());
    Ok(StoredJob {
        job,
        version: count(get(row, 2)?),
        seq: Seq(count(get(row, 3)?)),
        log_bytes: count(get(row, 4)?),
        current_metrics: metrics.map(|text| parsed("the newest metrics", text)).transpose()?,
        progress: progress.map(|text| parsed("the progress", text)).transpose()?,
        cursor: attempt.zip(cursor).map(|(attempt, n)| (AttemptNumber::from(attempt), count(n))),
    })
}

struct Delete(JobId, Option<i64>);

#[async_trait]
impl Change for Delete {
    type Out = bool;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<bool, StorageError> {
        // Events, telemetry and labels go with the row.
        let delete = sqlx::query("DELETE FROM jobs WHERE id = $1 AND version = coalesce($2, version)");
        let gone = delete.bind(self.0.as_str()).bind(self.1).execute(conn).await;
        Ok(gone.map_err(failed("deleting a job"))?.rows_affected() > 0)
    }
}

impl SqliteStorage {
    pub(super) async fn load_job(&self, id: &JobId) -> Result<Option<StoredJob>, StorageError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query(LOAD).bind(id.as_str()).fetch_optional(reader.conn()).await;
        row.map_err(failed("loading a job"))?.as_ref().map(stored).transpose()
    }

    pub(super) async fn due_jobs(
        &self,
        now: Timestamp,
        max: usize,
    ) -> Result<(Vec<JobId>, Option<Timestamp>), StorageError> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query(DUE).bind(nanos(now)).bind(limit(max)).fetch_all(reader.conn()).await;
        let (mut jobs, mut next) = (Vec::new(), None);
        for row in &rows.map_err(failed("reading what is due"))? {
            match get::<Option<&str>>(row, 0)? {
                Some(id) => jobs.push(word("a job's id", id)?),
                None => next = get::<Option<i64>>(row, 1)?.map(moment),
            }
        }
        Ok((jobs, next))
    }

    pub(super) async fn waiting_jobs(
        &self,
        provider: &ProviderName,
        max: usize,
    ) -> Result<Vec<JobId>, StorageError> {
        let mut reader = self.reader().await?;
        let rows =
            sqlx::query(WAITING).bind(provider.as_str()).bind(limit(max)).fetch_all(reader.conn()).await;
        let rows = rows.map_err(failed("reading what waits"))?;
        rows.iter().map(|row| word("a job's id", get(row, 0)?)).collect()
    }

    pub(super) async fn delete_job(&self, id: &JobId, version: Option<u64>) -> Result<bool, StorageError> {
        // A version that no row can have deletes nothing.
        let version = version.map(|version| i64::try_from(version).unwrap_or(-1));
        self.writer.write(Delete(id.clone(), version)).await
    }
}
