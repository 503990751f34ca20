//! Files that are either whole or not there.
//!
//! Promises: what has its name is on the disk in full, also after a power cut.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::TrainError;

/// Writes a file in place of any that has its name, through a neighbour that is renamed.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let neighbour = path.with_file_name(format!(".tmp-{name}"));
    write_synced(&neighbour, bytes)?;
    std::fs::rename(&neighbour, path).map_err(TrainError::io("rename to", path))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Writes a new file and waits until it is on the disk; its directory is the caller's to sync.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let mut file = File::create(path).map_err(TrainError::io("create", path))?;
    file.write_all(bytes).map_err(TrainError::io("write", path))?;
    file.sync_all().map_err(TrainError::io("sync", path))
}

/// Makes renames within a directory last.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), TrainError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(TrainError::io("sync", dir))
}
