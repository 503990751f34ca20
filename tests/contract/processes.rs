//! What becomes of a training's processes, seen with the system's own eyes: pause, resume, cancel, the end.

use std::time::{Duration, Instant};

use serde_json::json;
use trainyard_tests::{Process, until};

use crate::yard::{SOON, Yard, sh};

/// Long enough for a process that runs to use some ticks, on a loaded machine.
const WATCHED: Duration = Duration::from_millis(1000);

/// Takes as much processor time as it can.
const BUSY: &str = "while :; do :; done";

fn ticks(processes: &[Process]) -> u64 {
    processes.iter().map(Process::ticks).sum()
}

#[test]
fn pause_stops_all_use_of_the_processor_within_a_second_and_resume_goes_on() {
    let yard = Yard::new();
    yard.run("job_1", &sh(&format!("(setsid sh -c '{BUSY}' &); sh -c '{BUSY}' & {BUSY}")));
    let all = until(SOON, "three busy processes", || {
        let all = yard.processes("job_1");
        (all.iter().filter(|process| process.ticks() > 3).count() >= 3).then_some(all)
    });
    let asked = Instant::now();
    assert_eq!(yard.poke("job_1", "/pause").ok(200)["state"], "paused");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(all.iter().all(Process::is_stopped), "every process is stopped, one that left its session too");
    let before = ticks(&all);
    // waits: for time to pass in which a process that runs would be seen to run
    std::thread::sleep(WATCHED);
    assert_eq!(ticks(&all), before);
    assert_eq!(yard.status("job_1")["state"], "paused");
    assert_eq!(yard.poke("job_1", "/resume").ok(200)["state"], "running");
    until(SOON, "them to use the processor again", || (ticks(&all) > before + 5).then_some(()));
    assert!(
        all.iter().all(|process| process.is_alive() && !process.is_stopped()),
        "the same processes go on"
    );
    yard.poke("job_1", "/cancel").ok(200);
    assert!(all.iter().all(|process| !process.is_alive()));
}

#[test]
fn cancel_leaves_no_descendant_wherever_it_went_and_whatever_it_ignores() {
    let yard = Yard::new();
    let deaf = "trap \"\" TERM HUP INT; while :; do sleep 0.2; done";
    let mut spec = sh(&format!(
        "trap '' TERM; (setsid sh -c '{deaf}' > /dev/null 2>&1 &); (setsid setsid sh -c '{deaf}' & ) ; \
         sh -c '{deaf}' & echo ready; while :; do sleep 0.2; done"
    ));
    spec["limits"] = json!({"grace_period_s": 1});
    yard.run("job_1", &spec);
    yard.await_log("job_1", "ready");
    until(SOON, "all of them", || (yard.processes("job_1").len() >= 4).then_some(()));
    let (order, asked) = (yard.order("job_1"), Instant::now());
    assert_eq!(yard.poke("job_1", "/cancel").ok(200)["state"], "stopped");
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert_eq!(Process::with_variable("TRAINYARD_ATTEMPT_NAME", &order), []);
    assert!(yard.server.agents().is_empty());
}

#[test]
fn cancel_gives_a_paused_training_its_chance_to_end_well() {
    let yard = Yard::new();
    let said = yard.file("said");
    yard.run(
        "job_1",
        &sh(&format!("trap 'echo bye > {said}; exit 0' TERM; echo ready; while :; do sleep 0.1; done")),
    );
    yard.await_log("job_1", "ready");
    yard.poke("job_1", "/pause").ok(200);
    assert_eq!(yard.poke("job_1", "/cancel").ok(200)["state"], "stopped");
    assert_eq!(std::fs::read_to_string(said).expect("it ended as it wanted"), "bye\n");
}

#[test]
fn what_a_training_leaves_behind_ends_with_it() {
    let yard = Yard::new();
    yard.create("job_1", &sh("(setsid sh -c 'while :; do sleep 0.2; done' > /dev/null 2>&1 &); echo done"));
    yard.submit("job_1").ok(200);
    yard.await_state("job_1", "completed");
    yard.await_released("job_1");
    assert_eq!(yard.processes("job_1"), []);
    assert!(yard.server.agents().is_empty());
}
