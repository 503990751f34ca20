//! One form of error everywhere: routes, methods, ids.

use serde_json::json;

use crate::yard::{JOBS, Yard, quick};

#[test]
fn unknown_routes_are_404_in_the_one_form() {
    let yard = Yard::new();
    let paths = [
        "/nothing",
        "/api",
        "/api/training",
        "/api/training/jobs/",
        "/api/training/nothing",
        "/api/training/jobs/job_1/nothing",
        "/api/training/jobs/job_1/status/",
        "/ws/training",
        "/..%2fetc/passwd",
        "//",
    ];
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let answer = yard.http.call(method, path).send();
            let error = answer.error(404, "not_found");
            let expected = if path.contains("job_1") { json!("job_1") } else { json!(null) };
            assert_eq!(error["job_id"], expected, "{method} {path}");
        }
    }
}

#[test]
fn wrong_methods_are_405_and_allow_names_the_right_ones() {
    let yard = Yard::new();
    let cases = [
        (JOBS, "DELETE", "GET,POST"),
        (JOBS, "PUT", "GET,POST"),
        ("/api/training/jobs/job_1", "POST", "DELETE,GET,PATCH"),
        ("/api/training/jobs/job_1/submit", "GET", "POST"),
        ("/api/training/jobs/job_1/status", "POST", "GET"),
        ("/api/training/jobs/job_1/cancel", "GET", "POST"),
        ("/api/training/jobs/job_1/download-artifact", "GET", "POST"),
        ("/api/training/jobs/job_1/verify-artifact", "GET", "POST"),
        ("/api/training/jobs/job_1/pause", "DELETE", "POST"),
        ("/api/training/jobs/job_1/resume", "GET", "POST"),
        ("/api/training/jobs/job_1/clone", "GET", "POST"),
        ("/api/training/jobs/job_1/validate", "GET", "POST"),
        ("/api/training/jobs/job_1/metrics", "POST", "GET"),
        ("/api/training/jobs/job_1/logs", "PUT", "GET"),
        ("/api/training/jobs/job_1/events", "POST", "GET"),
        ("/api/training/jobs/job_1/notifications", "POST", "GET"),
        ("/api/training/jobs/job_1/artifact/x", "PUT", "GET,HEAD"),
        ("/ws/training/jobs/job_1", "POST", "GET"),
        ("/api/training/estimates", "GET", "POST"),
        ("/api/training/secrets", "POST", "GET"),
        ("/api/training/secrets/A", "GET", "DELETE,PUT"),
        ("/api/training/providers", "POST", "GET"),
        ("/api/training/offers", "POST", "GET"),
        ("/api/training/resources", "DELETE", "GET"),
        ("/healthz", "POST", "GET,HEAD"),
        ("/openapi.json", "POST", "GET"),
        ("/api/training/jobs", "BREW", "GET,POST"),
    ];
    for (path, method, allowed) in cases {
        let answer = yard.http.call(method, path).send();
        let error = answer.error(405, "method_not_allowed");
        let mut allow: Vec<&str> = answer.header("allow").unwrap_or("").split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{method} {path}");
        assert_eq!(error["job_id"], if path.contains("job_1") { json!("job_1") } else { json!(null) });
    }
}

#[test]
fn unknown_jobs_are_404_with_their_id() {
    let yard = Yard::new();
    let body = json!({"provider": "local"});
    let none = json!({});
    let calls = [
        ("GET", "", None),
        ("DELETE", "", None),
        ("PATCH", "", Some(&none)),
        ("GET", "/status", None),
        ("POST", "/submit", Some(&body)),
        ("POST", "/cancel", None),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/clone", None),
        ("POST", "/validate", None),
        ("POST", "/download-artifact", None),
        ("POST", "/verify-artifact", None),
        ("GET", "/artifact/adapter_model.safetensors", None),
        ("GET", "/metrics", None),
        ("GET", "/logs", None),
        ("GET", "/logs?follow=true", None),
        ("GET", "/events", None),
        ("GET", "/notifications", None),
    ];
    for (method, path, body) in calls {
        let call = yard.http.call(method, &format!("{JOBS}/nobody{path}"));
        let answer =
            body.map_or_else(|| yard.http.call(method, &format!("{JOBS}/nobody{path}")), |b| call.json(b));
        let error = answer.send().error(404, "job_not_found");
        assert_eq!(error["job_id"], "nobody", "{method} {path}");
    }
}

#[test]
fn ids_that_cannot_be_are_400() {
    let yard = Yard::new();
    for id in [".hidden", "-x", "a%20b", "%00", "a%0Ab", "%ff", "..%2f..", &"a".repeat(129), "%C3%A4"] {
        for path in ["", "/status", "/logs"] {
            let answer = yard.http.get(&format!("{JOBS}/{id}{path}"));
            let error = answer.ok(if id.contains("%2f") { answer.status } else { 400 });
            assert!([400, 404].contains(&answer.status), "{id}: {error}");
            assert!(error["job_id"].is_null(), "{id}: {error}");
        }
    }
}

#[test]
fn every_answer_of_the_api_is_safe_to_show() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    for path in ["/api/training/jobs", "/api/training/jobs/job_1", "/api/training/jobs/nobody", "/nothing"] {
        let answer = yard.http.get(path);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")));
        assert!(answer.header("cache-control").is_some(), "{path}");
    }
}

#[test]
fn what_a_client_wrote_is_shown_back_as_data_and_short() {
    let yard = Yard::new();
    let evil = "<script>alert(1)</script>";
    let error = yard.http.post(JOBS, &json!({"model_name": "any", evil: 1})).error(400, "invalid_spec");
    assert!(error.to_string().len() < 5000);
    let long = "x".repeat(100_000);
    let answer = yard.http.post(JOBS, &json!({"model_name": "any", long: 1}));
    answer.error(400, "invalid_spec");
    let answer = yard.http.get(&format!("{JOBS}?state={}", "y".repeat(5000)));
    answer.error(400, "invalid_parameter");
    assert!(answer.body.len() < 2000, "{}", answer.body.len());
}
