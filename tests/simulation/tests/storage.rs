//! The storage that stands on a disk, in the two things that a simulation in memory cannot see: who is fenced off, and what
//! is on the disk when it is said to be.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;
use trainyard_domain::{AttemptNumber, JobId};
use trainyard_simulation::world::digest;
use trainyard_storage::{DiskArtifacts, LogFiles, SqliteOptions, SqliteStorage, Storage};
use trainyard_testkit::storage::StorageHarness;

struct OnDisk(TempDir);

#[async_trait]
impl StorageHarness for OnDisk {
    async fn open(&self) -> Arc<dyn Storage> {
        Arc::new(SqliteStorage::open(SqliteOptions::new(self.0.path())).await.expect("it opens"))
    }

    async fn reopen(&self, closed: Arc<dyn Storage>) -> Option<Arc<dyn Storage>> {
        drop(closed);
        Some(self.open().await)
    }
}

#[tokio::test]
async fn an_older_process_is_fenced_off() {
    let harness = OnDisk(tempfile::tempdir().expect("a directory"));
    trainyard_testkit::storage::run("fenced", &harness).await;
}

const DIRECTORY: &str = "TRAINYARD_SIMULATION_SYNCED";

/// What is watched below: it stores an artifact and a piece of a log, where it is told to.
#[tokio::test]
async fn the_child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let job: JobId = "job-1".parse().expect("an id");
    let bytes = Bytes::from_static(b"weights");
    let artifacts = DiskArtifacts::open(Path::new(&directory).join("artifacts")).await.expect("it opens");
    let ingest = artifacts.begin(&job, AttemptNumber::FIRST).await.expect("it begins");
    let mut file = ingest.file("adapter.bin", digest(&bytes), 7).await.expect("a file");
    file.write(bytes).await.expect("it is written");
    let file = file.finish().await.expect("it is whole");
    ingest.commit(&[file]).await.expect("it is shown");
    let logs = LogFiles::open(Path::new(&directory).join("logs")).await.expect("it opens");
    logs.write_at(&job, 0, Bytes::from_static(b"line")).await.expect("it is written");
}

/// The calls of the child that make bytes last or show a name, in their order, each as `fsync PATH` or `rename PATH`.
fn watched() -> Option<Vec<String>> {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o"]).arg(&trace);
    strace.arg(std::env::current_exe().expect("this program")).args(["--exact", "the_child"]);
    let ran = strace.env(DIRECTORY, directory.path()).output().ok()?;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(&trace).ok()?;
    let root = directory.path().canonicalize().expect("it is there");
    let root = root.to_str().expect("UTF-8");
    let call = |line: &str| {
        let sync = line.contains("fsync(") || line.contains("fdatasync(");
        let rename = line.contains("rename");
        let path = match (sync, rename) {
            (true, _) => line.split('<').nth(1)?.split('>').next()?,
            (_, true) => line.rsplit('"').nth(1)?,
            _ => return None,
        };
        let what = if sync { "fsync" } else { "rename" };
        Some(format!("{what} {}", path.strip_prefix(root)?))
    };
    Some(text.lines().filter_map(call).collect())
}

#[test]
fn what_is_shown_is_on_the_disk_before() {
    let Some(calls) = watched() else {
        println!("not run: there is no strace here");
        return;
    };
    println!("{calls:#?}");
    let first = |what: &str, part: &str, end: &str| {
        calls.iter().position(|c| c.starts_with(what) && c.contains(part) && c.ends_with(end))
    };
    let of_file = first("fsync", "/taking/", "");
    let named = first("rename", "", "/files/adapter.bin");
    let of_directory = first("fsync", "", "/files");
    let shown = first("rename /artifacts/job-1", "", "");
    let of_root = calls.iter().rposition(|call| call == "fsync /artifacts");
    let order = [of_file, named, of_directory, shown, of_root];
    assert!(order.iter().all(Option::is_some), "something is not made to last: {order:?}");
    assert!(order.is_sorted(), "it is made to last too late: {order:?}");
    assert!(first("fsync /logs/job-1.log", "", "").is_some(), "a log is not made to last");
}
