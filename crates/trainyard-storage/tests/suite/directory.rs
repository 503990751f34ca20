//! The data directory: one server, guests beside it, no schema of the future.

use sqlx::{ConnectOptions, Executor};
use trainyard_domain::{Sha256, Timestamp};
use trainyard_storage::{SqliteOptions, SqliteStorage, Storage, StorageError, TokenRecord};

use crate::{id, job};

fn token(id: &str, byte: u8) -> TokenRecord {
    let digest = Sha256::from_bytes([byte; 32]);
    TokenRecord { id: id.to_owned(), name: "x".to_owned(), digest, created_at: Timestamp::UNIX_EPOCH }
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_holds_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("made/by/opening");
    let first = SqliteStorage::open(SqliteOptions::new(&data)).await.expect("the first");
    let refused = SqliteStorage::open(SqliteOptions::new(&data)).await.expect_err("the second");
    let (pid, shown) = (std::process::id(), data.display());
    assert_eq!(
        refused.to_string(),
        format!(
            "the data directory `{shown}` is in use by another server (pid {pid}): stop that one, or choose another directory with --data"
        )
    );
    let fence = first.fence();
    first.close().await;
    let next = SqliteStorage::open(SqliteOptions::new(&data)).await.expect("closed is free");
    assert!(next.fence() > fence);
    drop(next);
    SqliteStorage::open(SqliteOptions::new(&data)).await.expect("dropped is free");
}

#[tokio::test]
async fn a_lock_that_is_about_to_be_given_back_is_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let held = std::fs::File::create(directory.path().join("lock")).expect("the lock's file");
    held.lock().expect("the lock");
    let mut opening = std::pin::pin!(SqliteStorage::open(SqliteOptions::new(directory.path())));
    tokio::select! {
        biased;
        opened = &mut opening => panic!("the lock is held: {:?}", opened.err()),
        () = std::future::ready(()) => {}
    }
    drop(held);
    opening.await.expect("it was given back");
}

#[tokio::test]
async fn a_guest_writes_beside_the_server_and_is_seen_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let guest = SqliteStorage::open_shared(directory.path()).await.expect("a guest before any server");
    guest.put_token(&token("first", 1)).await.expect("adding");
    guest.close().await;
    let server = SqliteStorage::open(SqliteOptions::new(directory.path())).await.expect("the server");
    assert_eq!(server.tokens().await.expect("tokens"), [token("first", 1)]);
    let guest = SqliteStorage::open_shared(directory.path()).await.expect("a guest");
    assert_eq!(guest.fence(), server.fence(), "a guest takes nothing over");
    for n in 2..20 {
        let name = n.to_string();
        guest.put_token(&token(&name, n)).await.expect("adding");
        assert!(server.tokens().await.expect("tokens").contains(&token(&name, n)));
        server.create(&job(&name), &[]).await.expect("creating");
        assert!(guest.load(&id(&name)).await.expect("loading").is_some());
        assert!(server.delete_token(&name).await.expect("revoking"));
        assert!(!guest.tokens().await.expect("tokens").contains(&token(&name, n)));
    }
}

#[tokio::test]
async fn a_closed_database_is_one_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = SqliteStorage::open(SqliteOptions::new(directory.path())).await.expect("opening");
    storage.create(&job("one"), &[]).await.expect("creating");
    assert!(storage.load(&id("one")).await.expect("loading").is_some(), "a reader was open");
    assert!(directory.path().join("trainyard.db-wal").exists());
    storage.close().await;
    assert!(!directory.path().join("trainyard.db-wal").exists(), "the log came home");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = SqliteStorage::open(SqliteOptions::new(directory.path())).await.expect("opening");
    storage.create(&job("one"), &[]).await.expect("creating");
    storage.close().await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.path().join("trainyard.db"));
    let mut conn = file.connect().await.expect("connecting");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of the future', true, x'00', 0)";
    conn.execute(newer).await.expect("writing");
    for _ in 0..2 {
        let refused = SqliteStorage::open(SqliteOptions::new(directory.path())).await;
        assert!(matches!(refused, Err(StorageError::TooNew { found: 9999, known: 1.. })), "{refused:?}");
    }
    conn.execute("DELETE FROM _sqlx_migrations WHERE version = 9999").await.expect("writing");
    let storage = SqliteStorage::open(SqliteOptions::new(directory.path())).await.expect("opening");
    assert!(storage.load(&id("one")).await.expect("loading").is_some());
}

/// Databases as each released schema wrote them come up to date with their jobs.
#[tokio::test]
async fn an_older_schema_is_brought_up_to_date() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.path().join("trainyard.db"));
    let mut conn = file.create_if_missing(true).connect().await.expect("connecting");
    let first = sqlx::migrate::Migration::new(
        1,
        "jobs".into(),
        sqlx::migrate::MigrationType::Simple,
        sqlx::SqlSafeStr::into_sql_str(include_str!("../../migrations/sqlite/0001_jobs.sql")),
        false,
    );
    let migrator = sqlx::migrate::Migrator::with_migrations(vec![first]);
    migrator.run_direct(None, &mut conn, false).await.expect("the first schema");
    let old = job("old");
    sqlx::query(
        "INSERT INTO jobs (id, state, model_name, labels, created_at, waiting, version, fence, seq, body, spec)
         VALUES ('old', 'created', 'trainyard-tiny', '{}', 0, 0, 3, 0, 0, $1, $2)",
    )
    .bind(serde_json::to_string(old.body()).expect("JSON"))
    .bind(serde_json::to_string(old.spec().as_ref()).expect("JSON"))
    .execute(&mut conn)
    .await
    .expect("a job");
    sqlx::Connection::close(conn).await.expect("closing");
    let storage = SqliteStorage::open(SqliteOptions::new(directory.path())).await.expect("opening");
    let stored = storage.load(&id("old")).await.expect("loading").expect("the job");
    assert_eq!((stored.version, stored.job), (3, old));
    storage.put_token(&token("new", 1)).await.expect("what the first schema had not");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("trainyard.db"), vec![b'x'; 9000]).expect("writing");
    let refused = SqliteStorage::open(SqliteOptions::new(directory.path())).await;
    assert!(matches!(refused, Err(StorageError::Database { .. })), "{refused:?}");
}
