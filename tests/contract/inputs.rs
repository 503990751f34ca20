//! `PUT /inputs/{sha256}`: whole, in parts, wrong; and what a training gets of it.

use std::io::Write;

use serde_json::{Value, json};
use trainyard_tests::{Answer, Open};

use crate::yard::{Yard, keys, list, sh, sha256};

fn put(yard: &Yard, name: &str, range: Option<&str>, bytes: &[u8]) -> Answer {
    let call = yard.http.call("PUT", &format!("/api/training/inputs/{name}"));
    let call = call.header("Content-Type", "application/octet-stream");
    match range {
        Some(range) => call.header("Content-Range", range),
        None => call,
    }
    .bytes(bytes)
    .send()
}

fn head(yard: &Yard, name: &str) -> (u16, Option<String>, Option<String>) {
    let answer = yard.http.call("HEAD", &format!("/api/training/inputs/{name}")).send();
    let header = |name| answer.header(name).map(str::to_owned);
    (answer.status, header("upload-offset"), header("upload-complete"))
}

#[test]
fn a_file_is_uploaded_whole() {
    let yard = Yard::new();
    let name = sha256(b"some bytes");
    assert_eq!(head(&yard, &name).0, 404);
    let answer = put(&yard, &name, None, b"some bytes").ok(201);
    assert_eq!(keys(&answer), ["complete", "received", "sha256", "source"]);
    assert_eq!((&answer["complete"], &answer["received"]), (&json!(true), &json!(10)));
    assert_eq!(answer["source"], format!("input:{name}"));
    assert_eq!(put(&yard, &name, None, b"some bytes").ok(200), answer, "it was here already");
    assert_eq!(head(&yard, &name), (200, Some("10".to_owned()), Some("?1".to_owned())));
}

#[test]
fn an_upload_goes_on_where_it_stands() {
    let yard = Yard::new();
    let name = sha256(b"0123456789");
    let first = put(&yard, &name, Some("bytes 0-3/10"), b"0123").ok(202);
    assert_eq!((&first["received"], &first["complete"]), (&json!(4), &json!(false)));
    assert_eq!(head(&yard, &name), (200, Some("4".to_owned()), Some("?0".to_owned())));
    put(&yard, &name, Some("bytes 8-9/10"), b"89").error(400, "input_offset");
    assert_eq!(put(&yard, &name, Some("bytes */10"), b"").ok(202)["received"], 4);
    assert_eq!(put(&yard, &name, Some("bytes 4-9/10"), b"456789").ok(201)["complete"], true);
    for wrong in ["bytes 4-3/10", "bytes 0-10/10", "bytes 0-9/*", "0-9"] {
        put(&yard, &sha256(b"x"), Some(wrong), b"0123456789").error(400, "invalid_content_range");
    }
    put(&yard, &sha256(b"x"), Some("bytes 0-3/10"), b"0").error(400, "invalid_content_range");
}

#[test]
fn an_upload_that_breaks_off_is_kept_as_far_as_it_came() {
    let yard = Yard::new();
    let name = sha256(b"0123456789");
    let mut connection = yard.http.connect();
    let host = yard.http.address();
    let head_of_put =
        format!("PUT /api/training/inputs/{name} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\n0123");
    connection.write_all(head_of_put.as_bytes()).expect("it is taken");
    drop(connection);
    trainyard_tests::until(crate::yard::SOON, "what came to be kept", || {
        (head(&yard, &name).1.as_deref() == Some("4")).then_some(())
    });
    assert_eq!(put(&yard, &name, Some("bytes 4-9/10"), b"456789").ok(201)["complete"], true);
}

#[test]
fn what_has_not_its_digest_is_refused() {
    let yard = Yard::new();
    let name = sha256(b"the right bytes");
    put(&yard, &name, None, b"the wrong bytes").error(400, "digest_mismatch");
    assert_eq!(head(&yard, &name).0, 404, "nothing of it is kept");
    put(&yard, &name, None, b"the right bytes").ok(201);
    for bad in ["abc", &"g".repeat(64), &"a".repeat(65)] {
        put(&yard, bad, None, b"x").error(400, "invalid_sha256");
    }
}

#[test]
fn an_upload_over_the_limit_is_refused_before_it_is_read() {
    let yard = Yard::with("[local]\nslots = 1\nuse_gpus = false\n[inputs]\nmax_bytes = 1000\n");
    put(&yard, &sha256(&[7; 1001]), None, &[7; 1001]).error(413, "input_too_large");
    put(&yard, &sha256(&[7; 1000]), None, &[7; 1000]).ok(201);
    // One that lies about its length by not telling it.
    let mut connection = yard.http.connect();
    let path = format!("/api/training/inputs/{}", sha256(b"y"));
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", yard.http.address());
    connection.write_all(head.as_bytes()).expect("it is taken");
    for _ in 0..2 {
        let chunk = format!("{:x}\r\n{}\r\n", 600, "z".repeat(600));
        let _ = connection.write_all(chunk.as_bytes());
    }
    let _ = connection.write_all(b"0\r\n\r\n");
    let answer = Open::read(connection).finish();
    assert!(answer.status == 413 || answer.status == 411, "{}: {}", answer.status, answer.text());
}

fn builtin_on(name: &str) -> Value {
    let mut spec = crate::yard::builtin(4);
    spec["dataset"] = json!({"source": format!("input:{name}")});
    spec
}

#[test]
fn a_dataset_is_checked_before_anything_starts_and_the_first_bad_line_is_named() {
    let yard = Yard::new();
    let bad = b"{\"text\": \"one\"}\n{\"text\": \"two\"}\n{\"text\": 3}\nnot json\n";
    put(&yard, &sha256(bad), None, bad).ok(201);
    yard.create("bad", &builtin_on(&sha256(bad)));
    let error = yard.submit("bad").error(400, "dataset_invalid");
    assert!(error["error"].as_str().is_some_and(|text| text.contains("line 3")), "{error}");
    assert_eq!(yard.status("bad")["state"], "created");
    let good: String =
        (0..20).map(|i| format!("{{\"prompt\": \"say {i}\", \"completion\": \"{i}\"}}\n")).collect();
    put(&yard, &sha256(good.as_bytes()), None, good.as_bytes()).ok(201);
    yard.create("good", &builtin_on(&sha256(good.as_bytes())));
    let found = yard.poke("good", "/validate").ok(200);
    assert!(
        list(&found["checked"]).iter().any(|line| line.as_str().is_some_and(|l| l.contains("20 records"))),
        "{found}"
    );
    yard.submit("good").ok(200);
    yard.await_state("good", "completed");
}

#[test]
fn a_training_gets_its_files_and_its_code() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("extra.txt"), "from the server's disk").expect("a file");
    let allowed = directory.path().display();
    let yard = Yard::with(&format!(
        "[local]\nslots = 1\nuse_gpus = false\n[inputs]\nallowed_paths = [\"{allowed}\"]\n"
    ));
    put(&yard, &sha256(b"uploaded"), None, b"uploaded").ok(201);
    let archive = tar_of("train.sh", b"cat \"$TRAINYARD_INPUT_DIR/in/a.txt\" \"$TRAINYARD_INPUT_DIR/b.txt\"");
    put(&yard, &sha256(&archive), None, &archive).ok(201);
    let spec = json!({
        "model_name": "any",
        "trainer": {"kind": "command", "command": ["sh", "train.sh"]},
        "code": format!("input:{}", sha256(&archive)),
        "inputs": [
            {"source": format!("input:{}", sha256(b"uploaded")), "path": "in/a.txt"},
            {"source": format!("path:{allowed}/extra.txt"), "path": "b.txt"}
        ]
    });
    yard.complete("job_1", &spec);
    assert_eq!(yard.log("job_1").trim_end(), "uploadedfrom the server's disk");
    let mut outside = sh("true");
    outside["inputs"] = json!([{"source": format!("path:{allowed}/../../etc/passwd"), "path": "x"}]);
    yard.create("outside", &outside);
    yard.submit("outside").error(400, "input_refused");
}

/// A tar archive of one small file.
fn tar_of(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    let mut field = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, "0000644\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", bytes.len()));
    field(136, "00000000000\0");
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\u{0}00");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend(bytes);
    block.resize(block.len().next_multiple_of(512) + 1024, 0);
    block
}
