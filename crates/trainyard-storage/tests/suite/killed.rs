//! SIGKILL in the middle of writing: what was acknowledged is there, and nothing is half written.
//!
//! The writer is this test binary itself, run for the one test `the_child`, which does nothing unless it is told
//! the directory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use trainyard_domain::{
    AttemptNumber, EventBody, LogSpan, NewEvent, Notification, NotificationKind, Seq, Timestamp,
};
use trainyard_storage::{Commit, SqliteOptions, SqliteStorage, Storage, Telemetry, TelemetryItem};

use crate::{Numbers, id, job};

const KILLS: usize = 20;
const WRITERS: usize = 6;
const DIRECTORY: &str = "TRAINYARD_TEST_KILLED_DIRECTORY";

fn note(n: u64) -> NewEvent {
    let (kind, title) = (NotificationKind::Running, n.to_string());
    let body = EventBody::Notification(Notification { kind, title, message: String::new() });
    NewEvent { at: Timestamp::UNIX_EPOCH, attempt: None, body }
}

/// Commits two facts and appends two items, again and again; says so once each is acknowledged.
async fn write_for_ever(storage: &SqliteStorage, name: &str) {
    if storage.load(&id(name)).await.expect("loading").is_none() {
        storage.create(&job(name), &[]).await.expect("creating");
    }
    loop {
        let stored = storage.load(&id(name)).await.expect("loading").expect("the job");
        let n = stored.version;
        let commit = Commit {
            job: stored.job,
            version: n,
            fence: storage.fence(),
            events: vec![note(n), note(n)],
            machines: Vec::new(),
            due: None,
            key: None,
            reserves: None,
        };
        let committed = storage.commit(commit).await.expect("a commit");
        println!("ack {name} {}", committed.seq.0);
        let span = |at: u64| EventBody::Log(LogSpan { offset: stored.log_bytes + at, len: 1 });
        let items = [0, 1].map(|at| TelemetryItem { at: Timestamp::UNIX_EPOCH, body: span(at) }).to_vec();
        let cursor = stored.cursor.map_or(1, |(_, n)| n + 1);
        let telemetry =
            Telemetry { job_id: id(name), attempt: AttemptNumber::FIRST, after: cursor - 1, cursor, items };
        let appended = storage.append(telemetry).await.expect("appending");
        println!("ack {name} {}", appended.seq.0);
    }
}

#[tokio::test]
async fn the_child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let storage = SqliteStorage::open(SqliteOptions::new(directory)).await.expect("opening");
    let names: Vec<String> = (0..WRITERS).map(|n| format!("job-{n}")).collect();
    futures_util::future::join_all(names.iter().map(|name| write_for_ever(&storage, name))).await;
}

/// Runs the child until it acknowledged so many changes, kills it, and gives the last number acknowledged per job.
fn run_and_kill(directory: &Path, acknowledgements: usize) -> BTreeMap<String, u64> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "killed::the_child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let mut last = BTreeMap::new();
    let mut seen = 0;
    for line in out.lines() {
        let line = line.expect("a line");
        // The first line shares its line with the test runner's own words.
        let Some((_, ack)) = line.split_once("ack ") else { continue };
        let (name, seq) = ack.split_once(' ').expect("a name and a number");
        last.insert(name.to_owned(), seq.parse().expect("a number"));
        seen += 1;
        if seen == acknowledgements {
            // What it acknowledges from here to its end counts too: the loop reads on until the pipe is closed.
            child.kill().expect("killing");
        }
    }
    child.wait().expect("its end");
    assert!(seen >= acknowledgements, "the child ended by itself");
    last
}

async fn check(directory: &Path, acknowledged: &BTreeMap<String, u64>) {
    let storage = SqliteStorage::open(SqliteOptions::new(directory)).await.expect("opening");
    for (name, seq) in acknowledged {
        let stored = storage.load(&id(name)).await.expect("loading").expect("the job");
        assert!(stored.seq.0 >= *seq, "{name}: {seq} was acknowledged, {} is there", stored.seq.0);
        let page = storage.events(&id(name), Seq(0), usize::MAX).await.expect("events");
        let numbers: Vec<u64> = page.events.iter().map(|event| event.seq.0).collect();
        assert_eq!(numbers, (1..=stored.seq.0).collect::<Vec<_>>());
        let facts = page.events.iter().filter(|event| !event.body.is_telemetry()).count() as u64;
        assert_eq!(facts, 2 * (stored.version - 1), "every version brought its two facts");
        assert_eq!(stored.log_bytes, stored.seq.0 - facts);
        assert_eq!(stored.cursor.map_or(0, |(_, n)| 2 * n), stored.log_bytes);
    }
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut numbers = Numbers(0xdead_beef);
    let mut acknowledged = BTreeMap::new();
    for _ in 0..KILLS {
        let data = directory.path().to_owned();
        let until = 20 + numbers.below(150);
        let last = tokio::task::spawn_blocking(move || run_and_kill(&data, until)).await.expect("no panic");
        acknowledged.extend(last);
        check(directory.path(), &acknowledged).await;
    }
    assert_eq!(acknowledged.len(), WRITERS);
}
