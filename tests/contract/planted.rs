//! Secrets that were planted are found nowhere but where the training itself put them.

use std::path::Path;

use serde_json::{Value, json};
use trainyard_tests::{Process, WebSocket};

use crate::yard::{JOBS, SOON, Yard, list, sh};

/// Values that occur nowhere by accident.
const SECRET: &str = "planted-secret-7f1c0a9e55d24b13";
const LINES: &str = "-----BEGIN PLANTED-----\nplanted-line-93b1d07a6c\n-----END PLANTED-----";
const LINE: &str = "planted-line-93b1d07a6c";

fn assert_clean(text: &str, whence: &str) {
    for value in [SECRET, LINE] {
        if let Some(at) = text.find(value) {
            let from = text[..at].char_indices().rev().nth(80).map_or(0, |(at, _)| at);
            panic!("`{value}` in {whence}: …{}…", &text[from..at + value.len()]);
        }
    }
}

/// Every file below a directory, but what trainings themselves write.
fn files(directory: &Path, all: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let of_the_training =
            ["output", "work", "metrics.jsonl", "checkpoints"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !of_the_training {
            files(&path, all);
        } else if path.is_file() && !of_the_training {
            all.push(path);
        }
    }
}

fn assert_disk_is_clean(yard: &Yard) {
    let mut all = Vec::new();
    files(&yard.server.data(), &mut all);
    assert!(all.iter().any(|path| path.ends_with("trainyard.db")), "the database is among them: {all:?}");
    for path in all {
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert_clean(&String::from_utf8_lossy(&bytes), &path.display().to_string());
    }
}

fn plant(yard: &Yard) {
    for (name, value) in [("PLANTED", SECRET), ("PLANTED_KEY", LINES)] {
        let call = yard.http.call("PUT", &format!("/api/training/secrets/{name}"));
        assert_eq!(call.json(&json!({"value": value})).send().status, 204);
    }
}

/// Prints its secrets whole, in pieces, on both streams and without a line break.
const SHOUTS: &str = "echo \"it is $PLANTED\"; echo \"$PLANTED\" >&2; echo \"$PLANTED_KEY\"; \
    printf %s \"$PLANTED\" | cut -c1-9 | tr -d '\\n'; sleep 0.3; printf %s \"$PLANTED\" | cut -c10- | tr -d '\\n'; echo; \
    env | grep PLANTED; echo \"{'loss': 1.0, 'note': '$PLANTED'}\"; ";

#[test]
fn planted_secrets_are_found_nowhere() {
    let yard = Yard::with_variables("[local]\nslots = 4\nuse_gpus = false\n", &[("RUST_LOG", "trace")]);
    plant(&yard);
    let mut spec = sh(&format!("{SHOUTS} echo shouted; while :; do sleep 0.1; done"));
    spec["secrets"] = json!(["PLANTED", "PLANTED_KEY"]);
    spec["environment"] = json!({"env": {"OPEN": "what stands in env is no secret"}});
    yard.run("running", &spec);
    yard.await_log("running", "shouted");
    spec["trainer"]["command"][2] =
        json!(format!("{SHOUTS} echo \"$PLANTED\" > \"$TRAINYARD_OUTPUT_DIR/x\"; exit 3"));
    yard.create("failing", &spec);
    yard.submit("failing");
    yard.await_state("failing", "failed");
    spec["trainer"]["command"] = json!(["no-such-program"]);
    yard.create("missing", &spec);
    yard.submit("missing");
    yard.await_state("missing", "failed");

    let log = yard.log("running");
    assert!(
        log.contains("it is ***") && log.contains("what stands in env is no secret") == log.contains("OPEN="),
        "{log}"
    );
    for process in Process::all() {
        assert_clean(&process.command_line().join(" "), "a process list");
    }
    assert_disk_is_clean(&yard);
    for id in ["running", "failing", "missing"] {
        for what in ["", "/status", "/logs", "/metrics", "/notifications", "/events?log=true&limit=1000"] {
            assert_clean(&yard.get(id, what).text(), what);
        }
    }
    let mut socket =
        WebSocket::open(&yard.http, "/ws/training/jobs/failing?after=0&log=true", &[]).expect("open");
    let (messages, _) = socket.to_end(SOON);
    assert_clean(&Value::from(messages).to_string(), "a WebSocket");
    for path in ["secrets", "providers", "resources", "jobs"] {
        assert_clean(&yard.http.get(&format!("/api/training/{path}")).text(), path);
    }
    assert_clean(&yard.http.get("/metrics").text(), "/metrics");
    assert_eq!(yard.poke("running", "/cancel").ok(200)["state"], "stopped");
    assert_disk_is_clean(&yard);
    assert_clean(&yard.server.log(), "the server's own log");
    assert!(!yard.server.log().is_empty());
}

#[test]
fn a_secret_that_is_deleted_is_gone_from_the_disk() {
    let mut yard = Yard::new();
    plant(&yard);
    for name in ["PLANTED", "PLANTED_KEY"] {
        assert_eq!(yard.http.call("DELETE", &format!("/api/training/secrets/{name}")).send().status, 204);
    }
    yard.server.end();
    assert_disk_is_clean(&yard);
    yard.start_again();
    let mut spec = sh("true");
    spec["secrets"] = json!(["PLANTED"]);
    yard.create("job_1", &spec);
    yard.submit("job_1").error(400, "secret_missing");
}

#[test]
fn a_token_is_stored_as_its_digest_only() {
    let yard = Yard::new();
    let data = yard.server.data().display().to_string();
    let made = yard.server.run(&["token", "create", "mine", "--data", &data]);
    let token = made.trim();
    assert!(token.len() >= 20, "{token}");
    let mut all = Vec::new();
    files(&yard.server.data(), &mut all);
    for path in all {
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains(token), "{}", path.display());
    }
    let http = yard.http.bearing(token);
    let jobs = http.get(JOBS).ok(200);
    assert_eq!(list(&jobs["jobs"]).len(), 0);
}
