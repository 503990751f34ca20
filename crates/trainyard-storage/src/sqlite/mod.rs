//! Storage in SQLite: one file, one writer that commits in groups, a few readers.
//!
//! Durable by `synchronous = FULL` over a write-ahead log. Who calls from where does not matter: every change goes
//! through the queue of the one writer, so that no transaction ever meets another one half done.

mod append;
mod codec;
mod commit;
mod create;
mod events;
mod generation;
mod jobs;
mod keys;
mod list;
mod machines;
mod open;
mod retention;
mod verbs;
mod watched;
mod writer;

use std::sync::Arc;

use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{Fence, StorageError};
pub use open::SqliteOptions;
use writer::Writer;

/// Jobs, events, telemetry and keys in one SQLite database. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct SqliteStorage {
    fence: Fence,
    writer: Writer,
    readers: Readers,
    /// Held while this process is the directory's server; given up on close.
    lock: std::sync::Mutex<Option<std::fs::File>>,
}

/// Where reads go.
#[derive(Debug)]
enum Readers {
    /// A few connections of their own, each seeing what was committed last.
    Pool(SqlitePool),
    /// The writer's connection, between two of its transactions: a database in memory has only that one.
    Writer(Arc<Mutex<SqliteConnection>>),
}

/// A connection to read with.
#[derive(Debug)]
enum Reader {
    Pooled(sqlx::pool::PoolConnection<Sqlite>),
    Shared(OwnedMutexGuard<SqliteConnection>),
}

impl Reader {
    fn conn(&mut self) -> &mut SqliteConnection {
        match self {
            Reader::Pooled(conn) => conn,
            Reader::Shared(conn) => conn,
        }
    }
}

impl SqliteStorage {
    /// How many transactions this handle has committed since it was opened.
    pub fn transactions(&self) -> u64 {
        self.writer.transactions()
    }

    async fn reader(&self) -> Result<Reader, StorageError> {
        self.writer.check_open()?;
        match &self.readers {
            Readers::Pool(pool) => match pool.acquire().await {
                Ok(conn) => Ok(Reader::Pooled(conn)),
                Err(sqlx::Error::PoolClosed) => Err(StorageError::Closed),
                Err(error) => Err(codec::failed("waiting for a reader")(error)),
            },
            Readers::Writer(conn) => Ok(Reader::Shared(Arc::clone(conn).lock_owned().await)),
        }
    }
}
