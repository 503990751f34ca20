//! Files that are either there or not, never half.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// Writes a file under another name and renames it.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    File::create(&aside)?.write_all(content)?;
    fs::rename(&aside, path)
}

/// A relative path that stays where it is joined to: at least one plain name, no `..`, no root.
pub(super) fn inside(path: &str) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (clean.components().next().is_some() && !path.contains('\0')).then_some(clean)
}

/// Removes a directory and what is in it, or a file; nothing there is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside() {
        for good in ["a", "a/b", "./a", "a//b"] {
            assert!(inside(good).is_some(), "{good}");
        }
        for bad in ["", ".", "/a", "../a", "a/../b", "a/..", "a\0b"] {
            assert!(inside(bad).is_none(), "{bad}");
        }
    }
}
