//! `submit`, `status` and `cancel` as the specification has them, and what the contract settles about them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::yard::{JOBS, Yard, builtin, endless, gated, keys, list, moment, quick, sh};

#[test]
fn submit_answers_as_documented() {
    let yard = Yard::new();
    yard.create("job_123", &endless());
    let answer = yard.submit("job_123").ok(200);
    assert_eq!(keys(&answer), ["job_id", "provider", "provider_job_id", "started_at", "state"]);
    assert_eq!((&answer["job_id"], &answer["provider"]), (&json!("job_123"), &json!("local")));
    assert_eq!(answer["state"], "running");
    assert!(answer["provider_job_id"].as_str().is_some_and(|id| !id.is_empty()), "{answer}");
    moment(&answer["started_at"]);

    // Again, to the same provider: the same machine, and nothing is started twice.
    let again = yard.submit("job_123").ok(200);
    assert_eq!(again, answer);
    assert_eq!(list(&yard.get("job_123", "").ok(200)["attempts"]).len(), 1);
    assert_eq!(yard.server.agents().len(), 1);

    // Elsewhere: 400, and it goes on.
    for elsewhere in ["runpod", "lambda", "vastai"] {
        let body = json!({"provider": elsewhere});
        let error = yard.http.post(&format!("{JOBS}/job_123/submit"), &body).ok(400);
        assert_eq!(error["job_id"], "job_123");
    }
    assert_eq!(yard.status("job_123")["state"], "running");
    yard.poke("job_123", "/cancel").ok(200);
    yard.submit("job_123").error(400, "already_submitted");
}

#[test]
fn submit_refuses_what_it_cannot_do() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    let submit = |id: &str, body: &Value| yard.http.post(&format!("{JOBS}/{id}/submit"), body);
    submit("nobody", &json!({"provider": "local"})).error(404, "job_not_found");
    let error = submit("job_1", &json!({"provider": "moon"})).error(400, "unknown_provider");
    assert_eq!(error["job_id"], "job_1");
    for cloud in ["runpod", "lambda", "vastai"] {
        let error = submit("job_1", &json!({"provider": cloud})).error(400, "provider_not_configured");
        assert!(error["error"].as_str().is_some_and(|text| text.contains(cloud)), "{error}");
    }
    submit("job_1", &json!({})).error(400, "invalid_body");
    submit("job_1", &json!({"provider": 7})).error(400, "invalid_body");
    let error = submit("job_1", &json!({"provider": "local", "gpu": "H100"})).error(400, "invalid_body");
    assert!(error["detail"].as_str().is_some_and(|text| text.contains("gpu")), "{error}");
    submit("job_1", &json!({"provider": "local", "machine": "m"})).error(400, "unknown_machine");
    assert_eq!(yard.status("job_1")["state"], "created", "what was refused changed nothing");
    assert_eq!(list(&yard.get("job_1", "").ok(200)["attempts"]).len(), 0);
    assert_eq!(submit("job_1", &json!({"provider": "auto"})).ok(200)["provider"], "local");
}

#[test]
fn what_is_not_yet_available_can_be_created_and_is_refused_at_the_submit() {
    let yard = Yard::new();
    let hook = json!([{"url": "https://example.org/hook", "events": ["completed"]}]);
    let cases = [("hook", json!({"model_name": "trainyard-tiny", "webhooks": hook}), "webhooks")];
    for (id, spec, field) in cases {
        yard.create(id, &spec);
        let error = yard.submit(id).error(400, "not_yet_available");
        assert!(error["error"].as_str().is_some_and(|text| text.contains(field)), "{error}");
        assert_eq!(yard.status(id)["state"], "created");
        let found = yard.poke(id, "/validate").ok(200);
        assert_eq!(found["valid"], false);
        assert_eq!(found["errors"][0]["field"], field, "{found}");
    }
    // Accepted: `local` costs nothing, and the hook is for another trainer.
    let mut paid = quick();
    paid["limits"] = json!({"max_cost_usd": "10.00"});
    yard.complete("paid", &paid);
}

#[test]
fn respond_async_answers_at_once_and_wait_waits_as_long_as_asked() {
    let yard = Yard::with("[local]\nslots = 1\nuse_gpus = false\n");
    yard.create("async", &endless());
    let path = format!("{JOBS}/async/submit");
    let call = yard.http.call("POST", &path).header("Prefer", "respond-async");
    let answer = call.json(&json!({"provider": "local"})).send();
    let body = answer.ok(202);
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
    assert_eq!((&body["state"], &body["started_at"]), (&json!("initializing"), &Value::Null));
    yard.await_state("async", "running");
    // Under way or running: nothing to wait for.
    let call = yard.http.call("POST", &path).header("Prefer", "respond-async, wait=1");
    call.json(&json!({"provider": "local"})).send().ok(200);

    // What waits in line is answered at once: the line may be long.
    yard.create("second", &quick());
    let began = Instant::now();
    let answer = yard.submit("second").ok(200);
    assert_eq!((&answer["state"], &answer["provider_job_id"]), (&json!("initializing"), &Value::Null));
    assert!(began.elapsed() < Duration::from_secs(5));
    let status = yard.status("second");
    assert_eq!((&status["phase"], &status["provider"]), (&json!("queued"), &json!("local")));
    assert!(status["started_at"].is_null());
}

#[test]
fn status_has_every_documented_field_all_the_way() {
    let yard = Yard::new();
    let go = yard.file("go");
    let point = r#"{"step":1000,"epoch":1,"loss":0.5,"learning_rate":0.0002,"grad_norm":1.25}"#;
    let script = format!(
        "echo '{point}' >> \"$TRAINYARD_METRICS_FILE\"; until [ -e '{go}' ]; do sleep 0.05; done; \
         printf x > \"$TRAINYARD_OUTPUT_DIR/x\""
    );
    yard.create("job_123", &sh(&script));
    let created = yard.status("job_123");
    let documented = [
        "artifact_info",
        "attempt",
        "completed_at",
        "cost_usd",
        "current_metrics",
        "eta_s",
        "exit_code",
        "job_id",
        "phase",
        "phase_since",
        "progress",
        "provider",
        "provider_job_id",
        "reason",
        "seq",
        "started_at",
        "state",
    ];
    assert_eq!(keys(&created), documented);
    assert_eq!(created["state"], "created");
    for name in
        ["provider", "provider_job_id", "current_metrics", "started_at", "artifact_info", "reason", "attempt"]
    {
        assert!(created[name].is_null(), "`{name}` of {created}");
    }

    yard.submit("job_123").ok(200);
    let running = yard.await_status("job_123", "metrics", |status| status["current_metrics"].is_object());
    assert_eq!(keys(&running), documented);
    assert_eq!((&running["state"], &running["phase"]), (&json!("running"), &json!("training")));
    let metrics = &running["current_metrics"];
    assert_eq!((&metrics["step"], &metrics["loss"]), (&json!(1000), &json!(0.5)));
    assert_eq!(metrics["epoch"].as_f64(), Some(1.0));
    assert_eq!((&metrics["learning_rate"], &metrics["grad_norm"]), (&json!(0.0002), &json!(1.25)));
    assert!(running["artifact_info"].is_null() && running["completed_at"].is_null());
    assert_eq!((&running["attempt"], &running["cost_usd"]), (&json!(1), &json!("0")));
    moment(&running["phase_since"]);

    std::fs::write(&go, "").expect("the gate opens");
    let completed = yard.await_state("job_123", "completed");
    assert_eq!(keys(&completed), documented);
    assert_eq!(completed["exit_code"], 0);
    assert!(moment(&completed["completed_at"]) >= moment(&completed["started_at"]));
    let artifact = yard.poke("job_123", "/download-artifact").ok(200);
    assert_eq!(completed["artifact_info"], artifact, "it is the answer of download-artifact");
}

#[test]
fn cancel_answers_as_documented() {
    let yard = Yard::new();
    yard.run("job_123", &endless());
    let answer = yard.poke("job_123", "/cancel").ok(200);
    assert_eq!(keys(&answer), ["completed_at", "job_id", "message", "state"]);
    assert_eq!((&answer["job_id"], &answer["state"]), (&json!("job_123"), &json!("stopped")));
    assert_eq!(answer["message"], "Job cancelled successfully");
    moment(&answer["completed_at"]);
    assert_eq!(yard.status("job_123")["completed_at"], answer["completed_at"]);
    assert!(yard.processes("job_123").is_empty() && yard.server.agents().is_empty());
    let job = yard.get("job_123", "").ok(200);
    assert!(job["attempts"][0]["gone_at"].is_string(), "{job}");

    yard.poke("job_123", "/cancel").error(400, "already_ended");
    yard.poke("nobody", "/cancel").error(404, "job_not_found");
    yard.create("idle", &endless());
    let error = yard.poke("idle", "/cancel").error(400, "not_submitted");
    assert_eq!(error["job_id"], "idle");
    yard.complete("done", &quick());
    yard.poke("done", "/cancel").error(400, "already_ended");
}

#[test]
fn a_training_that_ends_well_when_asked_to_stop_is_stopped_not_completed() {
    let yard = Yard::new();
    yard.run("job_1", &sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"));
    yard.await_log("job_1", "ready");
    assert_eq!(yard.poke("job_1", "/cancel").ok(200)["state"], "stopped");
    let status = yard.status("job_1");
    assert_eq!((&status["state"], &status["artifact_info"]), (&json!("stopped"), &Value::Null));
}

#[test]
fn what_fails_says_why_and_is_not_repeated_unasked() {
    let yard = Yard::new();
    yard.create("job_1", &sh("echo before; exit 7"));
    yard.submit("job_1").ok(200);
    let failed = yard.await_state("job_1", "failed");
    assert_eq!(failed["exit_code"], 7);
    let reason = &failed["reason"];
    assert_eq!(keys(reason), ["code", "message", "suggestion"]);
    assert!(reason["message"].as_str().is_some_and(|text| text.contains('7')), "{reason}");
    assert!(reason["suggestion"].is_string());
    yard.await_released("job_1");
    assert_eq!(list(&yard.get("job_1", "").ok(200)["attempts"]).len(), 1);

    // The program is not there: it never ran, and the answer says so.
    yard.create(
        "job_2",
        &json!({"model_name": "any", "trainer": {"kind": "command", "command": ["no-such-program"]}}),
    );
    let error = yard.submit("job_2").error(500, "training_failed");
    assert!(error["detail"].as_str().is_some_and(|text| text.contains("no-such-program")), "{error}");
    let failed = yard.await_state("job_2", "failed");
    assert!(failed["started_at"].is_null(), "{failed}");
    assert!(
        failed["reason"]["message"].as_str().is_some_and(|text| text.contains("no-such-program")),
        "{failed}"
    );
    yard.submit("job_1").error(400, "already_submitted");
}

#[test]
fn submit_waits_as_long_as_asked_and_a_cancel_answers_it() {
    let yard = Yard::new();
    let mut spec = quick();
    spec["environment"] = json!({"setup": ["sleep 60"]});
    yard.create("slow", &spec);
    let path = format!("{JOBS}/slow/submit");
    let local = json!({"provider": "local"});
    let began = Instant::now();
    let waited = yard.http.call("POST", &path).header("Prefer", "wait=1").json(&local).send();
    assert_eq!(waited.ok(200)["state"], "initializing", "the true state");
    assert_eq!(waited.header("preference-applied"), Some("wait=1"));
    assert!((1..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());

    // Still under way: another submit waits for it, and hears what becomes of it.
    let http = yard.http.clone();
    let submit = std::thread::spawn(move || http.post(&path, &local));
    yard.await_status("slow", "it is installed", |status| status["phase"] == "installing");
    assert_eq!(yard.poke("slow", "/cancel").ok(200)["state"], "stopped");
    submit.join().expect("an answer").error(400, "cancelled");
    let status = yard.status("slow");
    assert_eq!((&status["state"], &status["started_at"]), (&json!("stopped"), &Value::Null));
    assert!(yard.processes("slow").is_empty());
}

#[test]
fn the_deadline_ends_a_job_as_failed() {
    let yard = Yard::new();
    let mut spec = endless();
    spec["limits"] = json!({"max_duration_s": 1, "grace_period_s": 1});
    yard.create("job_1", &spec);
    yard.submit("job_1").ok(200);
    let failed = yard.await_state("job_1", "failed");
    assert_eq!(failed["reason"]["code"], "deadline_exceeded", "{failed}");
    yard.await_released("job_1");
    assert!(yard.processes("job_1").is_empty());
}

#[test]
fn no_output_is_completed_without_an_artifact() {
    let yard = Yard::new();
    let completed = yard.complete("job_1", &sh("true"));
    assert!(completed["artifact_info"].is_null());
    yard.poke("job_1", "/download-artifact").error(404, "no_artifact");
    yard.poke("job_1", "/verify-artifact").error(404, "no_artifact");
}

#[test]
fn the_built_in_trainer_trains_a_real_adapter() {
    let yard = Yard::new();
    let completed = yard.complete("my_job_123", &builtin(12));
    let artifact = &completed["artifact_info"];
    let names: Vec<&str> = list(&artifact["files"]).iter().filter_map(|file| file["path"].as_str()).collect();
    assert!(
        names.contains(&"adapter_model.safetensors") && names.contains(&"adapter_config.json"),
        "{names:?}"
    );
    assert_eq!(completed["progress"], 1.0);
    assert_eq!(completed["current_metrics"]["step"], 12);
    let series = yard.get("my_job_123", "/metrics?names=loss").ok(200);
    let steps: Vec<u64> = list(&series["points"]).iter().filter_map(|point| point["step"].as_u64()).collect();
    assert_eq!(steps, (1..=12).collect::<Vec<u64>>());
}

#[test]
fn a_training_sees_what_it_is_promised() {
    let yard = Yard::new();
    let mut spec = sh(
        "env | sort; cat \"$TRAINYARD_SPEC\"; echo; test -d \"$TRAINYARD_INPUT_DIR\" && echo inputs-there",
    );
    spec["environment"] = json!({"env": {"COLOUR": "green"}});
    yard.complete("job_9", &spec);
    let log = yard.log("job_9");
    let has = |line: &str| log.lines().any(|l| l == line);
    assert!(
        has("TRAINYARD_JOB_ID=job_9") && has("TRAINYARD_ATTEMPT=1") && has("TRAINYARD_RESUME_FROM="),
        "{log}"
    );
    assert!(has("COLOUR=green") && has("TRAINYARD_GPU_COUNT=0") && has("inputs-there"), "{log}");
    for name in ["TRAINYARD_OUTPUT_DIR", "TRAINYARD_CHECKPOINT_DIR", "TRAINYARD_METRICS_FILE", "MASTER_PORT"]
    {
        let value = log.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        assert!(value.is_some_and(|value| !value.is_empty()), "`{name}` in {log}");
    }
    assert!(log.contains("\"model_name\""), "{log}");
}

#[test]
fn never_the_vendors_keys() {
    let variables =
        [("RUNPOD_API_KEY", "rp-planted"), ("LAMBDA_API_KEY", "l-planted"), ("VAST_API_KEY", "v-planted")];
    let yard = Yard::with_variables("[local]\nslots = 2\nuse_gpus = false\n", &variables);
    yard.complete("job_1", &sh("env"));
    let log = yard.log("job_1");
    assert!(
        log.contains("TRAINYARD_JOB_ID") && !log.contains("planted") && !log.contains("API_KEY"),
        "{log}"
    );
}

#[test]
fn a_cancel_while_it_waits_in_line_stops_it() {
    let yard = Yard::with("[local]\nslots = 1\nuse_gpus = false\n");
    let go = yard.file("go");
    yard.run("first", &gated(&go));
    yard.create("second", &quick());
    yard.submit("second").ok(200);
    yard.await_status("second", "it waits", |status| status["phase"] == "queued");
    let answer = yard.poke("second", "/cancel").ok(200);
    assert_eq!(answer["state"], "stopped");
    assert!(yard.status("second")["started_at"].is_null());
    std::fs::write(&go, "").expect("the gate opens");
    yard.await_state("first", "completed");
    assert_eq!(yard.status("second")["state"], "stopped");
}
