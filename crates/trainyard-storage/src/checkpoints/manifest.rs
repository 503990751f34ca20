//! What is written of a complete checkpoint, so that no bit of it changes unseen.

use serde::{Deserialize, Serialize};
use sha2::Digest;
use trainyard_domain::{ArtifactFile, AttemptNumber, JobId, Sha256, Timestamp};

use crate::artifacts::{IngestError, check_path};

/// Files of one checkpoint at most.
const FILES_MAX: usize = 10_000;

/// A complete checkpoint that is held here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The job that trained it; of one that a clone begins with, not the job that holds it.
    pub job: JobId,
    /// The attempt that wrote it.
    pub attempt: AttemptNumber,
    /// Where a training finds it, relative to its checkpoint directory.
    pub name: String,
    /// The step it was written at, where that is known.
    pub step: Option<u64>,
    /// When it was home.
    pub saved_at: Timestamp,
    /// Every file.
    pub files: Vec<ArtifactFile>,
}

impl Checkpoint {
    /// Bytes of all its files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Whether it is the very same checkpoint, whenever it was saved.
    pub fn is_same(&self, other: &Checkpoint) -> bool {
        self.name == other.name && self.step == other.step && self.files == other.files
    }

    /// Whether it can be held: paths that stay inside, none twice, not too many.
    pub(super) fn check(&self) -> Result<(), IngestError> {
        if self.files.is_empty() {
            return Err(IngestError::Empty);
        }
        if self.files.len() > FILES_MAX {
            return Err(IngestError::TooMany { max: FILES_MAX });
        }
        check_path(&self.name)?;
        let mut paths: Vec<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        paths.iter().try_for_each(|path| check_path(path))?;
        paths.sort_unstable();
        match paths.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(IngestError::Incomplete { path: pair[0].to_owned(), what: "comes twice" }),
            None => Ok(()),
        }
    }

    /// Its text, with a digest of it as the last line.
    pub(super) fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        let digest = digest_of(&text);
        text.extend_from_slice(format!("\n{digest}\n").as_bytes());
        Ok(text)
    }

    /// Reads such a text; none where a bit of it is not as it was written.
    pub(super) fn decode(text: &[u8]) -> Option<Checkpoint> {
        let text = text.strip_suffix(b"\n")?;
        let end = text.iter().rposition(|byte| *byte == b'\n')?;
        let (text, digest) = (&text[..end], &text[end + 1..]);
        if digest != digest_of(text).to_string().as_bytes() {
            return None;
        }
        let read: Checkpoint = serde_json::from_slice(text).ok()?;
        read.check().is_ok().then_some(read)
    }
}

fn digest_of(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}
