//! Which bytes are named by how many: manifests on the disk and copies under way. Blocks; held under one lock.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trainyard_domain::{JobId, Sha256};

use super::Checkpoint;
use crate::durable::{remove, sync_directory};

/// The counts; read from the disk when they are first needed.
#[derive(Debug)]
pub(super) struct Index {
    root: PathBuf,
    counts: Mutex<Option<HashMap<Sha256, u32>>>,
}

/// A lock on the counts.
pub(super) struct Locked<'a> {
    root: &'a Path,
    counts: MutexGuard<'a, Option<HashMap<Sha256, u32>>>,
}

/// Bytes that a copy under way names; let go of when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    index: Arc<Index>,
    digests: BTreeSet<Sha256>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let (index, digests) = (Arc::clone(&self.index), std::mem::take(&mut self.digests));
        let let_go = move || {
            // What stays by a failure goes with the next start.
            let _ = index.lock().and_then(|mut locked| locked.let_go(&digests));
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(let_go)),
            Err(_) => let_go(),
        }
    }
}

/// The distinct digests of a checkpoint.
pub(super) fn digests(checkpoint: &Checkpoint) -> BTreeSet<Sha256> {
    checkpoint.files.iter().map(|file| file.hash_sha256).collect()
}

impl Index {
    pub(super) fn new(root: PathBuf) -> Index {
        Index { root, counts: Mutex::new(None) }
    }

    pub(super) fn lock(&self) -> io::Result<Locked<'_>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.is_none() {
            *counts = Some(count(&self.root)?);
        }
        Ok(Locked { root: &self.root, counts })
    }

    pub(super) fn claim(self: &Arc<Self>, digests: BTreeSet<Sha256>) -> io::Result<Claim> {
        self.lock()?.name(&digests);
        Ok(Claim { index: Arc::clone(self), digests })
    }
}

impl Locked<'_> {
    pub(super) fn name(&mut self, digests: &BTreeSet<Sha256>) {
        let counts = self.counts.get_or_insert_default();
        for digest in digests {
            *counts.entry(*digest).or_default() += 1;
        }
    }

    /// Removes what nobody names any more.
    pub(super) fn let_go(&mut self, digests: &BTreeSet<Sha256>) -> io::Result<()> {
        let counts = self.counts.get_or_insert_default();
        for digest in digests {
            let left = counts.get(digest).map_or(0, |count| count.saturating_sub(1));
            if left == 0 {
                counts.remove(digest);
                remove(&blob(self.root, digest))?;
            } else {
                counts.insert(*digest, left);
            }
        }
        Ok(())
    }

    /// Forgets one complete checkpoint; its bytes go where nobody else names them.
    pub(super) fn forget(&mut self, manifest: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
        remove(manifest)?;
        manifest.parent().map_or(Ok(()), sync_directory)?;
        self.let_go(&digests(checkpoint))
    }
}

/// Where the bytes of that digest stand.
pub(super) fn blob(root: &Path, digest: &Sha256) -> PathBuf {
    root.join("blobs").join(digest.to_string())
}

/// Where the manifests of a job stand.
pub(super) fn job_dir(root: &Path, job: &JobId) -> PathBuf {
    root.join("jobs").join(job.as_str())
}

/// The manifests in a job's directory, the oldest first; those that are damaged are removed.
pub(super) fn manifests(dir: &Path) -> io::Result<Vec<(u64, PathBuf, Checkpoint)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let read = match fs::read(&path) {
            Ok(text) => Checkpoint::decode(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match (number, read) {
            (Some(number), Some(checkpoint)) => found.push((number, path, checkpoint)),
            _ => {
                tracing::warn!(path = %path.display(), "a damaged record of a checkpoint is removed");
                remove(&path)?;
            }
        }
    }
    found.sort_by_key(|(number, ..)| *number);
    Ok(found)
}

/// Reads every manifest, and removes bytes that none names.
fn count(root: &Path) -> io::Result<HashMap<Sha256, u32>> {
    let mut counts: HashMap<Sha256, u32> = HashMap::new();
    for job in fs::read_dir(root.join("jobs"))? {
        for (_, _, checkpoint) in manifests(&job?.path())? {
            for digest in digests(&checkpoint) {
                *counts.entry(digest).or_default() += 1;
            }
        }
    }
    for bytes in fs::read_dir(root.join("blobs"))? {
        let bytes = bytes?;
        let digest = bytes.file_name().to_str().and_then(|name| name.parse::<Sha256>().ok());
        if digest.is_none_or(|digest| !counts.contains_key(&digest)) {
            remove(&bytes.path())?;
        }
    }
    Ok(counts)
}
