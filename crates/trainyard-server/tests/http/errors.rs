//! Every error has one form, whoever made it.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{ask, read_answer};
use crate::rig::{rig, rig_with};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_paths_methods_and_parameters_are_named() {
    let rig = rig().await;
    rig.call("GET", "/nothing", "").await.refused(404, "not_found");
    rig.call("GET", "/api/training/jobs/job_1/nothing", "").await.refused(404, "not_found");
    let body = rig.call("GET", "/api/training/jobs/job_1/status", "").await.refused(404, "job_not_found");
    assert_eq!(body["job_id"], "job_1");
    for (method, path, allow) in [
        ("PUT", "/api/training/jobs", "POST, GET"),
        ("GET", "/api/training/jobs/job_1/submit", "POST"),
        ("POST", "/api/training/jobs/job_1", "GET, PATCH, DELETE"),
        ("TRACE", "/healthz", "GET, HEAD"),
        ("POST", "/docs/", "GET"),
    ] {
        let answer = rig.call(method, path, "").await;
        answer.refused(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
    let body =
        rig.call("GET", "/api/training/jobs/job_1/status?x=1", "").await.refused(400, "unknown_parameter");
    assert_eq!(body["job_id"], "job_1");
    for id in ["%2e%2e", ".hidden", "a%00b", "a%20b", "%F0%9F%92%A5", &"a".repeat(129)] {
        rig.call("GET", &format!("/api/training/jobs/{id}/status"), "").await.refused(400, "invalid_job_id");
    }
    for query in
        ["limit=0", "limit=1001", "state=Running", "provider=Local", "cursor=x", "label=x", "limit=1&limit=1"]
    {
        let answer = rig.call("GET", &format!("/api/training/jobs?{query}"), "").await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_wrong_are_refused() {
    let rig = rig().await;
    let path = "/api/training/jobs";
    rig.call("POST", path, "").await.refused(400, "body_missing");
    rig.call("POST", path, "{").await.refused(400, "malformed_json");
    rig.call("POST", path, "[]").await.refused(400, "invalid_spec");
    let body =
        rig.call("POST", path, r#"{"job_id": "job_1", "model_nam": "x"}"#).await.refused(400, "invalid_spec");
    assert!(body["detail"].as_str().unwrap().contains("model_nam"), "{body}");
    assert_eq!(body["job_id"], "job_1");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    rig.send("POST", path, form, b"model_name=x").await.refused(415, "unsupported_media_type");
    rig.send("POST", path, "", b"{}").await.refused(415, "unsupported_media_type");
    let large = format!(r#"{{"model_name": "{}"}}"#, "x".repeat(300 * 1024));
    rig.call("POST", path, &large).await.refused(413, "too_large");
    rig.call("POST", path, &"[".repeat(200_000)).await.refused(400, "malformed_json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_answered_with_408() {
    let rig = rig_with(|config| config.body.json_deadline = Duration::from_millis(300)).await;
    let head = format!(
        "POST /api/training/jobs HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        rig.address
    );
    let mut stream = TcpStream::connect(&rig.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    read_answer(&mut stream, false).await.refused(408, "body_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_wrong_get_an_answer_and_no_more() {
    let rig = rig_with(|config| config.connections.head_deadline = Duration::from_millis(300)).await;
    let answer = ask(&rig.address, b"nonsense\r\n\r\n", false).await;
    assert_eq!(answer.status, 400);
    let answer = ask(&rig.address, b"GET / HTTP/1.1\r\nHost: 127", false).await;
    assert_eq!(answer.status, 408);
}
