//! Metrics, durably appended.

use std::time::Instant;

use trainyard_domain::{AttemptNumber, EventBody, JobId, MetricPoint, MetricValue, Timestamp};
use trainyard_storage::{SqliteOptions, SqliteStorage, Storage, Telemetry, TelemetryItem};

use super::creates::job;
use crate::Fault;
use crate::bench::Bench;
use crate::floor::BareSqlite;
use crate::stats::{Sample, rate};
use crate::table::{Amount, Figure, Target};

const ROUNDS: usize = 7;
/// Batches of one round.
const BATCHES: usize = 40;
/// Points of one batch: what an agent tells at once of a fast training.
const POINTS: usize = 512;

fn points(from: u64) -> Vec<TelemetryItem> {
    (from..from + POINTS as u64)
        .map(|step| {
            let values =
                [("epoch", step as f64 / 1e4), ("loss", 1.0 / (step as f64 + 1.5)), ("learning_rate", 2e-4)];
            let values = values.map(|(name, value)| (name.to_owned(), MetricValue(value))).into();
            TelemetryItem {
                at: Timestamp::UNIX_EPOCH,
                body: EventBody::Metrics(MetricPoint { step: Some(step), values, ..MetricPoint::default() }),
            }
        })
        .collect()
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let dir = bench.fresh()?;
    let storage = SqliteStorage::open(SqliteOptions::new(dir.path().join("data"))).await?;
    let mut bare = BareSqlite::open(&dir.path().join("bare.db")).await?;
    storage.create(&job(0)?, &[]).await?;
    let job_id: JobId = job(0)?.id().clone();
    let bodies: Vec<EventBody> = points(0).into_iter().map(|item| item.body).collect();
    let text = serde_json::to_string(&bodies)?;

    let [mut measured, mut floor] = std::array::from_fn(|_| Sample::default());
    let mut cursor = 0;
    for _ in 0..ROUNDS {
        let from = Instant::now();
        for _ in 0..BATCHES {
            bare.insert(1, &text, "").await?;
        }
        floor.push(rate(BATCHES * POINTS, from.elapsed()));

        let from = Instant::now();
        for _ in 0..BATCHES {
            let items = points(cursor);
            cursor += POINTS as u64;
            let attempt = AttemptNumber::FIRST;
            storage
                .append(Telemetry { job_id: job_id.clone(), attempt, after: cursor - 1, cursor, items })
                .await?;
        }
        measured.push(rate(BATCHES * POINTS, from.elapsed()));
    }
    storage.close().await;
    Ok(vec![
        Figure::new(
            "metrics",
            "points made durable, batches of 512, Storage::append",
            Amount::per_second(measured.p50()),
        )
        .target(Target::AtLeast(50_000.0))
        .floor("bare SQLite, the same text as one row a transaction", Amount::per_second(floor.p50()))
        .note("a point is a step with three values"),
    ])
}
