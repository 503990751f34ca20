//! Files of a machine, and files for it.

use std::time::Duration;

use sha2::Digest;
use trainyard_connector::{ErrorKind, HandOver, HandOverPurpose, InputSource, Manifest, Workload};
use trainyard_domain::Sha256;

use super::make::*;
use super::running::{exit, shell};
use super::trial::{Can, Trial};

/// Small enough that every file of some size takes several calls.
const PIECE: u64 = 300_007;

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// Runs a script on a new machine and waits for the manifest of what it left.
async fn left_by(trial: &dyn Trial, script: &str) -> (Box<dyn Workload>, Manifest) {
    let (name, placed) = place(trial).await;
    let workload = attached(trial, &name, &placed).await;
    workload.start(&shell(script)).await.expect("started");
    assert_eq!(exit(trial, workload.as_ref()).await.code, 0);
    let manifest = until(trial, "the manifest", async || {
        workload.manifest(Duration::from_secs(5)).await.expect("the manifest, or that it is being made")
    })
    .await;
    (workload, manifest)
}

async fn rest_of(workload: &dyn Workload, path: &str, mut have: Vec<u8>, size: u64) -> Vec<u8> {
    while (have.len() as u64) < size {
        let piece = workload.file(path, have.len() as u64, PIECE).await.expect("a piece of the file");
        assert!(!piece.is_empty() && piece.len() as u64 <= PIECE);
        have.extend_from_slice(&piece);
    }
    have
}

const OUTPUTS: &str = "cd \"$TRAINYARD_OUTPUT_DIR\" && : > empty && printf x > one && mkdir -p 'a b' && \
                       seq 1 250000 > 'a b/big&é' && printf 'weights' > adapter_model.safetensors";

pub(super) async fn equal(trial: &dyn Trial) -> Can<()> {
    let (workload, manifest) = left_by(trial, OUTPUTS).await;
    let names: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["a b/big&é", "adapter_model.safetensors", "empty", "one"]);
    for file in &manifest.files {
        let bytes = rest_of(workload.as_ref(), &file.path, Vec::new(), file.size_bytes).await;
        assert_eq!(bytes.len() as u64, file.size_bytes);
        assert_eq!(digest(&bytes), file.sha256, "{}", file.path);
    }
    let big: String = (1..=250_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(manifest.files[0].sha256, digest(big.as_bytes()), "as it was written");
    Ok(())
}

pub(super) async fn resumed(trial: &dyn Trial) -> Can<()> {
    let (workload, manifest) = left_by(trial, OUTPUTS).await;
    let big = &manifest.files[0];
    let first = workload.file(&big.path, 0, PIECE).await.expect("the first piece").to_vec();
    // A piece that was cut on its way is thrown away; the rest is read by another connection.
    let kept = first[..first.len() / 3].to_vec();
    let bytes = rest_of(workload.as_ref(), &big.path, kept, big.size_bytes).await;
    assert_eq!(digest(&bytes), big.sha256);
    let past = workload.file(&big.path, big.size_bytes, 10).await;
    assert!(past.as_ref().map_or(true, |bytes| bytes.is_empty()), "nothing is past the end: {past:?}");
    Ok(())
}

pub(super) async fn only_outputs(trial: &dyn Trial) -> Can<()> {
    let script = format!("{OUTPUTS} && ln -s /etc/passwd link && mkfifo pipe");
    let (workload, manifest) = left_by(trial, &script).await;
    assert_eq!(manifest.files.len(), 4, "{:?}", manifest.files);
    assert_eq!(manifest.skipped.len(), 2, "what was left out is told: {:?}", manifest.skipped);
    for path in ["link", "pipe", "../spec.json", "/etc/passwd", "a b/../../spec.json", "", ".", "nothing"] {
        let error = workload.file(path, 0, 100).await.expect_err(path);
        assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid), "{path}: {error:?}");
    }
    Ok(())
}

pub(super) async fn inputs(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let workload = attached(trial, &name, &placed).await;
    let directory = std::env::temp_dir().join(format!("trainyard-kit-{name}"));
    std::fs::create_dir_all(&directory).expect("a directory");
    let text: String = (1..=120_000).map(|n| format!("{{\"text\": \"record {n}\"}}\n")).collect();
    let bytes = text.as_bytes();
    let path = directory.join("data.jsonl");
    std::fs::write(&path, bytes).expect("a file");
    let input = InputSource { sha256: digest(bytes), size_bytes: bytes.len() as u64, path };
    workload.put_input(&input).await.expect("handed over");
    workload.put_input(&input).await.expect("handed over again");
    // Other bytes under that digest are not taken.
    let other = directory.join("other.jsonl");
    std::fs::write(&other, "x".repeat(1000)).expect("a file");
    let wrong = InputSource { sha256: digest(b"something else"), size_bytes: 1000, path: other };
    let refused = workload.put_input(&wrong).await;
    std::fs::remove_dir_all(&directory).expect("removed");
    assert_eq!(refused.expect_err("it is another file").kind, ErrorKind::Mismatch);
    let mut order = shell("cat \"$TRAINYARD_DATASET\" > \"$TRAINYARD_OUTPUT_DIR/copy\"");
    order.inputs = vec![HandOver { sha256: input.sha256, purpose: HandOverPurpose::Dataset }];
    workload.start(&order).await.expect("started");
    assert_eq!(exit(trial, workload.as_ref()).await.code, 0);
    let manifest = until(trial, "the manifest", async || {
        workload.manifest(Duration::from_secs(5)).await.expect("the manifest")
    })
    .await;
    assert_eq!(manifest.files[0].sha256, input.sha256);
    Ok(())
}
