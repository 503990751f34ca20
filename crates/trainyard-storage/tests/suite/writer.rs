//! The writer: groups what is queued, and keeps faults to those that caused them.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};
use trainyard_domain::{Sha256, Timestamp};
use trainyard_storage::{SqliteOptions, SqliteStorage, Storage, TokenRecord};

use crate::job;

#[tokio::test]
async fn concurrent_changes_share_transactions() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = SqliteStorage::open(SqliteOptions::new(directory.path())).await.expect("opening");
    let jobs: Vec<_> = (0..64).map(|n| job(&format!("job-{n}"))).collect();
    let answers = join_all(jobs.iter().map(|job| storage.create(job, &[]))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(storage.transactions() <= 16, "64 changes took {} transactions", storage.transactions());
    let before = storage.transactions();
    storage.create(&job("alone"), &[]).await.expect("creating");
    assert_eq!(storage.transactions(), before + 1);
}

#[tokio::test]
async fn an_error_of_the_database_spoils_only_its_own_change() {
    let storage = SqliteStorage::open_in_memory().await.expect("opening");
    let token = |n: u8| TokenRecord {
        id: n.to_string(),
        name: "x".to_owned(),
        digest: Sha256::from_bytes([n % 30; 32]),
        created_at: Timestamp::UNIX_EPOCH,
    };
    let tokens: Vec<_> = (0..40).map(token).collect();
    let answers = join_all(tokens.iter().map(|token| storage.put_token(token))).await;
    let taken: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    let expected: Vec<bool> = (0..40).map(|n| n < 30).collect();
    assert_eq!(taken, expected, "a digest is stored once; the others are all there");
    assert_eq!(storage.tokens().await.expect("tokens").len(), 30);
}

#[tokio::test]
async fn all_who_wait_for_a_held_database_are_told_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = SqliteStorage::open(SqliteOptions::new(directory.path())).await.expect("opening");
    let file = SqliteConnectOptions::new().filename(directory.path().join("trainyard.db"));
    let mut other = file.connect().await.expect("another program");
    other.execute("BEGIN IMMEDIATE").await.expect("held");
    let jobs: Vec<_> = (0..16).map(|n| job(&format!("job-{n}"))).collect();
    let asked = join_all(jobs.iter().map(|job| storage.create(job, &[])));
    // A statement waits for 5 s; one by one they would wait for more than a minute.
    let answers = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("told in time");
    for answer in answers {
        let error = with_causes(&answer.expect_err("the database is held"));
        assert!(error.contains("waiting for the database") && error.contains("locked"), "{error}");
    }
    other.execute("ROLLBACK").await.expect("given back");
    storage.create(&jobs[0], &[]).await.expect("free again");
}

/// An error with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
