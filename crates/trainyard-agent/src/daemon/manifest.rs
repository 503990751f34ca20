//! What a training left: its files with digests made here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use trainyard_connector::{Manifest, ManifestFile};
use trainyard_domain::{AttemptNumber, Outputs, matches_pattern};

use super::inputs::hash;

/// Most files of an artifact.
pub(crate) const FILES_MAX: usize = 10_000;
/// Most names told of what was left out.
const SKIPPED_MAX: usize = 1_000;
/// Deepest directory that is looked into.
const DEPTH_MAX: usize = 64;

/// Hashes every file of the output directory that the patterns take. Blocks, for as long as reading them takes.
/// Given up where `abandoned` becomes true.
pub(crate) fn make(
    attempt: AttemptNumber,
    dir: &Path,
    outputs: &Outputs,
    abandoned: &AtomicBool,
) -> io::Result<Manifest> {
    let mut found = Found::default();
    walk(dir, "", 0, outputs, &mut found)?;
    let mut manifest = Manifest { attempt, files: Vec::new(), skipped: found.skipped };
    for path in found.files {
        match open(&dir.join(&path)).and_then(|file| hash(file, abandoned)) {
            Ok((sha256, size_bytes)) => manifest.files.push(ManifestFile { path, size_bytes, sha256 }),
            Err(_) if abandoned.load(Ordering::Relaxed) => return Err(io::Error::other("nobody wants it")),
            Err(error) => manifest.skipped.push(format!("{path}: {error}")),
        }
    }
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    manifest.skipped.truncate(SKIPPED_MAX);
    Ok(manifest)
}

/// Reads a range of a file of the output directory. Shorter at the file's end.
pub(crate) fn read(dir: &Path, path: &str, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = open(&dir.join(path))?;
    let there = file.metadata()?.len().saturating_sub(offset).min(limit);
    file.seek(SeekFrom::Start(offset))?;
    // Of the right size at once: one that grows is copied, and holds twice as much meanwhile.
    let mut bytes = Vec::with_capacity(usize::try_from(there).unwrap_or(0));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Default)]
struct Found {
    files: Vec<String>,
    skipped: Vec<String>,
}

fn walk(dir: &Path, prefix: &str, depth: usize, outputs: &Outputs, found: &mut Found) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            found.skipped.push(format!("{prefix}{}: the name is not UTF-8", entry.file_name().display()));
            continue;
        };
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if depth < DEPTH_MAX {
                walk(&entry.path(), &format!("{path}/"), depth + 1, outputs, found)?;
            } else {
                found.skipped.push(format!("{path}: too deep"));
            }
        } else if !is_wanted(&path, outputs) {
        } else if kind.is_symlink() {
            found.skipped.push(format!("{path}: a link"));
        } else if !kind.is_file() {
            found.skipped.push(format!("{path}: neither a file nor a directory"));
        } else if found.files.len() >= FILES_MAX {
            found.skipped.push(format!("{path}: over the limit of {FILES_MAX} files"));
        } else {
            found.files.push(path);
        }
    }
    Ok(())
}

fn is_wanted(path: &str, outputs: &Outputs) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches_pattern(pattern, path));
    any(&outputs.include) && !any(&outputs.exclude)
}

/// Opens a plain file and nothing else: not what a link leads to, not a pipe that would block.
fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a plain file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_by_pattern_and_the_rest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("checkpoint-5")).unwrap();
        fs::create_dir_all(at("sub/dir")).unwrap();
        for name in ["adapter.bin", "sub/dir/x", "checkpoint-5/optimizer.pt"] {
            fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", at("passwd")).unwrap();
        let manifest =
            make(AttemptNumber::FIRST, dir.path(), &Outputs::default(), &AtomicBool::new(false)).unwrap();
        let paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["adapter.bin", "sub/dir/x"]);
        assert_eq!(manifest.files[0].size_bytes, 11);
        assert_eq!(manifest.skipped, ["passwd: a link"]);
        assert_eq!(read(dir.path(), "adapter.bin", 3, 4).unwrap(), b"pter");
        assert!(read(dir.path(), "passwd", 0, 4).is_err());
    }
}
