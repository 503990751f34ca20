//! Why a file, or a whole artifact, was not taken.

use trainyard_domain::Sha256;

use super::BadPath;

/// Why a file, or a whole artifact, was not taken. Nothing of it is visible.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The bytes are not those that the machine made.
    #[error("`{path}` has SHA-256 {actual}, but {expected} was announced: the bytes changed on their way")]
    Mismatch {
        /// Which file.
        path: String,
        /// The digest announced.
        expected: Sha256,
        /// The digest of what came.
        actual: Sha256,
    },
    /// More bytes came than were announced.
    #[error("`{path}` is longer than the {expected} bytes announced")]
    TooLong {
        /// Which file.
        path: String,
        /// Bytes announced.
        expected: u64,
    },
    /// Fewer bytes came than were announced.
    #[error("`{path}` ended after {actual} of {expected} bytes")]
    TooShort {
        /// Which file.
        path: String,
        /// Bytes announced.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// The path would leave the artifact's directory, or cannot stand in one.
    #[error(transparent)]
    BadPath(#[from] BadPath),
    /// The artifact has more files than are taken.
    #[error("the artifact has more than {max} files: narrow `outputs.include`")]
    TooMany {
        /// Most files taken.
        max: usize,
    },
    /// What is to be the artifact is not what was taken.
    #[error("`{path}` {what}")]
    Incomplete {
        /// Which file.
        path: String,
        /// How it differs.
        what: &'static str,
    },
    /// There is no file in it.
    #[error("the artifact has no file: check `outputs.include`")]
    Empty,
    /// A file operation failed.
    #[error("storing the artifact failed while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl IngestError {
    pub(crate) fn io(doing: &'static str) -> impl Fn(std::io::Error) -> IngestError {
        move |source| IngestError::Io { doing, source }
    }
}
