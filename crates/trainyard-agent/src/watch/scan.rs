//! Finding what trainers leave under the output and checkpoint directories: `trainer_state.json`, `trainer_log.jsonl`.
//!
//! Promises: at most [`ENTRIES_MAX`] entries are looked at, [`DEPTH_MAX`] directories deep; links are not followed; what
//! cannot be read is not there.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most directory entries of one scan.
const ENTRIES_MAX: usize = 5000;
/// How deep: LLaMA-Factory's `saves/MODEL/lora/sft/checkpoint-10/trainer_state.json` is five.
const DEPTH_MAX: usize = 5;

/// What tells that a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When it was last written.
    pub(super) modified: SystemTime,
    /// Its size in bytes.
    pub(super) len: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Stamp { modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), len: metadata.len() }
    }
}

/// The files found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every `trainer_state.json`, oldest first.
    pub(super) states: Vec<(PathBuf, Stamp)>,
    /// Every `trainer_log.jsonl`.
    pub(super) logs: Vec<(PathBuf, Stamp)>,
}

/// Looks under the directories.
pub(super) fn scan(roots: &[PathBuf]) -> Found {
    let mut found = Found::default();
    let mut left = ENTRIES_MAX;
    for root in roots {
        walk(root, DEPTH_MAX, &mut left, &mut found);
    }
    found.states.sort_by(|a, b| (a.1.modified, &a.0).cmp(&(b.1.modified, &b.0)));
    found
}

fn walk(dir: &Path, depth: usize, left: &mut usize, found: &mut Found) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let Ok(kind) = entry.file_type() else { continue };
        let name = entry.file_name();
        if kind.is_dir() && depth > 0 && !name.as_encoded_bytes().starts_with(b".") {
            walk(&entry.path(), depth - 1, left, found);
        } else if kind.is_file() {
            let list = match name.to_str() {
                Some("trainer_state.json") => &mut found.states,
                Some("trainer_log.jsonl") => &mut found.logs,
                Some(_) | None => continue,
            };
            let path = entry.path();
            if let (Ok(metadata), false) = (entry.metadata(), list.iter().any(|(known, _)| *known == path)) {
                list.push((path, Stamp::of(&metadata)));
            }
        }
    }
}

/// Whether there is anything in the directory.
pub(super) fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}
