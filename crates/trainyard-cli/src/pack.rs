//! A directory as an archive, as `run` sends it.
//!
//! Promises: what `.gitignore` (and `.ignore`, `.trainyardignore`) leaves out is left out, with or without a git
//! repository; the same files give the same bytes, so an unchanged directory is not uploaded twice; nothing from
//! outside the directory gets in; what is too large is refused before anything is written, naming the largest files.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use ignore::WalkBuilder;
use tar::{EntryType, Header};
use tempfile::NamedTempFile;

use crate::exit::Failure;
use crate::out;

/// Most bytes of files by default. Code is small; data belongs into `--dataset` or `--input`.
pub(crate) const BYTES_MAX: u64 = 256 << 20;
/// Most files; a forgotten virtual environment has more.
const FILES_MAX: usize = 50_000;
/// Never packed: version control, and what this program itself leaves in a directory.
const NEVER: [&str; 5] = [".git", ".hg", ".svn", crate::OUTPUT_DIR, crate::DATA_DIR];
/// Every file's time in the archive, 2000-01-01: constant, and late enough for zip.
const MTIME: u64 = 946_684_800;

/// A packed directory. The file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The `tar.gz`.
    pub(crate) archive: NamedTempFile,
    /// How many files are in it.
    pub(crate) files: usize,
    /// Their bytes, before compression.
    pub(crate) bytes: u64,
    /// Links that lead outside, left out.
    pub(crate) left_out: Vec<PathBuf>,
}

#[derive(Debug)]
enum What {
    File { executable: bool, bytes: u64 },
    Link(PathBuf),
}

/// Packs a directory, at most that many bytes of files. Blocks.
pub(crate) fn pack(directory: &Path, bytes_max: u64) -> Result<Packed, Failure> {
    let mut left_out = Vec::new();
    let mut entries = collect(directory, &mut left_out)?;
    // The walk's order is the directory's own, which differs from machine to machine.
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let bytes = entries.iter().map(|(_, what)| what.bytes()).sum();
    if bytes > bytes_max || entries.len() > FILES_MAX {
        return Err(too_large(directory, &entries, bytes, bytes_max));
    }
    if entries.is_empty() {
        return Err(Failure::usage(format!("there is nothing to pack in `{}`", directory.display()))
            .hint("go to the directory of your training code, or see what .gitignore leaves out"));
    }
    let archive = write(directory, &entries).map_err(|error| {
        Failure::failed(format!("`{}` could not be packed", directory.display())).because(&error)
    })?;
    Ok(Packed { archive, files: entries.len(), bytes, left_out })
}

impl What {
    fn bytes(&self) -> u64 {
        match self {
            What::File { bytes, .. } => *bytes,
            What::Link(_) => 0,
        }
    }
}

fn collect(directory: &Path, left_out: &mut Vec<PathBuf>) -> Result<Vec<(PathBuf, What)>, Failure> {
    let unreadable = |error: &dyn std::error::Error| {
        Failure::usage(format!("`{}` cannot be read", directory.display())).because(error)
    };
    let walk = WalkBuilder::new(directory)
        .hidden(false)
        .require_git(false)
        .git_global(false)
        .add_custom_ignore_filename(".trainyardignore")
        .filter_entry(|entry| entry.depth() == 0 || !is_never_packed(entry))
        .build();
    let mut entries = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let Ok(relative) = entry.path().strip_prefix(directory).map(Path::to_owned) else { continue };
        let Some(kind) = entry.file_type().filter(|_| entry.depth() > 0) else { continue };
        if kind.is_symlink() {
            match inner_link(entry.path(), &relative) {
                Some(target) => entries.push((relative, What::Link(target))),
                None => left_out.push(relative),
            }
        } else if kind.is_file() {
            let metadata = entry.metadata().map_err(|error| unreadable(&error))?;
            entries.push((relative, What::File { executable: executable(&metadata), bytes: metadata.len() }));
        }
    }
    Ok(entries)
}

/// Version control, outputs, and every server's data directory whatever its name: it holds the installation's key.
fn is_never_packed(entry: &ignore::DirEntry) -> bool {
    let is_data = |path: &Path| path.join("installation").is_file() && path.join("trainyard.db").is_file();
    NEVER.iter().any(|name| entry.file_name() == *name)
        || (entry.file_type().is_some_and(|kind| kind.is_dir()) && is_data(entry.path()))
}

/// Where a link leads, if it stays inside.
fn inner_link(path: &Path, relative: &Path) -> Option<PathBuf> {
    use std::path::Component;
    let target = std::fs::read_link(path).ok()?;
    let mut depth = relative.components().count().checked_sub(1)?;
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth = depth.checked_sub(1)?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(target)
}

#[cfg(unix)]
fn executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn executable(_: &std::fs::Metadata) -> bool {
    false
}

fn write(directory: &Path, entries: &[(PathBuf, What)]) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    // No name and no time in the head of the archive either.
    let gzip = GzBuilder::new().mtime(0).write(std::io::BufWriter::new(&mut file), Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for (path, what) in entries {
        let mut header = Header::new_gnu();
        header.set_mtime(MTIME);
        match what {
            What::File { executable, bytes } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(if *executable { 0o755 } else { 0o644 });
                header.set_size(*bytes);
                let source = std::fs::File::open(directory.join(path))?;
                // A file that grows meanwhile gives the bytes it had; one that shrinks is an error.
                let mut exact = Exact { inner: source, left: *bytes };
                tar.append_data(&mut header, path, &mut exact)?;
            }
            What::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                tar.append_link(&mut header, path, target)?;
            }
        }
    }
    tar.into_inner()?.finish()?.flush()?;
    Ok(file)
}

/// Exactly that many bytes of a file.
struct Exact {
    inner: std::fs::File,
    left: u64,
}

impl std::io::Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(std::io::Error::other("a file became shorter while it was packed"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

fn too_large(directory: &Path, entries: &[(PathBuf, What)], bytes: u64, bytes_max: u64) -> Failure {
    let mut largest: Vec<_> = entries.iter().map(|(path, what)| (what.bytes(), path)).collect();
    largest.sort_by(|a, b| b.cmp(a));
    let names: Vec<String> = largest
        .iter()
        .take(5)
        .map(|(bytes, path)| format!("{} {}", out::size(*bytes), path.display()))
        .collect();
    Failure::usage(format!(
        "`{}` is too large to be packed: {} in {} files, at most {} in {FILES_MAX} are taken",
        directory.display(),
        out::size(bytes),
        entries.len(),
        out::size(bytes_max)
    ))
    .detail(format!("the largest: {}", names.join(", ")))
    .hint("name what is not code in .gitignore or .trainyardignore, give data with --dataset or --input, or raise --pack-max-mb")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        directory
    }

    fn contents(packed: &Packed) -> BTreeMap<String, String> {
        let bytes = flate2::read::GzDecoder::new(std::fs::File::open(packed.archive.path()).unwrap());
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
            (path, text)
        });
        entries.collect()
    }

    #[test]
    fn what_gitignore_names_is_left_out_without_a_repository_too() {
        let directory = tree(&[
            (".gitignore", "*.bin\n/venv/\n"),
            ("train.py", "print()"),
            ("model.bin", "x"),
            ("venv/lib.py", "x"),
            ("src/.gitignore", "!keep.bin\nsecret.txt\n"),
            ("src/keep.bin", "kept"),
            ("src/secret.txt", "x"),
            (".hidden/config", "packed"),
            (".git/HEAD", "x"),
            ("trainyard-output/job/adapter", "x"),
            (".trainyardignore", "big/\n"),
            ("big/data", "x"),
            ("of-a-server/installation", "a key"),
            ("of-a-server/trainyard.db", "x"),
        ]);
        let packed = pack(directory.path(), BYTES_MAX).unwrap();
        let contents = contents(&packed);
        let names: Vec<&str> = contents.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                ".gitignore",
                ".hidden/config",
                ".trainyardignore",
                "src/.gitignore",
                "src/keep.bin",
                "train.py"
            ]
        );
        assert_eq!(contents["src/keep.bin"], "kept");
        assert_eq!(packed.files, 6);
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let read = |directory: &tempfile::TempDir| {
            std::fs::read(pack(directory.path(), BYTES_MAX).unwrap().archive.path()).unwrap()
        };
        let first = read(&tree(&[("a", "1"), ("b/c", "2")]));
        let second = read(&tree(&[("b/c", "2"), ("a", "1")]));
        assert_eq!(first, second);
    }

    #[test]
    fn too_large_names_the_largest_and_the_remedy() {
        let directory = tree(&[("small", "x"), ("weights/huge.bin", "xxxxxxxxxxxxxxxxxxxx")]);
        let text = pack(directory.path(), 10).unwrap_err().to_string();
        assert!(
            text.contains("weights/huge.bin") && text.contains(".gitignore") && text.contains("21 B"),
            "{text}"
        );
    }

    #[test]
    fn an_empty_directory_is_wrong_usage() {
        let directory = tree(&[]);
        assert_eq!(pack(directory.path(), 10).unwrap_err().exit, crate::exit::Exit::Usage);
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_never_lead_outside() {
        let directory = tree(&[("a/file", "x")]);
        std::os::unix::fs::symlink("../a/file", directory.path().join("a/inner")).unwrap();
        std::os::unix::fs::symlink("../../etc/passwd", directory.path().join("a/outer")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("absolute")).unwrap();
        let packed = pack(directory.path(), BYTES_MAX).unwrap();
        assert_eq!(contents(&packed).into_keys().collect::<Vec<_>>(), ["a/file", "a/inner"]);
        assert_eq!(packed.left_out.len(), 2);
    }
}
