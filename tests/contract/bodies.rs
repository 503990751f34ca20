//! Bodies that are wrong, too large or too slow.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use trainyard_tests::{Answer, Open};

use crate::yard::{JOBS, Yard, quick};

/// Everything that takes a JSON body.
const TAKE_JSON: [(&str, &str); 8] = [
    ("POST", "/api/training/jobs"),
    ("POST", "/api/training/jobs/job_1/submit"),
    ("POST", "/api/training/jobs/job_1/pause"),
    ("POST", "/api/training/jobs/job_1/clone"),
    ("POST", "/api/training/jobs/job_1/validate"),
    ("PATCH", "/api/training/jobs/job_1"),
    ("POST", "/api/training/estimates"),
    ("PUT", "/api/training/secrets/A"),
];

fn send(yard: &Yard, (method, path): (&str, &str), kind: &str, body: &[u8]) -> Answer {
    yard.http.call(method, path).header("Content-Type", kind).bytes(body).send()
}

/// The job that the path is about must stand in the error.
fn about(path: &str) -> serde_json::Value {
    if path.contains("job_1") { json!("job_1") } else { json!(null) }
}

#[test]
fn what_is_not_json_is_refused_everywhere() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    for call in TAKE_JSON {
        for torn in [b"{".as_slice(), b"{\"a\":}", b"{} {}", b"'a'", b"\xff\xfe"] {
            let error = send(&yard, call, "application/json", torn).error(400, "malformed_json");
            assert_eq!(error["job_id"], about(call.1), "{call:?}");
        }
        let utf8 = send(&yard, call, "application/json", b"{\"model_name\": \"a\xffb\"}")
            .error(400, "malformed_json");
        assert!(utf8["detail"].as_str().is_some_and(|text| text.contains("UTF-8")), "{utf8}");
    }
    let line = send(&yard, TAKE_JSON[0], "application/json", b"{\n  \"a\": 1,\n  oops\n}");
    assert!(line.error(400, "malformed_json")["detail"].as_str().is_some_and(|text| text.contains("line 3")));
}

#[test]
fn what_is_no_object_is_refused_everywhere() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    for call in TAKE_JSON {
        for other in ["[]", "7", "\"text\"", "null", "true"] {
            let answer = send(&yard, call, "application/json", other.as_bytes());
            let error = answer.ok(400);
            assert!(
                ["invalid_body", "invalid_spec"].contains(&error["code"].as_str().unwrap_or("")),
                "{call:?} {error}"
            );
        }
    }
}

#[test]
fn another_content_type_is_415() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    for call in TAKE_JSON {
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"]
        {
            let error = send(&yard, call, kind, b"{}").error(415, "unsupported_media_type");
            assert_eq!(error["job_id"], about(call.1));
        }
        yard.http.call(call.0, call.1).bytes(b"{}").send().error(415, "unsupported_media_type");
        send(&yard, call, "application/json; charset=latin-1", b"{}").error(415, "unsupported_media_type");
    }
    let gzip = yard.http.call("POST", JOBS).header("Content-Type", "application/json");
    gzip.header("Content-Encoding", "gzip").bytes(b"{}").send().error(415, "unsupported_media_type");
    let good = send(&yard, ("POST", JOBS), "application/json; charset=utf-8", b"{\"model_name\": \"any\"}");
    good.ok(201);
}

#[test]
fn a_body_that_must_be_there_is_missed() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    for path in [JOBS.to_owned(), format!("{JOBS}/job_1/submit"), "/api/training/estimates".to_owned()] {
        yard.http.poke(&path).error(400, "body_missing");
    }
    yard.http.call("PATCH", &format!("{JOBS}/job_1")).send().error(400, "body_missing");
}

#[test]
fn a_body_that_is_too_large_is_413() {
    let yard = Yard::new();
    let large = json!({"model_name": "any", "labels": {"a": "x".repeat(300 * 1024)}});
    yard.http.post(JOBS, &large).error(413, "too_large");
    // Not told beforehand how large it is.
    let mut connection = yard.http.connect();
    let head = format!(
        "POST {JOBS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        yard.http.address()
    );
    connection.write_all(head.as_bytes()).expect("it is taken");
    let chunk = format!("{:x}\r\n{}\r\n", 300 * 1024, "x".repeat(300 * 1024));
    let _ = connection.write_all(chunk.as_bytes());
    Open::read(connection).finish().error(413, "too_large");
    // Only told that it is.
    let mut connection = yard.http.connect();
    let head = format!(
        "POST {JOBS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n",
        yard.http.address()
    );
    connection.write_all(head.as_bytes()).expect("it is taken");
    Open::read(connection).finish().error(413, "too_large");
}

#[test]
fn a_body_that_trickles_is_408_within_its_deadline() {
    let yard = Yard::new();
    let began = Instant::now();
    let mut connection = yard.http.connect();
    let head = format!(
        "POST {JOBS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{",
        yard.http.address()
    );
    connection.write_all(head.as_bytes()).expect("it is taken");
    let mut trickle = connection.try_clone().expect("another hand");
    let trickling = std::thread::spawn(move || {
        while trickle.write_all(b" ").is_ok() && began.elapsed() < Duration::from_secs(20) {
            // waits: for the deadline of the body, which a byte now and then must not move
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let answer = Open::read(connection).finish();
    let took = began.elapsed();
    assert!(answer.error(408, "body_timeout")["job_id"].is_null());
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(15), "{took:?}");
    trickling.join().expect("it ends");
    // Nobody else had to wait for it.
    assert_eq!(yard.http.get("/healthz").status, 200);
}
