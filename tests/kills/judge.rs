//! What must be true of a job's history, whatever was killed while it came about.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::yard::{JOBS, Yard, is_end, list};

/// Every way from one state to another.
const TRANSITIONS: [(&str, &str); 13] = [
    ("created", "initializing"),
    ("created", "stopped"),
    ("initializing", "created"),
    ("initializing", "running"),
    ("initializing", "failed"),
    ("initializing", "stopped"),
    ("running", "paused"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "stopped"),
    ("paused", "running"),
    ("paused", "failed"),
    ("paused", "stopped"),
];

/// What sockets told of each job, connection after connection, each beginning after the last number of the one before.
#[derive(Debug, Default)]
pub(crate) struct Heard(BTreeMap<String, Vec<u64>>);

impl Heard {
    /// The number after which the next connection begins.
    pub(crate) fn last(&self, id: &str) -> u64 {
        self.0.get(id).and_then(|seqs| seqs.last().copied()).unwrap_or(0)
    }

    /// What a connection told.
    pub(crate) fn take(&mut self, id: &str, messages: &[Value]) {
        let told = messages.iter().filter(|message| message["type"] != "connected");
        self.0.entry(id.to_owned()).or_default().extend(told.filter_map(|message| message["seq"].as_u64()));
    }

    /// How many jobs were listened to.
    pub(crate) fn jobs(&self) -> usize {
        self.0.len()
    }

    /// Nothing missed, nothing twice, nothing out of order.
    pub(crate) fn judge(&self) {
        for (id, seqs) in &self.0 {
            let whole: Vec<u64> = (1..=seqs.len() as u64).collect();
            assert_eq!(*seqs, whole, "what the sockets told of {id}");
        }
    }
}

/// Every event of a job, from the JSON pages.
pub(crate) fn events(yard: &Yard, id: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = yard.get(id, &format!("/events?log=true&limit=1000&after={after}"));
        all.extend(list(&page["events"]).iter().cloned());
        after = page["next_after"].as_u64().expect("`next_after`");
        if page["more"] == false {
            return all;
        }
    }
}

/// The history of a job that rests: numbered densely, a legal path, one end, and that end its state.
pub(crate) fn history(yard: &Yard, id: &str) -> Vec<Value> {
    let events = events(yard, id);
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<u64>>(), "the numbers of {id}");
    let mut states: Vec<String> = vec!["created".to_owned()];
    for event in events.iter().filter(|event| event["type"] == "status") {
        let state = event["data"]["state"].as_str().expect("`state`").to_owned();
        if states.last() != Some(&state) {
            states.push(state);
        }
    }
    for pair in states.windows(2) {
        let legal = TRANSITIONS.contains(&(pair[0].as_str(), pair[1].as_str()));
        assert!(legal, "{id}: {states:?}");
    }
    let ends = states.iter().filter(|state| is_end(&Value::String((*state).clone()))).count();
    assert_eq!(ends, 1, "{id}: {states:?}");
    assert_eq!(yard.get(id, "/status")["state"], *states.last().expect("a state"), "{id}");
    events
}

/// How many machines were ever rented for a job. An order that is proven not to have arrived rented none.
pub(crate) fn rented(yard: &Yard, id: &str) -> usize {
    let job = yard.get(id, "");
    list(&job["attempts"]).iter().filter(|attempt| attempt["provider_job_id"].is_string()).count()
}

/// How many attempts of a job ever trained.
pub(crate) fn trained(yard: &Yard, id: &str) -> usize {
    attempts_with(yard, id, "started_at")
}

fn attempts_with(yard: &Yard, id: &str, time: &str) -> usize {
    let job = yard.get(id, "");
    list(&job["attempts"]).iter().filter(|attempt| attempt[time].is_string()).count()
}

/// A completed job's artifact is that job's own; of an attempt that was not broken off every step and line is there once.
pub(crate) fn whole_training(yard: &Yard, id: &str, steps: u64) {
    let artifact = yard.http().poke(&format!("{JOBS}/{id}/download-artifact")).ok(200);
    let bytes = std::fs::read(artifact["path"].as_str().expect("`path`")).expect("it is there");
    assert_eq!(String::from_utf8_lossy(&bytes), format!("adapter {id}"));
    // One whose start was not noted before the server and its agent were killed may have told a step all the same.
    if attempts_with(yard, id, "placed_at") > 1 {
        return;
    }
    let series = yard.get(id, "/metrics?names=loss");
    let told: Vec<u64> = list(&series["points"]).iter().filter_map(|point| point["step"].as_u64()).collect();
    assert_eq!(told, (1..=steps).collect::<Vec<u64>>(), "the steps of {id}");
    let log = yard.get(id, "/logs")["text"].as_str().expect("`text`").to_owned();
    // The machine's own lines come before.
    let told: Vec<&str> = log.lines().filter(|line| !line.starts_with("[machine]")).collect();
    let lines: Vec<String> = (1..=steps).map(|step| format!("line {step}")).collect();
    assert_eq!(told, lines, "the log of {id}");
}
