//! A code archive becomes the working directory, and nothing outside it.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

/// Most bytes that an archive may unpack to.
pub(crate) const BYTES_MAX: u64 = 10 << 30;
/// Most entries of an archive.
pub(crate) const ENTRIES_MAX: usize = 100_000;

/// Why an archive was not unpacked. What of it was unpacked before stays where it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("the archive cannot be read as tar or tar.gz")]
    Read(#[source] io::Error),
    #[error("`{0}` in the archive leads outside of it")]
    Outside(String),
    #[error("`{0}` in the archive is neither a file nor a directory nor a link")]
    Kind(String),
    #[error("the archive holds more than {ENTRIES_MAX} entries")]
    Entries,
    #[error("the archive unpacks to more than 10 GiB")]
    Bytes,
    #[error("`{0}` of the archive could not be written")]
    Write(String, #[source] io::Error),
    #[error("the training was stopped before it began")]
    Stopped,
}

/// Unpacks a tar or tar.gz, told apart by its first bytes, into an empty directory.
pub(crate) fn unpack(archive: &Path, into: &Path, stop: &AtomicBool) -> Result<(), UnpackError> {
    let mut file = File::open(archive).map_err(UnpackError::Read)?;
    let mut magic = [0; 2];
    let read = file.read(&mut magic).map_err(UnpackError::Read)?;
    file.seek(SeekFrom::Start(0)).map_err(UnpackError::Read)?;
    let file = BufReader::with_capacity(1 << 20, file);
    if read == 2 && magic == [0x1f, 0x8b] {
        unpack_tar(MultiGzDecoder::new(file), into, stop)
    } else {
        unpack_tar(file, into, stop)
    }
}

fn unpack_tar(stream: impl Read, into: &Path, stop: &AtomicBool) -> Result<(), UnpackError> {
    let mut archive = Archive::new(stream.take(BYTES_MAX.saturating_mul(2)));
    archive.set_preserve_mtime(true);
    let (mut entries, mut bytes) = (0, 0_u64);
    for entry in archive.entries().map_err(UnpackError::Read)? {
        let mut entry = entry.map_err(UnpackError::Read)?;
        if stop.load(Ordering::Relaxed) {
            return Err(UnpackError::Stopped);
        }
        entries += 1;
        bytes = bytes.saturating_add(entry.size());
        if entries > ENTRIES_MAX {
            return Err(UnpackError::Entries);
        }
        if bytes > BYTES_MAX {
            return Err(UnpackError::Bytes);
        }
        unpack_entry(&mut entry, into)?;
    }
    Ok(())
}

fn unpack_entry(entry: &mut Entry<'_, impl Read>, into: &Path) -> Result<(), UnpackError> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let kind = entry.header().entry_type();
    // Comments of the archive as a whole, which `git archive` writes.
    if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
        return Ok(());
    }
    let outside = || UnpackError::Outside(name.clone());
    let path = clean(&entry.path().map_err(UnpackError::Read)?).ok_or_else(outside)?;
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    if passes_a_link(into, &path) {
        return Err(outside());
    }
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse | EntryType::Directory => {}
        EntryType::Symlink => {
            let target = entry.link_name().map_err(UnpackError::Read)?.ok_or_else(outside)?;
            if !stays_inside(&path, &target) {
                return Err(outside());
            }
        }
        EntryType::Link => {
            let target = entry.link_name().map_err(UnpackError::Read)?.ok_or_else(outside)?;
            let target = clean(&target).ok_or_else(outside)?;
            if passes_a_link(into, &target) || is_link(&into.join(&target)) {
                return Err(outside());
            }
        }
        _ => return Err(UnpackError::Kind(name)),
    }
    match entry.unpack_in(into) {
        Ok(true) => Ok(()),
        Ok(false) => Err(outside()),
        Err(error) => Err(UnpackError::Write(name, error)),
    }
}

/// The path without `.`; `None` where it is absolute or holds `..`.
fn clean(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// Whether a directory on the way is a link: what counts as inside is reckoned without any.
fn passes_a_link(into: &Path, path: &Path) -> bool {
    let mut at = into.to_owned();
    let mut parts: Vec<_> = path.components().collect();
    parts.pop();
    parts.into_iter().any(|part| {
        at.push(part);
        is_link(&at)
    })
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Whether a link at `path` to `target` leads inside. `..` may stand only at its beginning: after a name, which may
/// be a link itself, it could lead anywhere.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    let mut named = false;
    for component in target.components() {
        match component {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir if !named && depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tar::{Builder, Header};

    /// An archive with the names exactly as given: the library's own checks on writing are passed by.
    fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (kind, name, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            let body = if *kind == EntryType::Regular { content.as_bytes() } else { &[] };
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_size(body.len() as u64);
            header.set_cksum();
            builder.append(&header, body).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<(), UnpackError>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("archive");
        fs::write(&file, bytes).unwrap();
        let into = dir.path().join("work");
        fs::create_dir(&into).unwrap();
        let result = unpack(&file, &into, &AtomicBool::new(false));
        (dir, result)
    }

    #[test]
    fn tar_and_tar_gz_are_unpacked_with_links_inside() {
        let plain = archive(&[
            (EntryType::Directory, "./", ""),
            (EntryType::Directory, "src/", ""),
            (EntryType::Regular, "src/train.py", "print(1)"),
            (EntryType::Symlink, "src/link", "../train.py"),
            (EntryType::Symlink, "train.py", "src/train.py"),
            (EntryType::Link, "hard.py", "src/train.py"),
        ]);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        for bytes in [plain, gz.finish().unwrap()] {
            let (dir, result) = unpacked(&bytes);
            result.unwrap();
            for name in ["src/train.py", "src/link", "train.py", "hard.py"] {
                assert_eq!(fs::read_to_string(dir.path().join("work").join(name)).unwrap(), "print(1)");
            }
        }
    }

    #[test]
    fn nothing_leads_outside() {
        use EntryType::{Link, Regular, Symlink};
        let cases: [&[(EntryType, &str, &str)]; 8] = [
            &[(Regular, "../evil", "x")],
            &[(Regular, "/tmp/trainyard-evil", "x")],
            &[(Regular, "a/../../evil", "x")],
            &[(Symlink, "out", "/etc"), (Regular, "out/evil", "x")],
            &[(Symlink, "out", ".."), (Regular, "out/evil", "x")],
            &[(Symlink, "here", "."), (Symlink, "out", "here/..")],
            &[(Symlink, "d", "."), (Symlink, "d/e/f", "../../..")],
            &[(Link, "hard", "../archive")],
        ];
        for case in cases {
            let (dir, result) = unpacked(&archive(case));
            assert!(matches!(result, Err(UnpackError::Outside(_))), "{case:?}: {result:?}");
            assert!(!dir.path().join("evil").exists(), "{case:?}");
        }
        assert!(!Path::new("/tmp/trainyard-evil").exists());
    }

    #[test]
    fn devices_and_nonsense_are_refused() {
        let (_dir, result) = unpacked(&archive(&[(EntryType::Fifo, "pipe", "")]));
        assert!(matches!(result, Err(UnpackError::Kind(_))));
        let (_dir, result) = unpacked(&[7; 2000]);
        assert!(matches!(result, Err(UnpackError::Read(_))));
    }
}
