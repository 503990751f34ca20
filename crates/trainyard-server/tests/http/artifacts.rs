//! Artifacts: what is stored, and its bytes.

use trainyard_domain::{ArtifactFile, ArtifactRecord, AttemptNumber};

use crate::rig::{Rig, rig, sha256};

async fn with_artifact(rig: &Rig) -> Vec<u8> {
    let bytes: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    rig.running("job_1").await;
    let id = "job_1".parse().unwrap();
    let ingest = rig.artifacts.begin(&id, AttemptNumber::FIRST).await.unwrap();
    let mut file =
        ingest.file("a dir/adapter_model.safetensors", sha256(&bytes), bytes.len() as u64).await.unwrap();
    file.write(bytes.clone().into()).await.unwrap();
    let stored: ArtifactFile = file.finish().await.unwrap();
    ingest.commit(std::slice::from_ref(&stored)).await.unwrap();
    let record = ArtifactRecord {
        files: vec![stored],
        main: 0,
        created_at: rig.orchestrator.now(),
        attempt: AttemptNumber::FIRST,
        provider: "local".parse().unwrap(),
        provider_job_id: None,
    };
    rig.complete("job_1", Some(record)).await;
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_whole_in_ranges_or_not_at_all() {
    let rig = rig().await;
    let bytes = with_artifact(&rig).await;
    let path = "/api/training/jobs/job_1/artifact/a%20dir/adapter_model.safetensors";
    let whole = rig.call("GET", path, "").await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert!(whole.body == bytes);
    let digest = whole.header("content-digest").unwrap();
    assert!(digest.starts_with("sha-256=:") && digest.ends_with(':'), "{digest}");
    let head = rig.call("HEAD", path, "").await;
    assert_eq!(head.header("content-length"), Some("800000"));
    assert_eq!(head.header("content-digest"), Some(digest));
    let part = rig.send("GET", path, "Range: bytes=300000-599999\r\n", b"").await;
    assert_eq!(part.status, 206);
    assert!(part.body == bytes[300_000..600_000]);
    assert_eq!(part.header("content-range"), Some("bytes 300000-599999/800000"));
    assert_eq!((part.header("content-digest"), part.header("repr-digest")), (None, Some(digest)));
    let outside = rig.send("GET", path, "Range: bytes=800000-\r\n", b"").await;
    outside.refused(416, "range_outside");
    assert_eq!(outside.header("content-range"), Some("bytes */800000"));
    let known = format!("If-None-Match: {}\r\n", whole.header("etag").unwrap());
    assert_eq!(rig.send("GET", path, &known, b"").await.status, 304);
    let stale = "Range: bytes=0-9\r\nIf-Range: \"old\"\r\n";
    assert_eq!(rig.send("GET", path, stale, b"").await.status, 200);
    let missing = rig.call("GET", "/api/training/jobs/job_1/artifact/..%2f..%2fdb", "").await;
    assert_eq!(missing.refused(404, "file_not_found")["job_id"], "job_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_artifact_is_verified_each_time() {
    let rig = rig().await;
    let bytes = with_artifact(&rig).await;
    let told = rig.call("POST", "/api/training/jobs/job_1/download-artifact", "").await;
    assert_eq!(told.status, 200, "{}", told.text());
    let artifact = told.json();
    assert_eq!(artifact["artifact_id"], "job_1_artifact");
    assert_eq!(artifact["hash_sha256"], sha256(&bytes).to_string());
    let status = rig.call("GET", "/api/training/jobs/job_1/status", "").await.json();
    assert_eq!(status["artifact_info"], artifact);
    let stored = std::path::Path::new(artifact["path"].as_str().unwrap());
    assert!(stored.is_absolute());
    let valid = rig.call("POST", "/api/training/jobs/job_1/verify-artifact", "").await.json();
    assert_eq!(valid["valid"], true);
    let mut damaged = bytes;
    damaged[5] ^= 1;
    make_writable(stored);
    std::fs::write(stored, damaged).unwrap();
    let invalid = rig.call("POST", "/api/training/jobs/job_1/verify-artifact", "").await.json();
    assert_eq!(invalid["valid"], false);
    rig.call("POST", "/api/training/jobs/job_1/download-artifact", "").await.refused(500, "artifact_damaged");
}

/// Stored files may be read-only.
fn make_writable(path: &std::path::Path) {
    let mut permissions = std::fs::metadata(path).unwrap().permissions();
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    #[cfg(not(unix))]
    permissions.set_readonly(false);
    std::fs::set_permissions(path, permissions).unwrap();
}
