//! `/secrets`: written, named, never read back.

use serde_json::{Value, json};
use trainyard_tests::Answer;

use crate::yard::{Yard, keys, list, moment, sh};

fn put(yard: &Yard, name: &str, body: &Value) -> Answer {
    yard.http.call("PUT", &format!("/api/training/secrets/{name}")).json(body).send()
}

#[test]
fn secrets_are_set_listed_by_name_and_deleted() {
    let yard = Yard::new();
    assert_eq!(yard.http.get("/api/training/secrets").ok(200), json!({"secrets": []}));
    for name in ["WANDB_KEY", "HF_TOKEN", "HF_TOKEN"] {
        assert_eq!(put(&yard, name, &json!({"value": "not-a-real-token"})).status, 204);
    }
    let answer = yard.http.get("/api/training/secrets").ok(200);
    let names: Vec<&str> =
        list(&answer["secrets"]).iter().filter_map(|secret| secret["name"].as_str()).collect();
    assert_eq!(names, ["HF_TOKEN", "WANDB_KEY"]);
    for secret in list(&answer["secrets"]) {
        assert_eq!(keys(secret), ["name", "updated_at"]);
        moment(&secret["updated_at"]);
    }
    let delete = |name: &str| yard.http.call("DELETE", &format!("/api/training/secrets/{name}")).send();
    assert_eq!(delete("WANDB_KEY").status, 204);
    delete("WANDB_KEY").error(404, "secret_not_found");
    assert_eq!(
        yard.http.get("/api/training/secrets/HF_TOKEN").error(405, "method_not_allowed")["job_id"],
        Value::Null
    );
}

#[test]
fn what_is_no_secret_is_refused_without_repeating_it() {
    let yard = Yard::new();
    let long = "s".repeat(64 * 1024 + 1);
    for (name, body, code) in [
        ("no-name", json!({"value": "planted-1"}), "invalid_secret_name"),
        ("9LIVES", json!({"value": "planted-1"}), "invalid_secret_name"),
        ("A", json!({"value": ""}), "invalid_secret"),
        ("A", json!({"value": "planted\0-1"}), "invalid_secret"),
        ("A", json!({"value": long}), "invalid_secret"),
        ("A", json!({"value": ["planted-1"]}), "invalid_body"),
        ("A", json!({"value": "planted-1", "ttl": 1}), "invalid_body"),
        ("A", json!({}), "invalid_body"),
        ("A", json!("planted-1"), "invalid_body"),
    ] {
        let error = put(&yard, name, &body).error(400, code);
        assert!(!error.to_string().contains("planted"), "{error}");
    }
    let torn = yard.http.call("PUT", "/api/training/secrets/A").header("Content-Type", "application/json");
    let error = torn.bytes(b"{\"value\": planted-1}").send().error(400, "malformed_json");
    assert!(!error.to_string().contains("planted"), "{error}");
    assert_eq!(yard.http.get("/api/training/secrets").ok(200), json!({"secrets": []}));
}

#[test]
fn a_training_gets_the_secrets_it_names_and_no_others() {
    let yard = Yard::new();
    assert_eq!(put(&yard, "WANTED", &json!({"value": "first-value"})).status, 204);
    assert_eq!(put(&yard, "WANTED", &json!({"value": "second-value"})).status, 204);
    assert_eq!(put(&yard, "OTHER", &json!({"value": "other-value"})).status, 204);
    let mut spec = sh("test \"$WANTED\" = second-value && test -z \"$OTHER\" && echo as-it-should-be");
    spec["secrets"] = json!(["WANTED"]);
    yard.complete("job_1", &spec);
    assert_eq!(yard.log("job_1"), "as-it-should-be\n");
}
