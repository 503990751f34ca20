//! Opening: the directory's lock, the connections and their settings, the schema.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr, SqliteConnection};
use tokio::sync::Mutex;

use super::codec::{count, failed, int};
use super::watched::Watched;
use super::writer::Writer;
use super::{Readers, SqliteStorage, generation};
use crate::{Fence, NOTE_BEHIND, StorageError};

/// Every released schema, in order. A file never changes once it was released.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "jobs", include_str!("../../migrations/sqlite/0001_jobs.sql")),
    (2, "ledger and keys", include_str!("../../migrations/sqlite/0002_ledger_and_keys.sql")),
    (3, "keys and changes", include_str!("../../migrations/sqlite/0003_keys_and_changes.sql")),
    (4, "reservations", include_str!("../../migrations/sqlite/0004_reservations.sql")),
];

/// How long one statement waits for another process that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an opening waits for the directory's lock. Who was killed while it started a program leaves the lock with
/// that program until it runs: some milliseconds, more on a busy machine.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
/// How long a read waits for one of the readers.
const READER_TIMEOUT: Duration = Duration::from_secs(30);

/// How to open a database on disk.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The data directory; made where it is missing. The database is `trainyard.db` in it, the lock `lock`.
    pub directory: PathBuf,
    /// Connections to read with, 1 to 64.
    pub readers: u32,
}

impl SqliteOptions {
    /// The usual options for that directory: 4 readers.
    pub fn new(directory: impl Into<PathBuf>) -> SqliteOptions {
        SqliteOptions { directory: directory.into(), readers: 4 }
    }
}

impl SqliteStorage {
    /// Opens the directory as its one server: takes the lock, brings the schema up to date and takes a new fence.
    ///
    /// # Errors
    /// [`StorageError::InUse`] where another server holds the directory for two seconds more, [`StorageError::TooNew`]
    /// where a newer version wrote the database; else what the disk or the database said.
    pub async fn open(options: SqliteOptions) -> Result<SqliteStorage, StorageError> {
        let lock = lock_directory(&options.directory).await?;
        Self::open_file(&options, Some(lock)).await
    }

    /// Opens the directory beside a server that may be running, for a short task such as making a token. Writes
    /// wait for the server's, up to 5 seconds.
    ///
    /// # Errors
    /// As [`SqliteStorage::open`], without [`StorageError::InUse`].
    pub async fn open_shared(directory: impl Into<PathBuf>) -> Result<SqliteStorage, StorageError> {
        let options = SqliteOptions { readers: 1, ..SqliteOptions::new(directory) };
        make_directory(&options.directory)?;
        Self::open_file(&options, None).await
    }

    /// Opens an empty database in memory; it is gone when the storage is dropped.
    ///
    /// # Errors
    /// What the database said.
    pub async fn open_in_memory() -> Result<SqliteStorage, StorageError> {
        let mut conn = settings().in_memory(true).connect().await.map_err(failed("opening the database"))?;
        migrate(&mut conn).await?;
        let fence = take_fence(&mut conn, Some(0)).await?;
        let conn = Arc::new(Mutex::new(conn));
        let readers = Readers::Writer(Arc::clone(&conn));
        Ok(SqliteStorage { fence, writer: Writer::start(conn, Vec::new()), readers, lock: None.into() })
    }

    async fn open_file(options: &SqliteOptions, lock: Option<File>) -> Result<SqliteStorage, StorageError> {
        let file = settings().filename(options.directory.join("trainyard.db"));
        // Two that open at once must not bring the schema up to date at once.
        let migrating = lock_migration(options.directory.clone()).await?;
        let writing = file.clone().create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let mut conn = writing.connect().await.map_err(failed("opening the database"))?;
        migrate(&mut conn).await?;
        drop(migrating);
        let fence = match lock.is_some() {
            true => take_generation(&mut conn, &options.directory).await?,
            false => take_fence(&mut conn, None).await?,
        };
        let pool = SqlitePoolOptions::new()
            .min_connections(0)
            .max_connections(options.readers.clamp(1, 64))
            .acquire_timeout(READER_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(file.read_only(true));
        let files = ["trainyard.db", "trainyard.db-wal"].map(|name| options.directory.join(name));
        let watched = files.into_iter().filter_map(Watched::at).collect();
        let writer = Writer::start(Arc::new(Mutex::new(conn)), watched);
        Ok(SqliteStorage { fence, writer, readers: Readers::Pool(pool), lock: lock.into() })
    }

    /// Finishes what is queued, closes every connection, the one that writes last, and gives the directory's lock
    /// back. All is in `trainyard.db` then, with no log beside it.
    pub(super) async fn shut(&self) {
        if let Readers::Pool(pool) = &self.readers {
            pool.close().await;
        }
        self.writer.close().await;
        self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }
}

fn settings() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // A log that grew under a long read is cut back to this size, in bytes.
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging()
}

fn make_directory(directory: &Path) -> Result<(), StorageError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    // Logs, specifications and adapters are nobody else's affair. A directory that is there keeps its mode.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(directory)
        .map_err(|source| StorageError::File { doing: "making the data directory", source })
}

/// Takes the lock of the directory and writes our pid into it. The system gives it back when the process ends,
/// however it ends.
async fn lock_directory(directory: &Path) -> Result<File, StorageError> {
    make_directory(directory)?;
    let failed = |source| StorageError::File { doing: "locking the data directory", source };
    let path = directory.join("lock");
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if since.elapsed() < LOCK_WITHIN => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(TryLockError::WouldBlock) => return Err(in_use(directory, file)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Who holds the directory, by its own word.
fn in_use(directory: &Path, lock: File) -> StorageError {
    let mut holder = String::new();
    // A holder that has not yet written its pid is in use all the same.
    let _ = lock.take(32).read_to_string(&mut holder);
    let pid = holder.trim();
    let known = !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit());
    StorageError::InUse {
        directory: directory.display().to_string(),
        holder: if known { pid.to_owned() } else { "unknown".to_owned() },
    }
}

async fn lock_migration(directory: PathBuf) -> Result<File, StorageError> {
    let locked = tokio::task::spawn_blocking(move || {
        let path = directory.join("migrate.lock");
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        Ok(file)
    });
    let locked = locked.await.map_err(std::io::Error::other).and_then(|locked| locked);
    locked.map_err(|source| StorageError::File { doing: "waiting to bring the schema up to date", source })
}

async fn migrate(conn: &mut SqliteConnection) -> Result<(), StorageError> {
    let known = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
    let doing = "reading the schema's version";
    let table = "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(table).fetch_one(&mut *conn).await.map_err(failed(doing))?;
    if tables > 0 {
        let newest = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";
        let found: i64 = sqlx::query_scalar(newest).fetch_one(&mut *conn).await.map_err(failed(doing))?;
        if found > known {
            return Err(StorageError::TooNew { found, known });
        }
    }
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.into());
    migrator.run_direct(None, conn, false).await.map_err(|error| StorageError::Database {
        doing: "bringing the schema up to date",
        source: Box::new(error),
    })
}

/// The fence of this process: a new one above that number for a server, the last one for a guest.
async fn take_fence(conn: &mut SqliteConnection, above: Option<u64>) -> Result<Fence, StorageError> {
    let sql = match above {
        Some(_) => "UPDATE meta SET value = max(value, $1) + 1 WHERE name = 'epoch' RETURNING value",
        None => "SELECT value FROM meta WHERE name = 'epoch'",
    };
    let mut query = sqlx::query_scalar(sql);
    if let Some(above) = above {
        query = query.bind(int(above));
    }
    let epoch: i64 = query.fetch_one(conn).await.map_err(failed("taking a fence"))?;
    Ok(Fence(count(epoch)))
}

/// The fence of a server, above that of every server before it in this directory; notes where the database is older
/// than the directory. The note comes first: a crash in between finds it again.
async fn take_generation(conn: &mut SqliteConnection, directory: &Path) -> Result<Fence, StorageError> {
    let before = generation::read(directory)?;
    let known = take_fence(conn, None).await?;
    if let Some(before) = before.filter(|before| *before > known.0) {
        tracing::warn!(
            found = known.0,
            last = before,
            "the database is older than its directory: a backup was put back, or the database was lost"
        );
        let sql = "INSERT INTO notes (name, value) VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET value = 1";
        let noted = sqlx::query(sql).bind(NOTE_BEHIND).execute(&mut *conn).await;
        noted.map_err(failed("noting that the database is older than its directory"))?;
    }
    let fence = take_fence(conn, Some(before.unwrap_or(0))).await?;
    generation::write(directory, fence.0)?;
    Ok(fence)
}
