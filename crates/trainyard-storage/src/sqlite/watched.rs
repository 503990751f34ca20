//! Files that must stay where they are: the database writes on into one that was removed, and all of it is lost with
//! the last who has it open.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::StorageError;

/// A file as it stood when the database was opened.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Watched {
    /// The file that stands there now; none where there is none.
    pub(super) fn at(path: PathBuf) -> Option<Watched> {
        let metadata = path.metadata().ok()?;
        Some(Watched { device: metadata.dev(), inode: metadata.ino(), path })
    }

    /// Whether it stands there still. Put back, it is fine again.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub(super) fn look(&self) -> Result<(), StorageError> {
        let there = self.path.metadata();
        let same = there.as_ref().is_ok_and(|at| at.dev() == self.device && at.ino() == self.inode);
        if same {
            return Ok(());
        }
        let source = io::Error::other(format!(
            "`{}` was removed or replaced under the running server: put it back, or stop the server and restore a backup",
            self.path.display()
        ));
        Err(StorageError::File { doing: "looking for the database", source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_or_replaced_is_missed_until_it_is_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, aside) = (directory.path().join("file"), directory.path().join("aside"));
        assert!(Watched::at(path.clone()).is_none());
        std::fs::write(&path, "x").expect("a file");
        let watched = Watched::at(path.clone()).expect("it is there");
        watched.look().expect("it is there");
        std::fs::rename(&path, &aside).expect("moved");
        assert!(watched.look().is_err());
        std::fs::write(&path, "x").expect("another file");
        assert!(watched.look().is_err());
        std::fs::rename(&aside, &path).expect("moved back");
        watched.look().expect("it is back");
    }
}
