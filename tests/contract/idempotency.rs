//! `Idempotency-Key` on every POST.

use serde_json::{Value, json};
use trainyard_tests::{Answer, until};

use crate::yard::{JOBS, SOON, Yard, list, quick, sh};

fn post(yard: &Yard, key: &str, path: &str, body: &Value) -> Answer {
    yard.http.call("POST", path).header("Idempotency-Key", key).json(body).send()
}

#[test]
fn asked_twice_it_is_done_once() {
    let yard = Yard::new();
    let body = json!({"model_name": "any"});
    let first = post(&yard, "key-1", JOBS, &body);
    let job = first.ok(201);
    assert!(first.header("idempotency-replayed").is_none());
    let again = post(&yard, "key-1", JOBS, &body);
    assert_eq!((again.ok(201), again.header("location")), (job.clone(), first.header("location")));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(yard.http.get(JOBS).ok(200)["total"], 1);
    post(&yard, "key-1", JOBS, &json!({"model_name": "other"})).error(409, "idempotency_key_reused");
    let other_path = format!("{JOBS}/{}/clone", job["job_id"].as_str().expect("an id"));
    post(&yard, "key-1", &other_path, &body).error(409, "idempotency_key_reused");
    post(&yard, "key-2", JOBS, &body).ok(201);
    assert_eq!(yard.http.get(JOBS).ok(200)["total"], 2);
}

#[test]
fn refusals_are_remembered_too_and_other_posts_as_well() {
    let yard = Yard::new();
    let bad = json!({"model_name": "any", "nothing": 1});
    let refused = post(&yard, "key-1", JOBS, &bad).error(400, "invalid_spec");
    assert_eq!(post(&yard, "key-1", JOBS, &bad).error(400, "invalid_spec"), refused);
    yard.create("job_1", &quick());
    let path = format!("{JOBS}/job_1/submit");
    let local = json!({"provider": "local"});
    let submitted = post(&yard, "submit", &path, &local).ok(200);
    yard.await_state("job_1", "completed");
    assert_eq!(post(&yard, "submit", &path, &local).ok(200), submitted, "as it was answered then");
    let clone = format!("{JOBS}/job_1/clone");
    let first = post(&yard, "clone", &clone, &json!({})).ok(201);
    assert_eq!(post(&yard, "clone", &clone, &json!({})).ok(201)["job_id"], first["job_id"]);
    assert_eq!(list(&yard.http.get(JOBS).ok(200)["jobs"]).len(), 2);
}

#[test]
fn a_key_outlives_the_server() {
    let mut yard = Yard::new();
    let body = json!({"model_name": "any"});
    let job = post(&yard, "key-1", JOBS, &body).ok(201);
    yard.server.crash();
    yard.start_again();
    assert_eq!(post(&yard, "key-1", JOBS, &body).ok(201), job);
    assert_eq!(yard.http.get(JOBS).ok(200)["total"], 1);
}

#[test]
fn while_the_first_is_at_work_the_second_is_409() {
    let yard = Yard::new();
    let mut spec = sh("trap '' TERM; echo ready; while :; do sleep 0.1; done");
    spec["limits"] = json!({"grace_period_s": 3});
    yard.run("job_1", &spec);
    yard.await_log("job_1", "ready");
    let path = format!("{JOBS}/job_1/cancel");
    let http = yard.http.clone();
    let of_first = path.clone();
    let first =
        std::thread::spawn(move || http.call("POST", &of_first).header("Idempotency-Key", "k").send());
    until(SOON, "the cancel to be at work", || {
        (yard.get("job_1", "").ok(200)["stopping"] == true).then_some(())
    });
    let second = yard.http.call("POST", &path).header("Idempotency-Key", "k").send();
    second.error(409, "idempotency_key_in_progress");
    assert!(second.header("retry-after").is_some());
    let answer = first.join().expect("an answer").ok(200);
    let third = yard.http.call("POST", &path).header("Idempotency-Key", "k").send();
    assert_eq!(third.ok(200), answer);
}

#[test]
fn keys_are_checked() {
    let yard = Yard::new();
    let body = json!({"model_name": "any"});
    let long = "k".repeat(256);
    for bad in ["a b", "ä", long.as_str(), ""] {
        post(&yard, bad, JOBS, &body).error(400, "invalid_idempotency_key");
    }
    post(&yard, &"k".repeat(255), JOBS, &body).ok(201);
    let get = yard.http.call("GET", JOBS).header("Idempotency-Key", "a b").send();
    assert_eq!(get.status, 200, "a GET needs none");
}
