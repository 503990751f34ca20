//! What goes with time: telemetry of ended jobs. Facts stay.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use trainyard_domain::{JobId, Timestamp};

use super::codec::{failed, get, limit, nanos, word};
use super::writer::Change;
use super::{SqliteStorage, StorageError};

/// Rows of one call at most, so that facts do not wait for it.
const EXPIRE_MAX: usize = 1000;

/// By age first: of old rows most belong to jobs that have ended.
const EXPIRE: &str = "
DELETE FROM telemetry WHERE rowid IN (
    SELECT t.rowid FROM telemetry t CROSS JOIN jobs j ON j.n = t.job
    WHERE t.at < $1 AND j.completed_at IS NOT NULL ORDER BY t.at LIMIT $2)
RETURNING job, last";

struct Expire {
    before: i64,
    limit: usize,
}

#[async_trait]
impl Change for Expire {
    type Out = u64;

    fn weight(&self) -> usize {
        self.limit
    }

    async fn run(&self, conn: &mut SqliteConnection) -> Result<u64, StorageError> {
        let doing = "dropping old telemetry";
        let gone = sqlx::query(EXPIRE).bind(self.before).bind(limit(self.limit)).fetch_all(&mut *conn).await;
        let gone = gone.map_err(failed(doing))?;
        let mut whole_from: BTreeMap<i64, i64> = BTreeMap::new();
        for row in &gone {
            let (job, last): (i64, i64) = (get(row, 0)?, get(row, 1)?);
            let from = whole_from.entry(job).or_default();
            *from = (*from).max(last + 1);
        }
        for (job, from) in whole_from {
            let moved = sqlx::query("UPDATE jobs SET whole_from = max(whole_from, $2) WHERE n = $1");
            moved.bind(job).bind(from).execute(&mut *conn).await.map_err(failed(doing))?;
        }
        Ok(gone.len() as u64)
    }
}

impl SqliteStorage {
    pub(super) async fn expire(&self, before: Timestamp, max: usize) -> Result<u64, StorageError> {
        self.writer.write(Expire { before: nanos(before), limit: max.min(EXPIRE_MAX) }).await
    }

    pub(super) async fn ended(&self, before: Timestamp, max: usize) -> Result<Vec<JobId>, StorageError> {
        let mut reader = self.reader().await?;
        let rows =
            sqlx::query("SELECT id FROM jobs WHERE completed_at < $1 ORDER BY completed_at, n LIMIT $2")
                .bind(nanos(before))
                .bind(limit(max))
                .fetch_all(reader.conn())
                .await
                .map_err(failed("reading which jobs ended"))?;
        rows.iter().map(|row| word("a job's id", get(row, 0)?)).collect()
    }
}
