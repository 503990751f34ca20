//! The small program beside a training process.
