//! Whether a database is older than its directory: a backup that was put back, or a new one in place of one that is
//! gone.
//!
//! Each server that opens the directory takes the next fence and writes it into the file `generation` beside the
//! database. A database that gives a lower fence than that file is not the one that was used last. Fences go on above
//! the file's all the same, and the finding is remembered until somebody has seen to it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::StorageError;
use crate::durable::sync_directory;

/// The file's name.
const FILE: &str = "generation";
/// Longest file that is read, in bytes.
const BYTES_MAX: usize = 32;

/// The number in the file; none where there is no such file, or no number in it.
pub(super) fn read(directory: &Path) -> Result<Option<u64>, StorageError> {
    match fs::read(directory.join(FILE)) {
        Ok(bytes) => {
            let text = std::str::from_utf8(bytes.get(..bytes.len().min(BYTES_MAX)).unwrap_or_default()).ok();
            let number = text.and_then(|text| text.trim().parse().ok());
            if number.is_none() {
                tracing::warn!("the file `generation` in the data directory is damaged; it is written anew");
            }
            Ok(number)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StorageError::File { doing: "reading the directory's generation", source }),
    }
}

/// Writes it, so that it survives a power cut.
pub(super) fn write(directory: &Path, fence: u64) -> Result<(), StorageError> {
    let written = || {
        let part = directory.join("generation.part");
        let mut file = File::create(&part)?;
        writeln!(file, "{fence}")?;
        file.sync_all()?;
        fs::rename(&part, directory.join(FILE))?;
        sync_directory(directory)
    };
    written().map_err(|source| StorageError::File { doing: "writing the directory's generation", source })
}
