//! Inputs that are handed over: in parts, resumable, named by their digests and checked against them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use sha2::{Digest, Sha256 as Hasher};
use trainyard_domain::Sha256;

use super::layout::Layout;
use super::place;
use super::refusal::Refusal;
use crate::protocol::{CODE_MISMATCH, CODE_OFFSET, InputState};

/// Most bytes of one input.
const BYTES_MAX: u64 = 1 << 40;
/// Bytes hashed at once.
const HASH_BYTES: usize = 1 << 20;

/// Where a part belongs, as its `Content-Range` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it begins.
    pub(crate) offset: u64,
    /// How many bytes it has.
    pub(crate) len: u64,
    /// How many bytes the whole has.
    pub(crate) total: u64,
}

impl Part {
    /// `bytes FIRST-LAST/TOTAL`, or `bytes */0` for an empty input.
    pub(crate) fn parse(text: &str) -> Option<Part> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let total: u64 = total.parse().ok()?;
        if range == "*" {
            return (total == 0).then_some(Part { offset: 0, len: 0, total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < total && total <= BYTES_MAX).then(|| Part {
            offset: first,
            len: last - first + 1,
            total,
        })
    }
}

/// How much of an input is there.
pub(crate) fn state(layout: &Layout, digest: &Sha256) -> InputState {
    let size = |path: &Path| fs::metadata(path).map(|file| file.len());
    match size(&layout.input(digest)) {
        Ok(received) => InputState { received, complete: true },
        Err(_) => InputState { received: size(&layout.input_part(digest)).unwrap_or(0), complete: false },
    }
}

/// Takes a part. The last one is followed by the check: an input whose digest is wrong is removed.
pub(crate) fn put(layout: &Layout, digest: &Sha256, part: Part, body: &[u8]) -> Result<InputState, Refusal> {
    let before = state(layout, digest);
    if before.complete {
        return Ok(before);
    }
    if body.len() as u64 != part.len {
        return Err(Refusal::invalid("the body is not as long as its `Content-Range` says"));
    }
    if part.offset != before.received {
        let text = format!("{} bytes are there, the part begins at {}", before.received, part.offset);
        return Err(Refusal::new(StatusCode::CONFLICT, CODE_OFFSET, text));
    }
    let path = layout.input_part(digest);
    append(&path, body, before.received).map_err(|error| storage(&error))?;
    let received = before.received + part.len;
    if received < part.total {
        return Ok(InputState { received, complete: false });
    }
    complete(layout, digest, &path)?;
    Ok(InputState { received, complete: true })
}

fn append(path: &Path, body: &[u8], at: u64) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(body).inspect_err(|_| {
        // No half part stays: the next try begins where this one did.
        let _ = file.set_len(at);
    })
}

fn complete(layout: &Layout, digest: &Sha256, path: &Path) -> Result<(), Refusal> {
    let hashed = File::open(path).and_then(|file| hash(file, &AtomicBool::new(false)));
    let found = hashed.map_err(|error| storage(&error))?;
    if found.0 != *digest {
        let _ = place::remove(path);
        let text = format!("what came has the digest {}, not {digest}", found.0);
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, CODE_MISMATCH, text));
    }
    let read_only = fs::set_permissions(path, fs::Permissions::from_mode(0o444));
    read_only.and_then(|()| fs::rename(path, layout.input(digest))).map_err(|error| storage(&error))
}

fn storage(error: &io::Error) -> Refusal {
    let status = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::new(status, "storage", format!("the input could not be stored: {error}"))
}

/// A file's digest and size, by reading it once. Given up where `abandoned` becomes true.
pub(crate) fn hash(mut file: File, abandoned: &AtomicBool) -> io::Result<(Sha256, u64)> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; HASH_BYTES];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((Sha256::from_bytes(hasher.finalize().into()), size)),
            Ok(_) if abandoned.load(Ordering::Relaxed) => return Err(io::Error::other("given up")),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_parsed_strictly() {
        assert_eq!(Part::parse("bytes 0-9/20"), Some(Part { offset: 0, len: 10, total: 20 }));
        assert_eq!(Part::parse("bytes */0"), Some(Part { offset: 0, len: 0, total: 0 }));
        for bad in ["", "0-9/20", "bytes 9-0/20", "bytes 0-20/20", "bytes */5", "bytes 0-9/*", "bytes a-b/c"]
        {
            assert_eq!(Part::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_part_goes_on_where_the_last_ended_and_the_whole_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned(), None);
        let digest = Sha256::from_bytes(Hasher::digest(b"hello world").into());
        let part = |offset, len| Part { offset, len, total: 11 };
        assert_eq!(put(&layout, &digest, part(0, 5), b"hello").unwrap().received, 5);
        assert_eq!(put(&layout, &digest, part(0, 5), b"hello").unwrap_err().code, CODE_OFFSET);
        assert!(put(&layout, &digest, part(5, 6), b" world").unwrap().complete);
        assert!(put(&layout, &digest, part(5, 6), b" world").unwrap().complete, "twice is as good as once");
        let other = Sha256::from_bytes([1; 32]);
        assert_eq!(put(&layout, &other, part(0, 11), b"hello world").unwrap_err().code, CODE_MISMATCH);
        assert_eq!(state(&layout, &other).received, 0);
    }
}
