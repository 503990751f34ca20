//! Artifacts on the wire.

use serde::Serialize;
use trainyard_domain::ArtifactFile;
use trainyard_orchestrator::{ArtifactView, FileCheck};
use utoipa::ToSchema;

use super::Time;

/// A job's artifact: `path`, `size_bytes` and `hash_sha256` are those of the main file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactAnswer {
    #[schema(example = "job_123_artifact")]
    artifact_id: String,
    job_id: String,
    /// Absolute path on the server's machine.
    path: String,
    size_bytes: u64,
    hash_sha256: String,
    created_at: Time,
    metadata: ArtifactMetadata,
    /// Every file, sorted by path.
    files: Vec<ArtifactFileWire>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ArtifactMetadata {
    provider: String,
    provider_job_id: Option<String>,
    model_name: String,
    peft_method: String,
}

/// One file of an artifact.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactFileWire {
    path: String,
    size_bytes: u64,
    hash_sha256: String,
}

impl From<&ArtifactFile> for ArtifactFileWire {
    fn from(file: &ArtifactFile) -> Self {
        ArtifactFileWire {
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            hash_sha256: file.hash_sha256.to_string(),
        }
    }
}

impl From<&ArtifactView> for ArtifactAnswer {
    fn from(view: &ArtifactView) -> Self {
        let ArtifactView { record, main, path, job } = view;
        ArtifactAnswer {
            artifact_id: format!("{}_artifact", job.id()),
            job_id: job.id().to_string(),
            path: path.display().to_string(),
            size_bytes: main.size_bytes,
            hash_sha256: main.hash_sha256.to_string(),
            created_at: record.created_at.into(),
            metadata: ArtifactMetadata {
                provider: record.provider.to_string(),
                provider_job_id: record.provider_job_id.as_ref().map(ToString::to_string),
                model_name: job.spec().model_name.clone(),
                peft_method: job.spec().peft_method.clone(),
            },
            files: record.files.iter().map(ArtifactFileWire::from).collect(),
        }
    }
}

/// What hashing again found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerifyAnswer {
    /// Whether every file is as it was recorded.
    valid: bool,
    files: Vec<FileCheckWire>,
}

/// One file, hashed again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FileCheckWire {
    path: String,
    expected: String,
    /// Null where the file is missing or unreadable.
    actual: Option<String>,
}

impl From<Vec<FileCheck>> for VerifyAnswer {
    fn from(checks: Vec<FileCheck>) -> Self {
        let valid = checks.iter().all(|check| check.actual == Some(check.expected));
        let files = checks.into_iter().map(|check| FileCheckWire {
            path: check.path,
            expected: check.expected.to_string(),
            actual: check.actual.map(|digest| digest.to_string()),
        });
        VerifyAnswer { valid, files: files.collect() }
    }
}
