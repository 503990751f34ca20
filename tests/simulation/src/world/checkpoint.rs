//! Checkpoints of simulated trainings: what one is made of follows from its job and its step, so that it can be said of
//! any bytes whether they are it.

use bytes::Bytes;
use trainyard_connector::{CheckpointInfo, CheckpointManifest, ManifestFile};
use trainyard_domain::{JobId, Sha256};

use super::digest;

/// The files of the checkpoint that a job's training writes at a step: one that is another one at each step, one that
/// stays the same.
pub(crate) fn files(job: &JobId, step: u64) -> Vec<(String, Bytes)> {
    let weights = Bytes::from(format!("{job} has trained {step} steps").into_bytes());
    let config = Bytes::from(format!("{job} as ever").into_bytes());
    vec![("config.json".to_owned(), config), ("weights.bin".to_owned(), weights)]
}

/// Its name.
pub(crate) fn name(step: u64) -> String {
    format!("checkpoint-{step}")
}

/// The step in a name.
pub(crate) fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("checkpoint-")?.parse().ok()
}

/// What an agent tells of it.
pub(crate) fn info(job: &JobId, step: u64) -> CheckpointInfo {
    let size_bytes = files(job, step).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    CheckpointInfo { path: name(step), step: Some(step), size_bytes }
}

/// What an agent tells of it once it is held.
pub(crate) fn manifest(job: &JobId, step: u64) -> CheckpointManifest {
    let file = |(path, bytes): (String, Bytes)| {
        let (size_bytes, sha256) = (bytes.len() as u64, digest(&bytes));
        ManifestFile { path, size_bytes, sha256 }
    };
    let files = files(job, step).into_iter().map(file).collect();
    CheckpointManifest { path: name(step), name: name(step), step: Some(step), files }
}

/// The digests of its files.
pub(crate) fn digests(job: &JobId, step: u64) -> Vec<Sha256> {
    files(job, step).iter().map(|(_, bytes)| digest(bytes)).collect()
}
