//! Uploading inputs: resumable, and checked against the digest that names them.

use bytes::Bytes;
use futures_core::Stream;
use trainyard_domain::Sha256;
use trainyard_storage::{InputError, Received};

use crate::{Error, ErrorKind, Orchestrator};

/// How much of an input is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputStatus {
    /// Bytes received.
    pub received: u64,
    /// All of it is here, and has its digest.
    pub complete: bool,
}

impl Orchestrator {
    /// How much of an input is here.
    ///
    /// # Errors
    /// Where the disk fails.
    pub async fn input_received(&self, sha: &Sha256) -> Result<InputStatus, Error> {
        Ok(status(self.core.inputs.received(sha).await?))
    }

    /// Takes a part from `offset`; the upload is whole at `total` bytes and then checked against its digest. Bytes
    /// are written as they come, so a part that breaks off is kept as far as it came.
    ///
    /// # Errors
    /// `digest_mismatch`, `input_offset` (resume from where it stands), `input_too_large`, `input_busy`; the body's own
    /// error where it broke off.
    pub async fn input_part<S>(
        &self,
        sha: &Sha256,
        offset: u64,
        total: u64,
        body: S,
    ) -> Result<InputStatus, Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + Unpin,
    {
        Ok(status(self.core.inputs.write(*sha, offset, total, body).await?))
    }
}

fn status(received: Received) -> InputStatus {
    match received {
        Received::Complete { bytes } => InputStatus { received: bytes, complete: true },
        Received::Partial { bytes } => InputStatus { received: bytes, complete: false },
    }
}

impl From<InputError> for Error {
    fn from(error: InputError) -> Error {
        let message = error.to_string();
        match error {
            InputError::Cut(source) => match source.downcast::<Error>() {
                Ok(error) => *error,
                Err(source) => Error::bad_request("upload_cut", message).because(source),
            },
            InputError::TooLong { .. } => Error::bad_request("input_too_long", message),
            InputError::Mismatch { .. } => Error::bad_request("digest_mismatch", message),
            InputError::Offset { .. } => Error::bad_request("input_offset", message),
            InputError::TooLarge { .. } => Error::new(ErrorKind::TooLarge, "input_too_large", message),
            InputError::Busy => Error::new(ErrorKind::Conflict, "input_busy", message),
            InputError::Io(error) => {
                Error::new(ErrorKind::Unavailable, "storage", "the input could not be stored").because(error)
            }
        }
    }
}
