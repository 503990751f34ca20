//! Requests as pages show them: a line with method and path, headers, an empty line, a body.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::blocks::{Block, Kind};
use crate::shape;

/// Longest wait for a job: a few steps of the built-in trainer, on a loaded machine in the dev profile.
const JOB_MAX: Duration = Duration::from_secs(180);

/// Sends the request; its answer must be the shown one, or at least a success.
pub(crate) async fn check(url: &str, text: &str, answer: Option<&Block>, place: &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next().and_then(|line| line.split_once(' ')).expect("a method and a path");
    let method = method.parse().expect("a method");
    let mut request = client().request(method, format!("{url}{path}"));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    if !body.trim().is_empty() {
        let value: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{place}: {error}"));
        request = request.json(&value);
    }
    let response = request.send().await.unwrap_or_else(|error| panic!("{place}: {error}"));
    let status = response.status();
    let real = response.text().await.unwrap_or_else(|error| panic!("{place}: {error}"));
    match answer {
        Some(Block { kind: Kind::Answer(expected), text, .. }) => {
            assert_eq!(status.as_u16(), *expected, "{place}: {real}");
            let read =
                |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{place}: {error}"));
            let differences = shape::differences(&read(text), &read(&real));
            assert!(differences.is_empty(), "{place}:\n{}\nin full: {real}", differences.join("\n"));
        }
        _ => assert!(status.is_success(), "{place}: {status}: {real}"),
    }
}

/// Waits until the job is in that state.
pub(crate) async fn wait(url: &str, job: &str, state: &str, place: &str) {
    let deadline = Instant::now() + JOB_MAX;
    loop {
        let response =
            client().get(format!("{url}/api/training/jobs/{job}/status")).send().await.expect("an answer");
        let status: Value = response.json().await.expect("JSON");
        if status["state"] == state {
            return;
        }
        let over = ["completed", "failed", "stopped"].iter().any(|end| status["state"] == *end);
        assert!(!over && Instant::now() < deadline, "{place}: waited for {state}: {status}");
        // waits: for the job; asked again as a user's program would
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(90)).build().expect("a client")
}
