//! The directory of checkpoints: beginning, reading, verifying and forgetting them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use trainyard_domain::{JobId, Sha256};

use super::index::{Index, blob, job_dir, manifests};
use super::{Checkpoint, CheckpointIngest};
use crate::StorageError;
use crate::artifacts::IngestError;
use crate::durable::{blocking, digest_of, remove};

/// Checkpoints in a directory. Cheap to clone. Only one process may have it open.
#[derive(Debug, Clone)]
pub struct DiskCheckpoints {
    root: Arc<Path>,
    index: Arc<Index>,
}

/// What is held of one job, for retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobCheckpoints {
    /// Whose.
    pub job: JobId,
    /// Bytes of its checkpoints; what they have in common counts for each.
    pub size_bytes: u64,
    /// When the newest came home.
    pub newest: SystemTime,
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> StorageError {
    move |source| StorageError::File { doing, source }
}

impl DiskCheckpoints {
    /// Opens the directory, makes it where it is missing, and removes what a crash left half taken.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn open(root: impl Into<PathBuf>) -> Result<DiskCheckpoints, StorageError> {
        let root: PathBuf = root.into();
        let opened = blocking(move || {
            remove(&root.join(".part"))?;
            for dir in ["blobs", "jobs", ".part"] {
                fs::create_dir_all(root.join(dir))?;
            }
            root.canonicalize()
        });
        let root = opened.await.map_err(failed("opening the directory of checkpoints"))?;
        Ok(DiskCheckpoints { index: Arc::new(Index::new(root.clone())), root: root.into() })
    }

    /// Begins to bring a checkpoint home, to be held for `holder`.
    ///
    /// # Errors
    /// [`IngestError`] where it cannot be held at all.
    pub async fn begin(
        &self,
        holder: &JobId,
        checkpoint: Checkpoint,
    ) -> Result<CheckpointIngest, IngestError> {
        CheckpointIngest::begin(Arc::clone(&self.root), Arc::clone(&self.index), holder.clone(), checkpoint)
            .await
    }

    /// What is held of a job, the newest first. Not verified.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn list(&self, job: &JobId) -> Result<Vec<Checkpoint>, StorageError> {
        let dir = job_dir(&self.root, job);
        let read = blocking(move || manifests(&dir)).await.map_err(failed("reading checkpoints"))?;
        Ok(read.into_iter().rev().map(|(_, _, checkpoint)| checkpoint).collect())
    }

    /// The newest whose bytes are all as they came. Ones that are damaged are forgotten. Reads every byte of it.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn newest_good(&self, job: &JobId) -> Result<Option<Checkpoint>, StorageError> {
        let (root, index, dir) = (Arc::clone(&self.root), Arc::clone(&self.index), job_dir(&self.root, job));
        let looked = blocking(move || {
            for (_, path, checkpoint) in manifests(&dir)?.into_iter().rev() {
                let bad = checkpoint.files.iter().find(|file| !is_good(&root, &file.hash_sha256));
                let Some(bad) = bad else { return Ok(Some(checkpoint)) };
                tracing::warn!(
                    checkpoint = %checkpoint.name, file = %bad.path,
                    "a checkpoint that is held is damaged and is forgotten"
                );
                // Else its bytes would count as here when it comes once more.
                remove(&blob(&root, &bad.hash_sha256))?;
                index.lock()?.forget(&path, &checkpoint)?;
            }
            Ok(None)
        });
        looked.await.map_err(failed("verifying checkpoints"))
    }

    /// Where the bytes of a file of a checkpoint stand, absolute.
    pub fn path(&self, digest: &Sha256) -> PathBuf {
        blob(&self.root, digest)
    }

    /// Holds the newest good checkpoint of one job for another one too. None where there is none.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn share(&self, from: &JobId, to: &JobId) -> Result<Option<Checkpoint>, StorageError> {
        let Some(checkpoint) = self.newest_good(from).await? else { return Ok(None) };
        let shared = async { self.begin(to, checkpoint.clone()).await?.commit(1).await };
        let shared = shared.await.map_err(io::Error::other).map_err(failed("sharing a checkpoint"))?;
        Ok(Some(shared))
    }

    /// Forgets a job's checkpoints; says whether there were any.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn delete(&self, job: &JobId) -> Result<bool, StorageError> {
        let (index, dir) = (Arc::clone(&self.index), job_dir(&self.root, job));
        let deleted = blocking(move || {
            if !dir.is_dir() {
                return Ok(false);
            }
            let mut locked = index.lock()?;
            for (_, path, checkpoint) in manifests(&dir)? {
                locked.forget(&path, &checkpoint)?;
            }
            remove(&dir)?;
            Ok(true)
        });
        deleted.await.map_err(failed("deleting checkpoints"))
    }

    /// What is held, job by job, for retention.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn jobs(&self) -> Result<Vec<JobCheckpoints>, StorageError> {
        let dir = self.root.join("jobs");
        let read = blocking(move || {
            let mut all = Vec::new();
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(job) = name.to_str().and_then(|name| name.parse::<JobId>().ok()) else { continue };
                let (mut size_bytes, mut newest) = (0, entry.metadata()?.modified()?);
                for (_, path, checkpoint) in manifests(&entry.path())? {
                    size_bytes += checkpoint.size_bytes();
                    newest = newest.max(path.symlink_metadata()?.modified()?);
                }
                all.push(JobCheckpoints { job, size_bytes, newest });
            }
            Ok(all)
        });
        read.await.map_err(failed("reading checkpoints"))
    }
}

fn is_good(root: &Path, digest: &Sha256) -> bool {
    File::open(blob(root, digest)).and_then(digest_of).is_ok_and(|found| found == *digest)
}
