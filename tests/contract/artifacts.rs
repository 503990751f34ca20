//! Artifacts: the documented answer, verification, and the bytes.

use std::path::Path;

use base64::Engine;
use serde_json::{Value, json};
use trainyard_tests::Answer;

use crate::yard::{JOBS, Yard, digest, endless, keys, list, moment, quick, sh, sha256};

/// Leaves a main file, one in a directory, one that is excluded.
fn several() -> Value {
    sh(
        "cd \"$TRAINYARD_OUTPUT_DIR\" && mkdir -p sub checkpoint-1 && printf 0123456789 > adapter_model.safetensors && \
        printf '{}' > sub/adapter_config.json && printf longer-than-the-main-file > notes.txt && \
        printf x > checkpoint-1/optimizer.pt",
    )
}

#[test]
fn download_artifact_answers_as_documented() {
    let yard = Yard::new();
    let mut spec = several();
    spec["model_name"] = json!("llama-2-7b");
    yard.complete("job_123", &spec);
    let answer = yard.poke("job_123", "/download-artifact").ok(200);
    let documented =
        ["artifact_id", "created_at", "files", "hash_sha256", "job_id", "metadata", "path", "size_bytes"];
    assert_eq!(keys(&answer), documented);
    assert_eq!((&answer["artifact_id"], &answer["job_id"]), (&json!("job_123_artifact"), &json!("job_123")));
    let path = Path::new(answer["path"].as_str().expect("`path`"));
    assert!(path.is_absolute() && path.ends_with("adapter_model.safetensors"), "{}", path.display());
    let bytes = std::fs::read(path).expect("it is there");
    assert_eq!(bytes, b"0123456789");
    assert_eq!((&answer["size_bytes"], &answer["hash_sha256"]), (&json!(10), &json!(sha256(&bytes))));
    moment(&answer["created_at"]);
    let metadata = &answer["metadata"];
    assert_eq!(keys(metadata), ["model_name", "peft_method", "provider", "provider_job_id"]);
    assert_eq!((&metadata["provider"], &metadata["model_name"]), (&json!("local"), &json!("llama-2-7b")));
    assert_eq!(metadata["peft_method"], "lora");
    assert_eq!(metadata["provider_job_id"], yard.status("job_123")["provider_job_id"]);

    let files = list(&answer["files"]);
    let names: Vec<&str> = files.iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(names, ["adapter_model.safetensors", "notes.txt", "sub/adapter_config.json"]);
    for file in files {
        assert_eq!(keys(file), ["hash_sha256", "path", "size_bytes"]);
        digest(&file["hash_sha256"]);
    }
    assert_eq!(
        yard.poke("job_123", "/download-artifact").ok(200),
        answer,
        "called again it answers the same"
    );
    assert_eq!(yard.get("job_123", "").ok(200)["artifact"], answer);
}

#[test]
fn there_is_an_artifact_only_where_one_was_made() {
    let yard = Yard::new();
    yard.create("created", &quick());
    for what in ["/download-artifact", "/verify-artifact"] {
        yard.poke("nobody", what).error(404, "job_not_found");
        let error = yard.poke("created", what).error(400, "not_submitted");
        assert_eq!(error["job_id"], "created");
    }
    yard.run("running", &endless());
    yard.poke("running", "/download-artifact").error(404, "no_artifact");
    yard.poke("running", "/cancel").ok(200);
    yard.poke("running", "/download-artifact").error(404, "no_artifact");
    yard.create("failed", &sh("printf x > \"$TRAINYARD_OUTPUT_DIR/x\"; exit 1"));
    yard.submit("failed");
    yard.await_state("failed", "failed");
    yard.poke("failed", "/download-artifact").error(404, "no_artifact");
}

#[test]
fn the_main_file_is_the_one_asked_for_else_the_adapter_else_the_largest() {
    let yard = Yard::new();
    let mut asked = several();
    asked["outputs"] = json!({"main": "notes.txt"});
    let mut without = several();
    without["outputs"] = json!({"exclude": ["adapter_model.safetensors", "checkpoint-*/**"]});
    for (id, spec) in [("asked", asked), ("largest", without)] {
        let completed = yard.complete(id, &spec);
        let path = completed["artifact_info"]["path"].as_str().expect("a path");
        assert!(path.ends_with("/notes.txt"), "{id}: {path}");
    }
}

#[test]
fn outputs_say_what_is_taken() {
    let yard = Yard::new();
    let mut some = several();
    some["outputs"] = json!({"include": ["**/*.json", "*.txt"], "exclude": ["notes.*"]});
    let completed = yard.complete("some", &some);
    let files = list(&completed["artifact_info"]["files"]);
    assert_eq!(files.iter().map(|file| &file["path"]).collect::<Vec<_>>(), ["sub/adapter_config.json"]);
    let mut none = several();
    none["outputs"] = json!({"include": ["*.bin"]});
    assert!(yard.complete("none", &none)["artifact_info"].is_null());
}

#[test]
fn damage_at_rest_is_found() {
    let yard = Yard::new();
    let completed = yard.complete("job_1", &several());
    let sound = yard.poke("job_1", "/verify-artifact").ok(200);
    assert_eq!((keys(&sound), &sound["valid"]), (vec!["files", "valid"], &json!(true)));
    for file in list(&sound["files"]) {
        assert_eq!(keys(file), ["actual", "expected", "path"]);
        assert_eq!(digest(&file["actual"]), digest(&file["expected"]));
    }
    let path = completed["artifact_info"]["path"].as_str().expect("a path").to_owned();
    let flipped = b"0123456788";
    make_writable(&path);
    std::fs::write(&path, flipped).expect("one bit is flipped");
    let found = yard.poke("job_1", "/verify-artifact").ok(200);
    assert_eq!((&found["valid"], &found["files"][0]["actual"]), (&json!(false), &json!(sha256(flipped))));
    assert_eq!(found["files"][0]["path"], "adapter_model.safetensors");
    assert_eq!(found["files"][1]["actual"], found["files"][1]["expected"], "the others are sound");
    let error = yard.poke("job_1", "/download-artifact").error(500, "artifact_damaged");
    assert!(
        error["detail"].as_str().is_some_and(|text| text.contains("adapter_model.safetensors")),
        "{error}"
    );
    std::fs::remove_file(&path).expect("it is removed");
    assert!(yard.poke("job_1", "/verify-artifact").ok(200)["files"][0]["actual"].is_null());
    yard.poke("job_1", "/download-artifact").error(500, "artifact_damaged");
}

fn make_writable(path: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
}

#[test]
fn the_bytes_of_a_file_whole_and_by_range() {
    let yard = Yard::new();
    yard.complete("job_1", &several());
    let path = format!("{JOBS}/job_1/artifact/adapter_model.safetensors");
    let range = |range: &str| yard.http.call("GET", &path).header("Range", range).send();
    let whole = yard.http.get(&path);
    assert_eq!((whole.status, whole.body.as_slice()), (200, b"0123456789".as_slice()));
    let content_digest = format!(
        "sha-256=:{}:",
        base64::engine::general_purpose::STANDARD.encode(hex::decode(sha256(b"0123456789")).expect("hex"))
    );
    assert_eq!(whole.header("content-digest"), Some(content_digest.as_str()));
    assert_eq!((whole.header("accept-ranges"), whole.header("content-length")), (Some("bytes"), Some("10")));
    let parts: [(&str, &[u8], &str); 5] = [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=9-9", b"9", "bytes 9-9/10"),
        ("bytes=5-100", b"56789", "bytes 5-9/10"),
    ];
    for (asked, bytes, said) in parts {
        let part = range(asked);
        assert_eq!(
            (part.status, part.body.as_slice(), part.header("content-range")),
            (206, bytes, Some(said))
        );
    }
    for outside in ["bytes=10-", "bytes=100-200", "bytes=-0"] {
        let answer = range(outside);
        assert_eq!(answer.error(416, "range_outside")["job_id"], "job_1");
        assert_eq!(answer.header("content-range"), Some("bytes */10"));
    }
    for ignored in ["bytes=3-1", "lines=1-2", "bytes=a-b"] {
        assert_eq!(range(ignored).status, 200, "{ignored} is as if it were not there");
    }
    let head = yard.http.call("HEAD", &path).send();
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    let tag = whole.header("etag").expect("an ETag");
    assert_eq!(yard.http.call("GET", &path).header("If-None-Match", tag).send().status, 304);
    let resumed =
        yard.http.call("GET", &path).header("Range", "bytes=5-").header("If-Range", "\"other\"").send();
    assert_eq!(resumed.body.len(), 10, "of a file that changed the whole is sent");
}

#[test]
fn only_files_of_the_artifact_are_served() {
    let yard = Yard::new();
    yard.complete("job_1", &several());
    let file = |path: &str| -> Answer { yard.get("job_1", &format!("/artifact/{path}")) };
    assert_eq!(file("sub/adapter_config.json").body, b"{}");
    assert_eq!(file("sub%2Fadapter_config.json").status, 200);
    let others = [
        "none",
        "checkpoint-1/optimizer.pt",
        "../../trainyard.db",
        "..%2f..%2ftrainyard.db",
        "/etc/passwd",
        "",
        "sub",
    ];
    for path in others {
        let answer = file(path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    yard.get("nobody", "/artifact/x").error(404, "job_not_found");
    yard.create("created", &quick());
    yard.get("created", "/artifact/x").error(400, "not_submitted");
}
