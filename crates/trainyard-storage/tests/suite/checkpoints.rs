//! Checkpoints on a real disk: whole or not at all, what they share there once, damaged ones never handed out.

use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;
use trainyard_domain::{ArtifactFile, AttemptNumber, Timestamp};
use trainyard_storage::{Checkpoint, CheckpointIngest, DiskCheckpoints, IngestError};

use crate::{digest, id};

/// Files of a checkpoint: paths and bytes.
type Files<'a> = &'a [(&'a str, &'a [u8])];

async fn opened() -> (TempDir, DiskCheckpoints) {
    let directory = tempfile::tempdir().expect("a directory");
    let checkpoints = open(directory.path()).await;
    (directory, checkpoints)
}

async fn open(root: &Path) -> DiskCheckpoints {
    DiskCheckpoints::open(root).await.expect("opening")
}

fn checkpoint(step: u64, files: Files<'_>) -> Checkpoint {
    let file = |(path, bytes): &(&str, &[u8])| ArtifactFile {
        path: (*path).to_owned(),
        size_bytes: bytes.len() as u64,
        hash_sha256: digest(bytes),
    };
    Checkpoint {
        job: id("origin"),
        attempt: AttemptNumber::FIRST,
        name: format!("checkpoint-{step}"),
        step: Some(step),
        saved_at: Timestamp::UNIX_EPOCH,
        files: files.iter().map(file).collect(),
    }
}

/// Takes one file in small ranges.
async fn take(ingest: &CheckpointIngest, file: &ArtifactFile, bytes: &[u8]) -> Result<(), IngestError> {
    let mut writer = ingest.file(file).await?;
    for range in bytes.chunks(700) {
        writer.write(Bytes::copy_from_slice(range)).await?;
    }
    assert_eq!(writer.written(), bytes.len() as u64);
    writer.finish().await
}

/// Brings one home; says which files had to come.
async fn bring(
    checkpoints: &DiskCheckpoints,
    holder: &str,
    step: u64,
    files: Files<'_>,
    keep: usize,
) -> Vec<String> {
    let ingest = checkpoints.begin(&id(holder), checkpoint(step, files)).await.expect("beginning");
    let missing = ingest.missing().await.expect("looking");
    for file in &missing {
        let (_, bytes) = files.iter().find(|(_, bytes)| digest(bytes) == file.hash_sha256).expect("a file");
        take(&ingest, file, bytes).await.expect("taking");
    }
    ingest.commit(keep).await.expect("committing");
    missing.into_iter().map(|file| file.path).collect()
}

/// What lies in a directory of the store.
fn names(root: &Path, of: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root.join(of)).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

async fn steps(checkpoints: &DiskCheckpoints, job: &str) -> Vec<u64> {
    let held = checkpoints.list(&id(job)).await.expect("listing");
    held.iter().filter_map(|checkpoint| checkpoint.step).collect()
}

async fn good(checkpoints: &DiskCheckpoints, job: &str) -> Option<u64> {
    checkpoints.newest_good(&id(job)).await.expect("looking").and_then(|good| good.step)
}

#[tokio::test]
async fn one_appears_whole_and_what_they_share_is_there_once() {
    let (root, checkpoints) = opened().await;
    let large = vec![7; 100_000];
    let first: Files<'_> = &[("model", &large), ("sub/same", &large), ("state", b"1"), ("empty", b"")];
    let ingest = checkpoints.begin(&id("job"), checkpoint(1, first)).await.expect("beginning");
    let missing = ingest.missing().await.expect("looking");
    assert_eq!(missing.len(), 3, "of two files with the same bytes one comes");
    take(
        &ingest,
        &missing[0],
        first.iter().find(|(_, b)| digest(b) == missing[0].hash_sha256).expect("one").1,
    )
    .await
    .expect("taking");
    assert_eq!(steps(&checkpoints, "job").await, [0; 0], "nothing is shown before the end");
    let error = ingest.commit(2).await.expect_err("two files are not here");
    assert!(matches!(error, IngestError::Incomplete { .. }), "{error}");
    bring(&checkpoints, "job", 1, first, 2).await;
    for (_, bytes) in first {
        assert_eq!(std::fs::read(checkpoints.path(&digest(bytes))).expect("reading"), *bytes);
    }
    let second: Files<'_> = &[("model", &large), ("state", b"2")];
    assert_eq!(bring(&checkpoints, "job", 2, second, 2).await, ["state"], "only what is not here comes");
    assert_eq!(names(root.path(), "blobs").len(), 4);
    assert_eq!(steps(&checkpoints, "job").await, [2, 1], "the newest first");
    let held = checkpoints.jobs().await.expect("looking");
    assert_eq!((held.len(), held[0].size_bytes), (1, 300_000 + 2));
    // A third one: the oldest goes, and with it what nobody else names.
    bring(&checkpoints, "job", 3, &[("model", &large), ("state", b"3")], 2).await;
    assert_eq!((steps(&checkpoints, "job").await, names(root.path(), "blobs").len()), (vec![3, 2], 3));
    assert!(checkpoints.delete(&id("job")).await.expect("deleting"));
    assert!(!checkpoints.delete(&id("job")).await.expect("deleting"));
    assert_eq!(names(root.path(), "blobs"), [""; 0]);
}

#[tokio::test]
async fn what_is_not_as_it_was_announced_is_refused_and_may_come_again() {
    let (root, checkpoints) = opened().await;
    let bytes = vec![3; 5000];
    let of: Files<'_> = &[("model", &bytes)];
    let ingest = checkpoints.begin(&id("job"), checkpoint(1, of)).await.expect("beginning");
    let file = ingest.missing().await.expect("looking").remove(0);
    let mut other = bytes.clone();
    other[4999] ^= 1;
    let wrong = take(&ingest, &file, &other).await.expect_err("a bit is turned");
    assert!(matches!(wrong, IngestError::Mismatch { .. }), "{wrong}");
    let short = take(&ingest, &file, &bytes[..4999]).await.expect_err("a byte is missing");
    assert!(matches!(short, IngestError::TooShort { expected: 5000, actual: 4999, .. }), "{short}");
    let long = take(&ingest, &file, &[&bytes[..], b"x"].concat()).await.expect_err("a byte too many");
    assert!(matches!(long, IngestError::TooLong { .. }), "{long}");
    assert_eq!((names(root.path(), "blobs").len(), names(root.path(), ".part").len()), (0, 0));
    take(&ingest, &file, &bytes).await.expect("as it should be");
    ingest.commit(1).await.expect("committing");
    assert_eq!(good(&checkpoints, "job").await, Some(1));
    for (name, files) in [
        ("../outside", of),
        ("checkpoint-2", &[("../../x", b"1".as_slice())]),
        ("checkpoint-2", &[("/etc/x", b"1")]),
        ("checkpoint-2", &[("twice", b"1"), ("twice", b"2")]),
        ("checkpoint-2", &[]),
    ] {
        let bad = Checkpoint { name: name.to_owned(), ..checkpoint(2, files) };
        assert!(checkpoints.begin(&id("job"), bad).await.is_err(), "{name} {files:?}");
    }
}

#[tokio::test]
async fn a_damaged_one_is_never_handed_out() {
    for damage in ["a turned bit", "a shorter file", "a missing file", "the record"] {
        let (root, checkpoints) = opened().await;
        let shared = vec![9; 3000];
        bring(&checkpoints, "job", 1, &[("model", b"one"), ("same", &shared)], 5).await;
        bring(&checkpoints, "job", 2, &[("model", b"two"), ("same", &shared)], 5).await;
        let model = checkpoints.path(&digest(b"two"));
        match damage {
            "a turned bit" => std::fs::write(&model, b"twp"),
            "a shorter file" => std::fs::write(&model, b"tw"),
            "a missing file" => std::fs::remove_file(&model),
            _ => {
                let record = root.path().join("jobs/job/0000000002.json");
                let text = std::fs::read_to_string(&record).expect("reading");
                std::fs::write(&record, text.replace("\"step\":2", "\"step\":3"))
            }
        }
        .expect("damage");
        assert_eq!(good(&checkpoints, "job").await, Some(1), "{damage}");
        assert_eq!(steps(&checkpoints, "job").await, [1], "{damage}: it is forgotten");
        // It may come once more, and its bytes are fetched anew.
        let came = bring(&checkpoints, "job", 2, &[("model", b"two"), ("same", &shared)], 5).await;
        assert!(came.len() <= 1, "{damage}: {came:?}");
        assert_eq!(good(&checkpoints, "job").await, Some(2), "{damage}");
        assert_eq!(std::fs::read(&model).expect("reading"), b"two", "{damage}");
    }
}

#[tokio::test]
async fn what_a_crash_left_goes_with_the_next_start() {
    let (root, checkpoints) = opened().await;
    bring(&checkpoints, "job", 1, &[("model", b"one")], 1).await;
    // A copy that broke off: bytes that are here and named by nobody, and a file half taken.
    let ingest = checkpoints.begin(&id("job"), checkpoint(2, &[("model", b"two")])).await.expect("beginning");
    let file = ingest.missing().await.expect("looking").remove(0);
    take(&ingest, &file, b"two").await.expect("taking");
    std::fs::write(root.path().join(".part/half"), b"t").expect("writing");
    // As a kill does: nobody lets go of anything.
    std::mem::forget((ingest, checkpoints));
    let checkpoints = open(root.path()).await;
    assert_eq!(good(&checkpoints, "job").await, Some(1));
    assert_eq!(checkpoints.jobs().await.expect("looking").len(), 1);
    // Who names which bytes is counted with the first change.
    bring(&checkpoints, "other", 1, &[("model", b"one")], 1).await;
    assert_eq!(names(root.path(), "blobs"), [digest(b"one").to_string()]);
    assert_eq!(names(root.path(), ".part"), [""; 0]);
    // One that is given up in the same process goes at once.
    let ingest = checkpoints.begin(&id("job"), checkpoint(2, &[("model", b"two")])).await.expect("beginning");
    take(&ingest, &file, b"two").await.expect("taking");
    drop(ingest);
    let gone = async {
        while names(root.path(), "blobs").len() > 1 {
            // waits: for the bytes to be let go of beside
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("it is let go of");
}

#[tokio::test]
async fn a_clone_holds_what_it_begins_with_also_when_the_first_job_is_deleted() {
    let (root, checkpoints) = opened().await;
    let shared = vec![5; 2000];
    bring(&checkpoints, "first", 1, &[("model", b"one"), ("same", &shared)], 2).await;
    bring(&checkpoints, "first", 2, &[("model", b"two"), ("same", &shared)], 2).await;
    let (first, clone) = (id("first"), id("clone"));
    let held = checkpoints.share(&first, &clone).await.expect("sharing").expect("there is one");
    assert_eq!((held.step, held.job), (Some(2), id("origin")), "told as what it is");
    assert_eq!(checkpoints.share(&id("nobody"), &clone).await.expect("sharing"), None);
    checkpoints.delete(&first).await.expect("deleting");
    assert_eq!(good(&checkpoints, "clone").await, Some(2));
    assert_eq!(names(root.path(), "blobs").len(), 2, "what only the older one named is gone");
    assert!(checkpoints.delete(&clone).await.expect("deleting"));
    assert_eq!(names(root.path(), "blobs"), [""; 0]);
}
