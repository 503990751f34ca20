//! Reading the history: facts and telemetry in the order of their numbers.

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use trainyard_domain::{AttemptNumber, Event, EventBody, JobId, MetricPoint, Seq, Timestamp};

use super::codec::{count, failed, get, int, limit, moment, parsed};
use super::{SqliteStorage, StorageError};
use crate::{EventPage, MetricQuery};

/// One statement, so that the row's numbers and the events are of one moment.
const EVENTS: &str = "
WITH job AS (SELECT n, seq, whole_from FROM jobs WHERE id = $1)
SELECT 0, seq, whole_from, NULL, NULL, NULL FROM job
UNION ALL SELECT * FROM (
    SELECT 1, seq, 1, at, attempt, body FROM facts
    WHERE job = (SELECT n FROM job) AND seq > $2 ORDER BY seq LIMIT $3)
UNION ALL SELECT * FROM (
    SELECT 2, last, count, at, attempt, body FROM telemetry
    WHERE job = (SELECT n FROM job) AND last > $2 ORDER BY last LIMIT $3)";

const NOTIFICATIONS: &str = "
SELECT 1, seq, 1, at, attempt, body FROM facts
WHERE job = (SELECT n FROM jobs WHERE id = $1) AND kind = 'notification' ORDER BY seq";

const METRICS: &str = "
SELECT body FROM telemetry
WHERE job = (SELECT n FROM jobs WHERE id = $1) AND metrics = 1 AND ($2 IS NULL OR step_max > $2)
ORDER BY last";

const HIGHEST_STEP: &str = "
SELECT max(step_max) FROM telemetry
WHERE job = (SELECT n FROM jobs WHERE id = $1) AND attempt < $2";

fn fact(row: &SqliteRow) -> Result<Event, StorageError> {
    Ok(Event {
        seq: Seq(count(get(row, 1)?)),
        at: moment(get(row, 3)?),
        attempt: attempt(row)?,
        body: parsed("an event", get(row, 5)?)?,
    })
}

fn attempt(row: &SqliteRow) -> Result<Option<AttemptNumber>, StorageError> {
    let number: Option<i64> = get(row, 4)?;
    Ok(number.and_then(|number| u32::try_from(number).ok()).map(AttemptNumber::from))
}

/// The events of a row of telemetry that come after a number.
fn expanded(row: &SqliteRow, after: Seq) -> Result<Vec<Event>, StorageError> {
    let (last, len) = (count(get(row, 1)?), count(get(row, 2)?));
    let attempt = attempt(row)?;
    let items: Vec<(i64, EventBody)> = parsed("telemetry", get(row, 5)?)?;
    if items.len() as u64 != len || last < len {
        return Err(StorageError::Corrupt(format!("telemetry up to {last} has {} items", items.len())));
    }
    let numbered = (last - len + 1..).zip(items);
    Ok(numbered
        .filter(|(seq, _)| *seq > after.0)
        .map(|(seq, (at, body))| Event { seq: Seq(seq), at: moment(at), attempt, body })
        .collect())
}

impl SqliteStorage {
    pub(super) async fn events_after(
        &self,
        id: &JobId,
        after: Seq,
        max: usize,
    ) -> Result<EventPage, StorageError> {
        let doing = "reading events";
        let mut reader = self.reader().await?;
        let query = sqlx::query(EVENTS).bind(id.as_str()).bind(int(after.0)).bind(limit(max));
        let mut rows = query.fetch(reader.conn());
        let mut page = EventPage { events: Vec::new(), last: Seq(0), oldest: Seq(1) };
        let mut telemetry = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(failed(doing))? {
            match get::<i64>(&row, 0)? {
                0 => {
                    page.last = Seq(count(get(&row, 1)?));
                    page.oldest = Seq(count(get(&row, 2)?));
                }
                1 => page.events.push(fact(&row)?),
                _ => telemetry.extend(expanded(&row, after)?),
            }
            // Telemetry comes last: once there is enough of it, no later row can be in the page.
            if telemetry.len() >= max {
                break;
            }
        }
        page.events.extend(telemetry);
        page.events.sort_by_key(|event| event.seq);
        page.events.truncate(max);
        Ok(page)
    }

    pub(super) async fn all_notifications(&self, id: &JobId) -> Result<Vec<Event>, StorageError> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query(NOTIFICATIONS).bind(id.as_str()).fetch_all(reader.conn()).await;
        rows.map_err(failed("reading notifications"))?.iter().map(fact).collect()
    }

    pub(super) async fn highest_step_before(
        &self,
        id: &JobId,
        before: AttemptNumber,
    ) -> Result<Option<u64>, StorageError> {
        let mut reader = self.reader().await?;
        let query = sqlx::query(HIGHEST_STEP).bind(id.as_str()).bind(i64::from(before.get()));
        let row = query.fetch_one(reader.conn()).await.map_err(failed("reading the highest step"))?;
        let highest: Option<i64> = get(&row, 0)?;
        Ok(highest.map(count))
    }

    pub(super) async fn metric_series(
        &self,
        id: &JobId,
        query: &MetricQuery,
    ) -> Result<Vec<(Timestamp, MetricPoint)>, StorageError> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query(METRICS).bind(id.as_str()).bind(query.after_step.map(int));
        let mut rows = rows.fetch(reader.conn());
        let mut series = Vec::new();
        while series.len() < query.limit {
            let row = rows.try_next().await.map_err(failed("reading metrics"))?;
            let Some(row) = row else { break };
            let items: Vec<(i64, EventBody)> = parsed("telemetry", get(&row, 0)?)?;
            let points = items.into_iter().filter_map(|(at, body)| match body {
                EventBody::Metrics(point) => asked_for(point, query).map(|point| (moment(at), point)),
                _ => None,
            });
            series.extend(points.take(query.limit - series.len()));
        }
        Ok(series)
    }
}

/// The point as far as it was asked for; none where nothing of it was.
fn asked_for(mut point: MetricPoint, query: &MetricQuery) -> Option<MetricPoint> {
    if query.after_step.is_some_and(|after| point.step.is_none_or(|step| step <= after)) {
        return None;
    }
    if !query.names.is_empty() {
        point.values.retain(|name, _| query.names.contains(name));
        if point.values.is_empty() {
            return None;
        }
    }
    Some(point)
}
