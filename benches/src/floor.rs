//! What this machine can do without us: its disk, its digests, its SQLite.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::Digest;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use trainyard_domain::Sha256;

use crate::Fault;
use crate::stats::Sample;

/// Seconds for 4 KiB of a file that does not grow to be on the disk, the median of 200.
pub(crate) fn fsync(dir: &Path) -> Result<f64, Fault> {
    let mut file = tempfile::tempfile_in(dir)?;
    file.write_all(&[7; 4096])?;
    file.sync_all()?;
    let mut sample = Sample::default();
    for _ in 0..200 {
        let from = Instant::now();
        file.write_all_at(&[7; 4096], 0)?;
        file.sync_data()?;
        sample.time(from);
    }
    Ok(sample.p50())
}

/// Hashes the blocks in one thread.
pub(crate) fn sha256(blocks: impl Iterator<Item = Bytes>) -> (Sha256, Duration) {
    let from = Instant::now();
    let mut hasher = sha2::Sha256::new();
    blocks.for_each(|block| hasher.update(&block));
    (Sha256::from_bytes(hasher.finalize().into()), from.elapsed())
}

/// Writes the blocks to a new file and syncs it.
pub(crate) fn write(dir: &Path, blocks: impl Iterator<Item = Bytes>) -> Result<Duration, Fault> {
    let mut file: File = tempfile::tempfile_in(dir)?;
    let from = Instant::now();
    for block in blocks {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok(from.elapsed())
}

/// A bare database: one table, one index, durable as ours.
#[derive(Debug)]
pub(crate) struct BareSqlite {
    conn: SqliteConnection,
    next: i64,
}

impl BareSqlite {
    pub(crate) async fn open(file: &Path) -> Result<BareSqlite, Fault> {
        let mut conn = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging()
            .connect()
            .await?;
        let table =
            "CREATE TABLE bare (n INTEGER PRIMARY KEY, body TEXT NOT NULL, spec TEXT NOT NULL) STRICT";
        sqlx::query(table).execute(&mut conn).await?;
        Ok(BareSqlite { conn, next: 0 })
    }

    /// One transaction with that many rows of these texts.
    pub(crate) async fn insert(&mut self, rows: usize, body: &str, spec: &str) -> Result<(), Fault> {
        const INSERT: &str = "INSERT INTO bare (n, body, spec) VALUES ($1, $2, $3)";
        if rows == 1 {
            self.next += 1;
            sqlx::query(INSERT).bind(self.next).bind(body).bind(spec).execute(&mut self.conn).await?;
            return Ok(());
        }
        let mut tx = self.conn.begin().await?;
        for _ in 0..rows {
            self.next += 1;
            sqlx::query(INSERT).bind(self.next).bind(body).bind(spec).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }
}
