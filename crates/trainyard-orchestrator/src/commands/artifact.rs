//! Artifacts: what is stored, verified again.

use trainyard_domain::{ArtifactFile, ArtifactRecord, JobId, StateName, Wish};

use super::load;
use crate::{ArtifactView, Error, ErrorKind, FileCheck, JobView, Orchestrator};

impl Orchestrator {
    /// The stored artifact, hashed again before it is answered.
    ///
    /// # Errors
    /// 400 for a job that was never submitted; 404 where there is no artifact (yet); 500 where it is damaged.
    pub async fn artifact(&self, id: &JobId) -> Result<ArtifactView, Error> {
        let (job, record) = self.record(id).await?;
        let checks = self.check_files(id, &record).await?;
        let damaged: Vec<&str> = checks
            .iter()
            .filter(|check| check.actual != Some(check.expected))
            .map(|check| check.path.as_str())
            .collect();
        if !damaged.is_empty() {
            return Err(Error::new(
                ErrorKind::Internal,
                "artifact_damaged",
                "the stored artifact is damaged",
            )
            .detail(format!("these files do not have their digest any more: {}", damaged.join(", ")))
            .about(id));
        }
        self.place(job, record).ok_or_else(|| none(id))
    }

    /// Hashes every stored file again.
    ///
    /// # Errors
    /// As [`Orchestrator::artifact`], but a damaged file is told, not an error.
    pub async fn verify_artifact(&self, id: &JobId) -> Result<Vec<FileCheck>, Error> {
        let (_, record) = self.record(id).await?;
        self.check_files(id, &record).await
    }

    /// Opens one file of the artifact.
    ///
    /// # Errors
    /// 404 where there is no such file.
    pub async fn open_artifact(
        &self,
        id: &JobId,
        path: &str,
    ) -> Result<(tokio::fs::File, ArtifactFile), Error> {
        let (_, record) = self.record(id).await?;
        let file = record.files.into_iter().find(|file| file.path == path).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "file_not_found", "the artifact has no such file").about(id)
        })?;
        match self.core.artifacts.open_file(id, &file.path).await? {
            Some((opened, _)) => Ok((opened, file)),
            None => {
                Err(Error::new(ErrorKind::Internal, "artifact_damaged", "a file of the artifact is missing")
                    .about(id))
            }
        }
    }

    /// What is recorded of a job's artifact, without hashing.
    pub fn artifact_info(&self, view: &JobView) -> Option<ArtifactView> {
        self.place(view.job.clone(), view.job.body().artifact.clone()?)
    }

    async fn record(&self, id: &JobId) -> Result<(trainyard_domain::Job, ArtifactRecord), Error> {
        let job = load(&self.core, id).await?.job;
        if job.state().name() == StateName::Created && job.wish() == Wish::Rest {
            return Err(Error::bad_request(
                "not_submitted",
                "the job is not on a provider: it was never submitted",
            )
            .about(id));
        }
        match job.body().artifact.clone() {
            Some(record) => Ok((job, record)),
            None => Err(none(id).detail(format!("the job is {}", job.state().name()))),
        }
    }

    async fn check_files(&self, id: &JobId, record: &ArtifactRecord) -> Result<Vec<FileCheck>, Error> {
        let checks = self.core.artifacts.verify(id, &record.files).await?;
        Ok(checks.into_iter().map(|(path, expected, actual)| FileCheck { path, expected, actual }).collect())
    }

    fn place(&self, job: trainyard_domain::Job, record: ArtifactRecord) -> Option<ArtifactView> {
        let main = record.main_file()?.clone();
        let path = self.core.artifacts.path(job.id(), &main.path)?;
        Some(ArtifactView { record, main, path, job })
    }
}

fn none(id: &JobId) -> Error {
    Error::new(ErrorKind::NotFound, "no_artifact", "the job has no artifact").about(id)
}
