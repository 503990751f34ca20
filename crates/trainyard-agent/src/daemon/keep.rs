//! Checkpoints that a training writes among its outputs, kept for the attempt after it.
//!
//! The checkpoint directory outlives an attempt, the output directory does not; but many programs know only one
//! directory and write their checkpoints beside their results. A complete one is therefore saved at once, by links
//! where the file system has them, so that it is there even if the next thing that happens is the agent's death.
//! The next attempt finds it in its checkpoint directory, at the same name.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::place;

/// Saves a complete checkpoint under its name, and of those saved only the newest `keep`.
pub(super) fn save(from: &Path, saved: &Path, name: &str, keep: usize) -> io::Result<()> {
    let Some(inside) = place::inside(name) else { return Ok(()) };
    let to = saved.join(&inside);
    // A half one is never found under its name.
    let aside = saved.join(".new");
    place::remove(&aside)?;
    copy(from, &aside)?;
    place::remove(&to)?;
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::rename(&aside, &to)?;
    let mut all = names(saved)?;
    all.sort_by_key(|path| fs::metadata(path).and_then(|dir| dir.modified()).ok());
    for old in all.iter().rev().skip(keep.max(1)) {
        place::remove(old)?;
    }
    Ok(())
}

/// Moves what was saved to where the next attempt looks for it.
pub(super) fn restore(saved: &Path, checkpoints: &Path) -> io::Result<()> {
    for path in names(saved)? {
        if let Some(name) = path.file_name() {
            let to = checkpoints.join(name);
            place::remove(&to)?;
            fs::rename(&path, &to)?;
        }
    }
    place::remove(saved)
}

/// Puts a checkpoint that was handed over to where the training finds it: whole, or not at all. One that is there
/// under that name already is left as it is.
pub(super) fn place(checkpoints: &Path, name: &Path, files: &[(PathBuf, PathBuf)]) -> io::Result<()> {
    let to = checkpoints.join(name);
    if to.exists() {
        return Ok(());
    }
    // A name that nobody takes for a checkpoint.
    let aside = checkpoints.join(".handed-over");
    place::remove(&aside)?;
    for (from, path) in files {
        let at = aside.join(path);
        if let Some(dir) = at.parent() {
            fs::create_dir_all(dir)?;
        }
        // Not a link: what was handed over stays as it is known by its digest, whatever the training does with this.
        fs::copy(from, &at)?;
        fs::set_permissions(&at, fs::Permissions::from_mode(0o644))?;
    }
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::rename(&aside, &to)
}

fn names(saved: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(saved) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.file_name().is_some_and(|name| name != ".new")).collect())
}

/// Plain files and directories; anything else is no part of a checkpoint.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&path, &target)?;
        } else if kind.is_file() {
            fs::hard_link(&path, &target).or_else(|_| fs::copy(&path, &target).map(drop))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_handed_over_is_placed_whole_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let (inputs, checkpoints) = (dir.path().join("inputs"), dir.path().join("checkpoints"));
        fs::create_dir_all(&inputs).unwrap();
        fs::create_dir_all(&checkpoints).unwrap();
        for name in ["a", "b"] {
            fs::write(inputs.join(name), name).unwrap();
        }
        let files = [("a", "model"), ("b", "sub/state"), ("a", "sub/same")];
        let files = files.map(|(from, to)| (inputs.join(from), PathBuf::from(to)));
        let name = Path::new("run/checkpoint-5");
        let missing = [&files[..], &[(inputs.join("gone"), PathBuf::from("last"))]].concat();
        assert!(place(&checkpoints, name, &missing).is_err());
        assert!(!checkpoints.join(name).exists(), "half a checkpoint is none");
        place(&checkpoints, name, &files).unwrap();
        let at = checkpoints.join(name);
        assert_eq!(fs::read_to_string(at.join("sub/state")).unwrap(), "b");
        // What a training does with its files does not reach what is known by its digest.
        fs::write(at.join("model"), "changed").unwrap();
        assert_eq!(fs::read_to_string(inputs.join("a")).unwrap(), "a");
        assert_eq!(fs::read_to_string(at.join("sub/same")).unwrap(), "a");
        place(&checkpoints, name, &files).unwrap();
        assert_eq!(fs::read_to_string(at.join("model")).unwrap(), "changed", "one that is there stays");
        let left: Vec<_> =
            fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["run"]);
    }

    #[test]
    fn the_newest_are_saved_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (output, saved, checkpoints) =
            (dir.path().join("output"), dir.path().join("saved"), dir.path().join("checkpoints"));
        fs::create_dir_all(&checkpoints).unwrap();
        for step in 1..=3 {
            let name = format!("checkpoint-{step}");
            fs::create_dir_all(output.join(&name).join("sub")).unwrap();
            fs::write(output.join(&name).join("sub/model"), &name).unwrap();
            save(&output.join(&name), &saved, &name, 2).unwrap();
        }
        assert!(!saved.join("checkpoint-1").exists());
        fs::remove_dir_all(&output).unwrap();
        restore(&saved, &checkpoints).unwrap();
        assert_eq!(fs::read_to_string(checkpoints.join("checkpoint-3/sub/model")).unwrap(), "checkpoint-3");
        assert!(checkpoints.join("checkpoint-2").exists() && !saved.exists());
        restore(&saved, &checkpoints).unwrap();
    }
}
