//! Taking an artifact in: every file compared with its digest, then all of them shown at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use trainyard_domain::{ArtifactFile, JobId, Sha256};

use super::disk::discard;
use super::{BadPath, IngestError, check_path};
use crate::durable::{HashedFile, blocking, sync_directory};

/// Files of one artifact at most.
const FILES_MAX: usize = 10_000;

/// An artifact that is coming in. Several of its files may come at once. Dropped before [`Ingest::commit`], nothing
/// of it was ever visible, and what came is removed.
#[derive(Debug)]
pub struct Ingest {
    root: PathBuf,
    job: JobId,
    part: Part,
    taken: Arc<Mutex<Taken>>,
}

/// The directory of what is coming in; removed when it is dropped.
#[derive(Debug)]
struct Part {
    root: PathBuf,
    directory: PathBuf,
}

impl Drop for Part {
    fn drop(&mut self) {
        // A failure here leaves bytes that the next start removes.
        let (root, directory) = (self.root.clone(), self.directory.clone());
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || discard(&root, &directory))),
            Err(_) => drop(discard(&root, &directory)),
        }
    }
}

#[derive(Debug, Default)]
struct Taken {
    /// Numbers given to files that are coming in.
    last: u64,
    /// Paths that are coming in.
    open: BTreeSet<String>,
    /// Files that are verified and synced.
    done: BTreeMap<String, ArtifactFile>,
}

/// One file that is coming in. Dropped before [`FileIngest::finish`], it was never there and may be asked for again.
#[derive(Debug)]
pub struct FileIngest {
    expected: ArtifactFile,
    taking: PathBuf,
    place: PathBuf,
    taken: Arc<Mutex<Taken>>,
    file: Option<HashedFile>,
}

fn locked(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Taken {
    /// Claims a path, and gives a number for the file that it comes in by.
    fn claim(&mut self, path: &str) -> Result<u64, IngestError> {
        let refuse = |rule| Err(IngestError::BadPath(BadPath { path: path.to_owned(), rule }));
        if self.open.len() + self.done.len() >= FILES_MAX {
            return Err(IngestError::TooMany { max: FILES_MAX });
        }
        if self.open.contains(path) || self.done.contains_key(path) {
            return refuse("it comes twice");
        }
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        if above.into_iter().any(|above| self.open.contains(above) || self.done.contains_key(above)) {
            return refuse("a file stands where it needs a directory");
        }
        let inside = format!("{path}/");
        let within = |other: Option<&String>| other.is_some_and(|other| other.starts_with(&inside));
        if within(self.open.range(inside.clone()..).next())
            || within(self.done.range(inside.clone()..).next().map(|(path, _)| path))
        {
            return refuse("a directory stands where it is");
        }
        self.open.insert(path.to_owned());
        self.last += 1;
        Ok(self.last)
    }
}

impl Ingest {
    pub(super) fn new(root: PathBuf, job: JobId, directory: PathBuf) -> Ingest {
        let part = Part { root: root.clone(), directory };
        Ingest { root, job, part, taken: Arc::default() }
    }

    /// Begins one file, whose bytes and digest are announced.
    ///
    /// # Errors
    /// [`IngestError::BadPath`], [`IngestError::TooMany`], [`IngestError::Io`].
    pub async fn file(&self, path: &str, expected: Sha256, size: u64) -> Result<FileIngest, IngestError> {
        check_path(path)?;
        let number = locked(&self.taken).claim(path)?;
        let taking = self.part.directory.join("taking").join(number.to_string());
        let expected = ArtifactFile { path: path.to_owned(), size_bytes: size, hash_sha256: expected };
        let place = self.part.directory.join("files").join(path);
        // Made first, so that the path is free again where this future is dropped or opening fails.
        let mut ingest = FileIngest {
            expected,
            taking: taking.clone(),
            place,
            taken: Arc::clone(&self.taken),
            file: None,
        };
        let file = blocking(move || File::create_new(taking)).await;
        ingest.file = Some(HashedFile::new(file.map_err(IngestError::io("opening a file"))?, Arc::new(())));
        Ok(ingest)
    }

    /// Shows the artifact: exactly these files, all of which were taken. One of an earlier attempt is replaced.
    ///
    /// # Errors
    /// [`IngestError::Empty`], [`IngestError::Incomplete`] where the files are not those that were taken,
    /// [`IngestError::Io`]. What stood there before stands there still.
    pub async fn commit(self, files: &[ArtifactFile]) -> Result<(), IngestError> {
        self.check(files)?;
        let Ingest { root, job, part, .. } = self;
        let shown = blocking(move || {
            let new = part.directory.join("files");
            sync_tree(&new)?;
            show(&root, &job, &new, &part.directory.join("old"))
            // The part, with what was replaced, goes here.
        });
        shown.await.map_err(IngestError::io("showing the artifact"))
    }

    fn check(&self, files: &[ArtifactFile]) -> Result<(), IngestError> {
        let incomplete = |path: &str, what| Err(IngestError::Incomplete { path: path.to_owned(), what });
        let taken = locked(&self.taken);
        if let Some(path) = taken.open.first() {
            return incomplete(path, "is still coming in");
        }
        if let Some(file) = files.iter().find(|file| taken.done.get(&file.path) != Some(file)) {
            return incomplete(&file.path, "was not taken in with that size and digest");
        }
        let listed: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        if let Some(path) = taken.done.keys().find(|path| !listed.contains(path.as_str())) {
            return incomplete(path, "was taken in, but is not listed");
        }
        if files.is_empty() { Err(IngestError::Empty) } else { Ok(()) }
    }
}

impl FileIngest {
    /// Bytes taken so far: where a connection that was cut goes on.
    pub fn written(&self) -> u64 {
        self.file.as_ref().map_or(0, HashedFile::taken)
    }

    /// Takes the next bytes. Waits while the bytes before them are hashed and written.
    ///
    /// # Errors
    /// [`IngestError::TooLong`] as soon as there are more than announced, [`IngestError::Io`]. The file is lost then:
    /// drop this and begin it anew.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), IngestError> {
        let expected = self.expected.size_bytes;
        let Some(file) = &mut self.file else { return Err(self.lost()) };
        if file.taken() + chunk.len() as u64 > expected {
            self.file = None;
            return Err(IngestError::TooLong { path: self.expected.path.clone(), expected });
        }
        file.push(chunk).await.map_err(IngestError::io("writing a file"))
    }

    /// Ends the file: compares, syncs it to the disk and puts it to the others.
    ///
    /// # Errors
    /// [`IngestError::TooShort`], [`IngestError::Mismatch`], [`IngestError::Io`]; the file may be begun anew.
    pub async fn finish(mut self) -> Result<ArtifactFile, IngestError> {
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
        let put = blocking(move || {
            bytes.sync_all()?;
            if let Some(directory) = self.place.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::rename(&self.taking, &self.place)?;
            // Here and not behind an await: what stands in place and what is known of it never differ.
            locked(&self.taken).done.insert(path, self.expected.clone());
            Ok(self.expected.clone())
        });
        put.await.map_err(IngestError::io("putting a file to its place"))
    }

    fn lost(&self) -> IngestError {
        let what = "was refused before; begin it anew";
        IngestError::Incomplete { path: self.expected.path.clone(), what }
    }
}

impl Drop for FileIngest {
    fn drop(&mut self) {
        // Where it was put to its place there is nothing left to remove.
        let _ = fs::remove_file(&self.taking);
        locked(&self.taken).open.remove(&self.expected.path);
    }
}

/// Syncs a directory and all directories in it. The files in them are synced already.
fn sync_tree(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_directory(directory)
}

/// Renames the new directory into place; what stood there goes to `old` and comes back where that fails.
fn show(root: &Path, job: &JobId, new: &Path, old: &Path) -> std::io::Result<()> {
    let place = root.join(job.as_str());
    let replaces = place.symlink_metadata().is_ok();
    if replaces {
        fs::rename(&place, old)?;
    }
    if let Err(error) = fs::rename(new, &place) {
        if replaces {
            fs::rename(old, &place)?;
        }
        return Err(error);
    }
    sync_directory(root)
}
