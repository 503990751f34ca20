//! A database that another program holds, that is not there any more, or that is damaged.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use trainyard_tests::say;

use crate::dice::Dice;
use crate::judge;
use crate::yard::{JOBS, SOON, Yard, counting, is_end};

/// How long another program holds the database: longer than the 5 s that a statement waits for it, and than the 5 s
/// after that for what came meanwhile.
const HELD_S: u64 = 13;
/// Steps of each training; longer than the trouble.
const STEPS: u64 = 60;
/// Bytes of a page.
const PAGE: usize = 4096;

/// Another program that holds the database; none where there is no Python with SQLite.
fn hold(database: &Path) -> Option<Child> {
    let script = "import sqlite3, sys, time\n\
                  held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n\
                  held.execute('BEGIN IMMEDIATE')\n\
                  print('held', flush=True)\n\
                  time.sleep(float(sys.argv[2]))\n\
                  held.execute('ROLLBACK')\n";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(database).arg(HELD_S.to_string());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    (line == "held\n").then_some(child)
}

#[test]
fn a_database_that_another_program_holds_is_told_and_waited_for() {
    let yard = Yard::new();
    yard.submit("job", "runpod", &counting("job", STEPS, 0));
    trainyard_tests::until(SOON, "it to run", || {
        (yard.get("job", "/status")["state"] == "running").then_some(())
    });
    let Some(mut holder) = hold(&yard.server.data().join("trainyard.db")) else {
        say("SKIPPED: no Python with SQLite here to hold the database");
        return;
    };
    let asked = Instant::now();
    yard.reads("job");
    assert!(asked.elapsed() < Duration::from_secs(3), "reads do not wait: {:?}", asked.elapsed());
    let ticks = yard.server.process().ticks();
    let began = Instant::now();
    let why = yard.await_red();
    assert!(why.contains("locked") || why.contains("busy"), "{why}");
    // In hundredths of a second.
    let used = yard.server.process().ticks() - ticks;
    assert!(u128::from(used) * 10 < began.elapsed().as_millis(), "{used} ticks in {:?}", began.elapsed());
    assert!(holder.wait().expect("a child of ours").success());
    yard.await_green();
    assert!(yard.creates_or_says_why("more"), "it is free again");
    finished(&yard, STEPS);
}

#[test]
fn a_database_that_is_taken_away_is_told_and_not_written_into() {
    let yard = Yard::new();
    yard.submit("job", "vastai", &counting("job", STEPS, 0));
    trainyard_tests::until(SOON, "it to run", || {
        (yard.get("job", "/status")["state"] == "running").then_some(())
    });
    let (database, aside) = (yard.server.data().join("trainyard.db"), yard.server.directory().join("aside"));
    std::fs::rename(&database, &aside).expect("moved");
    let why = yard.await_red();
    assert!(why.contains("was removed or replaced"), "{why}");
    assert!(!yard.creates_or_says_why("more"), "what would be lost is not accepted");
    yard.reads("job");
    std::fs::rename(&aside, &database).expect("moved back");
    yard.await_green();
    assert!(yard.creates_or_says_why("more"));
    finished(&yard, STEPS);
}

fn finished(yard: &Yard, steps: u64) {
    let status = yard.await_rest("job");
    assert_eq!(status["state"], "completed", "{status}\n{}", yard.server.log());
    judge::history(yard, "job");
    judge::whole_training(yard, "job", steps);
    assert_eq!(judge::rented(yard, "job"), 1);
}

#[test]
fn damaged_pages_give_errors_and_no_wrong_data() {
    let mut yard = Yard::new();
    let ids: Vec<String> = (0..12).map(|n| format!("job-{n}")).collect();
    for id in &ids {
        yard.submit(id, "local", &counting(id, 5, 0));
    }
    let truth: Vec<_> = ids.iter().map(|id| at_rest(&yard, id)).collect();
    // In the end all of it is in the one file.
    yard.server.end();
    let database = yard.server.data().join("trainyard.db");
    assert!(!yard.server.data().join("trainyard.db-wal").exists(), "the log came home");
    let whole = std::fs::read(&database).expect("the database");
    let mut dice = Dice::new("damaged pages");
    let (mut refused, mut told) = (0, 0);
    for _ in 0..6 {
        let mut damaged = whole.clone();
        for _ in 0..3 {
            let page = dice.below((whole.len() / PAGE) as u64) as usize * PAGE;
            damaged[page..page + PAGE].fill(0xa5);
        }
        std::fs::write(&database, &damaged).expect("written");
        match yard.tries_to_start() {
            Err(said) => {
                assert!(said.contains("database") || said.contains("damaged"), "{said}");
                refused += 1;
            }
            Ok(()) => {
                told += ask(&yard, &ids, &truth);
                yard.server.end();
            }
        }
        for name in ["trainyard.db-wal", "trainyard.db-shm"] {
            let _ = std::fs::remove_file(yard.server.data().join(name));
        }
    }
    std::fs::write(&database, &whole).expect("written");
    yard.start_again();
    for (id, truth) in ids.iter().zip(&truth) {
        assert_eq!(yard.get(id, "/status"), *truth);
    }
    say(&format!("damaged pages: {refused} starts refused, {told} reads answered with an error, none wrong"));
}

/// The job's status once it ended and gave its machine back: nothing changes it any more.
fn at_rest(yard: &Yard, id: &str) -> serde_json::Value {
    trainyard_tests::until(SOON, "it to rest", || {
        let status = yard.get(id, "/status");
        (is_end(&status["state"]) && status["phase"].is_null()).then_some(status)
    })
}

/// Asks for every job: it is answered as it is, or with an error that says so. Gives the number of errors.
fn ask(yard: &Yard, ids: &[String], truth: &[serde_json::Value]) -> usize {
    let mut errors = 0;
    for (id, truth) in ids.iter().zip(truth) {
        let answer = yard.http().get(&format!("{JOBS}/{id}/status"));
        match answer.status {
            200 => {
                let status = answer.json();
                assert!(is_end(&status["state"]), "{status}");
                assert_eq!(status["state"], truth["state"]);
                assert_eq!(status["artifact_info"], truth["artifact_info"]);
            }
            503 => {
                answer.error(503, "storage");
                errors += 1;
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert_eq!(yard.http().get("/healthz").status, 200);
    errors
}
