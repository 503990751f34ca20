//! Pages of a long list of jobs.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::task::JoinSet;
use trainyard_domain::{Command, Fact, Job, StateName, Timestamp};
use trainyard_storage::{JobFilter, ListPage, SqliteOptions, SqliteStorage, Storage};

use super::creates::job;
use crate::Fault;
use crate::bench::Bench;
use crate::stats::{Numbers, Sample};
use crate::table::{Amount, Figure, Target};

const SOME: usize = 100_000;
const MANY: usize = 1_000_000;
const PAGES: usize = 600;
const CLIENTS: usize = 128;
const PROVIDERS: [&str; 4] = ["local", "runpod", "lambda", "vastai"];

/// A quarter each: never submitted, failed, stopped, submitted and waiting; of four providers.
fn varied(number: usize) -> Result<Job, Fault> {
    let (mut job, at) = (job(number)?, Timestamp::UNIX_EPOCH);
    if !number.is_multiple_of(4) {
        job.command(&Command::Submit(PROVIDERS[number / 4 % 4].parse()?))?;
        job.apply(&Fact::Admitted, at)?;
    }
    match number % 4 {
        1 => job.apply(&Fact::Failed { at }, at)?,
        2 => {
            job.command(&Command::Cancel)?;
            job.apply(&Fact::Stopped { at }, at)?;
        }
        _ => {}
    }
    Ok(job)
}

async fn fill(storage: &Arc<SqliteStorage>, from: usize, to: usize) -> Result<(), Fault> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let storage = Arc::clone(storage);
        clients.spawn(async move {
            for number in (from + client..to).step_by(CLIENTS) {
                storage.create(&varied(number)?, &[]).await?;
            }
            Ok::<(), Fault>(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

/// What is asked for, by name.
fn filters() -> Result<[(&'static str, JobFilter); 3], Fault> {
    let none = JobFilter::default();
    let state = JobFilter { state: Some(StateName::Failed), ..none.clone() };
    let provider = JobFilter { provider: Some("lambda".parse()?), ..none.clone() };
    Ok([("all", none), ("state", state), ("provider", provider)])
}

/// The first page, then pages from anywhere.
async fn read(storage: &SqliteStorage, filter: &JobFilter, jobs: usize) -> Result<Sample, Fault> {
    let (mut sample, mut numbers) = (Sample::default(), Numbers(42));
    for page in 0..PAGES {
        let before = (page % 3 > 0).then(|| 1000 + numbers.next() % (jobs as u64 - 1000));
        let from = Instant::now();
        let page = storage.list(filter, ListPage { limit: 100, before }).await?;
        sample.time(from);
        if page.jobs.len() != 100 {
            return Err(format!("a page of {} jobs", page.jobs.len()).into());
        }
    }
    Ok(sample)
}

/// A hundred rows by their key, from the same table.
async fn floor(file: &Path) -> Result<f64, Fault> {
    const READ: &str =
        "SELECT n, id, state, provider, model_name, labels, created_at, started_at, completed_at
        FROM jobs WHERE n < $1 ORDER BY n DESC LIMIT 100";
    let options = SqliteConnectOptions::new().filename(file).read_only(true).disable_statement_logging();
    let mut conn: SqliteConnection = options.connect().await?;
    let (mut sample, mut numbers) = (Sample::default(), Numbers(7));
    for _ in 0..PAGES {
        let before = i64::try_from(1000 + numbers.next() % (SOME as u64 - 1000))?;
        let from = Instant::now();
        let rows = sqlx::query(READ).bind(before).fetch_all(&mut conn).await?;
        sample.time(from);
        if rows.len() != 100 {
            return Err("the floor read too few rows".into());
        }
    }
    Ok(sample.p99())
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let dir = bench.fresh()?;
    let storage = Arc::new(SqliteStorage::open(SqliteOptions::new(dir.path())).await?);
    let begun = Instant::now();
    fill(&storage, 0, SOME).await?;
    let filled = format!("filled in {:.0} s", begun.elapsed().as_secs_f64());
    let floor = floor(&dir.path().join("trainyard.db")).await?;
    let mut figures = Vec::new();
    for (name, filter) in filters()? {
        let read = read(&storage, &filter, SOME).await?;
        let what = format!("100 of 100,000 jobs, p99 of {PAGES} pages, by {name}, Storage::list");
        let figure = Figure::new(format!("page-100k-{name}"), what, Amount::ms(read.p99()))
            .target(Target::AtMost(20.0))
            .floor("100 rows by key from the same table", Amount::ms(floor));
        figures.push(figure.note(format!("p50 {:.2} ms; {filled}", read.p50() * 1e3)));
    }
    if bench.full {
        fill(&storage, SOME, MANY).await?;
        for ((name, filter), few) in filters()?.into_iter().zip(figures.clone()) {
            let read = read(&storage, &filter, MANY).await?;
            let what = format!("the same of 1,000,000 jobs, by {name}");
            let figure = Figure::new(format!("page-1m-{name}"), what, Amount::ms(read.p99()));
            figures.push(figure.target(Target::AtMost(20.0)).floor("the same of 100,000", few.measured));
        }
    }
    storage.close().await;
    Ok(figures)
}
