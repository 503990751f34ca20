//! The logs of trainings: one file for each job, written before the span that tells of it is committed.
//!
//! A crash between the two leaves bytes that nothing tells of, and the next write goes over them: writes name their
//! offset.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use trainyard_domain::JobId;

use crate::durable::{blocking, probe, remove, sync_directory};
use crate::held::all_held;
use crate::{HeldFiles, StorageError};

/// Bytes of one read at most.
const READ_MAX: usize = 8 * 1024 * 1024;
/// How far back the beginning of the last lines is looked for, in bytes.
const TAIL_MAX: u64 = 8 * 1024 * 1024;
/// Bytes looked at in one step of that.
const TAIL_STEP: u64 = 64 * 1024;

/// The logs in a directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogFiles {
    root: Arc<Path>,
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> StorageError {
    move |source| StorageError::File { doing, source }
}

/// Where there is no file there are no bytes.
fn or_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl LogFiles {
    /// Opens the directory, and makes it where it is missing.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn open(root: impl Into<PathBuf>) -> Result<LogFiles, StorageError> {
        let root: PathBuf = root.into();
        let made = root.clone();
        blocking(move || fs::create_dir_all(made)).await.map_err(failed("opening the directory of logs"))?;
        Ok(LogFiles { root: root.into() })
    }

    fn path(&self, job: &JobId) -> PathBuf {
        self.root.join(format!("{job}.log"))
    }

    /// Whether the disk takes a small file here.
    ///
    /// # Errors
    /// [`StorageError::File`]: it is full, or read-only.
    pub async fn probe(&self) -> Result<(), StorageError> {
        probe(self.root.to_path_buf()).await.map_err(failed("writing a log"))
    }

    /// Writes bytes at that offset, over what stood there. They survive a power cut once this returns.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn write_at(&self, job: &JobId, offset: u64, bytes: Bytes) -> Result<(), StorageError> {
        let (path, root) = (self.path(job), Arc::clone(&self.root));
        let written = blocking(move || {
            let (file, new) = match File::options().write(true).open(&path) {
                Ok(file) => (file, false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    (File::options().write(true).create(true).truncate(false).open(&path)?, true)
                }
                Err(error) => return Err(error),
            };
            file.write_all_at(&bytes, offset)?;
            file.sync_data()?;
            if new { sync_directory(&root) } else { Ok(()) }
        });
        written.await.map_err(failed("writing a log"))
    }

    /// Bytes from that offset, at most `limit` (and 8 MiB); fewer only at the end of the file.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn read(&self, job: &JobId, offset: u64, limit: usize) -> Result<Vec<u8>, StorageError> {
        let path = self.path(job);
        let read = blocking(move || {
            let Some(file) = or_none(File::open(path))? else { return Ok(Vec::new()) };
            let there = file.metadata()?.len().saturating_sub(offset);
            let len = usize::try_from(there).unwrap_or(usize::MAX).min(limit).min(READ_MAX);
            let mut bytes = vec![0; len];
            let filled = read_at(&file, &mut bytes, offset)?;
            bytes.truncate(filled);
            Ok(bytes)
        });
        read.await.map_err(failed("reading a log"))
    }

    /// Where the last `lines` lines before `end` begin. A newline at the very end ends the last line. Looks back
    /// 8 MiB at most.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn tail_offset(&self, job: &JobId, lines: usize, end: u64) -> Result<u64, StorageError> {
        let path = self.path(job);
        let found = blocking(move || {
            let Some(file) = or_none(File::open(path))? else { return Ok(0) };
            tail(&file, lines, end.min(file.metadata()?.len()))
        });
        found.await.map_err(failed("reading a log"))
    }

    /// What is held, job by job, for retention.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn jobs(&self) -> Result<Vec<HeldFiles>, StorageError> {
        let root = Arc::clone(&self.root);
        let of = |name: &str| name.strip_suffix(".log").and_then(|job| job.parse().ok());
        let held = blocking(move || all_held(&root, of));
        held.await.map_err(failed("reading the directory of logs"))
    }

    /// Forgets a job's log; says whether there was one.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn delete(&self, job: &JobId) -> Result<bool, StorageError> {
        let path = self.path(job);
        let deleted = blocking(move || {
            let there = path.symlink_metadata().is_ok();
            remove(&path)?;
            Ok(there)
        });
        deleted.await.map_err(failed("deleting a log"))
    }
}

fn tail(file: &File, lines: usize, end: u64) -> io::Result<u64> {
    if lines == 0 {
        return Ok(end);
    }
    let floor = end.saturating_sub(TAIL_MAX);
    let (mut from, mut newlines) = (end, 0);
    let mut block = vec![0; TAIL_STEP as usize];
    while from > floor {
        let start = from.saturating_sub(TAIL_STEP).max(floor);
        let len = usize::try_from(from - start).map_err(io::Error::other)?;
        let read = read_at(file, &mut block[..len], start)?;
        for (at, _) in block[..read].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The newline at the very end begins no line.
            if after < end {
                newlines += 1;
                if newlines == lines {
                    return Ok(after);
                }
            }
        }
        from = start;
    }
    Ok(floor)
}
