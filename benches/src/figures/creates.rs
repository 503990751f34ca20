//! Durable creates, for one client and for 64 at once.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use trainyard_domain::{Job, JobId, JobSpec, Timestamp};
use trainyard_storage::{SqliteOptions, SqliteStorage, Storage};

use crate::Fault;
use crate::bench::Bench;
use crate::floor::BareSqlite;
use crate::stats::{Sample, rate};
use crate::table::{Amount, Figure, Target};

const ROUNDS: usize = 7;
pub(super) const CLIENTS: usize = 64;
/// Creates of one round.
const ALONE: usize = 200;
const EACH: usize = 40;

/// A new job; the specification is the one with every default.
pub(super) fn job(number: usize) -> Result<Job, Fault> {
    let id: JobId = format!("job_{number:026}").parse()?;
    Ok(Job::new(id, JobSpec::new("trainyard-tiny"), None, Timestamp::UNIX_EPOCH))
}

/// What is stored of one, as texts.
pub(super) fn bare_texts() -> Result<(String, String), Fault> {
    let job = job(0)?;
    Ok((serde_json::to_string(job.body())?, serde_json::to_string(job.spec().as_ref())?))
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let dir = bench.fresh()?;
    let storage = Arc::new(SqliteStorage::open(SqliteOptions::new(dir.path().join("data"))).await?);
    let mut bare = BareSqlite::open(&dir.path().join("bare.db")).await?;
    let (body, spec) = bare_texts()?;
    let [mut alone, mut many, mut floor_alone, mut floor_many] = std::array::from_fn(|_| Sample::default());
    let mut made = 0;
    for _ in 0..ROUNDS {
        let from = Instant::now();
        for _ in 0..ALONE {
            bare.insert(1, &body, &spec).await?;
        }
        floor_alone.push(rate(ALONE, from.elapsed()));

        let from = Instant::now();
        for _ in 0..ALONE {
            made += 1;
            storage.create(&job(made)?, &[]).await?;
        }
        alone.push(rate(ALONE, from.elapsed()));

        let from = Instant::now();
        for _ in 0..EACH {
            bare.insert(CLIENTS, &body, &spec).await?;
        }
        floor_many.push(rate(EACH * CLIENTS, from.elapsed()));

        let from = Instant::now();
        at_once(&storage, &mut made).await?;
        many.push(rate(EACH * CLIENTS, from.elapsed()));
    }
    storage.close().await;
    Ok(vec![
        Figure::new(
            "create-1",
            "jobs created durably by one client, Storage::create",
            Amount::per_second(alone.p50()),
        )
        .target(Target::OfFloor(0.6))
        .floor(
            "bare SQLite, one INSERT of the same texts a transaction",
            Amount::per_second(floor_alone.p50()),
        ),
        Figure::new("create-64", "the same by 64 clients at once", Amount::per_second(many.p50()))
            .target(Target::OfFloor(0.6))
            .floor("bare SQLite, 64 INSERTs a transaction", Amount::per_second(floor_many.p50())),
    ])
}

async fn at_once(storage: &Arc<SqliteStorage>, made: &mut usize) -> Result<(), Fault> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (storage, from) = (Arc::clone(storage), *made + 1);
        *made += EACH;
        clients.spawn(async move {
            for number in from..from + EACH {
                storage.create(&job(number)?, &[]).await?;
            }
            Ok::<(), Fault>(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}
