//! Checkpoints on disk, brought home while a training runs: contents by their digests, so that what two checkpoints
//! have in common is there once, and only complete ones.
//!
//! ```text
//! checkpoints/blobs/<sha256>        the bytes of a file, verified
//! checkpoints/jobs/<job>/<n>.json   one complete checkpoint: its files by digest; itself with a digest at its end
//! checkpoints/.part/<n>             a file that is coming in
//! ```
//!
//! A checkpoint is there when its manifest is: that is written last, when every byte is on the disk. Bytes that no
//! manifest and no copy under way names are removed.

mod index;
mod ingest;
mod manifest;
mod store;

pub use ingest::{BlobIngest, CheckpointIngest};
pub use manifest::Checkpoint;
pub use store::{DiskCheckpoints, JobCheckpoints};
