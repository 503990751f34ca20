//! What a job's files take and since when they lie there, for retention.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use trainyard_domain::JobId;

/// What is held of one job in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFiles {
    /// Whose.
    pub job: JobId,
    /// Bytes of all its files there.
    pub bytes: u64,
    /// When the newest of them was written.
    pub newest: SystemTime,
}

/// What lies at a path, itself or below it; links are not followed.
pub(crate) fn held(job: JobId, path: &Path) -> io::Result<HeldFiles> {
    let metadata = path.symlink_metadata()?;
    let mut held = HeldFiles { job, bytes: 0, newest: metadata.modified()? };
    if metadata.is_dir() {
        let mut open = vec![path.to_path_buf()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let metadata = entry.path().symlink_metadata()?;
                held.newest = held.newest.max(metadata.modified()?);
                match metadata.is_dir() {
                    true => open.push(entry.path()),
                    false => held.bytes += metadata.len(),
                }
            }
        }
    } else {
        held.bytes = metadata.len();
    }
    Ok(held)
}

/// What lies in a directory, job by job; `name` tells the job of an entry, none for what is no job's.
pub(crate) fn all_held(root: &Path, name: impl Fn(&str) -> Option<JobId>) -> io::Result<Vec<HeldFiles>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let Some(job) = entry.file_name().to_str().and_then(&name) else { continue };
        match held(job, &entry.path()) {
            Ok(held) => all.push(held),
            // It went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}
