//! A machine that is lost in the middle costs what was trained since the last checkpoint that is home, not the run.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use trainyard_simulator::{Options, Vendor};
use trainyard_tests::until;

use crate::yard::{JOBS, SOON, VENDORS, Yard, list, placed, sha256};

/// Steps between two checkpoints.
const INTERVAL: u64 = 40;

/// The built-in trainer, slow enough that it is lost in the middle.
fn training() -> Value {
    json!({
        "model_name": "trainyard-tiny",
        "hyperparameters": {
            "max_steps": 6 * INTERVAL, "warmup_steps": 2, "batch_size": 4, "gradient_accumulation_steps": 2,
            "max_seq_length": 128, "save_steps": INTERVAL, "eval_strategy": "no"
        },
        "resources": {"disk_gb": 20, "gpu_memory_gb": 8},
        "checkpoints": {"every_s": 1},
        "retry": {"max_attempts": 4, "wait_for_capacity_s": 60}
    })
}

#[test]
fn three_machines_are_destroyed_on_three_clouds_and_the_adapter_is_the_same() {
    let yard = Yard::with(Options::for_tests(), &[]);
    yard.create("whole", &training());
    yard.submit("whole", "local").ok(200);
    yard.create("torn", &training());
    yard.submit("torn", "auto").ok(200);
    let mut lost_at = Vec::new();
    let mut providers = Vec::new();
    for nth in 1..=3 {
        let step = await_home(&yard, "torn", nth * INTERVAL);
        let (vendor, name, machine) = machine_of(&yard, nth as usize);
        // What is out of stock is not rented again, so the next machine is another cloud's.
        yard.world().set_stock(vendor, 0);
        yard.world().delete_in_console(vendor, &machine).expect("it is rented");
        lost_at.push(step);
        providers.push(name);
    }
    let distinct: BTreeSet<_> = providers.iter().collect();
    assert_eq!(distinct.len(), 3, "{providers:?}");
    yard.await_state("torn", "completed");
    yard.await_state("whole", "completed");
    assert_eq!(adapter(&yard, "torn"), adapter(&yard, "whole"), "not the same bit for bit");
    resumed(&yard, &lost_at);
    repeated(&yard);
    yard.await_gone("torn");
    yard.assert_empty();
}

/// Waits until a checkpoint of at least that step is stored here, and gives its step.
pub(crate) fn await_home(yard: &Yard, id: &str, least: u64) -> u64 {
    let root = yard.server.data().join("checkpoints");
    until(SOON, "a checkpoint to be home", || newest_step(&root, id).filter(|step| *step >= least))
}

/// The step of the newest checkpoint of a job in the store of the server's directory.
fn newest_step(root: &Path, id: &str) -> Option<u64> {
    let steps = std::fs::read_dir(root.join("jobs").join(id)).ok()?.filter_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path()).ok()?;
        serde_json::from_str::<Value>(text.lines().next()?).ok()?["step"].as_u64()
    });
    steps.max()
}

fn attempts(yard: &Yard) -> Vec<Value> {
    placed(&yard.get("torn", "").ok(200))
}

/// The machine of so many that trains now, by its cloud.
fn machine_of(yard: &Yard, nth: usize) -> (Vendor, &'static str, String) {
    let placed = until(SOON, "a machine", || Some(attempts(yard)).filter(|all| all.len() == nth));
    let last = &placed[nth - 1];
    yard.await_status("torn", "it to train", |status| {
        status["provider_job_id"] == last["provider_job_id"] && status["phase"] == "training"
    });
    let (vendor, name) =
        VENDORS.into_iter().find(|(_, name)| last["provider"] == *name).expect("one of the three");
    (vendor, name, last["provider_job_id"].as_str().expect("an id").to_owned())
}

fn adapter(yard: &Yard, id: &str) -> String {
    let artifact = yard.poke(id, "/download-artifact").ok(200);
    sha256(&std::fs::read(artifact["path"].as_str().expect("`path`")).expect("it is there"))
}

/// Each attempt after a loss went on from a checkpoint that was home when its machine was destroyed, or a later one.
fn resumed(yard: &Yard, lost_at: &[u64]) {
    let placed = attempts(yard);
    assert_eq!(placed.len(), 4, "{placed:?}");
    for (attempt, step) in placed[1..].iter().zip(lost_at) {
        let from = attempt["resumed_from"]["step"].as_u64();
        assert!(from >= Some(*step), "it went on from {from:?}, and {step} was home: {attempt}");
    }
}

/// What was trained twice is marked, and of each loss it is at most one interval.
fn repeated(yard: &Yard) {
    let series = yard.http.get(&format!("{JOBS}/torn/metrics?names=loss")).ok(200);
    let points = list(&series["points"]);
    let again = points.iter().filter(|point| point["repeated"] == true).count() as u64;
    let steps: BTreeSet<u64> = points.iter().filter_map(|point| point["step"].as_u64()).collect();
    assert_eq!(steps.len() as u64, 6 * INTERVAL, "a step is missing");
    assert_eq!(points.len() as u64, 6 * INTERVAL + again, "a step told twice is not marked");
    assert!(again <= 3 * INTERVAL, "{again} steps were trained twice, at {INTERVAL} an interval");
}
