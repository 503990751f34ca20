//! Artifacts on disk: nothing stands under its final name that was not compared with its digest.
//!
//! ```text
//! artifacts/<job>/<path>                           verified, whole
//! artifacts/.part/<job>.<attempt>.<n>/taking/<n>   a file that is coming in
//! artifacts/.part/<job>.<attempt>.<n>/files/<path> verified, waits for the others
//! artifacts/.part/<job>.<attempt>.<n>/old/<path>   what is being replaced
//! ```
//!
//! The last step is one rename of the directory `files`: all of an artifact is there, or nothing.

mod disk;
mod error;
mod ingest;
mod path;

pub use disk::DiskArtifacts;
pub use error::IngestError;
pub use ingest::{FileIngest, Ingest};
pub use path::{BadPath, check_path};
