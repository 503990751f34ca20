//! Uploaded inputs: each under its SHA-256, taken up again where an upload was cut.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use trainyard_domain::Sha256;

use crate::StorageError;
use crate::durable::{HashedFile, blocking, digest_of, remove, sync_directory};

/// The inputs in a directory. Cheap to clone. Only one process may have it open.
#[derive(Debug, Clone)]
pub struct InputFiles {
    root: Arc<Path>,
    bytes_max: u64,
    busy: Arc<Mutex<HashSet<Sha256>>>,
}

/// How much of an input is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// All of it, verified.
    Complete {
        /// Its bytes.
        bytes: u64,
    },
    /// The beginning; 0 where nothing came yet.
    Partial {
        /// Bytes that are there: where the upload goes on.
        bytes: u64,
    },
}

/// Why an upload was not taken.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It is larger than what is taken.
    #[error("the input has {total} bytes, but at most {max} are taken")]
    TooLarge {
        /// Bytes announced.
        total: u64,
        /// Most bytes taken.
        max: u64,
    },
    /// It does not go on where the bytes that are there end.
    #[error("the upload goes on at byte {expected}, not at {offset}")]
    Offset {
        /// Where it goes on.
        expected: u64,
        /// Where it was sent from.
        offset: u64,
    },
    /// Another upload of the same input is under way.
    #[error("another upload of this input is under way: wait for it, or try again")]
    Busy,
    /// More bytes came than were announced; what came is removed.
    #[error("the input is longer than the {total} bytes announced")]
    TooLong {
        /// Bytes announced.
        total: u64,
    },
    /// The bytes are not those of the digest; they are removed.
    #[error("the input has SHA-256 {actual}, but is sent as {expected}: upload it again from its beginning")]
    Mismatch {
        /// The digest it was sent under.
        expected: Sha256,
        /// The digest of what came.
        actual: Sha256,
    },
    /// The sender failed; what came before is kept.
    #[error("the upload was cut")]
    Cut(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file operation failed.
    #[error("storing the input failed")]
    Io(#[from] io::Error),
}

/// One input's upload; the input is free again when it is dropped.
struct Claim {
    busy: Arc<Mutex<HashSet<Sha256>>>,
    sha: Sha256,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.sha);
    }
}

impl InputFiles {
    /// Opens the directory, and makes it where it is missing. `bytes_max` is the most of one input.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub async fn open(root: impl Into<PathBuf>, bytes_max: u64) -> Result<InputFiles, StorageError> {
        let root: PathBuf = root.into();
        let opened = blocking(move || {
            fs::create_dir_all(root.join(".part"))?;
            root.canonicalize()
        });
        let doing = "opening the directory of inputs";
        let root = opened.await.map_err(|source| StorageError::File { doing, source })?;
        Ok(InputFiles { root: root.into(), bytes_max, busy: Arc::default() })
    }

    /// Where a complete input stands, absolute. Ask [`InputFiles::received`] whether it is there.
    pub fn path(&self, sha: &Sha256) -> PathBuf {
        self.root.join(sha.to_string())
    }

    fn part(&self, sha: &Sha256) -> PathBuf {
        self.root.join(".part").join(sha.to_string())
    }

    /// How much of an input is there.
    ///
    /// # Errors
    /// [`InputError::Io`].
    pub async fn received(&self, sha: &Sha256) -> Result<Received, InputError> {
        let (whole, part) = (self.path(sha), self.part(sha));
        let looked = blocking(move || {
            Ok(match (length(&whole)?, length(&part)?) {
                (Some(bytes), _) => Received::Complete { bytes },
                (None, part) => Received::Partial { bytes: part.unwrap_or(0) },
            })
        });
        Ok(looked.await?)
    }

    /// Takes bytes from `offset` on, of `total` in all. Once all are there they are verified, synced to the disk and
    /// shown under their digest. Where the stream ends before that, what came is kept. May be dropped at any
    /// `.await`: then too.
    ///
    /// # Errors
    /// [`InputError`]. An input that is there already is not an error; the stream is then not read.
    pub async fn write<S, E>(
        &self,
        sha: Sha256,
        offset: u64,
        total: u64,
        mut chunks: S,
    ) -> Result<Received, InputError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if total > self.bytes_max {
            return Err(InputError::TooLarge { total, max: self.bytes_max });
        }
        let claim = self.claim(sha).ok_or(InputError::Busy)?;
        let there = match self.received(&sha).await? {
            complete @ Received::Complete { .. } => return Ok(complete),
            Received::Partial { bytes } => bytes,
        };
        if there != offset {
            return Err(InputError::Offset { expected: there, offset });
        }
        let mut file = HashedFile::new(open_at(self.part(&sha), offset).await?, claim.clone());
        let mut cut = None;
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) if offset + file.taken() + chunk.len() as u64 > total => {
                    drop(file);
                    self.drop_part(claim).await?;
                    return Err(InputError::TooLong { total });
                }
                Ok(chunk) => file.push(chunk).await?,
                Err(error) => {
                    cut = Some(error.into());
                    break;
                }
            }
        }
        let bytes = offset + file.taken();
        let (_, digest) = file.finish().await?;
        match cut {
            None if bytes == total => self.complete(claim, total, (offset == 0).then_some(digest)).await,
            None => Ok(Received::Partial { bytes }),
            Some(error) => Err(InputError::Cut(error)),
        }
    }

    /// Notes that an input is wanted now, so that it is kept for as long again.
    ///
    /// # Errors
    /// [`InputError::Io`]. An input that is not there is not an error.
    pub async fn touch(&self, sha: &Sha256, now: SystemTime) -> Result<(), InputError> {
        let whole = self.path(sha);
        let touched = blocking(move || match File::options().append(true).open(whole) {
            Ok(file) => file.set_modified(now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        });
        Ok(touched.await?)
    }

    /// Drops inputs, whole or in part, that nobody has wanted since `before`; says how many went.
    ///
    /// # Errors
    /// [`InputError::Io`].
    pub async fn expire(&self, before: SystemTime) -> Result<u64, InputError> {
        let directories = [self.root.to_path_buf(), self.root.join(".part")];
        let expired = blocking(move || {
            let mut gone = 0;
            for directory in directories {
                for entry in fs::read_dir(directory)? {
                    let entry = entry?;
                    let metadata = entry.metadata()?;
                    if metadata.is_file() && metadata.modified()? < before {
                        remove(&entry.path())?;
                        gone += 1;
                    }
                }
            }
            Ok(gone)
        });
        Ok(expired.await?)
    }

    fn claim(&self, sha: Sha256) -> Option<Arc<Claim>> {
        let new = self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(sha);
        new.then(|| Arc::new(Claim { busy: Arc::clone(&self.busy), sha }))
    }

    /// Verifies and shows an input. The digest is known where all of it came at once.
    async fn complete(
        &self,
        claim: Arc<Claim>,
        total: u64,
        known: Option<Sha256>,
    ) -> Result<Received, InputError> {
        let sha = claim.sha;
        let part = self.part(&sha);
        let actual = match known {
            Some(digest) => digest,
            None => blocking(move || digest_of(File::open(part)?)).await?,
        };
        if actual != sha {
            self.drop_part(claim).await?;
            return Err(InputError::Mismatch { expected: sha, actual });
        }
        let (part, whole, root) = (self.part(&sha), self.path(&sha), Arc::clone(&self.root));
        blocking(move || {
            File::open(&part)?.sync_all()?;
            fs::rename(part, whole)?;
            // Only now may another upload begin, also where the caller is gone.
            drop(claim);
            sync_directory(&root)
        })
        .await?;
        Ok(Received::Complete { bytes: total })
    }

    async fn drop_part(&self, claim: Arc<Claim>) -> io::Result<()> {
        let part = self.part(&claim.sha);
        blocking(move || {
            let removed = remove(&part);
            drop(claim);
            removed
        })
        .await
    }
}

fn length(path: &Path) -> io::Result<Option<u64>> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn open_at(part: PathBuf, offset: u64) -> io::Result<File> {
    blocking(move || {
        let mut file = File::options().write(true).create(true).truncate(false).open(part)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    })
    .await
}
