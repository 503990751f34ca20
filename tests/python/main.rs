//! The four programs of the user's specification, as they stand there (the first one's provider is `local`), run by
//! Python with plain `requests` against `trainyard serve`.
//!
//! They speak to `localhost:8000`. Where that port is somebody else's, the port in them is changed and the test says so.
//! Without Python or `requests` they are not run, and the test says that.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

use std::ffi::OsString;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard_tests::{Server, root, say};

const BINARY: &str = env!("CARGO_BIN_EXE_trainyard-under-test");
/// Longest wait for a job to run, on a loaded machine.
const RUNNING_MAX: Duration = Duration::from_secs(60);

/// A Python that has `requests`: the one that CI names, else the first `python3`.
fn python() -> Option<OsString> {
    let named = std::env::var_os("TRAINYARD_PYTHON").filter(|path| !path.is_empty());
    let python = named.unwrap_or_else(|| "python3".into());
    let has_requests = Command::new(&python).args(["-c", "import requests"]).output();
    has_requests.is_ok_and(|output| output.status.success()).then_some(python)
}

struct Programs {
    python: OsString,
    server: Server,
}

impl Programs {
    /// What the program of that name prints; it must end with 0.
    fn run(&self, name: &str) -> String {
        let path = root().join("tests/python").join(format!("{name}.py"));
        let text = std::fs::read_to_string(path).expect("the program");
        let port = self.server.url().rsplit(':').next().unwrap_or_default();
        let text = text.replace("localhost:8000", &format!("localhost:{port}"));
        let output = Command::new(&self.python).args(["-c", &text]).output().expect("Python starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    async fn create(&self, id: &str, body: Value) {
        let mut body = body;
        body["job_id"] = json!(id);
        let url = format!("{}/api/training/jobs", self.server.url());
        let answer = client().post(url).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap_or_default());
    }

    async fn state(&self, id: &str) -> Value {
        let url = format!("{}/api/training/jobs/{id}/status", self.server.url());
        let answer = client().get(url).send().await.expect("an answer");
        answer.json::<Value>().await.expect("JSON")["state"].clone()
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(90)).build().expect("a client")
}

fn small() -> Value {
    json!({"model_name": "trainyard-tiny", "hyperparameters": {
        "max_steps": 10, "warmup_steps": 1, "batch_size": 1, "gradient_accumulation_steps": 1, "max_seq_length": 64
    }})
}

#[tokio::test]
async fn the_programs_of_the_specification_run_as_they_stand() {
    let Some(python) = python() else {
        say("NOT RUN: there is no Python with `requests` here");
        return;
    };
    let free = TcpListener::bind("127.0.0.1:8000").is_ok();
    if !free {
        say("port 8000 is taken: the port in the programs is changed");
    }
    let address = if free { "127.0.0.1:8000" } else { "127.0.0.1:0" };
    let programs = Programs { python, server: Server::listening(BINARY, address, &[]) };

    programs.create("my_job_123", small()).await;
    let said = programs.run("submit");
    assert!(said.starts_with("Job submitted: ") && !said.contains("None"), "{said}");
    let said = programs.run("monitor");
    assert!(said.ends_with("Job state: completed\n"), "{said}");
    let said = programs.run("download");
    assert!(said.contains("/adapter_model.safetensors\n"), "{said}");
    let hash = said.lines().find_map(|line| line.strip_prefix("Hash: ")).expect("a hash");
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{said}");
    // Over is over: the last program has nothing to say of a job that completed.
    assert_eq!(programs.run("cancel"), "");

    let url = format!("{}/api/training/jobs/my_job_123", programs.server.url());
    let answer = client().delete(url).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    let sleeps = json!({"model_name": "any", "trainer": {"kind": "command", "command": ["sleep", "600"]}});
    programs.create("my_job_123", sleeps).await;
    programs.run("submit");
    let deadline = Instant::now() + RUNNING_MAX;
    while programs.state("my_job_123").await != "running" {
        assert!(Instant::now() < deadline, "it runs in time");
        // waits: for the job to run; asked again as a user's program would
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(programs.run("cancel"), "Job cancelled successfully\n");
    assert_eq!(programs.state("my_job_123").await, "stopped");
}
