//! Bringing a checkpoint home: only what is not here yet comes, each file compared with its digest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use trainyard_domain::{ArtifactFile, JobId, Sha256};

use super::Checkpoint;
use super::index::{Claim, Index, blob, digests, job_dir, manifests};
use crate::artifacts::IngestError;
use crate::durable::{HashedFile, blocking, sync_directory};

/// A checkpoint that is coming in. Dropped before [`CheckpointIngest::commit`], it was never there; what of it came
/// is removed where nothing else names it.
#[derive(Debug)]
pub struct CheckpointIngest {
    root: Arc<Path>,
    index: Arc<Index>,
    holder: JobId,
    checkpoint: Checkpoint,
    claim: Claim,
}

/// One file that is coming in. Dropped before [`BlobIngest::finish`], it was never there.
#[derive(Debug)]
pub struct BlobIngest {
    expected: ArtifactFile,
    taking: PathBuf,
    place: PathBuf,
    file: Option<HashedFile>,
}

impl CheckpointIngest {
    pub(super) async fn begin(
        root: Arc<Path>,
        index: Arc<Index>,
        holder: JobId,
        checkpoint: Checkpoint,
    ) -> Result<CheckpointIngest, IngestError> {
        checkpoint.check()?;
        let (all, counted) = (digests(&checkpoint), Arc::clone(&index));
        let claim = blocking(move || counted.claim(all)).await.map_err(IngestError::io("claiming files"))?;
        Ok(CheckpointIngest { root, index, holder, checkpoint, claim })
    }

    /// The files that are to be fetched: of those with the same bytes one, and none that is here.
    ///
    /// # Errors
    /// [`IngestError::Io`].
    pub async fn missing(&self) -> Result<Vec<ArtifactFile>, IngestError> {
        let (root, files) = (Arc::clone(&self.root), self.checkpoint.files.clone());
        let looked = blocking(move || {
            let distinct: BTreeMap<Sha256, ArtifactFile> =
                files.into_iter().map(|file| (file.hash_sha256, file)).collect();
            Ok(distinct.into_values().filter(|file| !is_here(&root, file)).collect())
        });
        looked.await.map_err(IngestError::io("looking for files"))
    }

    /// Begins one of them.
    ///
    /// # Errors
    /// [`IngestError::Io`].
    pub async fn file(&self, expected: &ArtifactFile) -> Result<BlobIngest, IngestError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let taking = self.root.join(".part").join(format!("{}.{number}", std::process::id()));
        let place = blob(&self.root, &expected.hash_sha256);
        let mut ingest = BlobIngest { expected: expected.clone(), taking: taking.clone(), place, file: None };
        let file = blocking(move || File::create_new(taking)).await;
        ingest.file = Some(HashedFile::new(file.map_err(IngestError::io("opening a file"))?, Arc::new(())));
        Ok(ingest)
    }

    /// Shows the checkpoint, and forgets the job's older ones but the newest `keep` (at least this one).
    ///
    /// # Errors
    /// [`IngestError::Incomplete`] where a file is not here, [`IngestError::Io`].
    pub async fn commit(self, keep: usize) -> Result<Checkpoint, IngestError> {
        let CheckpointIngest { root, index, holder, checkpoint, claim } = self;
        let missing = checkpoint.clone();
        let committed = blocking(move || {
            if let Some(file) = checkpoint.files.iter().find(|file| !is_here(&root, file)) {
                return Ok(Err(file.path.clone()));
            }
            sync_directory(&root.join("blobs"))?;
            let mut locked = index.lock()?;
            let dir = job_dir(&root, &holder);
            fs::create_dir_all(&dir)?;
            let older = manifests(&dir)?;
            let number = older.last().map_or(1, |(number, ..)| number + 1);
            write(&root, &dir, number, &checkpoint)?;
            locked.name(&digests(&checkpoint));
            let kept = keep.max(1) - 1;
            for (_, path, old) in older.iter().rev().skip(kept) {
                locked.forget(path, old)?;
            }
            drop(locked);
            drop(claim);
            Ok(Ok(()))
        });
        match committed.await.map_err(IngestError::io("showing a checkpoint"))? {
            Ok(()) => Ok(missing),
            Err(path) => Err(IngestError::Incomplete { path, what: "was not taken in" }),
        }
    }
}

/// Whether the bytes of a file are here, by their number.
fn is_here(root: &Path, file: &ArtifactFile) -> bool {
    let found = blob(root, &file.hash_sha256).symlink_metadata();
    found.is_ok_and(|found| found.is_file() && found.len() == file.size_bytes)
}

fn write(root: &Path, dir: &Path, number: u64, checkpoint: &Checkpoint) -> std::io::Result<()> {
    use std::io::Write;
    let aside = root.join(".part").join(format!("{}.{number}.json", checkpoint.attempt));
    let mut file = File::create(&aside)?;
    file.write_all(&checkpoint.encode()?)?;
    file.sync_all()?;
    fs::rename(&aside, dir.join(format!("{number:010}.json")))?;
    sync_directory(dir)?;
    dir.parent().map_or(Ok(()), sync_directory)
}

impl BlobIngest {
    /// Bytes taken so far.
    pub fn written(&self) -> u64 {
        self.file.as_ref().map_or(0, HashedFile::taken)
    }

    /// Takes the next bytes. Waits while the bytes before them are hashed and written.
    ///
    /// # Errors
    /// [`IngestError::TooLong`] as soon as there are more than announced, [`IngestError::Io`]. The file is lost then.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), IngestError> {
        let expected = self.expected.size_bytes;
        let Some(file) = &mut self.file else { return Err(self.lost()) };
        if file.taken() + chunk.len() as u64 > expected {
            self.file = None;
            return Err(IngestError::TooLong { path: self.expected.path.clone(), expected });
        }
        file.push(chunk).await.map_err(IngestError::io("writing a file"))
    }

    /// Ends the file: compares, syncs it to the disk and puts it to its place.
    ///
    /// # Errors
    /// [`IngestError::TooShort`], [`IngestError::Mismatch`], [`IngestError::Io`]; the file may be begun anew.
    pub async fn finish(mut self) -> Result<(), IngestError> {
        let Some(file) = self.file.take() else { return Err(self.lost()) };
        let (path, size) = (self.expected.path.clone(), self.expected.size_bytes);
        if file.taken() != size {
            return Err(IngestError::TooShort { path, expected: size, actual: file.taken() });
        }
        let (bytes, actual) = file.finish().await.map_err(IngestError::io("writing a file"))?;
        let expected = self.expected.hash_sha256;
        if actual != expected {
            return Err(IngestError::Mismatch { path, expected, actual });
        }
        let (taking, place) = (self.taking.clone(), self.place.clone());
        let put = blocking(move || {
            bytes.sync_all()?;
            fs::rename(taking, place)
        });
        put.await.map_err(IngestError::io("putting a file to its place"))
    }

    fn lost(&self) -> IngestError {
        let what = "was refused before; begin it anew";
        IngestError::Incomplete { path: self.expected.path.clone(), what }
    }
}

impl Drop for BlobIngest {
    fn drop(&mut self) {
        // Where it was put to its place there is nothing left to remove.
        let _ = fs::remove_file(&self.taking);
    }
}
