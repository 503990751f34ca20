//! A complete checkpoint held while it is copied: links to its files, so that it stays whole however soon the training
//! removes it, and digests of them made here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use trainyard_connector::{CheckpointInfo, CheckpointManifest, ManifestFile};

use super::inputs::hash;
use super::refusal::Refusal;
use super::sources::Sources;
use super::{keep, manifest, place};
use crate::watch::checkpoint_bytes;

/// Deepest directory of a checkpoint.
const DEPTH_MAX: usize = 16;

/// What was made of a checkpoint: its manifest, or why there is none; none while it is being made.
type Made = Option<Result<Arc<CheckpointManifest>, String>>;

/// The place for the one checkpoint that is held.
pub(crate) struct Hold {
    root: PathBuf,
    held: Mutex<Option<Held>>,
}

struct Held {
    path: String,
    dir: PathBuf,
    made: watch::Receiver<Made>,
    abandoned: Arc<AtomicBool>,
}

impl Hold {
    pub(super) fn new(root: PathBuf) -> Hold {
        Hold { root, held: Mutex::new(None) }
    }

    /// Holds a complete checkpoint, in place of the one before, and waits for its manifest.
    pub(crate) async fn hold(
        &self,
        sources: &Sources,
        path: &str,
        wait: Duration,
    ) -> Result<Option<Arc<CheckpointManifest>>, Refusal> {
        let mut made = self.begin(sources, path).await?;
        let _ = tokio::time::timeout(wait, made.wait_for(Option::is_some)).await;
        let now = made.borrow().clone();
        match now {
            None => Ok(None),
            Some(Ok(manifest)) => Ok(Some(manifest)),
            Some(Err(error)) => {
                self.let_go(Some(path)).await;
                Err(Refusal::state(format!("the checkpoint `{path}` cannot be held: {error}")))
            }
        }
    }

    async fn begin(&self, sources: &Sources, path: &str) -> Result<watch::Receiver<Made>, Refusal> {
        let mut held = self.held.lock().await;
        if let Some(same) = held.as_ref().filter(|held| held.path == path) {
            return Ok(same.made.clone());
        }
        drop_held(held.take()).await;
        let known = sources.checkpoints().into_iter().find(|info| info.path == path);
        let info = known.ok_or_else(|| Refusal::not_found(format!("there is no checkpoint `{path}`")))?;
        let (from, name) = sources.whereabouts(path);
        let (dir, abandoned) = (self.root.clone(), Arc::new(AtomicBool::new(false)));
        let (tell, made) = watch::channel(None);
        let (to, gone) = (dir.clone(), Arc::clone(&abandoned));
        // It tells in any case, and whoever lets go of the checkpoint waits for that.
        tokio::task::spawn_blocking(move || {
            let manifest = make(&from, &to, name, info, &gone);
            tell.send_replace(Some(manifest.map(Arc::new).map_err(|error| error.to_string())));
        });
        *held = Some(Held { path: path.to_owned(), dir, made: made.clone(), abandoned });
        Ok(made)
    }

    /// The directory of the checkpoint that is held, where it is that one and has that file.
    pub(crate) async fn dir_of(&self, path: &str, file: &str) -> Result<PathBuf, Refusal> {
        let held = self.held.lock().await;
        let held = held.as_ref().filter(|held| held.path == path);
        let held = held.ok_or_else(|| Refusal::not_found(format!("the checkpoint `{path}` is not held")))?;
        let made = held.made.borrow();
        let has = matches!(&*made, Some(Ok(manifest)) if manifest.files.iter().any(|one| one.path == file));
        match has {
            true => Ok(held.dir.clone()),
            false => Err(Refusal::not_found(format!("the checkpoint `{path}` has no file `{file}`"))),
        }
    }

    /// Lets go of the checkpoint at that path, or of whichever is held.
    pub(crate) async fn let_go(&self, path: Option<&str>) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| path.is_none_or(|path| held.path == path)) {
            drop_held(held.take()).await;
        }
    }
}

/// Removes the links. Whoever makes the digests is waited for: it gives up at once.
async fn drop_held(held: Option<Held>) {
    let Some(mut held) = held else { return };
    held.abandoned.store(true, Ordering::SeqCst);
    let _ = held.made.wait_for(Option::is_some).await;
    let removed = tokio::task::spawn_blocking(move || place::remove(&held.dir)).await;
    if let Ok(Err(error)) = removed {
        super::complain(&format!("a checkpoint that was held could not be removed: {error}"));
    }
}

/// Links and hashes; blocks for as long as reading takes.
fn make(
    from: &Path,
    to: &Path,
    name: String,
    info: CheckpointInfo,
    abandoned: &AtomicBool,
) -> io::Result<CheckpointManifest> {
    place::remove(to)?;
    keep::copy(from, to)?;
    if checkpoint_bytes(to) != info.size_bytes {
        return Err(io::Error::other("it changed while it was taken hold of"));
    }
    let mut paths = Vec::new();
    walk(to, "", 0, &mut paths)?;
    paths.sort_unstable();
    if paths.len() > manifest::FILES_MAX {
        return Err(io::Error::other("it has too many files"));
    }
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let (sha256, size_bytes) = hash(fs::File::open(to.join(&path))?, abandoned)?;
        files.push(ManifestFile { path, size_bytes, sha256 });
    }
    Ok(CheckpointManifest { path: info.path, name, step: info.step, files })
}

fn walk(dir: &Path, prefix: &str, depth: usize, found: &mut Vec<String>) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("its directories are too deep"));
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| io::Error::other("the name of a file is not UTF-8"))?;
        match entry.file_type()?.is_dir() {
            true => walk(&entry.path(), &format!("{prefix}{name}/"), depth + 1, found)?,
            false => found.push(format!("{prefix}{name}")),
        }
    }
    Ok(())
}
