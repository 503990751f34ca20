//! `PATCH`, `DELETE`, `clone`, `validate`, `estimates`.

use std::path::Path;

use serde_json::{Value, json};
use trainyard_tests::Answer;

use crate::yard::{JOBS, Yard, builtin, endless, keys, list, quick, sh};

fn patch(yard: &Yard, id: &str, body: &Value) -> Answer {
    yard.http.call("PATCH", &format!("{JOBS}/{id}")).json(body).send()
}

#[test]
fn labels_and_limits_can_be_changed() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    let job = patch(&yard, "job_1", &json!({"labels": {"kept": "yes"}})).ok(200);
    assert_eq!((&job["labels"], &job["limits"]["max_duration_s"]), (&json!({"kept": "yes"}), &json!(14400)));
    let job =
        patch(&yard, "job_1", &json!({"limits": {"max_duration_s": 60, "max_cost_usd": "2.50"}})).ok(200);
    assert_eq!((&job["labels"], &job["limits"]["max_duration_s"]), (&json!({"kept": "yes"}), &json!(60)));
    assert_eq!(
        (&job["limits"]["max_cost_usd"], &job["limits"]["grace_period_s"]),
        (&json!("2.50"), &json!(120))
    );
    for body in [
        json!({"state": "running"}),
        json!({"limits": {"max": 1}}),
        json!({"labels": ["a"]}),
        json!({"limits": {"max_duration_s": "long"}}),
    ] {
        patch(&yard, "job_1", &body).error(400, "invalid_body");
    }
    let error = patch(&yard, "job_1", &json!({"limits": {"max_duration_s": 0}})).error(400, "invalid_spec");
    assert!(error["detail"].as_str().is_some_and(|text| text.contains("limits.max_duration_s")), "{error}");
    patch(&yard, "nobody", &json!({"labels": {}})).error(404, "job_not_found");
    assert_eq!(yard.get("job_1", "").ok(200)["limits"]["max_duration_s"], 60);
}

#[test]
fn a_limit_lowered_while_it_runs_is_in_force() {
    let yard = Yard::new();
    let mut spec = endless();
    spec["limits"] = json!({"grace_period_s": 1});
    yard.run("job_1", &spec);
    patch(&yard, "job_1", &json!({"limits": {"max_duration_s": 1}})).ok(200);
    assert_eq!(yard.await_state("job_1", "failed")["reason"]["code"], "deadline_exceeded");
}

#[test]
fn a_limit_raised_while_it_runs_reaches_the_agent_too() {
    let yard = Yard::new();
    // It needs four seconds and was given two: whoever still kept to two would stop it.
    let mut spec = sh("i=0; while [ $i -lt 40 ]; do i=$((i+1)); sleep 0.1; done");
    spec["limits"] = json!({"max_duration_s": 2, "grace_period_s": 1});
    yard.run("job_1", &spec);
    patch(&yard, "job_1", &json!({"limits": {"max_duration_s": 600}})).ok(200);
    assert_eq!(yard.await_state("job_1", "completed")["exit_code"], 0);
}

#[test]
fn a_deleted_job_is_forgotten_with_its_files() {
    let yard = Yard::new();
    let delete = |path: &str| yard.http.call("DELETE", &format!("{JOBS}/{path}")).send();
    yard.create("created", &quick());
    assert_eq!(delete("created").status, 204);
    yard.get("created", "").error(404, "job_not_found");
    delete("created").error(404, "job_not_found");
    yard.create("created", &quick());

    let mut files = Vec::new();
    for id in ["all", "kept"] {
        let completed = yard.complete(id, &quick());
        files.push(completed["artifact_info"]["path"].as_str().expect("a path").to_owned());
        yard.await_released(id);
    }
    delete("all?keep_artifact=perhaps").error(400, "invalid_parameter");
    assert_eq!(delete("all").status, 204);
    assert_eq!(delete("kept?keep_artifact=true").status, 204);
    assert!(!Path::new(&files[0]).exists() && Path::new(&files[1]).exists());
    for what in ["", "/status", "/events", "/logs", "/metrics", "/notifications"] {
        yard.get("all", what).error(404, "job_not_found");
    }
    // The ledger forgets nothing.
    let machines = yard.http.get("/api/training/resources").ok(200);
    let of = |id: &str| list(&machines["machines"]).iter().any(|m| m["attempts"][0]["job_id"] == id);
    assert!(of("all") && of("kept"), "{machines}");
}

#[test]
fn a_clone_is_a_new_job_of_the_same_specification() {
    let yard = Yard::new();
    let mut spec = sh("exit 3");
    spec["labels"] = json!({"team": "search"});
    yard.create("job_1", &spec);
    yard.submit("job_1");
    yard.await_state("job_1", "failed");
    let answer = yard.poke("job_1", "/clone");
    let clone = answer.ok(201);
    let id = clone["job_id"].as_str().expect("an id");
    assert_eq!(answer.header("location"), Some(format!("{JOBS}/{id}").as_str()));
    assert_eq!((&clone["state"], &clone["origin"]), (&json!("created"), &json!({"job_id": "job_1"})));
    assert_eq!(clone["specification"], yard.get("job_1", "").ok(200)["specification"]);
    assert_eq!((&clone["labels"], &clone["attempts"]), (&json!({"team": "search"}), &json!([])));

    let named = |body: &Value| yard.http.post(&format!("{JOBS}/job_1/clone"), body);
    assert_eq!(named(&json!({"job_id": "job_2"})).ok(201)["job_id"], "job_2");
    named(&json!({"job_id": "job_2"})).error(409, "job_exists");
    named(&json!({"from_checkpoint": true})).error(400, "no_checkpoint");
    named(&json!({"from": "here"})).error(400, "invalid_body");
    yard.poke("nobody", "/clone").error(404, "job_not_found");
    assert_eq!(yard.status("job_1")["state"], "failed", "the old one stays as it was");
}

#[test]
fn validate_finds_what_a_submit_would_refuse() {
    let yard = Yard::new();
    yard.create("good", &builtin(10));
    let found = yard.poke("good", "/validate").ok(200);
    assert_eq!(keys(&found), ["checked", "errors", "valid", "warnings"]);
    assert_eq!((&found["valid"], &found["errors"]), (&json!(true), &json!([])));
    assert_eq!(found["warnings"], json!([]));
    let mut asking = builtin(10);
    asking["resources"] = json!({"gpu": ["H100"]});
    yard.create("asking", &asking);
    let warned = yard.poke("asking", "/validate").ok(200);
    assert_eq!((&warned["valid"], &warned["warnings"][0]["field"]), (&json!(true), &json!("resources.gpu")));
    assert_eq!(yard.status("good")["state"], "created", "it costs nothing and starts nothing");
    let validate = |id: &str, body: &Value| yard.http.post(&format!("{JOBS}/{id}/validate"), body);
    validate("good", &json!({"provider": "local"})).ok(200);
    validate("good", &json!({"provider": "moon"})).error(400, "unknown_provider");
    validate("good", &json!({"povider": "local"})).error(400, "invalid_body");
    yard.poke("nobody", "/validate").error(404, "job_not_found");

    let mut fetched = builtin(10);
    fetched["dataset"] = json!("https://example.org/a.jsonl");
    yard.create("fetched", &fetched);
    assert_eq!(yard.poke("fetched", "/validate").ok(200)["valid"], true, "the machine fetches it");

    let missing = format!("input:{}", "b".repeat(64));
    let bad = [
        ("input", json!({"dataset": missing}), "dataset.source", "input_missing"),
        ("path", json!({"dataset": "path:/etc/passwd"}), "dataset.source", "input_refused"),
        ("secret", json!({"secrets": ["NOT_STORED"]}), "secrets", "secret_missing"),
        ("code", json!({"code": missing}), "code", "input_missing"),
    ];
    for (id, more, field, code) in bad {
        let mut spec = builtin(10);
        for (name, value) in more.as_object().expect("an object") {
            spec[name] = value.clone();
        }
        yard.create(id, &spec);
        let found = yard.poke(id, "/validate").ok(200);
        assert_eq!(
            (&found["valid"], &found["errors"][0]["field"]),
            (&json!(false), &json!(field)),
            "{found}"
        );
        yard.submit(id).error(400, code);
        assert_eq!(yard.status(id)["state"], "created");
    }
}

#[test]
fn estimates_cover_the_configured_providers() {
    let yard = Yard::new();
    let answer = yard.http.post("/api/training/estimates", &builtin(10)).ok(200);
    let [local] = list(&answer["estimates"]).as_slice() else { panic!("{answer}") };
    assert_eq!((&local["provider"], &local["max_duration_s"]), (&json!("local"), &json!(14400)));
    assert_eq!(local["max_cost"], json!({"amount": "0", "currency": "USD"}));
    assert!(local["refused"].is_null());
    let hook = json!([{"url": "https://example.org/hook", "events": ["completed"]}]);
    let told = json!({"model_name": "meta-llama/Llama-3.2-1B", "webhooks": hook});
    let answer = yard.http.post("/api/training/estimates", &told).ok(200);
    assert_eq!(answer["estimates"][0]["refused"]["code"], "not_yet_available");
    yard.http.post("/api/training/estimates", &json!({"model": "x"})).error(400, "invalid_spec");
}
