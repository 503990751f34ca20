//! One change of one job: row, events and ledger in one transaction, conditional on version and fence.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use trainyard_domain::{JobId, Seq};

use super::codec::{count, failed, get, int, json, limit, nanos};
use super::create::{Columns, facts, only_facts};
use super::keys::mark_key;
use super::machines::{MachineRow, count_one, put_machine, reserved};
use super::writer::Change;
use super::{SqliteStorage, StorageError};
use crate::{Commit, CommitError, Committed, Fence, KeyMark};

struct Update {
    id: JobId,
    version: i64,
    fence: i64,
    columns: Columns,
    due_at: Option<i64>,
    facts: String,
    facts_len: i64,
    machines: Vec<MachineRow>,
    key: Option<KeyMark>,
    reserves: Option<i64>,
}

/// The second statement does nothing where the first did nothing: `changes()` is then 0.
const UPDATE: &str = "
UPDATE jobs SET state = $4, provider = $5, labels = $6, started_at = $7, completed_at = $8,
        submitted = CASE WHEN $9 THEN coalesce(submitted,
            (SELECT coalesce(max(submitted), 0) + 1 FROM jobs WHERE submitted IS NOT NULL)) END,
        waiting = $10, due_at = $11, body = $12, version = version + 1, fence = $3, seq = seq + $13
    WHERE id = $1 AND version = $2 AND fence <= $3 RETURNING seq;
INSERT INTO facts (job, seq, at, attempt, kind, body)
    SELECT j.n, j.seq - $13 + e.key + 1, e.value ->> 0, e.value ->> 1, e.value ->> 2, e.value ->> 3
    FROM jobs j, json_each($14) e WHERE j.id = $1 AND changes() = 1";

#[async_trait]
impl Change for Update {
    type Out = Result<Committed, CommitError>;

    fn weight(&self) -> usize {
        2 + self.machines.len()
    }

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Self::Out, StorageError> {
        if let Some(read) = self.reserves
            && read != reserved(conn).await?
        {
            return Ok(Err(CommitError::Stale(self.id.clone())));
        }
        let columns = &self.columns;
        let rows = sqlx::query(UPDATE)
            .bind(self.id.as_str())
            .bind(self.version)
            .bind(self.fence)
            .bind(columns.state)
            .bind(columns.provider.as_deref())
            .bind(columns.labels.as_str())
            .bind(columns.started_at)
            .bind(columns.completed_at)
            .bind(columns.submitted)
            .bind(columns.waiting)
            .bind(self.due_at)
            .bind(columns.body.as_str())
            .bind(self.facts_len)
            .bind(self.facts.as_str())
            .fetch_all(&mut *conn)
            .await
            .map_err(failed("committing a job"))?;
        let Some(row) = rows.first() else { return self.refusal(conn).await.map(Err) };
        let seq = Seq(count(get(row, 0)?));
        for machine in &self.machines {
            put_machine(conn, machine).await?;
        }
        if let Some(mark) = &self.key {
            mark_key(conn, mark).await?;
        }
        if self.reserves.is_some() {
            count_one(conn).await?;
        }
        Ok(Ok(Committed { version: count(self.version) + 1, seq }))
    }
}

impl Update {
    async fn refusal(&self, conn: &mut SqliteConnection) -> Result<CommitError, StorageError> {
        let row = sqlx::query("SELECT fence FROM jobs WHERE id = $1")
            .bind(self.id.as_str())
            .fetch_optional(conn)
            .await
            .map_err(failed("committing a job"))?;
        let id = self.id.clone();
        Ok(match row {
            None => CommitError::Missing(id),
            Some(row) if get::<i64>(&row, 0)? > self.fence => CommitError::Fenced(id),
            Some(_) => CommitError::Stale(id),
        })
    }
}

impl SqliteStorage {
    pub(super) async fn commit_job(&self, commit: Commit) -> Result<Committed, CommitError> {
        only_facts(&commit.events)?;
        let Fence(fence) = commit.fence;
        let machines: Result<Vec<MachineRow>, StorageError> = commit
            .machines
            .iter()
            .map(|machine| {
                Ok(MachineRow {
                    order: machine.order.to_string(),
                    ordered_at: nanos(machine.ordered_at),
                    gone_at: machine.gone_at.map(nanos),
                    body: json(machine)?,
                })
            })
            .collect();
        let change = Update {
            id: commit.job.id().clone(),
            version: int(commit.version),
            fence: int(fence),
            columns: Columns::of(&commit.job)?,
            due_at: commit.due.map(nanos),
            facts: facts(&commit.events)?,
            facts_len: limit(commit.events.len()),
            machines: machines?,
            key: commit.key,
            reserves: commit.reserves.map(int),
        };
        self.writer.write(change).await?
    }
}
