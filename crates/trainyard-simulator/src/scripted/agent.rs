//! One scripted agent: what it was told, and the files that its training leaves.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256 as Hasher};
use tokio::sync::watch;
use trainyard_connector::{Manifest, ManifestFile, SelfRemovalProof, TrainingState, WorkloadState};
use trainyard_domain::{AttemptNumber, JobId, Sha256, Timestamp};

use super::Script;
use super::story::Story;

/// What a training leaves: an adapter of nothing.
pub(super) const FILES: [(&str, &[u8]); 2] = [
    (
        "adapter_config.json",
        br#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}"#,
    ),
    // The length of the header in eight bytes, and a header that names no tensor.
    ("adapter_model.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
];

/// A scripted agent. It lives as long as its pod's container.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(super) order: String,
    pub(super) boot_id: String,
    script: Script,
    attempt: Mutex<Option<Attempt>>,
    /// Rings when the training began or was stopped.
    pub(super) bell: watch::Sender<u64>,
}

#[derive(Debug, Clone)]
struct Attempt {
    job: JobId,
    number: AttemptNumber,
    story: Story,
}

impl Agent {
    pub(crate) fn new(order: String, boot_id: String, script: Script) -> Agent {
        Agent { order, boot_id, script, attempt: Mutex::new(None), bell: watch::Sender::new(0) }
    }

    /// Begins the training; where it was begun before, nothing.
    pub(super) fn start(&self, job: JobId, number: AttemptNumber, now: Timestamp) {
        let story = Story { script: self.script, began: now, stopped: None };
        self.attempt().get_or_insert(Attempt { job, number, story });
        self.bell.send_modify(|count| *count += 1);
    }

    pub(super) fn stop(&self, now: Timestamp) {
        if let Some(attempt) = self.attempt().as_mut() {
            attempt.story.stopped.get_or_insert(now);
        }
        self.bell.send_modify(|count| *count += 1);
    }

    pub(super) fn story(&self) -> Option<Story> {
        self.attempt().as_ref().map(|attempt| attempt.story)
    }

    pub(super) fn state(&self, now: Timestamp) -> WorkloadState {
        let attempt = self.attempt();
        WorkloadState {
            boot_id: self.boot_id.clone(),
            training: attempt.as_ref().map_or(TrainingState::Idle, |attempt| attempt.story.state(now)),
            last_event: attempt.as_ref().map_or(0, |attempt| attempt.story.last(now)),
            attempt: attempt.as_ref().map(|attempt| (attempt.job.clone(), attempt.number)),
            log_bytes: 0,
            self_removal: SelfRemovalProof::None,
        }
    }

    /// None before the training ended.
    pub(super) fn manifest(&self, now: Timestamp) -> Option<Manifest> {
        let attempt = self.attempt().clone().filter(|attempt| now >= attempt.story.end())?;
        let file = |(path, bytes): (&str, &[u8])| ManifestFile {
            path: path.to_owned(),
            size_bytes: bytes.len() as u64,
            sha256: Sha256::from_bytes(Hasher::digest(bytes).into()),
        };
        Some(Manifest { attempt: attempt.number, files: FILES.map(file).into(), skipped: Vec::new() })
    }

    fn attempt(&self) -> MutexGuard<'_, Option<Attempt>> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
