//! The directory of artifacts: beginning, reading, verifying and deleting them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trainyard_domain::{ArtifactFile, AttemptNumber, JobId, Sha256};

use super::{Ingest, IngestError, check_path};
use crate::durable::{blocking, digest_of, probe, remove, sync_directory};
use crate::held::all_held;
use crate::{HeldFiles, StorageError};

/// Artifacts in a directory. Cheap to clone. Only one process may have it open.
#[derive(Debug, Clone)]
pub struct DiskArtifacts {
    root: Arc<Path>,
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> StorageError {
    move |source| StorageError::File { doing, source }
}

impl DiskArtifacts {
    /// Opens the directory, makes it where it is missing, and removes what a crash left half done.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn open(root: impl Into<PathBuf>) -> Result<DiskArtifacts, StorageError> {
        let root: PathBuf = root.into();
        let opened = blocking(move || {
            fs::create_dir_all(root.join(".part"))?;
            let root = root.canonicalize()?;
            clean_up(&root)?;
            Ok(root)
        });
        let root = opened.await.map_err(failed("opening the directory of artifacts"))?;
        Ok(DiskArtifacts { root: root.into() })
    }

    /// Whether the disk takes a small file here.
    ///
    /// # Errors
    /// [`StorageError::File`]: it is full, or read-only.
    pub async fn probe(&self) -> Result<(), StorageError> {
        probe(self.root.join(".part")).await.map_err(failed("writing a file for an artifact"))
    }

    /// Begins an artifact. Several may come in for one job; the last that is committed stands.
    ///
    /// # Errors
    /// [`IngestError::Io`].
    pub async fn begin(&self, job: &JobId, attempt: AttemptNumber) -> Result<Ingest, IngestError> {
        let part = self.root.join(".part").join(format!("{job}.{attempt}.{}", number()));
        let directory = part.clone();
        let begun = blocking(move || {
            fs::create_dir_all(directory.join("taking"))?;
            fs::create_dir_all(directory.join("files"))
        });
        begun.await.map_err(IngestError::io("making a directory"))?;
        Ok(Ingest::new(self.root.to_path_buf(), job.clone(), part))
    }

    /// Hashes stored files again: path, digest recorded, digest found; none where the file is not there or cannot
    /// be read. Nothing is changed.
    ///
    /// # Errors
    /// [`StorageError::File`] where the work could not be done at all.
    pub async fn verify(
        &self,
        job: &JobId,
        files: &[ArtifactFile],
    ) -> Result<Vec<(String, Sha256, Option<Sha256>)>, StorageError> {
        let mut found = Vec::with_capacity(files.len());
        for file in files {
            let (root, job, path) = (Arc::clone(&self.root), job.clone(), file.path.clone());
            let hashed = blocking(move || Ok(open_inside(&root, &job, &path).and_then(digest_of)));
            let actual = match hashed.await.map_err(failed("verifying an artifact"))? {
                Ok(actual) => Some(actual),
                Err(error) => {
                    tracing::warn!(path = %file.path, %error, "a file of an artifact cannot be verified");
                    None
                }
            };
            found.push((file.path.clone(), file.hash_sha256, actual));
        }
        Ok(found)
    }

    /// Opens a file of an artifact, with its length in bytes; none where there is no such file. Links are not
    /// followed.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn open_file(
        &self,
        job: &JobId,
        path: &str,
    ) -> Result<Option<(tokio::fs::File, u64)>, StorageError> {
        let (root, job, path) = (Arc::clone(&self.root), job.clone(), path.to_owned());
        let opened = blocking(move || {
            let file = open_inside(&root, &job, &path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        });
        match opened.await {
            Ok((file, len)) => Ok(Some((tokio::fs::File::from_std(file), len))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("opening a file of an artifact")(error)),
        }
    }

    /// Where a file of an artifact stands, absolute; none where the path cannot be one of an artifact.
    pub fn path(&self, job: &JobId, path: &str) -> Option<PathBuf> {
        check_path(path).ok()?;
        Some(self.root.join(job.as_str()).join(path))
    }

    /// What is held, job by job, for retention.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn jobs(&self) -> Result<Vec<HeldFiles>, StorageError> {
        let root = Arc::clone(&self.root);
        let held = blocking(move || all_held(&root, |name| name.parse().ok()));
        held.await.map_err(failed("reading the directory of artifacts"))
    }

    /// Forgets a job's artifact; says whether there was one.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn delete(&self, job: &JobId) -> Result<bool, StorageError> {
        let (root, place) = (Arc::clone(&self.root), self.root.join(job.as_str()));
        blocking(move || discard(&root, &place)).await.map_err(failed("deleting an artifact"))
    }
}

/// Opens a regular file inside an artifact. Every name on the way is looked at first, so that no link is followed.
fn open_inside(root: &Path, job: &JobId, path: &str) -> io::Result<File> {
    let none = || io::Error::from(io::ErrorKind::NotFound);
    check_path(path).map_err(|_| none())?;
    let mut place = root.join(job.as_str());
    for name in path.split('/') {
        if !place.symlink_metadata()?.is_dir() {
            return Err(none());
        }
        place.push(name);
    }
    if place.symlink_metadata()?.is_file() { File::open(place) } else { Err(none()) }
}

/// A number that was not given before in this process; what earlier processes left was removed on opening.
fn number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// Takes a file or directory away at once and removes it then; says whether there was one. A crash in between
/// leaves it to the next start.
pub(super) fn discard(root: &Path, place: &Path) -> io::Result<bool> {
    // Job ids do not begin with a dot, so no part has such a name.
    let trash = root.join(".part").join(format!(".trash-{}", number()));
    match fs::rename(place, &trash) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    if let Some(directory) = place.parent() {
        sync_directory(directory)?;
    }
    remove(&trash)?;
    Ok(true)
}

/// Removes what a crash left. An artifact that was just being replaced is put back.
fn clean_up(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root.join(".part"))? {
        let entry = entry?;
        let (name, old) = (entry.file_name(), entry.path().join("old"));
        let job = name.to_str().and_then(|name| name.rsplitn(3, '.').nth(2)).and_then(|job| job.parse().ok());
        let place = job.map(|job: JobId| root.join(job.as_str()));
        if let Some(place) = place
            && old.symlink_metadata().is_ok_and(|old| old.is_dir())
            && place.symlink_metadata().is_err()
        {
            fs::rename(old, place)?;
            sync_directory(root)?;
        }
        remove(&entry.path())?;
    }
    Ok(())
}
