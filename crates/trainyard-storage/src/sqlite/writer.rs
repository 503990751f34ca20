//! The one writer: takes what callers queued, makes it in one transaction, commits once and answers all.
//!
//! Grouping costs a lone caller nothing, as nothing is waited for: what is queued when the writer is free goes
//! together. A change decides whether it is refused before it writes, so a refused one leaves nothing behind and
//! disturbs nobody. Where the database itself fails under one change of a group, the group is rolled back and
//! each is made alone, so that only the one at fault fails. Where another program holds the database, none of the
//! group is at fault, and all are told at once: one by one, each would wait for it anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::StorageError;
use super::codec::failed;
use super::watched::Watched;

/// Callers that may wait for the writer; the next one waits for room. Far more than a server answers at once.
const QUEUE_MAX: usize = 1024;
/// Changes of one transaction at most.
const GROUP_MAX: usize = 256;
/// Weight (rows, items of telemetry) of one transaction at most, so that nobody waits long for a group.
const GROUP_WEIGHT_MAX: usize = 8192;

/// A change of the database. It may be run more than once, each time from the start and in a fresh transaction;
/// it writes nothing where its answer is a refusal.
#[async_trait]
pub(super) trait Change: Send + Sync + 'static {
    /// What its caller gets, refusals included.
    type Out: Send + 'static;

    /// About how many rows it writes.
    fn weight(&self) -> usize {
        1
    }

    /// Makes the change.
    async fn run(&self, conn: &mut SqliteConnection) -> Result<Self::Out, StorageError>;
}

/// A queued change with its caller, whatever it answers.
#[async_trait]
trait Queued: Send {
    fn weight(&self) -> usize;
    /// Runs it and keeps the answer. `Err` where the transaction has to be given up.
    async fn run(&mut self, conn: &mut SqliteConnection) -> Result<(), StorageError>;
    /// Tells the caller: the kept answer, or why the transaction failed.
    fn answer(self: Box<Self>, failure: Option<StorageError>);
}

struct Call<C: Change> {
    change: C,
    out: Option<C::Out>,
    reply: oneshot::Sender<Result<C::Out, StorageError>>,
}

#[async_trait]
impl<C: Change> Queued for Call<C> {
    fn weight(&self) -> usize {
        self.change.weight()
    }

    async fn run(&mut self, conn: &mut SqliteConnection) -> Result<(), StorageError> {
        self.out = Some(self.change.run(conn).await?);
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<StorageError>) {
        let answer = match (failure, self.out) {
            (Some(failure), _) => Err(failure),
            (None, Some(out)) => Ok(out),
            (None, None) => Err(StorageError::Closed),
        };
        // Where the caller is gone, the change stands all the same.
        let _ = self.reply.send(answer);
    }
}

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Writer {
    queue: std::sync::Mutex<Option<mpsc::Sender<Box<dyn Queued>>>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
    transactions: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the writer on that connection. It ends by [`Writer::close`], or when the last handle is dropped.
    /// Nothing is written once one of the files is not in its place any more.
    pub(super) fn start(conn: Arc<Mutex<SqliteConnection>>, files: Vec<Watched>) -> Writer {
        let (queue, calls) = mpsc::channel(QUEUE_MAX);
        let transactions = Arc::new(AtomicU64::new(0));
        let place = Place { conn, files };
        let task = tokio::spawn(serve(place, calls, Arc::clone(&transactions)));
        Writer { queue: std::sync::Mutex::new(Some(queue)), task: Mutex::new(Some(task)), transactions }
    }

    /// Queues a change and waits for its answer. Dropping the future does not take back what was queued.
    pub(super) async fn write<C: Change>(&self, change: C) -> Result<C::Out, StorageError> {
        let queue = self.queue()?;
        let (reply, answer) = oneshot::channel();
        let call: Box<dyn Queued> = Box::new(Call { change, out: None, reply });
        queue.send(call).await.map_err(|_| StorageError::Closed)?;
        drop(queue);
        answer.await.map_err(|_| StorageError::Closed)?
    }

    /// Fails where storage was closed.
    pub(super) fn check_open(&self) -> Result<(), StorageError> {
        self.queue().map(drop)
    }

    fn queue(&self) -> Result<mpsc::Sender<Box<dyn Queued>>, StorageError> {
        let queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        queue.clone().ok_or(StorageError::Closed)
    }

    /// How many transactions were committed.
    pub(super) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Takes no more, finishes what is queued, and returns.
    pub(super) async fn close(&self) {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut()
            && let Err(error) = running.await
        {
            tracing::error!(%error, "the writer of the database ended badly");
        }
        task.take();
    }
}

/// Where the writer writes.
struct Place {
    conn: Arc<Mutex<SqliteConnection>>,
    files: Vec<Watched>,
}

async fn serve(place: Place, mut calls: mpsc::Receiver<Box<dyn Queued>>, transactions: Arc<AtomicU64>) {
    while let Some(first) = calls.recv().await {
        // Those who were answered just now and have more to write come along: without this, many busy callers would
        // fall into two halves that take turns.
        tokio::task::yield_now().await;
        let mut weight = first.weight();
        let mut group = vec![first];
        while group.len() < GROUP_MAX && weight < GROUP_WEIGHT_MAX {
            let Ok(next) = calls.try_recv() else { break };
            weight += next.weight();
            group.push(next);
        }
        let mut conn = place.conn.lock().await;
        match make(&mut conn, &place.files, &mut group, &transactions).await {
            Ok(()) => group.into_iter().for_each(|call| call.answer(None)),
            Err(NotMade::NotBegun(error)) => {
                let why = error.to_string();
                group.into_iter().for_each(|call| call.answer(Some(not_begun(why.clone().into()))));
            }
            Err(NotMade::Under(error)) if group.len() == 1 => {
                if let Some(call) = group.pop() {
                    call.answer(Some(error));
                }
            }
            Err(NotMade::Under(error)) => {
                tracing::warn!(%error, size = group.len(), "a group of changes failed and is made one by one");
                for call in group {
                    let mut one = [call];
                    let made = make(&mut conn, &place.files, &mut one, &transactions).await;
                    let [call] = one;
                    call.answer(made.err().map(StorageError::from));
                }
            }
        }
    }
    // The last one to close brings the log home into the database's one file, and has to be allowed to write it. A
    // database in memory goes on being read.
    if let Ok(conn) = Arc::try_unwrap(place.conn)
        && let Err(error) = conn.into_inner().close().await
    {
        tracing::warn!(%error, "the database was not closed cleanly; nothing is lost");
    }
}

/// Why a group was not made; nothing of it was.
enum NotMade {
    /// There was no transaction: the database is held by another program. No change is at fault.
    NotBegun(sqlx::Error),
    /// It failed under one of the changes.
    Under(StorageError),
}

impl From<NotMade> for StorageError {
    fn from(not_made: NotMade) -> StorageError {
        match not_made {
            NotMade::NotBegun(error) => not_begun(Box::new(error)),
            NotMade::Under(error) => error,
        }
    }
}

impl From<StorageError> for NotMade {
    fn from(error: StorageError) -> NotMade {
        NotMade::Under(error)
    }
}

fn not_begun(source: Box<dyn std::error::Error + Send + Sync>) -> StorageError {
    StorageError::Database { doing: "waiting for the database", source }
}

/// Makes a group in one transaction: all of it, or nothing.
async fn make(
    conn: &mut SqliteConnection,
    files: &[Watched],
    group: &mut [Box<dyn Queued>],
    transactions: &AtomicU64,
) -> Result<(), NotMade> {
    files.iter().try_for_each(Watched::look)?;
    let made = transact(conn, group).await;
    match &made {
        Ok(()) => drop(transactions.fetch_add(1, Ordering::Relaxed)),
        // Where the database has rolled back by itself, as it does on a full disk, this fails and is not needed.
        Err(_) => drop(sqlx::query("ROLLBACK").execute(conn).await),
    }
    made
}

/// The transaction is spelled out: the driver's own counts its depth, and counts wrong where the database rolls back
/// by itself.
async fn transact(conn: &mut SqliteConnection, group: &mut [Box<dyn Queued>]) -> Result<(), NotMade> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await.map_err(NotMade::NotBegun)?;
    for call in group {
        call.run(conn).await?;
    }
    sqlx::query("COMMIT").execute(conn).await.map_err(failed("committing"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use sqlx::{ConnectOptions, Executor};

    use super::*;

    /// Any statement as a change; counts how often it was run.
    struct Sql(&'static str, Arc<AtomicUsize>);

    #[async_trait]
    impl Change for Sql {
        type Out = ();

        async fn run(&self, conn: &mut SqliteConnection) -> Result<(), StorageError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            conn.execute(self.0).await.map_err(failed("testing"))?;
            Ok(())
        }
    }

    async fn started() -> (Writer, Arc<Mutex<SqliteConnection>>) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().in_memory(true);
        let mut conn = options.connect().await.expect("a connection");
        conn.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, blob BLOB)").await.expect("a table");
        let conn = Arc::new(Mutex::new(conn));
        (Writer::start(Arc::clone(&conn), Vec::new()), conn)
    }

    async fn rows(conn: &Mutex<SqliteConnection>) -> i64 {
        let mut conn = conn.lock().await;
        sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut *conn).await.expect("a count")
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_writing_goes_on_once_there_is_room() {
        let (writer, conn) = started().await;
        let run = Arc::new(AtomicUsize::new(0));
        let sql = |sql| writer.write(Sql(sql, Arc::clone(&run)));
        conn.lock().await.execute("PRAGMA max_page_count = 100").await.expect("a limit");
        let insert = "INSERT INTO t (blob) VALUES (zeroblob(40000))";
        let mut written = 0;
        let full = loop {
            match sql(insert).await {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(&full, StorageError::Database { source, .. } if source.to_string().contains("full"))
        );
        for _ in 0..3 {
            let (first, second, small) =
                tokio::join!(sql(insert), sql(insert), sql("DELETE FROM t WHERE n = -1"));
            assert!(first.is_err() && second.is_err() && small.is_ok(), "only what needs room is refused");
        }
        assert_eq!(rows(&conn).await, written);
        conn.lock().await.execute("PRAGMA max_page_count = 10000").await.expect("a limit");
        sql(insert).await.expect("there is room again");
        assert_eq!(rows(&conn).await, written + 1);
    }

    #[tokio::test]
    async fn where_a_group_fails_each_is_made_alone() {
        let (writer, conn) = started().await;
        let run = Arc::new(AtomicUsize::new(0));
        let sql = |sql| writer.write(Sql(sql, Arc::clone(&run)));
        let (first, bad, last) = tokio::join!(
            sql("INSERT INTO t (n) VALUES (1)"),
            sql("INSERT INTO t (n) VALUES (1)"),
            sql("INSERT INTO t (n) VALUES (2)")
        );
        assert!(first.is_ok() && bad.is_err() && last.is_ok());
        assert_eq!((rows(&conn).await, writer.transactions()), (2, 2));
        assert_eq!(run.load(Ordering::Relaxed), 5, "two in the group, then three alone");
        writer.close().await;
        assert!(matches!(sql("SELECT 1").await, Err(StorageError::Closed)));
    }
}
