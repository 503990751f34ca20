//! Files that survive a power cut: bytes hashed while they are written, directories made and synced.

use std::any::Any;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sha2::Digest;
use tokio::task::JoinHandle;
use trainyard_domain::Sha256;

/// Bytes that are hashed and written at a time. Large enough that handing them to another thread costs nothing
/// beside the work, small enough that three of them are little memory.
const BLOCK: usize = 1024 * 1024;

/// Bytes after which the disk is made to take what was written. Left to the end, all of it waits for the disk when
/// everything has come in; this way the disk works while the rest is hashed.
const SYNC_EVERY: u64 = 32 * 1024 * 1024;

/// Chunks below this many bytes are copied together; larger ones are kept as they came.
const SMALL: usize = 16 * 1024;

/// Runs file operations off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Makes what a directory names survive a power cut.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Bytes of a probe: more than what a disk that is full may still have in a block somewhere.
const PROBE: usize = 64 * 1024;

/// Whether a directory takes a file: writes one, syncs it and removes it.
pub(crate) async fn probe(directory: std::path::PathBuf) -> io::Result<()> {
    blocking(move || {
        let path = directory.join(".probe");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&[0; PROBE])?;
            file.sync_data()
        });
        let removed = remove(&path);
        written.and(removed)
    })
    .await
}

/// The SHA-256 of a file's bytes.
pub(crate) fn digest_of(mut file: File) -> io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(Sha256::from_bytes(hasher.finalize().into())),
            n => hasher.update(&block[..n]),
        }
    }
}

/// Removes a file or a whole directory; it is fine where there is none. Links are removed, never followed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// A file under way. Hashing and writing of one block go on while the next one comes in, each on a thread of its
/// own. Whatever was dropped when: the digest is always that of the bytes that were written, in their order.
pub(crate) struct HashedFile {
    file: Option<File>,
    hasher: Option<sha2::Sha256>,
    writing: Option<JoinHandle<io::Result<File>>>,
    hashing: Option<JoinHandle<sha2::Sha256>>,
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// The block that is coming together, the small chunks at its end, and its bytes.
    pieces: Vec<Bytes>,
    small: BytesMut,
    len: usize,
    taken: u64,
    /// How much of `taken` the disk was asked to take.
    synced: u64,
    /// Kept alive while a write is under way, also where this value is dropped before it ended.
    guard: Arc<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for HashedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashedFile").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl HashedFile {
    /// Writes on from where the file stands.
    pub(crate) fn new(file: File, guard: Arc<dyn Any + Send + Sync>) -> HashedFile {
        HashedFile {
            file: Some(file),
            hasher: Some(sha2::Sha256::new()),
            writing: None,
            hashing: None,
            syncing: None,
            pieces: Vec::new(),
            small: BytesMut::new(),
            len: 0,
            taken: 0,
            synced: 0,
            guard,
        }
    }

    /// Bytes taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes bytes. After an error nothing more can be taken.
    pub(crate) async fn push(&mut self, mut chunk: Bytes) -> io::Result<()> {
        self.taken += chunk.len() as u64;
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(BLOCK - self.len));
            self.len += part.len();
            if part.len() < SMALL {
                self.small.extend_from_slice(&part);
            } else {
                self.end_small();
                self.pieces.push(part);
            }
            if self.len == BLOCK {
                self.block().await?;
            }
        }
        Ok(())
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    /// Ends: everything is written, though not yet synced to the disk. Gives the file and the digest.
    pub(crate) async fn finish(mut self) -> io::Result<(File, Sha256)> {
        self.block().await?;
        self.settle().await?;
        self.settle_sync().await?;
        match (self.file.take(), self.hasher.take()) {
            (Some(file), Some(hasher)) => Ok((file, Sha256::from_bytes(hasher.finalize().into()))),
            _ => Err(io::Error::other("an earlier write failed")),
        }
    }

    /// Hands the block on to be hashed and written.
    async fn block(&mut self) -> io::Result<()> {
        self.settle().await?;
        self.sync_behind().await?;
        // No await from here on: a block is hashed and written, or neither.
        let (Some(mut file), Some(mut hasher)) = (self.file.take(), self.hasher.take()) else {
            return Err(io::Error::other("an earlier write failed"));
        };
        self.end_small();
        self.len = 0;
        let block = std::mem::take(&mut self.pieces);
        let (bytes, guard) = (block.clone(), Arc::clone(&self.guard));
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let written = bytes.iter().try_for_each(|piece| file.write_all(piece));
            drop(guard);
            written.map(|()| file)
        }));
        self.hashing = Some(tokio::task::spawn_blocking(move || {
            block.iter().for_each(|piece| hasher.update(piece));
            hasher
        }));
        Ok(())
    }

    /// Has the disk take what was written so far, while more comes in. Waits where it has not yet taken what was
    /// asked of it before: no more than twice [`SYNC_EVERY`] lies in memory.
    async fn sync_behind(&mut self) -> io::Result<()> {
        if self.taken - self.synced < SYNC_EVERY {
            return Ok(());
        }
        self.settle_sync().await?;
        let Some(file) = &self.file else { return Ok(()) };
        let (file, guard) = (file.try_clone()?, Arc::clone(&self.guard));
        self.synced = self.taken;
        self.syncing = Some(tokio::task::spawn_blocking(move || {
            let synced = file.sync_data();
            drop(guard);
            synced
        }));
        Ok(())
    }

    /// Waits for the disk to take what it was asked to. May be dropped and called again.
    async fn settle_sync(&mut self) -> io::Result<()> {
        if let Some(syncing) = &mut self.syncing {
            let synced = syncing.await;
            self.syncing = None;
            synced.map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// Waits for the block under way. May be dropped and called again.
    async fn settle(&mut self) -> io::Result<()> {
        if let Some(hashing) = &mut self.hashing {
            let hashed = hashing.await;
            self.hashing = None;
            self.hasher = Some(hashed.map_err(io::Error::other)?);
        }
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            self.file = Some(written.map_err(io::Error::other)??);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_of_any_size_become_the_same_file() {
        let bytes: Vec<u8> =
            (0..3_500_001u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let whole = Bytes::from(bytes.clone());
        let sizes = [1_000_000, 1, 16_383, 16_384, 5, 0, 2_200_000, 40_000, 7, 1_048_576];
        for turn in 0..sizes.len() {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("file");
            let mut file = HashedFile::new(File::create_new(&path).expect("a file"), Arc::new(()));
            let mut rest = whole.clone();
            for size in sizes.iter().cycle().skip(turn) {
                if rest.is_empty() {
                    break;
                }
                file.push(rest.split_to(rest.len().min(*size))).await.expect("writing");
            }
            assert_eq!(file.taken(), bytes.len() as u64);
            let (_, digest) = file.finish().await.expect("the end");
            assert_eq!(std::fs::read(&path).expect("reading"), bytes);
            assert_eq!(digest, digest_of(File::open(&path).expect("a file")).expect("a digest"));
            assert_eq!(digest.as_bytes().as_slice(), sha2::Sha256::digest(&bytes).as_slice());
        }
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_more_is_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::fs::write(&path, b"").expect("a file");
        // Opened for reading only: every write fails.
        let mut file = HashedFile::new(File::open(&path).expect("a file"), Arc::new(()));
        let chunk = Bytes::from(vec![0; 3 * BLOCK]);
        assert!(file.push(chunk).await.is_err());
        assert!(file.finish().await.is_err());
    }
}
