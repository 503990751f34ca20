//! Artifacts: taken whole or not at all, replaced, verified, deleted, cleaned up.

use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use trainyard_domain::{ArtifactFile, AttemptNumber};
use trainyard_storage::{DiskArtifacts, Ingest, IngestError};

use crate::{digest, id};

async fn opened() -> (TempDir, DiskArtifacts) {
    let directory = tempfile::tempdir().expect("a directory");
    let artifacts = DiskArtifacts::open(directory.path()).await.expect("opening");
    (directory, artifacts)
}

fn entry(path: &str, bytes: &[u8]) -> ArtifactFile {
    ArtifactFile { path: path.to_owned(), size_bytes: bytes.len() as u64, hash_sha256: digest(bytes) }
}

async fn take(ingest: &Ingest, path: &str, bytes: &[u8]) -> Result<ArtifactFile, IngestError> {
    let mut file = ingest.file(path, digest(bytes), bytes.len() as u64).await?;
    for chunk in bytes.chunks(1000) {
        file.write(Bytes::copy_from_slice(chunk)).await?;
    }
    file.finish().await
}

async fn store(
    artifacts: &DiskArtifacts,
    name: &str,
    attempt: u32,
    files: &[(&str, &[u8])],
) -> Vec<ArtifactFile> {
    let ingest = artifacts.begin(&id(name), AttemptNumber::from(attempt)).await.expect("beginning");
    let mut taken = Vec::new();
    for (path, bytes) in files {
        taken.push(take(&ingest, path, bytes).await.expect("taking"));
    }
    ingest.commit(&taken).await.expect("committing");
    taken
}

async fn read(artifacts: &DiskArtifacts, name: &str, path: &str) -> Option<Vec<u8>> {
    let (mut file, len) = artifacts.open_file(&id(name), path).await.expect("opening")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await.expect("reading");
    assert_eq!(bytes.len() as u64, len);
    Some(bytes)
}

#[tokio::test]
async fn an_artifact_appears_whole() {
    let (root, artifacts) = opened().await;
    let large = vec![7; 5_000_000];
    let files = [("a.bin", large.as_slice()), ("deep/er/b", b"b".as_slice()), ("empty", b"".as_slice())];
    let ingest = artifacts.begin(&id("one"), AttemptNumber::FIRST).await.expect("beginning");
    for (path, bytes) in &files {
        take(&ingest, path, bytes).await.expect("taking");
        assert!(!root.path().join("one").exists(), "nothing is shown before the end");
    }
    let listed: Vec<_> = files.iter().map(|(path, bytes)| entry(path, bytes)).collect();
    ingest.commit(&listed).await.expect("committing");
    for (path, bytes) in files {
        assert_eq!(read(&artifacts, "one", path).await.as_deref(), Some(bytes));
        let place = artifacts.path(&id("one"), path).expect("a path");
        assert!(place.is_absolute() && std::fs::read(place).expect("reading") == bytes);
    }
    let found = artifacts.verify(&id("one"), &listed).await.expect("verifying");
    assert!(found.iter().all(|(_, expected, actual)| Some(*expected) == *actual));
    assert_eq!(read(&artifacts, "one", "missing").await, None);
    assert_eq!(read(&artifacts, "one", "deep").await, None, "a directory is no file");
    assert_eq!(read(&artifacts, "one", "../one/a.bin").await, None);
    assert_eq!(artifacts.path(&id("one"), "/etc/passwd"), None);
    assert!(artifacts.delete(&id("one")).await.expect("deleting"));
    assert!(!artifacts.delete(&id("one")).await.expect("deleting"));
    assert_eq!(read(&artifacts, "one", "a.bin").await, None);
}

#[tokio::test]
async fn a_later_artifact_replaces_the_whole_earlier_one() {
    let (_root, artifacts) = opened().await;
    store(&artifacts, "one", 1, &[("a", b"old"), ("only-old", b"x")]).await;
    store(&artifacts, "one", 2, &[("a", b"new")]).await;
    assert_eq!(read(&artifacts, "one", "a").await.as_deref(), Some(b"new".as_slice()));
    assert_eq!(read(&artifacts, "one", "only-old").await, None);
}

#[tokio::test]
async fn only_the_listed_and_taken_files_are_committed() {
    let (root, artifacts) = opened().await;
    store(&artifacts, "one", 1, &[("a", b"old")]).await;
    let lists: [&[ArtifactFile]; 6] = [
        &[],
        &[entry("a", b"a")],
        &[entry("a", b"a"), entry("b", b"b"), entry("c", b"c")],
        &[entry("a", b"a"), entry("b", b"B")],
        &[entry("a", b"b"), entry("b", b"a")],
        &[entry("a", b"a"), entry("a", b"a")],
    ];
    for list in lists {
        let ingest = artifacts.begin(&id("one"), AttemptNumber::FIRST).await.expect("beginning");
        take(&ingest, "a", b"a").await.expect("taking");
        take(&ingest, "b", b"b").await.expect("taking");
        let refused = ingest.commit(list).await;
        assert!(matches!(refused, Err(IngestError::Incomplete { .. })), "{refused:?}");
        assert_eq!(read(&artifacts, "one", "a").await.as_deref(), Some(b"old".as_slice()));
    }
    let ingest = artifacts.begin(&id("two"), AttemptNumber::FIRST).await.expect("beginning");
    let open = ingest.file("a", digest(b"a"), 1).await.expect("a file");
    assert!(matches!(ingest.commit(&[entry("a", b"a")]).await, Err(IngestError::Incomplete { .. })));
    drop(open);
    let ingest = artifacts.begin(&id("two"), AttemptNumber::FIRST).await.expect("beginning");
    assert!(matches!(ingest.commit(&[]).await, Err(IngestError::Empty)));
    assert!(!root.path().join("two").exists());
}

#[tokio::test]
async fn each_fault_has_its_name_and_the_file_can_be_begun_anew() {
    let (_root, artifacts) = opened().await;
    let ingest = artifacts.begin(&id("one"), AttemptNumber::FIRST).await.expect("beginning");
    let mut long = ingest.file("a", digest(b"abc"), 3).await.expect("a file");
    long.write(Bytes::from_static(b"ab")).await.expect("writing");
    assert_eq!(long.written(), 2);
    let refused = long.write(Bytes::from_static(b"cd")).await;
    assert!(matches!(refused, Err(IngestError::TooLong { expected: 3, .. })));
    assert!(long.write(Bytes::from_static(b"c")).await.is_err(), "what was refused stays refused");
    assert!(long.finish().await.is_err());
    let mut short = ingest.file("a", digest(b"abc"), 3).await.expect("a file");
    short.write(Bytes::from_static(b"ab")).await.expect("writing");
    assert!(matches!(short.finish().await, Err(IngestError::TooShort { expected: 3, actual: 2, .. })));
    let mut other = ingest.file("a", digest(b"abc"), 3).await.expect("a file");
    other.write(Bytes::from_static(b"abd")).await.expect("writing");
    match other.finish().await {
        Err(IngestError::Mismatch { path, expected, actual }) => {
            assert_eq!((path.as_str(), expected, actual), ("a", digest(b"abc"), digest(b"abd")));
        }
        answer => panic!("{answer:?}"),
    }
    let first = ingest.file("a", digest(b"abc"), 3).await.expect("a file");
    assert!(matches!(ingest.file("a", digest(b"abc"), 3).await, Err(IngestError::BadPath(_))), "comes twice");
    drop(first);
    take(&ingest, "a", b"abc").await.expect("at last");
    take(&ingest, "d/e", b"abc").await.expect("another");
    for path in ["a", "a/b", "d", "d/e", "d/e/f", "..", ".part/x"] {
        assert!(matches!(take(&ingest, path, b"x").await, Err(IngestError::BadPath(_))), "{path}");
    }
    take(&ingest, "d/ef", b"x").await.expect("beside");
    ingest
        .commit(&[entry("a", b"abc"), entry("d/e", b"abc"), entry("d/ef", b"x")])
        .await
        .expect("committing");
}

#[tokio::test]
async fn links_are_not_followed() {
    let (root, artifacts) = opened().await;
    let files = store(&artifacts, "one", 1, &[("a", b"a"), ("d/b", b"b")]).await;
    let outside = tempfile::tempdir().expect("a directory");
    std::fs::write(outside.path().join("b"), b"b").expect("writing");
    let inside = root.path().join("one");
    std::fs::remove_dir_all(inside.join("d")).expect("removing");
    std::os::unix::fs::symlink(outside.path(), inside.join("d")).expect("a link");
    std::fs::remove_file(inside.join("a")).expect("removing");
    std::os::unix::fs::symlink(outside.path().join("b"), inside.join("a")).expect("a link");
    assert_eq!(read(&artifacts, "one", "a").await, None);
    assert_eq!(read(&artifacts, "one", "d/b").await, None);
    let found = artifacts.verify(&id("one"), &files).await.expect("verifying");
    assert!(found.iter().all(|(_, _, actual)| actual.is_none()));
    artifacts.delete(&id("one")).await.expect("deleting");
    assert!(outside.path().join("b").exists(), "deleting does not follow them either");
}

#[tokio::test]
async fn verify_tells_what_changed_on_disk() {
    let (root, artifacts) = opened().await;
    let files = store(&artifacts, "one", 1, &[("a", b"aaa"), ("b", b"bbb"), ("c", b"ccc")]).await;
    std::fs::write(root.path().join("one/a"), b"aab").expect("writing");
    std::fs::remove_file(root.path().join("one/b")).expect("removing");
    let found = artifacts.verify(&id("one"), &files).await.expect("verifying");
    let actual: Vec<_> = found.into_iter().map(|(path, _, actual)| (path, actual)).collect();
    let expected = [("a", Some(digest(b"aab"))), ("b", None), ("c", Some(digest(b"ccc")))];
    assert_eq!(actual, expected.map(|(path, actual)| (path.to_owned(), actual)));
}

fn parts(root: &Path) -> usize {
    std::fs::read_dir(root.join(".part")).expect("the parts").count()
}

#[tokio::test]
async fn a_start_removes_what_a_crash_left_and_puts_back_what_was_replaced() {
    let (root, artifacts) = opened().await;
    store(&artifacts, "a.b", 1, &[("f", b"old")]).await;
    store(&artifacts, "kept", 1, &[("f", b"kept")]).await;
    // As a crash leaves it: between the two renames of a replacement, and in the middle of another.
    let replacing = root.path().join(".part/a.b.2.7");
    std::fs::create_dir_all(replacing.join("files")).expect("a directory");
    std::fs::rename(root.path().join("a.b"), replacing.join("old")).expect("renaming");
    let coming = root.path().join(".part/kept.2.8/taking");
    std::fs::create_dir_all(&coming).expect("a directory");
    std::fs::write(coming.join("1"), b"half").expect("writing");
    let again = DiskArtifacts::open(root.path()).await.expect("opening");
    assert_eq!(parts(root.path()), 0);
    assert_eq!(read(&again, "a.b", "f").await.as_deref(), Some(b"old".as_slice()));
    assert_eq!(read(&again, "kept", "f").await.as_deref(), Some(b"kept".as_slice()));
}
