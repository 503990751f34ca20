//! Telemetry: batches taken exactly once, each row holding many items.

use async_trait::async_trait;
use serde::Serialize;
use sqlx::SqliteConnection;
use trainyard_domain::{AttemptNumber, EventBody, JobId, MetricPoint, Progress, Seq};

use super::codec::{count, failed, get, int, json, nanos, parsed};
use super::writer::Change;
use super::{SqliteStorage, StorageError};
use crate::{Appended, Telemetry, TelemetryItem};

/// Items of one row at most: a reader that wants a few events expands no more than this beyond them.
const ROW_ITEMS_MAX: usize = 512;

/// Items as one row.
#[derive(Debug)]
struct Batch {
    count: i64,
    at: i64,
    metrics: bool,
    step_max: Option<i64>,
    body: String,
}

/// What a batch says of the job's counters.
#[derive(Debug, Default)]
struct Newest {
    metrics: Option<MetricPoint>,
    progress: Option<String>,
    log_bytes: i64,
}

#[derive(Debug)]
struct Append {
    id: String,
    attempt: i64,
    /// The agent's numbers before the first and after the last item; none where it is not the agent's.
    cursor: Option<(i64, i64)>,
    items: usize,
    batches: Vec<Batch>,
    newest: Newest,
}

const LOOK: &str = "SELECT n, seq, cursor_attempt, cursor_n, current_metrics FROM jobs WHERE id = $1";

const MOVE: &str = "
UPDATE jobs SET seq = seq + $2, cursor_attempt = $3, cursor_n = $4, current_metrics = $5,
        progress = coalesce($6, progress), log_bytes = max(log_bytes, $7)
    WHERE n = $1";

const INSERT: &str = "
INSERT INTO telemetry (job, last, count, at, attempt, metrics, step_max, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

#[async_trait]
impl Change for Append {
    type Out = Appended;

    fn weight(&self) -> usize {
        1 + self.items
    }

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Appended, StorageError> {
        let doing = "appending telemetry";
        let looked = sqlx::query(LOOK).bind(self.id.as_str()).fetch_optional(&mut *conn).await;
        let Some(row) = looked.map_err(failed(doing))? else {
            return Ok(Appended { seq: Seq(0), taken: 0 });
        };
        let seq: i64 = get(&row, 1)?;
        let stored: (Option<i64>, Option<i64>) = (get(&row, 2)?, get(&row, 3)?);
        let Some((attempt, cursor)) = self.moved(stored) else {
            return Ok(Appended { seq: Seq(count(seq)), taken: 0 });
        };
        let job: i64 = get(&row, 0)?;
        let metrics = self.merged(get(&row, 4)?)?;
        let items = i64::try_from(self.items).unwrap_or(i64::MAX);
        let moved = sqlx::query(MOVE)
            .bind(job)
            .bind(items)
            .bind(attempt)
            .bind(cursor)
            .bind(metrics)
            .bind(self.newest.progress.as_deref())
            .bind(self.newest.log_bytes);
        moved.execute(&mut *conn).await.map_err(failed(doing))?;
        self.insert(conn, job, seq).await.map_err(failed(doing))?;
        Ok(Appended { seq: Seq(count(seq + items)), taken: self.items })
    }
}

impl Append {
    /// Where the cursor stands after it; none where it is not taken.
    fn moved(&self, stored: (Option<i64>, Option<i64>)) -> Option<(Option<i64>, Option<i64>)> {
        let (attempt, cursor) = stored;
        if attempt.is_some_and(|stored| stored > self.attempt) {
            return None;
        }
        let Some((after, new)) = self.cursor else { return Some(stored) };
        // A newer attempt begins to count anew.
        let taken_before = attempt == Some(self.attempt) && cursor.is_some_and(|n| n >= new || n > after);
        (!taken_before).then_some((Some(self.attempt), Some(new)))
    }

    async fn insert(&self, conn: &mut SqliteConnection, job: i64, seq: i64) -> Result<(), sqlx::Error> {
        let mut last = seq;
        for batch in &self.batches {
            last += batch.count;
            let row = sqlx::query(INSERT)
                .bind(job)
                .bind(last)
                .bind(batch.count)
                .bind(batch.at)
                .bind(self.attempt)
                .bind(batch.metrics)
                .bind(batch.step_max)
                .bind(batch.body.as_str());
            row.execute(&mut *conn).await?;
        }
        Ok(())
    }

    /// The job's newest metrics with those of this batch laid over them.
    fn merged(&self, stored: Option<String>) -> Result<Option<String>, StorageError> {
        let Some(newest) = &self.newest.metrics else { return Ok(stored) };
        let mut current: MetricPoint = match &stored {
            Some(text) => parsed("the newest metrics", text)?,
            None => MetricPoint::default(),
        };
        lay_over(&mut current, newest);
        json(&current).map(Some)
    }
}

/// Lays the training's values of a newer point over an older one; the machine's own values are left out.
fn lay_over(current: &mut MetricPoint, newer: &MetricPoint) {
    current.step = newer.step.or(current.step);
    let training = newer.values.iter().filter(|(name, _)| !name.starts_with("system/"));
    current.values.extend(training.map(|(name, value)| (name.clone(), *value)));
    while current.values.len() > MetricPoint::NAMES_MAX {
        current.values.pop_last();
    }
}

impl Newest {
    fn of(items: &[TelemetryItem]) -> Result<Newest, StorageError> {
        let mut newest = Newest::default();
        let mut progress: Option<Progress> = None;
        for item in items {
            match &item.body {
                EventBody::Metrics(point) if point.is_system() => {}
                EventBody::Metrics(point) => {
                    lay_over(newest.metrics.get_or_insert_with(MetricPoint::default), point);
                }
                EventBody::Progress(seen) => progress = Some(*seen),
                EventBody::Log(span) => {
                    let end = span.offset.saturating_add(u64::from(span.len));
                    newest.log_bytes = newest.log_bytes.max(int(end));
                }
                EventBody::Status(_) | EventBody::Notification(_) => {
                    return Err(StorageError::Misuse("a fact is committed, not appended"));
                }
            }
        }
        newest.progress = progress.map(|progress| json(&progress)).transpose()?;
        Ok(newest)
    }
}

impl Batch {
    fn of(items: &[TelemetryItem]) -> Result<Batch, StorageError> {
        #[derive(Serialize)]
        struct Item<'a>(i64, &'a EventBody);

        let points = || {
            items.iter().filter_map(|item| match &item.body {
                EventBody::Metrics(point) => Some(point),
                _ => None,
            })
        };
        let rows: Vec<Item<'_>> = items.iter().map(|item| Item(nanos(item.at), &item.body)).collect();
        Ok(Batch {
            count: i64::try_from(items.len()).unwrap_or(i64::MAX),
            at: rows.iter().map(|item| item.0).max().unwrap_or(0),
            metrics: points().next().is_some(),
            step_max: points().filter_map(|point| point.step).max().map(int),
            body: json(&rows)?,
        })
    }
}

impl SqliteStorage {
    pub(super) async fn append_telemetry(&self, telemetry: Telemetry) -> Result<Appended, StorageError> {
        let Telemetry { job_id, attempt, after, cursor, items } = telemetry;
        self.append_items(&job_id, attempt, Some((int(after), int(cursor))), &items).await
    }

    pub(super) async fn append_items(
        &self,
        id: &JobId,
        attempt: AttemptNumber,
        cursor: Option<(i64, i64)>,
        items: &[TelemetryItem],
    ) -> Result<Appended, StorageError> {
        if items.len() > Telemetry::ITEMS_MAX {
            return Err(StorageError::Misuse("a batch of telemetry has more than 4096 items"));
        }
        let batches: Result<Vec<Batch>, StorageError> = items.chunks(ROW_ITEMS_MAX).map(Batch::of).collect();
        let change = Append {
            id: id.to_string(),
            attempt: i64::from(attempt.get()),
            cursor,
            items: items.len(),
            batches: batches?,
            newest: Newest::of(items)?,
        };
        self.writer.write(change).await
    }
}
