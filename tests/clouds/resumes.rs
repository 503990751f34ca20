//! Going on from a checkpoint: on another machine after the vendor took one back, here after an agent was killed, and in
//! a clone. The training waits between two checkpoints until the test has done what it does to it.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use trainyard_simulator::Vendor;
use trainyard_tests::until;

use crate::recovery::await_home;
use crate::yard::{JOBS, SOON, Yard, list, placed, sh, with_agent};

/// Steps between two checkpoints, where the training waits, and where it ends.
const INTERVAL: u64 = 10;
const WAITS_AT: u64 = 15;
const LAST: u64 = 30;

fn go(yard: &Yard) -> PathBuf {
    yard.server.directory().join("go")
}

/// Counts from where it is told to go on, and says from where.
fn counts(yard: &Yard) -> Value {
    let script = format!(
        "i=0; [ -z \"$TRAINYARD_RESUME_FROM\" ] || i=$(cat \"$TRAINYARD_RESUME_FROM/step\"); echo \"from step $i\"; \
         while [ $i -lt {LAST} ]; do i=$((i+1)); \
         echo \"{{\\\"step\\\": $i, \\\"loss\\\": $i}}\" >> \"$TRAINYARD_METRICS_FILE\"; \
         if [ $((i % {INTERVAL})) = 0 ]; then new=\"$TRAINYARD_CHECKPOINT_DIR/.new\"; mkdir \"$new\"; \
         echo $i > \"$new/step\"; mv \"$new\" \"$TRAINYARD_CHECKPOINT_DIR/checkpoint-$i\"; fi; \
         while [ $i = {WAITS_AT} ] && [ ! -e {} ]; do sleep 0.1; done; done; \
         printf \"trained to $i\" > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"",
        go(yard).display()
    );
    let mut spec = sh(&script);
    spec["checkpoints"] = json!({"every_s": 1});
    spec["retry"] = json!({"max_attempts": 2});
    spec
}

/// Waits until it stands between two checkpoints, the first of them home.
fn await_middle(yard: &Yard, id: &str) -> Value {
    let status = yard.await_status(id, "the training to stand in the middle", |status| {
        status["current_metrics"]["step"] == WAITS_AT && status["phase"] == "training"
    });
    assert_eq!(await_home(yard, id, INTERVAL), INTERVAL);
    status
}

/// It ended well and went on from the first checkpoint. Gives its attempts.
fn went_on(yard: &Yard, id: &str, attempts: usize) -> Vec<Value> {
    std::fs::write(go(yard), "").expect("a file");
    yard.await_state(id, "completed");
    let artifact = yard.poke(id, "/download-artifact").ok(200);
    let bytes = std::fs::read(artifact["path"].as_str().expect("`path`")).expect("it is there");
    assert_eq!(bytes, format!("trained to {LAST}").as_bytes());
    let log = yard.log(id);
    assert!(log.contains(&format!("from step {INTERVAL}\n")), "{log}");
    let job = yard.get(id, "").ok(200);
    let placed = placed(&job);
    assert_eq!(placed.len(), attempts, "{job}");
    placed
}

/// What was trained twice is marked, and nothing is missing.
fn repeated(yard: &Yard, id: &str) {
    let series = yard.http.get(&format!("{JOBS}/{id}/metrics?names=loss")).ok(200);
    let points = list(&series["points"]);
    let steps = |again: bool| -> Vec<u64> {
        let these = points.iter().filter(|point| (point["repeated"] == true) == again);
        these.filter_map(|point| point["step"].as_u64()).collect()
    };
    assert_eq!(steps(false), (1..=LAST).collect::<Vec<u64>>());
    assert_eq!(steps(true), (INTERVAL + 1..=WAITS_AT).collect::<Vec<u64>>());
}

#[test]
fn a_spot_machine_that_is_taken_back_costs_what_was_trained_since_its_checkpoint() {
    let yard = Yard::with(with_agent(), &[]);
    let mut spec = counts(&yard);
    spec["resources"]["spot"] = json!(true);
    yard.create("j", &spec);
    yard.submit("j", "vastai").ok(200);
    let status = await_middle(&yard, "j");
    let machine = status["provider_job_id"].as_str().expect("an id").to_owned();
    yard.world().preempt(Vendor::Vastai, &machine).expect("it is rented");
    yard.await_status("j", "the next machine to train", |status| {
        status["provider_job_id"] != *machine && status["phase"] == "training"
    });
    let attempts = went_on(&yard, "j", 2);
    for attempt in &attempts {
        assert_eq!(attempt["offer"]["spot"], true, "{attempt}");
    }
    assert_eq!(attempts[1]["resumed_from"]["step"], INTERVAL, "{}", attempts[1]);
    assert_ne!(attempts[0]["provider_job_id"], attempts[1]["provider_job_id"]);
    repeated(&yard, "j");
    yard.await_gone("j");
    // One that is stopped is billed for its disk: it is given back too.
    yard.assert_empty();
}

/// A process's children.
fn children(pid: i32) -> Vec<i32> {
    let found = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    found.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn an_agent_here_that_is_killed_with_its_warden_costs_what_was_trained_since_its_checkpoint() {
    let yard = Yard::with(with_agent(), &[]);
    let pid = yard.server.directory().join("pid");
    let mut spec = counts(&yard);
    let script = spec["trainer"]["command"][2].as_str().expect("a script").to_owned();
    spec["trainer"]["command"][2] = json!(format!("echo $$ > {}; {script}", pid.display()));
    yard.create("j", &spec);
    yard.submit("j", "local").ok(200);
    await_middle(&yard, "j");
    let job = yard.get("j", "").ok(200);
    let order = list(&job["attempts"])[0]["order"].as_str().expect("an order").to_owned();
    let agent = trainyard_agent::agent_of(&order).expect("its agent").pid;
    let training: i32 =
        std::fs::read_to_string(&pid).ok().and_then(|pid| pid.trim().parse().ok()).expect("a pid");
    let first = trainyard_agent::ProcessId::of(training).expect("it trains");
    // The agent first: nobody is left to see to what the warden leaves behind.
    let wardens = children(agent);
    for victim in [vec![agent], wardens].concat() {
        kill(Pid::from_raw(victim), Signal::SIGKILL).expect("it runs");
    }
    yard.await_status("j", "the next attempt to train", |status| {
        status["attempt"] == 2 && status["phase"] == "training"
    });
    assert!(!first.is_alive(), "the training before would write into the same checkpoints");
    went_on(&yard, "j", 2);
    repeated(&yard, "j");
    until(SOON, "no agent to be left", || yard.server.agents().is_empty().then_some(()));
}

#[test]
fn a_clone_goes_on_from_the_checkpoint_of_a_job_that_is_deleted() {
    let yard = Yard::with(with_agent(), &[]);
    yard.create("first", &counts(&yard));
    yard.submit("first", "local").ok(200);
    await_middle(&yard, "first");
    yard.poke("first", "/cancel").ok(200);
    yard.await_state("first", "stopped");
    let body = json!({"job_id": "second", "from_checkpoint": true});
    let clone = yard.http.post(&format!("{JOBS}/first/clone"), &body).ok(201);
    assert_eq!(clone["origin"]["job_id"], "first", "{clone}");
    until(SOON, "the first one to hold nothing", || {
        let deleted = yard.http.call("DELETE", &format!("{JOBS}/first")).send();
        (deleted.status / 100 == 2).then_some(())
    });
    yard.submit("second", "runpod").ok(200);
    let attempts = went_on(&yard, "second", 1);
    assert_eq!(
        attempts[0]["resumed_from"],
        json!({"checkpoint": "checkpoint-10", "step": 10}),
        "{}",
        attempts[0]
    );
    let log = yard.log("second");
    assert!(!log.contains("from step 0"), "{log}");
    yard.await_gone("second");
    yard.assert_empty();
}

#[test]
fn a_provider_that_allows_one_attempt_gets_one() {
    let yard = Yard::with(with_agent(), &[("TRAINYARD_RUNPOD_MAX_ATTEMPTS", Some("1"))]);
    yard.create("j", &counts(&yard));
    yard.submit("j", "runpod").ok(200);
    let status = await_middle(&yard, "j");
    let machine = status["provider_job_id"].as_str().expect("an id").to_owned();
    yard.world().delete_in_console(Vendor::Runpod, &machine).expect("it is rented");
    let status = yard.await_state("j", "failed");
    assert_eq!(status["reason"]["code"], "machine_lost", "{status}");
    yard.await_gone("j");
    assert_eq!(yard.world().machines().len(), 1);
    yard.assert_empty();
}
