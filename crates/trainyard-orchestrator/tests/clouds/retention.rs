//! Retention over real files: what ended jobs left goes by age and by size, the oldest first; what a job under way has
//! stays, however old and large.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use sha2::Digest;
use trainyard_domain::{ArtifactFile, ArtifactRecord, AttemptNumber, JobId, Sha256, StateName, Timestamp};
use trainyard_orchestrator::{Keep, Policy};
use trainyard_storage::{
    Checkpoint, Commit, DiskArtifacts, DiskCheckpoints, LogFiles, SqliteOptions, SqliteStorage, Storage,
};

use crate::cloud::{Cloud, now};
use crate::rig::{Rig, quick, rig_in};

/// Bytes of each kind that each job has.
const BYTES: usize = 1000;
/// Two jobs that ended, the first of them long ago, and one that runs and is older than both.
const JOBS: [(&str, u64); 3] = [("old", 100), ("new", 1), ("runs", 200)];

fn of(job: &str) -> (JobId, Bytes, Sha256) {
    let bytes = Bytes::from(job.bytes().cycle().take(BYTES).collect::<Vec<u8>>());
    let digest = Sha256::from_bytes(sha2::Sha256::digest(&bytes).into());
    (job.parse().unwrap(), bytes, digest)
}

fn file(digest: Sha256) -> ArtifactFile {
    ArtifactFile { path: "model".to_owned(), size_bytes: BYTES as u64, hash_sha256: digest }
}

/// Where each kind of a job's files lies.
fn places(directory: &Path, job: &str) -> [PathBuf; 3] {
    [
        directory.join("artifacts").join(job),
        directory.join(format!("logs/{job}.log")),
        directory.join("checkpoints/jobs").join(job),
    ]
}

/// Lets three jobs come to where they are to be, and puts files of theirs into the stores.
async fn prepare(directory: &Path, cloud: &Cloud) {
    let rig = rig_in(directory, &[cloud], quick()).await;
    for (job, _) in JOBS {
        cloud.world().exit = (job != "runs").then_some(0);
        let id = rig.create(job, |_| {}).await;
        assert_eq!(rig.submit(&id, "runpod").await, "ran");
        if job != "runs" {
            rig.rests(&id, StateName::Completed).await;
        }
    }
    rig.orchestrator.shutdown(Duration::from_secs(10)).await;
    let at = |name: &str| directory.join(name);
    let (artifacts, logs) =
        (DiskArtifacts::open(at("artifacts")).await.unwrap(), LogFiles::open(at("logs")).await.unwrap());
    let checkpoints = DiskCheckpoints::open(at("checkpoints")).await.unwrap();
    for (job, days) in JOBS {
        let (id, bytes, digest) = of(job);
        let ingest = artifacts.begin(&id, AttemptNumber::FIRST).await.unwrap();
        let mut writer = ingest.file("model", digest, BYTES as u64).await.unwrap();
        writer.write(bytes.clone()).await.unwrap();
        let taken = writer.finish().await.unwrap();
        ingest.commit(&[taken]).await.unwrap();
        logs.write_at(&id, 0, bytes.clone()).await.unwrap();
        let (attempt, name) = (AttemptNumber::FIRST, "checkpoint-1".to_owned());
        let held = Checkpoint {
            job: id.clone(),
            attempt,
            name,
            step: Some(1),
            saved_at: Timestamp::UNIX_EPOCH,
            files: vec![file(digest)],
        };
        let ingest = checkpoints.begin(&id, held).await.unwrap();
        let mut writer = ingest.file(&file(digest)).await.unwrap();
        writer.write(bytes).await.unwrap();
        writer.finish().await.unwrap();
        ingest.commit(1).await.unwrap();
        for place in places(directory, job) {
            age(&place, days);
        }
    }
    record(directory, "old").await;
}

/// As if everything there had been written so many days ago.
fn age(place: &Path, days: u64) {
    if place.is_dir() {
        for entry in std::fs::read_dir(place).unwrap() {
            age(&entry.unwrap().path(), days);
        }
    }
    let then = SystemTime::from(now()).checked_sub(Duration::from_secs(days * 86_400)).unwrap();
    File::open(place).unwrap().set_modified(then).unwrap();
}

/// The job's record tells of its artifact.
async fn record(directory: &Path, job: &str) {
    let storage = SqliteStorage::open(SqliteOptions::new(directory.join("db"))).await.unwrap();
    let (id, _, digest) = of(job);
    let mut stored = storage.load(&id).await.unwrap().unwrap();
    stored.job.set_artifact(Some(ArtifactRecord {
        files: vec![file(digest)],
        main: 0,
        created_at: Timestamp::UNIX_EPOCH,
        attempt: AttemptNumber::FIRST,
        provider: "runpod".parse().unwrap(),
        provider_job_id: None,
    }));
    let (version, fence) = (stored.version, storage.fence());
    let (events, machines) = (Vec::new(), Vec::new());
    let commit =
        Commit { job: stored.job, version, fence, events, machines, due: None, key: None, reserves: None };
    storage.commit(commit).await.unwrap();
    storage.close().await;
}

/// Which of the job's three kinds are there, as a word: `alc`.
fn left(directory: &Path, job: &str) -> String {
    let there = places(directory, job).into_iter().zip(['a', 'l', 'c']);
    there.filter(|(place, _)| place.exists()).map(|(_, kind)| kind).collect()
}

async fn kept_with(policy: Policy, expected: [&str; 3]) {
    let (directory, cloud) = (tempfile::tempdir().unwrap(), Cloud::new("runpod", &[("cheap", "1.00")]));
    let directory = directory.path();
    prepare(directory, &cloud).await;
    assert_eq!(JOBS.map(|(job, _)| left(directory, job)), ["alc"; 3]);
    let rig = rig_in(directory, &[&cloud], policy).await;
    let is = || JOBS.map(|(job, _)| left(directory, job)) == expected;
    rig.awaits(&format!("{expected:?}"), is).await;
    told(&rig, expected[0].contains('a')).await;
    // What goes wrongly goes with the next look through the files.
    let looked = Instant::now();
    rig.awaits("another look", || looked.elapsed() > Duration::from_millis(1200)).await;
    assert_eq!(JOBS.map(|(job, _)| left(directory, job)), expected);
    assert_eq!(rig.job(&"runs".parse().unwrap()).await.state().name(), StateName::Running);
    rig.orchestrator.shutdown(Duration::from_secs(10)).await;
}

/// The job's record tells of an artifact only where there is one.
async fn told(rig: &Rig, there: bool) {
    let job = rig.job(&"old".parse().unwrap()).await;
    assert_eq!(job.body().artifact.is_some(), there);
}

fn days(days: u64) -> Keep {
    Keep { age: Some(Duration::from_secs(days * 86_400)), bytes: None }
}

fn bytes(bytes: usize) -> Keep {
    Keep { age: None, bytes: Some(bytes as u64) }
}

#[tokio::test]
async fn each_kind_goes_by_its_own_age() {
    let all = Policy { artifacts_kept: days(50), logs_kept: days(50), checkpoints_kept: days(50), ..quick() };
    kept_with(all, ["", "alc", "alc"]).await;
    let one = Policy {
        artifacts_kept: days(200),
        logs_kept: days(99),
        checkpoints_kept: Keep::default(),
        ..quick()
    };
    kept_with(one, ["ac", "alc", "alc"]).await;
}

#[tokio::test]
async fn each_kind_goes_by_its_own_size_the_oldest_first() {
    let (two, one) = (bytes(2 * BYTES), bytes(BYTES));
    let policy = Policy { artifacts_kept: two, logs_kept: one, checkpoints_kept: two, ..quick() };
    // What the running job has counts, and stays.
    kept_with(policy, ["", "ac", "alc"]).await;
    let room = Policy {
        artifacts_kept: bytes(3 * BYTES),
        logs_kept: bytes(3 * BYTES),
        checkpoints_kept: bytes(1),
        ..quick()
    };
    kept_with(room, ["al", "al", "alc"]).await;
}
