//! The seven states: which commands are taken in which, and that what is refused changes nothing.

use serde_json::json;

use trainyard_tests::until;

use crate::yard::{JOBS, SOON, Yard, builtin, endless, quick, sh};

/// What each command answers a job in that state; `delete` last, for it ends the job where it is taken.
#[test]
fn every_command_in_every_state() {
    let yard = Yard::with("[local]\nslots = 2\nuse_gpus = false\n");
    yard.create("created", &quick());
    yard.run("running", &endless());
    yard.run("paused", &endless());
    yard.poke("paused", "/pause").ok(200);
    // Both slots are taken, a paused job keeps its own.
    yard.create("initializing", &endless());
    yard.submit("initializing").ok(200);

    let table = [
        ("created", [("resume", "not_submitted"), ("pause", "not_submitted"), ("cancel", "not_submitted")]),
        ("initializing", [("resume", "wrong_state"), ("pause", "wrong_state"), ("delete", "holds_machine")]),
        ("running", [("resume", "wrong_state"), ("submit", "ok"), ("delete", "holds_machine")]),
        ("paused", [("pause", "ok"), ("submit", "ok"), ("delete", "holds_machine")]),
    ];
    for (state, commands) in table {
        for (command, expected) in commands {
            let answer = match command {
                "delete" => yard.http.call("DELETE", &format!("{JOBS}/{state}")).send(),
                "submit" => yard.submit(state),
                other => yard.poke(state, &format!("/{other}")),
            };
            if expected == "ok" {
                answer.ok(200);
            } else {
                let error = answer.ok(400);
                assert_eq!(error["code"], expected, "{command} of a job that is {state}: {error}");
                assert_eq!(error["job_id"], state);
            }
            assert_eq!(yard.status(state)["state"], state, "after {command}");
        }
    }
}

#[test]
fn an_ended_job_stays_as_it_is() {
    let yard = Yard::new();
    yard.complete("completed", &quick());
    yard.create("failed", &sh("exit 1"));
    yard.submit("failed");
    yard.await_state("failed", "failed");
    yard.run("stopped", &endless());
    yard.poke("stopped", "/cancel").ok(200);
    for state in ["completed", "failed", "stopped"] {
        for command in ["cancel", "pause", "resume"] {
            yard.poke(state, &format!("/{command}")).error(400, "already_ended");
        }
        yard.submit(state).error(400, "already_submitted");
        assert_eq!(yard.status(state)["state"], state);
        yard.await_released(state);
        let deleted = yard.http.call("DELETE", &format!("{JOBS}/{state}")).send();
        assert_eq!(deleted.status, 204, "{}", deleted.text());
        yard.get(state, "").error(404, "job_not_found");
    }
}

#[test]
fn running_paused_running_stopped() {
    let yard = Yard::new();
    yard.run("job_1", &endless());
    let paused = yard.poke("job_1", "/pause").ok(200);
    assert_eq!(paused["state"], "paused");
    assert!(paused["started_at"].is_string() && paused["completed_at"].is_null());
    let resumed = yard.poke("job_1", "/resume").ok(200);
    assert_eq!((&resumed["state"], &resumed["started_at"]), (&json!("running"), &paused["started_at"]));
    let body = json!({"mode": "signal"});
    assert_eq!(yard.http.post(&format!("{JOBS}/job_1/pause"), &body).ok(200)["state"], "paused");
    assert_eq!(yard.poke("job_1", "/cancel").ok(200)["state"], "stopped");
    let states: Vec<String> = yard
        .events("job_1")
        .iter()
        .filter(|event| event["type"] == "status")
        .map(|event| event["data"]["state"].as_str().expect("a state").to_owned())
        .collect();
    let mut seen = states.clone();
    seen.dedup();
    let (last, rest) = seen.split_last().expect("states");
    assert_eq!(last, "stopped");
    assert!(rest.ends_with(&["running", "paused", "running", "paused"].map(str::to_owned)), "{seen:?}");
    assert!(
        rest.iter().all(|state| ["created", "initializing", "running", "paused"].contains(&state.as_str()))
    );
}

#[test]
fn a_pause_with_a_checkpoint_gives_the_slot_back_and_goes_on_from_there() {
    let yard = Yard::new();
    let mut spec = builtin(400);
    spec["hyperparameters"]["save_steps"] = json!(10);
    yard.run("job_1", &spec);
    until(SOON, "a checkpoint's step", || yard.status("job_1")["progress"].as_f64().filter(|at| *at > 0.05));
    let pause = format!("{JOBS}/job_1/pause");
    let paused = yard.http.post(&pause, &json!({"mode": "checkpoint"})).ok(200);
    assert_eq!(paused["state"], "paused");
    assert!(yard.server.agents().is_empty(), "its slot is not free");
    yard.poke("job_1", "/resume").ok(200);
    yard.await_state("job_1", "completed");
    let job = yard.get("job_1", "").ok(200);
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(2), "{job}");
    let series = yard.get("job_1", "/metrics?names=loss").ok(200);
    let points = series["points"].as_array().expect("points");
    let again = points.iter().filter(|point| point["repeated"] == true).count();
    assert_eq!(points.len(), 400 + again, "each step once, and marked where it was trained again");
    assert!(again <= 10, "{again} steps were trained twice");
}

#[test]
fn a_pause_that_nobody_can_make_is_refused() {
    let yard = Yard::new();
    yard.run("job_1", &endless());
    let pause = |body| yard.http.post(&format!("{JOBS}/job_1/pause"), &body);
    pause(json!({"mode": "magic"})).error(400, "invalid_body");
    pause(json!({"modus": "signal"})).error(400, "invalid_body");
    yard.poke("nobody", "/pause").error(404, "job_not_found");
    yard.poke("nobody", "/resume").error(404, "job_not_found");
    assert_eq!(yard.status("job_1")["state"], "running");
}
